"""The demo runs every stage, closes its ledger, says nothing about patients, and touches no folder that is not its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from vna.archive import Archive
from vna.config import load_config
from vna.demo.accounting import reason
from vna.demo.folder import MARKER, prepare
from vna.demo.images import data_set_of, shipped_images
from vna.demo.pacs import EmbeddedPacs
from vna.demo.result import DemoResult
from vna.demo.run import run
from vna.errors import ConfigError, RefusedError
from vna.model import Progress


@pytest.fixture(scope="module")
def legacy() -> Iterator[EmbeddedPacs]:
    """A PACS that holds what the demo's legacy PACS holds; it need not listen."""
    pacs = EmbeddedPacs()
    pacs.load(image.path for image in shipped_images())
    yield pacs


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, Path, list[Progress], str]:
    """One demo: its result, its folder, the progress that it told, and everything that it logged."""
    folder = tmp_path_factory.mktemp("demo") / "new"
    steps: list[Progress] = []
    lines: list[str] = []

    class _Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    root, collector = logging.getLogger(), _Collector(logging.DEBUG)
    level = root.level
    root.addHandler(collector)
    root.setLevel(logging.DEBUG)
    try:
        result = run(folder, report=steps.append)
    finally:
        root.removeHandler(collector)
        root.setLevel(level)
    return result, folder, steps, "\n".join(lines)


def test_every_instance_is_accounted_for(demo: tuple[DemoResult, Path, list[Progress], str], legacy: EmbeddedPacs) -> None:
    result = demo[0]
    figures = result.instances
    assert result.closed
    assert figures["expected"] == len(legacy.objects())
    assert figures["expected"] == figures["verified"] + figures["quarantined"] + figures["refused"] + figures["missing"]
    assert figures["pending"] == 0
    assert len(result.unmigrated) == figures["expected"] - figures["verified"]
    assert sum(line.instances for line in result.modalities) == figures["stored"]
    assert sum(line.verified for line in result.modalities) == figures["verified"]


def test_the_archive_holds_what_the_legacy_pacs_sent_byte_for_byte(
    demo: tuple[DemoResult, Path, list[Progress], str], legacy: EmbeddedPacs
) -> None:
    archive = Archive.open(str(demo[1] / "archive"))
    stored = {
        row["SOPInstanceUID"]: Path(archive.root) / row["path"] for row in archive.select(columns=("SOPInstanceUID", "path"))
    }
    held = legacy.objects()
    assert stored.keys() == held.keys()
    assert [uid for uid, path in stored.items() if data_set_of(path) != held[uid].data_set] == []


def test_the_reader_sees_a_refusal_and_a_quarantine_with_their_reasons(
    demo: tuple[DemoResult, Path, list[Progress], str],
) -> None:
    by_state = {line.state for line in demo[0].unmigrated}
    assert {"refused", "quarantined"} <= by_state
    assert all(line.text and line.code and line.sop_instance_uid for line in demo[0].unmigrated)
    page = (demo[1] / "report.html").read_text("utf-8")
    assert all(line.sop_instance_uid in page for line in demo[0].unmigrated)


def test_each_stage_tells_its_progress(demo: tuple[DemoResult, Path, list[Progress], str]) -> None:
    stages = ["inventory", "pull", "validate", "forward", "verify"]
    assert [line.stage for line in demo[0].stages] == stages
    assert {step.stage for step in demo[2]} >= set(stages)


def test_the_configuration_that_it_leaves_can_be_used(demo: tuple[DemoResult, Path, list[Progress], str]) -> None:
    config = load_config(demo[1] / "vna.toml")
    assert set(config.nodes) == {"legacy", "target"}
    assert Path(config.archive.url) == (demo[1] / "archive").absolute()


def test_no_patient_reaches_a_log_or_the_report(demo: tuple[DemoResult, Path, list[Progress], str], legacy: EmbeddedPacs) -> None:
    result, folder, _, log = demo
    assert log
    secrets = {stored.value(keyword) for stored in legacy.objects().values() for keyword in ("PatientName", "PatientID")}
    secrets = {secret for secret in secrets if len(secret) > 5 and not secret.isdigit()}
    assert len(secrets) > 20
    shown = log + (folder / "report.html").read_text("utf-8") + str(result.as_json())
    assert [secret for secret in secrets if secret in shown] == []


def test_a_second_run_in_the_same_folder_does_nothing_twice(demo: tuple[DemoResult, Path, list[Progress], str]) -> None:
    first, folder = demo[:2]
    files = {path: path.stat().st_mtime_ns for path in (folder / "archive" / "instances").rglob("*.dcm")}
    second = run(folder, keep=True)
    assert second.instances == first.instances
    assert [line.text for line in second.stages if line.stage in {"pull", "forward"}] == [
        "nothing to do: the archive holds everything that the source lists",
        "nothing to do: the target was sent everything that it takes",
    ]
    assert {path: path.stat().st_mtime_ns for path in (folder / "archive" / "instances").rglob("*.dcm")} == files


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    for keep in (True, False):
        with pytest.raises(RefusedError, match="no demo made it"):
            prepare(tmp_path, keep=keep)
    assert (tmp_path / "precious").read_text() == "x"


def test_an_earlier_demo_is_replaced_unless_it_is_kept(tmp_path: Path) -> None:
    prepare(tmp_path, keep=False)
    (tmp_path / "old").touch()
    prepare(tmp_path, keep=True)
    assert (tmp_path / "old").exists()
    prepare(tmp_path, keep=False)
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


def test_an_unknown_legacy_pacs_is_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        run(tmp_path / "new", legacy="orthanc")
    assert "dcmqrscp" in caught.value.hint
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("code", "detail", "expected"),
    [
        ("CONTEXT_REJECTED", "abstract syntax not supported", "Abstract syntax not supported"),
        ("SOURCE_FAILED:0xA702", "", "The source answered the retrieval with a failure; its status follows the colon."),
        ("TRUNCATED_PIXEL", "", "The file ends before its pixel data do."),
        ("UNHEARD_OF", "", ""),
    ],
)
def test_a_reason_is_said_in_words(code: str, detail: str, expected: str) -> None:
    assert reason(code, detail) == expected
