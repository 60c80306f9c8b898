"""Exporting: the right instances, whole, proven, and never over anything."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from tests.support.folders import quick_folder
from tests.support.objects import WireObject, send_all, wire_object
from vna.archive import Archive
from vna.correct import CorrectOptions, apply, rule_of_settings
from vna.errors import ConfigError, RefusedError
from vna.export import ExportOptions, run
from vna.model import Progress
from vna.store import open_store

ITEMS = [
    wire_object(InstanceNumber=1),
    wire_object(InstanceNumber=2),
    wire_object(PatientID="P2", Modality="MR"),
    wire_object(InstanceNumber=1, PatientName="Other"),
    wire_object(StudyInstanceUID=None),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder


@pytest.fixture
def archive(folder: Path) -> Archive:
    archive = Archive.create(str(folder / "a"))
    with archive.sink() as sink:
        send_all(sink, ITEMS)
    archive.sync_index()
    return archive


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored(*items: WireObject) -> set[bytes]:
    return {item.stored for item in items}


def test_what_is_fileable_is_written_by_study_and_series_and_nothing_else_is_left_behind(archive: Archive, folder: Path) -> None:
    steps: list[Progress] = []
    result = run(archive, folder / "out", report=steps.append)
    written = files(folder / "out")
    assert set(written.values()) == stored(*ITEMS[:3])
    for path, data in written.items():
        ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
        assert path == f"{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}/{ds.SOPInstanceUID}.dcm"
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted({path.partition("/")[0] for path in written})
    assert result.as_json() == {
        "studies": 2,
        "instances": 3,
        "bytes": sum(map(len, written.values())),
        "to": str(folder / "out"),
        "present": 0,
        "withheld": 2,
        "failed": 0,
        "failures": [],
    }
    assert (steps[-1].done, steps[-1].total, steps[-1].bytes) == (3, 3, result.bytes)


def test_a_second_run_writes_nothing_and_says_so(archive: Archive, folder: Path) -> None:
    run(archive, folder / "out")
    before = {path: path.stat().st_ino for path in (folder / "out").rglob("*")}
    result = run(archive, folder / "out")
    assert (result.studies, result.instances, result.bytes, result.present) == (0, 0, 0, 3)
    assert {path: path.stat().st_ino for path in (folder / "out").rglob("*")} == before


def test_a_dry_run_says_what_would_be_written_and_leaves_no_trace(archive: Archive, folder: Path) -> None:
    foretold = run(archive, folder / "out", ExportOptions(dry_run=True))
    assert not (folder / "out").exists()
    assert foretold == run(archive, folder / "out")


def test_a_condition_and_a_study_choose(archive: Archive, folder: Path) -> None:
    run(archive, folder / "by condition", ExportOptions(where="Modality = 'MR'"))
    assert set(files(folder / "by condition").values()) == stored(ITEMS[2])
    study = archive.select("PatientID = 'P1' AND status = 'stored'")[0]["StudyInstanceUID"]
    run(archive, folder / "by study", ExportOptions(studies=[study], received=True))
    assert set(files(folder / "by study").values()) == stored(*ITEMS[:2])
    with pytest.raises(ConfigError):
        run(archive, folder / "out", ExportOptions(where="Modality =="))


def test_variants_go_out_when_asked_for_and_quarantine_never(archive: Archive, folder: Path) -> None:
    result = run(archive, folder / "out", ExportOptions(variants=True))
    assert set(files(folder / "out").values()) == stored(*ITEMS[:4])
    assert result.withheld == 1


def test_nothing_is_written_over_what_stands_there(archive: Archive, folder: Path) -> None:
    run(archive, folder / "out")
    path, data = next(iter(files(folder / "out").items()))
    (folder / "out" / path).chmod(0o640)
    (folder / "out" / path).write_bytes(data[:-1] + b"!")
    result = run(archive, folder / "out")
    assert (result.instances, result.present, result.failed) == (0, 2, 1)
    assert result.failures[0].code == "CONFLICT"
    assert (folder / "out" / path).read_bytes() == data[:-1] + b"!"


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_object_is_not_exported_and_the_others_are(archive: Archive, folder: Path, damage: str) -> None:
    path = archive.root / next(row.path for row in archive.journal_rows() if row.sha256 == ITEMS[0].sha256)
    path.chmod(0o640)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(ITEMS[0].stored[:-1] + (b"!" if damage == "flipped" else b""))
    result = run(archive, folder / "out")
    assert (result.instances, result.failed) == (2, 1)
    assert result.failures[0].code == ("MISSING" if damage == "gone" else "DIGEST_MISMATCH")
    assert set(files(folder / "out").values()) == stored(ITEMS[1], ITEMS[2])


def test_a_target_within_the_archive_is_refused(archive: Archive) -> None:
    for target in (archive.root, archive.root / "instances" / "new"):
        with pytest.raises(RefusedError):
            run(archive, target)


def test_leftovers_of_an_export_that_was_killed_are_swept(archive: Archive, folder: Path) -> None:
    scratch = folder / "out" / ".vna-export"
    scratch.mkdir(parents=True)
    (scratch / "put-0123456789abcdef").write_bytes(b"half of a fil")
    run(archive, folder / "out")
    assert set(files(folder / "out").values()) == stored(*ITEMS[:3])
    assert not scratch.exists()


def test_any_fsspec_url_is_a_target(archive: Archive) -> None:
    url = f"memory://{uuid.uuid4().hex}/out"
    assert run(archive, url).instances == 3
    assert run(archive, url).present == 3
    store = open_store(url)
    assert {hashlib.sha256(store.read_bytes(path)).hexdigest() for path in store.list()} == {item.sha256 for item in ITEMS[:3]}


# -- corrected instances


@pytest.fixture
def corrected(archive: Archive) -> Archive:
    apply(archive, [rule_of_settings(["PatientID=NEW-1"], source="RIS")], CorrectOptions(threshold=1.0, by="tester"))
    return archive


def test_corrected_instances_leave_corrected_and_received_ones_as_they_came(corrected: Archive, folder: Path) -> None:
    result = run(corrected, folder / "out")
    written = files(folder / "out")
    assert (result.instances, result.failed, result.bytes) == (3, 0, sum(map(len, written.values())))
    for path, data in written.items():
        ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
        assert ds.PatientID == "NEW-1"
        assert path == f"{ds.StudyInstanceUID}/{ds.SeriesInstanceUID}/{ds.SOPInstanceUID}.dcm"
    assert run(corrected, folder / "out").present == 3
    run(corrected, folder / "received", ExportOptions(received=True))
    assert set(files(folder / "received").values()) == stored(*ITEMS[:3])


def test_a_damaged_object_does_not_leave_corrected_either(corrected: Archive, folder: Path) -> None:
    path = corrected.root / next(row.path for row in corrected.journal_rows() if row.sha256 == ITEMS[0].sha256)
    path.chmod(0o640)
    path.write_bytes(ITEMS[0].stored[:-1] + b"!")
    result = run(corrected, folder / "out")
    assert (result.instances, result.failed, result.failures[0].code) == (2, 1, "DIGEST_MISMATCH")
