"""Ingesting a tree: any names, any content, and one word about each file."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pydicom.data
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from indexer.meta import read_file_meta
from tests.support.folders import quick_folder
from tests.support.instances import make_instance
from vna.archive import Archive
from vna.errors import ConfigError, RefusedError
from vna.ingest import IngestOptions, IngestResult, run
from vna.model import Progress

PYDICOM_FILES = Path(pydicom.data.__file__).parent


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as folder:
        (folder / "in").mkdir()
        yield folder


@pytest.fixture
def source(folder: Path) -> Path:
    return folder / "in"


@pytest.fixture
def archive(folder: Path) -> Archive:
    return Archive.create(str(folder / "a"))


def save(path: Path, **keywords: Any) -> bytes:
    """Write a Part 10 file and return its data set's bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make_instance(**keywords).save_as(path, enforce_file_format=True)
    return data_set(path)


def data_set(path: Path) -> bytes:
    data = path.read_bytes()
    return data[read_file_meta(data).data_set_offset :]


def stored_data_sets(archive: Archive) -> Counter[bytes]:
    paths = [path for folder in ("instances", "quarantine") for path in archive.store.list(folder) if path.endswith(".dcm")]
    return Counter(data_set(archive.root / path) for path in paths)


def counts(result: IngestResult) -> dict[str, int]:
    names = ("found", "stored", "duplicates", "variants", "quarantined", "skipped", "failed")
    return {name: getattr(result, name) for name in names if getattr(result, name)}


