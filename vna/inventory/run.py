"""The inventory: every study, series and instance that a source lists goes to the ledger, with evidence of how it was covered."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from vna.errors import RefusedError
from vna.inventory.evidence import write_evidence
from vna.inventory.listing import Lister, Listing
from vna.inventory.queries import Queries
from vna.inventory.survey import Asked, Survey, set_digest, survey
from vna.inventory.windows import EVERYTHING, Window, dated_windows
from vna.ledger import InventoryRun, Lease, Ledger, ListedStudy, Recorded
from vna.ledger import Window as WindowRow
from vna.model import InstanceRef, Local, Node, Progress, Report, silent

STAGE = "inventory"
_QUEUED_PER_WORKER = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InventoryOptions:
    """How to take an inventory. ``shrink_limit`` is the share of the last listing that may be gone before the guard refuses."""

    workers: int = 2
    accept_shrink: bool = False
    shrink_limit: float = 0.1


@dataclass(frozen=True, slots=True)
class InventoryResult:
    """What a source lists. ``unproved`` says what may be hidden still; ``changes`` counts what was written to the ledger."""

    node: str
    studies: int
    series: int
    instances: int
    windows: int
    truncated: int
    complete: bool
    evidence: str
    unproved: tuple[str, ...] = ()
    duplicates: int = 0
    changes: int = 0
    unlisted: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Give the keys that ``vna inventory --json`` promises, and some more."""
        return {
            "node": self.node,
            "studies": self.studies,
            "series": self.series,
            "instances": self.instances,
            "windows": self.windows,
            "truncated": self.truncated,
            "complete": self.complete,
            "evidence": self.evidence,
            "unproved": list(self.unproved),
            "duplicates": self.duplicates,
            "changes": self.changes,
            "unchanged": not self.changes,
            "unlisted": self.unlisted,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class _Counted:
    """What was listed of one study, and what the ledger made of it."""

    series: int
    instances: int
    digest: str
    vanished: tuple[InstanceRef, ...]
    unproved: tuple[str, ...]


def plan(today: date | None = None) -> tuple[Window, ...]:
    """Give the windows that an inventory begins with; how they are cut depends on the answers."""
    return (EVERYTHING, *dated_windows(today or _today()))


def run(
    ledger: Ledger, node: Node, local: Local, options: InventoryOptions | None = None, report: Report = silent
) -> InventoryResult:
    """Take an inventory of a source and write it to the ledger. A repeated one that finds the same writes nothing.

    Raises LockedError when another inventory of the node runs, RefusedError when the source lists far less than last time
    (:attr:`InventoryOptions.accept_shrink` is the way out), PeerError when the source cannot be asked.
    """
    with ledger.leases.held(STAGE, node.name) as lease, Queries(node, local) as queries:
        return _Inventory(ledger, node, options or InventoryOptions(), report, lease, queries).run()


class _Inventory:
    def __init__(
        self, ledger: Ledger, node: Node, options: InventoryOptions, report: Report, lease: Lease, queries: Queries
    ) -> None:
        self._ledger = ledger
        self._node = node
        self._options = options
        self._report = report
        self._lease = lease
        self._queries = queries
        self._lister = Lister(
            lambda study, keys: queries.series(study, **keys), lambda study, series, keys: queries.images(study, series, **keys)
        )

    def run(self) -> InventoryResult:
        started, started_at = time.monotonic(), _stamp()
        found = survey(self._queries.studies, _today(), on_answer=self._told)
        sources = self._ledger.sources
        known, instances_before = sources.study_uids(self._node.name), sources.count_instances(self._node.name)
        self._guard("studies", len(known), len(found.studies))
        counted, changes = self._list_all(found)
        self._guard("instances", instances_before, sum(one.instances for one in counted.values()))
        unproved = (*found.unproved, *(text for uid in sorted(counted) for text in counted[uid].unproved))
        unlisted = 0 if unproved else self._unlist(known - found.studies.keys(), counted)
        run = self._finish(found, counted, unproved, started_at, changes + unlisted)
        return InventoryResult(
            node=run.node,
            studies=run.studies,
            series=run.series,
            instances=run.instances,
            windows=run.windows,
            truncated=run.truncated,
            complete=run.complete,
            evidence=run.evidence,
            unproved=unproved,
            duplicates=found.duplicates + self._lister.duplicates,
            changes=changes + unlisted,
            unlisted=unlisted,
            seconds=time.monotonic() - started,
        )

    def _told(self, found: Survey) -> None:
        self._report(Progress(STAGE, len(found.windows), 0, "windows", note=f"{len(found.studies)} studies found"))

    def _guard(self, what: str, before: int, now: int) -> None:
        """Refuse to go on when the source lists far less than the ledger knows of it."""
        if self._options.accept_shrink or now >= before * (1 - self._options.shrink_limit):
            return
        raise RefusedError(
            f"{self._node.name} lists {now} {what}, and listed {before} last time; nothing was taken off the ledger",
            hint="a source that is half down looks like this; if they are gone on purpose, repeat with --accept-shrink",
        )

    # -- series and images

    def _list_all(self, found: Survey) -> tuple[dict[str, _Counted], int]:
        """List every study's series and instances, then list those again whose answers could have been cut off."""
        counted: dict[str, _Counted] = {}
        changes = self._list_many(found, sorted(found.studies), counted, prove=False)
        changes += self._list_many(found, sorted(self._lister.doubtful()), counted, prove=True)
        return counted, changes

    def _list_many(self, found: Survey, studies: Sequence[str], counted: dict[str, _Counted], *, prove: bool) -> int:
        note = "making sure of the largest" if prove else ""
        changes = 0
        for done, (listing, recorded) in enumerate(self._listings(found, studies, prove=prove), 1):
            counted[listing.study_instance_uid] = _Counted(
                len(listing.series), len(listing.instances), listing.digest(), recorded.vanished, listing.unproved
            )
            changes += recorded.changes
            self._report(Progress(STAGE, done, len(studies), "studies", note=note))
        return changes

    def _listings(self, found: Survey, studies: Sequence[str], *, prove: bool) -> Iterator[tuple[Listing, Recorded]]:
        """List and record studies in parallel, a few ahead of what was taken."""
        waiting: deque[Future[tuple[Listing, Recorded]]] = deque()
        with ThreadPoolExecutor(self._options.workers, thread_name_prefix="inventory") as pool:
            try:
                for uid in studies:
                    if len(waiting) >= _QUEUED_PER_WORKER * self._options.workers:
                        yield waiting.popleft().result()
                    waiting.append(pool.submit(self._list_one, found.studies[uid], prove))
                while waiting:
                    yield waiting.popleft().result()
            except BaseException:
                self._queries.stop_waiting()
                pool.shutdown(cancel_futures=True)
                raise

    def _list_one(self, record: Mapping[str, str], prove: bool) -> tuple[Listing, Recorded]:
        study = _listed_study(record)
        listing = self._lister.list_study(study.study_instance_uid, record.get("NumberOfStudyRelatedSeries", ""), prove=prove)
        recorded = self._ledger.sources.record_study(
            self._lease, study, listing.series, listing.instances, whole=not listing.unproved
        )
        _log.info("study %s lists %d instances", study.study_instance_uid, len(listing.instances))
        return listing, recorded

    # -- the end

    def _unlist(self, gone: Iterable[str], counted: Mapping[str, _Counted]) -> int:
        """Write down what is no longer listed; only a complete inventory may say so."""
        studies = sorted(gone)
        vanished = [ref for one in counted.values() for ref in one.vanished]
        if studies or vanished:
            self._ledger.sources.unlist(self._lease, studies, vanished)
        return len(studies) + len(vanished)

    def _finish(
        self, found: Survey, counted: Mapping[str, _Counted], unproved: tuple[str, ...], started_at: str, changes: int
    ) -> InventoryRun:
        """Write run, windows and evidence, unless the last run found the same."""
        digest = set_digest(f"{uid} {one.digest}" for uid, one in counted.items())
        last = self._ledger.sources.last_inventory(self._node.name)
        if last is not None and not changes and (last.digest, last.complete) == (digest, not unproved):
            return last
        run = InventoryRun(
            node=self._node.name,
            started_at=started_at,
            finished_at=_stamp(),
            studies=len(counted),
            series=sum(one.series for one in counted.values()),
            instances=sum(one.instances for one in counted.values()),
            windows=len(found.windows),
            truncated=found.truncated + self._lister.truncated,
            complete=not unproved,
            digest=digest,
            evidence="",
        )
        windows = [_row(asked) for asked in found.windows]
        run = replace(run, evidence=str(self._write_evidence(run, found, counted, unproved, windows)))
        self._ledger.sources.finish(self._lease, run, windows)
        return run

    def _write_evidence(
        self,
        run: InventoryRun,
        found: Survey,
        counted: Mapping[str, _Counted],
        unproved: tuple[str, ...],
        windows: Sequence[WindowRow],
    ) -> Path:
        facts = {name: value for name, value in asdict(run).items() if name != "evidence"}
        return write_evidence(
            self._ledger.evidence_folder(),
            f"inventory-{_file_name(run.node)}-{run.finished_at.replace(':', '').replace('-', '')}",
            {
                "kind": "inventory",
                **facts,
                "ae_title": self._node.ae_title,
                "queries": self._queries.asked,
                "unproved": list(unproved),
                "largest_answer": found.largest,
                "duplicates": {"answers": found.duplicates + self._lister.duplicates, "studies": found.duplicated},
                "windows": [asdict(window) for window in windows],
                "studies_listed": [
                    {"StudyInstanceUID": uid, "series": one.series, "instances": one.instances, "sha256": one.digest}
                    for uid, one in sorted(counted.items())
                ],
            },
        )


def _listed_study(record: Mapping[str, str]) -> ListedStudy:
    return ListedStudy(
        study_instance_uid=record.get("StudyInstanceUID", ""),
        study_date=record.get("StudyDate", ""),
        study_time=record.get("StudyTime", ""),
        accession_number=record.get("AccessionNumber", ""),
        patient_id=record.get("PatientID", ""),
        issuer_of_patient_id=record.get("IssuerOfPatientID", ""),
        study_description=record.get("StudyDescription", ""),
        modalities_in_study=record.get("ModalitiesInStudy", ""),
        instance_availability=record.get("InstanceAvailability", ""),
    )


def _row(asked: Asked) -> WindowRow:
    return WindowRow(
        asked.ordinal, asked.parent, asked.window.text(), asked.answers, asked.state, asked.refusal or asked.reason, asked.digest
    )


def _file_name(node: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in node)


def _stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _today() -> date:
    return datetime.now(UTC).date()
