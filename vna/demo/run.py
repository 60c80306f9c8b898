"""The demo: every stage once, from an embedded legacy PACS to an embedded target, on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from vna import forward, inventory, pull, validate, verify
from vna.archive import Archive
from vna.demo import accounting
from vna.demo.dcmqrscp import dcmqrscp
from vna.demo.folder import ARCHIVE, CONFIGURATION, REPORT, prepare, write_configuration
from vna.demo.images import shipped_images
from vna.demo.pacs import EmbeddedPacs
from vna.demo.page import write_page
from vna.demo.result import DemoResult, StageLine
from vna.errors import ConfigError
from vna.ledger import Ledger
from vna.model import Local, Node, Progress, Report, silent
from vna.part10 import read_head

LEGACY_KINDS = ("embedded", "dcmqrscp")
SOURCE, TARGET = "legacy", "target"
TWELVE_LEAD_ECG_WAVEFORM_STORAGE = "1.2.840.10008.5.1.4.1.1.9.1.1"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
REFUSED_BY_TARGET = (TWELVE_LEAD_ECG_WAVEFORM_STORAGE, JPEG_EXTENDED)
"""What the target does not take: many do not know waveforms, and few decode 12 bit JPEG."""

_Result = TypeVar("_Result")


def run(
    directory: Path, *, legacy: str = "embedded", keep: bool = False, program: str = "vna", report: Report = silent
) -> DemoResult:
    """Run the whole pipeline in ``directory`` and leave archive, configuration and report there.

    ``legacy`` is one of :data:`LEGACY_KINDS`. An earlier demo there is replaced, or with ``keep`` gone on with. ``program`` is
    how the reader types the command. Raises RefusedError for a folder that is something else's, ConfigError when dcmqrscp is not
    installed, and what the stages raise.
    """
    if legacy not in LEGACY_KINDS:
        raise ConfigError(f"{legacy!r} is no legacy PACS of the demo", hint=f"one of {', '.join(LEGACY_KINDS)}")
    started = time.monotonic()
    prepare(directory, keep=keep)
    archive = Archive.create(str(directory / ARCHIVE))
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(f"sqlite:///{directory / ARCHIVE / 'ledger.sqlite'}"))
        local = Local(port=_free_port())
        source = stack.enter_context(_legacy(legacy, directory, local))
        pacs = stack.enter_context(
            EmbeddedPacs("NEW_PACS", refuses=REFUSED_BY_TARGET, destinations={local.ae_title: (local.host, local.port)})
        )
        target = pacs.node(TARGET)
        _remember(archive, ledger, pacs)
        write_configuration(directory, local, (source, target))
        stages = _Stages(archive, ledger, source, target, local, report)
        stages.run()
        result = stages.result(directory, program, time.monotonic() - started)
    write_page(result, Path(result.report))
    return result


class _Stages:
    """The stages in their order, each with a line for the report."""

    def __init__(self, archive: Archive, ledger: Ledger, source: Node, target: Node, local: Local, report: Report) -> None:
        self._archive, self._ledger = archive, ledger
        self._source, self._target, self._local = source, target, local
        self._report = report
        self._lines: list[StageLine] = []
        self._validated: validate.ValidateResult

    def run(self) -> None:
        """Run them all."""
        archive, ledger, local, report = self._archive, self._ledger, self._local, self._report
        self._stage("inventory", lambda: inventory.run(ledger, self._source, local, report=report), _inventoried)
        options = pull.PullOptions(settle_s=1.0)
        self._stage("pull", lambda: pull.run(archive, ledger, self._source, local, options, report), _pulled)
        self._validated = self._stage(
            "validate", lambda: validate.run(archive, ledger, validate.ValidateOptions(), report), _validated
        )
        self._stage("forward", lambda: forward.run(archive, ledger, self._target, local, report=report), _forwarded)
        self._stage("verify", lambda: verify.run(archive, ledger, self._target, local, report=report), _verified)

    def _stage(self, name: str, stage: Callable[[], _Result], tell: Callable[[_Result], str]) -> _Result:
        self._report(Progress(name, 0))
        started = time.monotonic()
        result = stage()
        self._lines.append(StageLine(name, tell(result), time.monotonic() - started))
        return result

    def result(self, directory: Path, program: str, seconds: float) -> DemoResult:
        """Close the books."""
        status = self._ledger.status()
        command = f"{program} --config {directory / CONFIGURATION}"
        return DemoResult(
            source=f"{self._source.name} ({self._source.ae_title})",
            target=f"{self._target.name} ({self._target.ae_title})",
            folder=str(directory / ARCHIVE),
            report=str(directory / REPORT),
            instances=status.instances,
            closed=status.closed,
            seconds=seconds,
            stages=tuple(self._lines),
            modalities=accounting.modality_lines(self._archive, self._ledger, self._target.name),
            findings=accounting.finding_lines(self._validated),
            unmigrated=accounting.unmigrated_lines(self._archive, self._ledger, self._target.name),
            commands=(
                (f"{command} status --unmigrated", "every instance that did not arrive"),
                (f'{command} index sql "SELECT Modality, count(*) FROM instances GROUP BY 1"', "ask the index"),
                (f"{command} export --to {directory / 'copies'}", "copy Part 10 files out"),
                (f"cd {directory / ARCHIVE} && cat manifests/*/*.sha256 | sha256sum -c --quiet", "check every byte, without us"),
            ),
        )


@contextmanager
def _legacy(kind: str, directory: Path, local: Local) -> Iterator[Node]:
    """Run the legacy PACS, loaded with the shipped images, which knows us as a destination of C-MOVE."""
    images = shipped_images()
    if kind == "dcmqrscp":
        with dcmqrscp(directory / "dcmqrscp", images, [(local.ae_title, local.port)]) as node:
            yield node
        return
    with EmbeddedPacs("OLD_PACS", destinations={local.ae_title: (local.host, local.port)}) as pacs:
        pacs.load(image.path for image in images)
        yield pacs.node(SOURCE)


def _remember(archive: Archive, ledger: Ledger, target: EmbeddedPacs) -> None:
    """Give the target what an earlier demo sent there: it holds it in memory only, and an archive does not forget."""
    for study in ledger.outcomes.sent_studies(TARGET):
        for sent in ledger.outcomes.sent_objects(TARGET, study.study_instance_uid):
            stored = sent.object
            with archive.open_object(stored.path) as file:
                read_head(file)
                data_set = file.read()
            target.add(stored.sop_class_uid, stored.sop_instance_uid, stored.transfer_syntax_uid, data_set)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _inventoried(result: inventory.InventoryResult) -> str:
    proof = "complete" if result.complete else "not proved complete"
    return f"{_count(result.studies, 'study')}, {result.series:,} series, {_count(result.instances, 'instance')}; {proof}"


def _pulled(result: pull.PullResult) -> str:
    if not result.studies:
        return "nothing to do: the archive holds everything that the source lists"
    brought = f"{_count(result.instances, 'instance')} of {_count(result.studies, 'study')}, {result.bytes / 2**20:,.1f} MiB"
    return _with(brought, quarantined=result.quarantined, missing=result.missing, failed=result.failed)


def _validated(result: validate.ValidateResult) -> str:
    checked = f"{_count(result.validated, 'instance')} checked, {result.clean:,} of {result.instances:,} without a finding"
    return _with(checked, unread=result.unread)


def _forwarded(result: forward.ForwardResult) -> str:
    if not result.studies:
        return "nothing to do: the target was sent everything that it takes"
    sent = f"{_count(result.sent, 'instance')} of {_count(result.studies, 'study')}, {result.bytes / 2**20:,.1f} MiB"
    return _with(sent, refused=result.refused, failed=result.failed)


def _verified(result: verify.VerifyResult) -> str:
    found = f"{result.verified:,} of {_count(result.expected, 'instance')} found at the target"
    return _with(found, missing=result.missing, different=result.different)


def _with(text: str, **figures: int) -> str:
    return ", ".join([text, *(f"{figure:,} {name}" for name, figure in figures.items() if figure)])


def _count(number: int, noun: str) -> str:
    plural = {"study": "studies"}.get(noun, f"{noun}s")
    return f"{number:,} {noun if number == 1 else plural}"