def everything(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_names_and_depth_of_a_tree_do_not_matter(archive: Archive, source: Path) -> None:
    sent = [
        save(source / "IM00001", InstanceNumber=1),
        save(source / "a" / "b" / "c" / "picture.jpg", InstanceNumber=2),
        save(source / "ä ö\n.dcm", InstanceNumber=3),
        save(source / "a" / "-rf", InstanceNumber=4),
    ]
    result = run(archive, source)
    assert counts(result) == {"found": 4, "stored": 4}
    assert stored_data_sets(archive) == Counter(sent)
    assert archive.index_info()["instances"] == 4


def test_the_json_has_the_keys_that_were_promised(archive: Archive, source: Path) -> None:
    save(source / "1")
    told = run(archive, source).as_json()
    promised = ["adapter", "found", "stored", "duplicates", "variants", "quarantined", "skipped", "missing", "seconds"]
    assert list(told)[: len(promised)] == promised
    assert (told["adapter"], told["found"], told["stored"], told["missing"]) == ("folder", 1, 1, 0)


def test_a_second_run_writes_nothing_and_says_so(archive: Archive, source: Path) -> None:
    for number in range(5):
        save(source / str(number), InstanceNumber=number)
    save(source / "variant", InstanceNumber=0, PatientName="Other")
    (source / "text").write_text("not an image")
    assert counts(run(archive, source)) == {"found": 7, "stored": 5, "variants": 1, "quarantined": 1}
    before = everything(archive.root)
    assert counts(run(archive, source)) == {"found": 7, "duplicates": 7}
    assert everything(archive.root) == before


def test_a_dry_run_foretells_the_run_and_leaves_no_trace(archive: Archive, source: Path) -> None:
    for number in range(3):
        save(source / str(number), InstanceNumber=number)
    save(source / "twice", InstanceNumber=1)
    save(source / "variant", InstanceNumber=1, PatientName="Other")
    (source / "text").write_text("not an image")
    before = everything(archive.root)
    foretold = run(archive, source, IngestOptions(dry_run=True))
    assert everything(archive.root) == before
    done = run(archive, source)
    assert counts(foretold) == counts(done) == {"found": 6, "stored": 3, "duplicates": 1, "variants": 1, "quarantined": 1}
    assert foretold.codes == done.codes
    assert counts(run(archive, source, IngestOptions(dry_run=True))) == {"found": 6, "duplicates": 6}


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_changes_nothing(archive: Archive, source: Path, workers: int) -> None:
    sent = Counter(save(source / str(number), InstanceNumber=number) for number in range(20))
    steps: list[Progress] = []
    assert counts(run(archive, source, IngestOptions(workers=workers), steps.append)) == {"found": 20, "stored": 20}
    assert stored_data_sets(archive) == sent
    assert [step.done for step in steps] == list(range(1, 21))


def test_what_the_sources_own_meta_said_goes_to_the_journal(archive: Archive, source: Path) -> None:
    ds = make_instance()
    ds.file_meta.SourceApplicationEntityTitle = "CT_ROOM_1"
    ds.file_meta.ImplementationClassUID = "1.2.3.9"
    ds.file_meta.ImplementationVersionName = "SCANNER_9"
    ds.file_meta.PrivateInformationCreatorUID = "1.2.3.4"
    ds.file_meta.PrivateInformation = b"\1\2"
    ds.preamble = b"II*\0" + bytes(124)
    ds.save_as(source / "1", enforce_file_format=True)
    run(archive, source, IngestOptions(source="old disk"))
    (row,) = archive.journal_rows()
    assert row.source == "old disk"
    assert row.provenance.source_path == str(source / "1")
    assert row.provenance.file_meta == {
        "Preamble": b"II*".hex(),
        "ImplementationClassUID": "1.2.3.9",
        "ImplementationVersionName": "SCANNER_9",
        "SourceApplicationEntityTitle": "CT_ROOM_1",
        "PrivateInformationCreatorUID": "1.2.3.4",
        "PrivateInformation": "0102",
    }
    stored = (archive.root / row.path).read_bytes()
    assert stored[:128] == bytes(128)
    assert b"CT_ROOM_1" not in stored


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_files_without_preamble_or_any_meta_are_taken_by_what_their_data_set_says(
    archive: Archive, source: Path, syntax: str
) -> None:
    ds = make_instance(syntax)
    ds.save_as(source / "whole", enforce_file_format=True)
    whole = (source / "whole").read_bytes()
    (source / "without preamble").write_bytes(whole[132:])
    (source / "without meta").write_bytes(data_set(source / "whole"))
    assert counts(run(archive, source)) == {"found": 3, "stored": 1, "duplicates": 2}
    assert stored_data_sets(archive) == Counter([data_set(source / "whole")])


def test_the_problems_of_a_sources_framing_are_told_though_the_stored_file_has_none(archive: Archive, source: Path) -> None:
    save(source / "1")
    (source / "1").write_bytes(data_set(source / "1"))
    result = run(archive, source)
    assert (counts(result), result.codes) == ({"found": 1, "stored": 1}, {"NO_PREAMBLE": 1, "TS_MISSING": 1})
    (row,) = archive.journal_rows()
    assert (row.state, row.codes, set(row.provenance.codes)) == ("stored", (), {"NO_PREAMBLE", "TS_MISSING"})


# -- what is left out


def test_directories_links_and_special_files_are_skipped_with_a_reason(archive: Archive, source: Path, folder: Path) -> None:
    shutil.copy(PYDICOM_FILES / "test_files" / "dicomdirtests" / "DICOMDIR", source / "DICOMDIR")
    shutil.copy(PYDICOM_FILES / "test_files" / "dicomdirtests" / "DICOMDIR", source / "another name")
    save(folder / "outside" / "1")
    (source / "link").symlink_to(folder / "outside" / "1")
    (source / "folder link").symlink_to(folder / "outside")
    (source / "dangling").symlink_to(folder / "nowhere")
    os.mkfifo(source / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
        result = run(archive, source)
    assert counts(result) == {"found": 7, "skipped": 7}
    assert result.codes == {"DICOMDIR": 2, "SYMLINK": 3, "SPECIAL_FILE": 2}
    assert archive.index_info()["instances"] == 0


def test_an_archive_inside_the_tree_is_not_ingested_into_itself(archive: Archive, source: Path, folder: Path) -> None:
    save(source / "1")
    run(archive, source)
    result = run(archive, folder)
    assert counts(result) == {"found": 2, "duplicates": 1, "skipped": 1}
    assert result.codes == {"OWN_ARCHIVE": 1}
    with pytest.raises(RefusedError):
        run(archive, archive.root / "instances")


def test_a_source_that_is_not_there_is_the_users_mistake_and_leaves_no_trace(archive: Archive, source: Path) -> None:
    before = everything(archive.root)
    with pytest.raises(ConfigError):
        run(archive, source / "none")
    with pytest.raises(ConfigError, match="adapter"):
        run(archive, source, IngestOptions(adapter="orthanc"))
    assert everything(archive.root) == before


def test_one_file_is_a_source_too(archive: Archive, source: Path) -> None:
    save(source / "1")
    assert counts(run(archive, source / "1")) == {"found": 1, "stored": 1}


def test_files_that_cannot_be_read_are_counted_and_named_and_the_run_goes_on(
    archive: Archive, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(source / "1 good", InstanceNumber=1)
    save(source / "2 unreadable", InstanceNumber=2)
    save(source / "3 vanishes", InstanceNumber=3)
    save(source / "4 good", InstanceNumber=4)
    genuine = os.open

    def opened(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("unreadable"):
            raise PermissionError(13, "Permission denied")
        if str(path).endswith("vanishes"):
            Path(path).unlink(missing_ok=True)
        return genuine(path, *arguments, **options)

    monkeypatch.setattr(os, "open", opened)
    result = run(archive, source)
    assert counts(result) == {"found": 4, "stored": 2, "failed": 2}
    assert [(Path(each.key).name, each.code) for each in result.failures] == [
        ("2 unreadable", "UNREADABLE"),
        ("3 vanishes", "UNREADABLE"),
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_is_written_to_while_it_is_read_is_not_taken(
    archive: Archive, source: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    from vna.ingest import source as reading

    save(source / "1")
    genuine = reading.OpenedSource.read

    def read(self: Any, size: int) -> bytes:
        chunk = genuine(self, size)
        with (source / "1").open("ab") as file:
            file.write(b"more")
        return chunk

    monkeypatch.setattr(reading.OpenedSource, "read", read)
    result = run(archive, source, IngestOptions(workers=workers))
    assert (counts(result), result.failures[0].code) == ({"found": 1, "failed": 1}, "SOURCE_CHANGED")
    assert not stored_data_sets(archive)
    assert not list((archive.root / "spool").rglob("*.part"))


# -- bad input (issue A, done when 6)


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr + len(value).to_bytes(2, "little") + value


def part10(body: bytes, syntax: str = ExplicitVRLittleEndian, sop_instance: str = "1.2.3.4") -> bytes:
    from vna.part10 import file_meta

    return file_meta("1.2.840.10008.5.1.4.1.1.2", sop_instance, syntax) + body


def identity(sop_instance: bytes = b"1.2.3.4\0", study: bytes = b"1.2.3\0", series: bytes = b"1.2.3.1\0") -> bytes:
    return (
        element(0x0008, 0x0016, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0")
        + (element(0x0008, 0x0018, b"UI", sop_instance) if sop_instance else b"")
        + element(0x0010, 0x0020, b"LO", b"P1")
        + element(0x0020, 0x000D, b"UI", study)
        + element(0x0020, 0x000E, b"UI", series)
    )


NESTED = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
NESTED_END = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"

BAD: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "quarantined", "EMPTY"),
    "text": (b"Dear Sir or Madam,\n" * 20, "quarantined", "NOT_DICOM"),
    "truncated header": (part10(identity()[:-6]), "quarantined", "VALUE_OVERRUN"),
    "truncated pixel data": (
        part10(identity() + b"\xe0\x7f\x10\x00OW\0\0" + (100_000).to_bytes(4, "little") + bytes(100)),
        "quarantined",
        "TRUNCATED_PIXEL",
    ),
    "wrong-endian label": (part10(identity(), "1.2.840.10008.1.2.2"), "quarantined", "TS_MISMATCH"),
    "path-traversal UID": (part10(identity(b"../../x\0"), sop_instance="../../x"), "flagged", "BAD_UID"),
    "path-traversal study": (part10(identity(study=b"../../..")), "flagged", "BAD_UID"),
    "letters in a UID": (part10(identity(b"1.2.abc\0"), sop_instance="1.2.abc"), "flagged", "BAD_UID"),
    "no SOP Instance UID": (part10(identity(b"")), "quarantined", "NO_SOP_INSTANCE_UID"),
    "240 nested sequences": (part10(identity()[:50] + NESTED * 240 + NESTED_END * 240 + identity()[50:]), "quarantined", "DEPTH"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_kept_with_its_own_reason_and_the_run_goes_on(archive: Archive, source: Path, name: str) -> None:
    data, state, code = BAD[name]
    (source / "1 bad").write_bytes(data)
    save(source / "2 good")
    result = run(archive, source, IngestOptions(workers=1))
    bad, good = archive.journal_rows()
    assert (bad.state, bad.codes[0]) == (state, code)
    assert good.state == "stored"
    assert counts(result)["found"] == 2
    kept = archive.store.read_bytes(bad.path)
    assert kept == data or kept.endswith(data[len(data) - len(data_set_of(data)) :]), "the bytes are kept"
    assert (archive.root / bad.path).resolve().is_relative_to(archive.root)
    assert counts(run(archive, source)) == {"found": 2, "duplicates": 2}


def data_set_of(data: bytes) -> bytes:
    offset = read_file_meta(data).data_set_offset
    return data if offset is None else data[offset:]


def test_all_bad_input_at_once_and_the_same_uid_with_other_bytes(archive: Archive, source: Path) -> None:
    for name, (data, _, _) in BAD.items():
        (source / name).write_bytes(data)
    save(source / "x1", InstanceNumber=1)
    save(source / "x2", InstanceNumber=1, PatientName="Other")
    result = run(archive, source)
    assert counts(result) == {"found": 12, "stored": 4, "variants": 1, "quarantined": 7}
    assert result.codes["UID_CONFLICT"] == 1
    assert set(result.codes) >= {code for _, _, code in BAD.values()}
    before = archive.query("SELECT * FROM instances ORDER BY path")
    archive.rebuild_index()
    assert archive.query("SELECT * FROM instances ORDER BY path") == before


def test_hostile_input_needs_little_memory(folder: Path) -> None:
    """A sparse file of 400 MiB, a bomb that inflates to 400 MiB, a million elements: 256 MiB more at most."""
    program = f"""
import resource, zlib
from pathlib import Path
from vna.archive import Archive
from vna.ingest import IngestOptions, run
from vna.part10 import file_meta

source = Path({str(folder)!r}) / "in"
with (source / "sparse").open("wb") as file:
    file.truncate(400 << 20)
ct = "1.2.840.10008.5.1.4.1.1.2"
packer = zlib.compressobj(9, wbits=-15)
with (source / "bomb").open("wb") as file:
    file.write(file_meta(ct, "1.2", "1.2.840.10008.1.2.1.99"))
    for _ in range(400):
        file.write(packer.compress(bytes(1 << 20)))
    file.write(packer.flush())
element = b"\\x09\\x00\\x10\\x00LO\\0\\0"
(source / "elements").write_bytes(file_meta(ct, "1.3", "1.2.840.10008.1.2.1") + element * 1_000_000)
archive = Archive.create({str(folder / "b")!r})
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
before = peak()
result = run(archive, source, IngestOptions(workers=2))
assert result.quarantined == 3, result
assert peak() - before <= 256, peak() - before
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])


# -- real images


def test_pydicoms_own_files_are_all_accounted_for_and_their_data_sets_untouched(archive: Archive) -> None:
    result = run(archive, PYDICOM_FILES)
    assert result.found == sum(path.is_file() for path in PYDICOM_FILES.rglob("*")) > 200
    assert result.found == result.stored + result.duplicates + result.variants + result.quarantined + result.skipped
    assert (result.failed, result.codes["DICOMDIR"]) == (0, 8)
    sources = {row.provenance.source_path: row for row in archive.journal_rows()}
    for path, row in sources.items():
        if row.row:
            assert data_set(archive.root / row.path) == data_set(Path(path)), path
        else:
            assert (archive.root / row.path).read_bytes() == Path(path).read_bytes()
    before = archive.query("SELECT * FROM instances ORDER BY path")
    archive.rebuild_index()
    assert archive.query("SELECT * FROM instances ORDER BY path") == before


def test_a_deflated_object_is_kept_deflated(archive: Archive, source: Path) -> None:
    make_instance(DeflatedExplicitVRLittleEndian).save_as(source / "1", enforce_file_format=True)
    run(archive, source)
    assert stored_data_sets(archive) == Counter([data_set(source / "1")])
