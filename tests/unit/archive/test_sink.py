"""The sink: what becomes of an object, and what a failing disk may and may not do to it."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.support.crash import FailAt, WatchedOperations
from tests.support.folders import quick_folder
from tests.support.instances import make_instance
from tests.support.objects import WireObject, handed_over, send, send_all, wire_object
from vna.archive import Archive, ArchiveSink, Durability
from vna.errors import DigestMismatchError, RefusedError, StoreError, StoreFullError
from vna.model import Provenance, Receipt
from vna.store import open_store


@pytest.fixture
def archive() -> Iterator[Archive]:
    with quick_folder() as folder:
        yield Archive.create(str(folder / "a"))


def files(archive: Archive) -> dict[str, bytes]:
    paths = [path for folder in ("instances", "quarantine") for path in archive.store.list(folder) if path.endswith(".dcm")]
    return {path: archive.store.read_bytes(path) for path in paths}


def spooled(archive: Archive) -> list[Path]:
    return list((archive.root / "spool").rglob("*.part"))


def test_the_stored_file_is_the_canonical_meta_and_the_bytes_as_they_came(archive: Archive) -> None:
    item = wire_object()
    with archive.sink() as sink:
        receipt = send(sink, item, chunk=7)
    assert receipt.state == "stored"
    assert archive.store.read_bytes(receipt.path) == item.stored
    assert receipt.sha256 == item.sha256 == hashlib.sha256(item.stored).hexdigest()
    assert receipt.size == len(item.stored)
    assert pydicom.dcmread(archive.root / receipt.path).PatientID == "P1"
    (row,) = archive.journal_rows()
    assert (row.receipt(), row.source, row.writer, row.seq) == (receipt, "legacy", sink.writer, 1)
    assert row.row["PatientID"] == "P1"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_encoding_is_filed_under_its_own_uids(archive: Archive, syntax: str) -> None:
    ds = make_instance(syntax)
    item = wire_object(ds)
    with archive.sink() as sink:
        receipt = send(sink, item)
    assert (receipt.state, receipt.sop_instance_uid, receipt.study_instance_uid) == (
        "stored",
        ds.SOPInstanceUID,
        ds.StudyInstanceUID,
    )
    assert archive.store.read_bytes(receipt.path) == item.stored


def test_an_unknown_transfer_syntax_is_kept_as_it_came(archive: Archive) -> None:
    item = wire_object()
    private = WireObject(item.sop_class_uid, item.sop_instance_uid, "1.2.840.113619.5.2.99", item.data_set)
    with archive.sink() as sink:
        receipt = send(sink, private)
    assert (receipt.state, receipt.codes) == ("flagged", ("TS_UNKNOWN",))
    assert archive.store.read_bytes(receipt.path).endswith(item.data_set)


def test_the_same_bytes_again_are_a_duplicate_wherever_they_are(archive: Archive) -> None:
    items = [wire_object(), wire_object(PatientName="Other"), wire_object(StudyInstanceUID=None)]
    with archive.sink() as sink:
        assert [receipt.state for receipt in send_all(sink, items)] == ["stored", "variant", "quarantined"]
        before = files(archive)
        again = send_all(sink, items)
    assert [receipt.state for receipt in again] == ["duplicate"] * 3
    assert [receipt.path for receipt in again] == [row.path for row in archive.journal_rows()]
    assert files(archive) == before
    assert len(list(archive.journal_rows())) == 3


def test_other_bytes_under_the_same_uids_are_kept_beside_the_first(archive: Archive) -> None:
    first, second, third = (wire_object(PatientName=name) for name in ("A", "B", "C"))
    with archive.sink() as sink:
        receipts = send_all(sink, [first, second, third])
    path = receipts[0].path
    assert [receipt.path for receipt in receipts[1:]] == [
        path.replace(".dcm", f"~{item.sha256[:12]}.dcm") for item in (second, third)
    ]
    assert [(receipt.state, receipt.codes) for receipt in receipts[1:]] == [("variant", ("UID_CONFLICT",))] * 2
    assert set(files(archive).values()) == {first.stored, second.stored, third.stored}


def test_two_processes_with_other_bytes_under_the_same_uids_lose_neither(archive: Archive) -> None:
    items = [wire_object(PatientName=f"N{number}") for number in range(8)]
    barrier = threading.Barrier(8)
    receipts: list[Receipt] = []

    def work(item: WireObject) -> None:
        with Archive.open(archive.url).sink() as sink:
            barrier.wait()
            receipts.append(send(sink, item))

    threads = [threading.Thread(target=work, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(receipt.state for receipt in receipts) == ["stored"] + ["variant"] * 7
    assert set(files(archive).values()) == {item.stored for item in items}
    assert len(list(archive.journal_rows())) == 8


def test_the_same_bytes_from_several_associations_at_once_are_stored_once(archive: Archive) -> None:
    item = wire_object()
    states: list[str] = []
    with archive.sink() as sink:
        threads = [threading.Thread(target=lambda: states.append(send(sink, item).state)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(states) == ["duplicate"] * 7 + ["stored"]
    assert len(list(archive.journal_rows())) == 1
    assert not spooled(archive)


@pytest.mark.parametrize(
    ("keywords", "announced", "state", "code"),
    [
        ({"SOPInstanceUID": "1.2.3"}, "9.9.9", "quarantined", "SOP_MISMATCH"),
        ({"StudyInstanceUID": None}, None, "quarantined", "NO_STUDY_INSTANCE_UID"),
        ({"SeriesInstanceUID": None}, None, "quarantined", "NO_SERIES_INSTANCE_UID"),
        ({"PixelData": b"\0" * 10}, None, "quarantined", "PIXEL_SIZE_MISMATCH"),
    ],
)
def test_what_must_not_be_forwarded_is_quarantined_with_its_reason(
    archive: Archive, keywords: dict[str, object], announced: str | None, state: str, code: str
) -> None:
    item = wire_object(**keywords)
    sent = WireObject(item.sop_class_uid, announced or item.sop_instance_uid, item.transfer_syntax_uid, item.data_set)
    with archive.sink() as sink:
        receipt = send(sink, sent)
    assert (receipt.state, receipt.codes[0]) == (state, code)
    assert receipt.path == f"quarantine/{sent.sha256[:2]}/{sent.sha256}.dcm"
    assert archive.store.read_bytes(receipt.path) == sent.stored
    reason = json.loads(archive.store.read_bytes(receipt.path.replace(".dcm", ".json")))
    assert (reason["code"], reason["sha256"], reason["provenance"]["source"]) == (code, sent.sha256, "legacy")


@pytest.mark.parametrize("uid", ["../../x", "/etc/passwd", "1.2.ABC", "..", "1.2\\1.3", "1.02.3", "9" * 200])
def test_a_uid_that_is_none_is_kept_exactly_and_never_used_as_a_path(archive: Archive, uid: str) -> None:
    item = wire_object(make_with_uid(uid))
    with archive.sink() as sink:
        receipt = send(sink, WireObject(item.sop_class_uid, uid, item.transfer_syntax_uid, item.data_set))
    assert (receipt.state, receipt.codes, receipt.sop_instance_uid) == ("flagged", ("BAD_UID",), uid)
    assert (archive.root / receipt.path).resolve().is_relative_to(archive.root / "instances")
    assert archive.store.read_bytes(receipt.path).endswith(item.data_set)
    assert archive.query("SELECT SOPInstanceUID FROM instances") == [{"SOPInstanceUID": uid}]


def make_with_uid(uid: str) -> pydicom.Dataset:
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    ds = make_instance()
    ds.add_new("SOPInstanceUID", "UI", "1.2.3")
    ds["SOPInstanceUID"]._value = uid
    return ds


def test_bytes_that_are_no_object_are_kept_as_they_are(archive: Archive, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"not an image")
    with archive.sink() as sink:
        receipt = sink.quarantine_bytes(file, "NOT_DICOM", Provenance("folder", source_path=str(file)))
        again = sink.quarantine_bytes(BytesIO(b"not an image"), "NOT_DICOM", Provenance("folder"))
    assert (receipt.state, receipt.codes, again.state) == ("quarantined", ("NOT_DICOM",), "duplicate")
    assert archive.store.read_bytes(receipt.path) == b"not an image"
    assert receipt.sha256 == hashlib.sha256(b"not an image").hexdigest()


def test_an_object_whose_variant_path_is_taken_by_a_look_alike_digest_goes_to_quarantine(archive: Archive) -> None:
    first, second = wire_object(), wire_object(PatientName="Other")
    with archive.sink() as sink:
        path = send(sink, first).path
        archive.store.put_bytes(b"a digest that begins alike", path.replace(".dcm", f"~{second.sha256[:12]}.dcm"))
        receipt = send(sink, second)
    assert (receipt.state, receipt.codes) == ("quarantined", ("UID_CONFLICT",))
    assert archive.store.read_bytes(receipt.path) == second.stored


def test_a_damaged_object_in_quarantine_is_not_taken_for_its_duplicate(archive: Archive) -> None:
    item = wire_object(StudyInstanceUID=None)
    with archive.sink() as sink:
        path = archive.root / send(sink, item).path
        path.chmod(0o640)
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        with pytest.raises(DigestMismatchError):
            send(sink, item)


def test_what_was_aborted_leaves_nothing(archive: Archive) -> None:
    item = wire_object()
    with archive.sink() as sink:
        incoming = sink(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, Provenance("legacy"))
        incoming.write(item.data_set[:50])
        incoming.abort()
        incoming.abort()
        assert not spooled(archive)
    assert not files(archive)
    assert not (archive.root / "journal").exists()


def test_an_abort_after_the_commit_takes_nothing_away(archive: Archive) -> None:
    item = wire_object()
    with archive.sink() as sink:
        incoming = sink(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, Provenance("legacy"))
        incoming.write(item.data_set)
        receipt = incoming.commit()
        incoming.abort()
    assert archive.store.exists(receipt.path)


def test_an_object_without_a_transfer_syntax_or_with_endless_uids_is_refused(archive: Archive) -> None:
    with archive.sink() as sink:
        with pytest.raises(RefusedError):
            sink("1.2", "1.3", "", Provenance("legacy"))
        with pytest.raises(RefusedError):
            sink("1.2", "9" * 70_000, "1.2.840.10008.1.2", Provenance("legacy"))
        assert not spooled(archive)


def test_a_writer_leaves_while_nobody_looks_for_dead_ones(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    rmdir = Path.rmdir
    looks: list[threading.Thread] = []

    def looked_for_meanwhile(folder: Path) -> None:
        looks.append(threading.Thread(target=archive.sweep))
        looks[-1].start()
        looks[-1].join(0.2)  # without the lock it would have looked, and taken the folder for a dead writer's
        rmdir(folder)

    with archive.sink() as sink:
        send(sink, wire_object())
        monkeypatch.setattr(Path, "rmdir", looked_for_meanwhile)
    monkeypatch.undo()
    for look in looks:
        look.join()
    assert len(looks) == 1
    assert not list((archive.root / "spool").glob("*/"))


# -- failing disks


@pytest.mark.parametrize("kind", ["create", "write", "link", "sync", "sync_folder"])
@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, StoreFullError), (errno.EIO, StoreError)])
def test_whatever_fails_nothing_is_acknowledged_and_a_new_run_takes_it(
    archive: Archive, kind: str, code: int, error: type[StoreError]
) -> None:
    fail = FailAt(kind, code)
    fail.armed = False
    failing = Archive.open(archive.url, operations=WatchedOperations(fail))
    first, second = wire_object(InstanceNumber=1), wire_object(InstanceNumber=2)
    receipts: list[Receipt] = []
    with failing.sink(on_receipt=lambda receipt, provenance: receipts.append(receipt)) as sink:
        incoming = handed_over(sink, first)
        incoming.commit()
        fail.armed = True
        incoming.tidy()  # what would be made in advance is not
        with pytest.raises(error):
            send(sink, second)
        fail.armed = False
    assert [receipt.sha256 for receipt in receipts] == [first.sha256]
    with archive.sink() as sink:
        send_all(sink, [first, second])
    assert set(files(archive).values()) == {first.stored, second.stored}
    assert sorted(row.sha256 for row in archive.journal_rows()) == sorted([first.sha256, second.sha256])
    assert not spooled(archive)


def test_after_a_failed_fsync_the_file_is_discarded_and_not_synced_again(archive: Archive) -> None:
    fail = FailAt("sync", errno.EIO)
    failing = Archive.open(archive.url, operations=WatchedOperations(fail))
    with failing.sink() as sink:
        with pytest.raises(StoreError):
            send(sink, wire_object())
        assert fail.failures == 1
        assert not spooled(archive)
    assert not files(archive)


def test_a_folder_that_could_not_be_synced_is_trusted_no_more(archive: Archive) -> None:
    item = wire_object(InstanceNumber=1)
    fail = FailAt("sync_folder", errno.EIO, lambda path: len(path.relative_to(archive.root).parts) == 4)
    failing = Archive.open(archive.url, operations=WatchedOperations(fail))
    with failing.sink() as sink:
        with pytest.raises(StoreError):
            send(sink, item)
        fail.armed = False
        with pytest.raises(StoreError, match="earlier fsync"):
            send(sink, item)
        with pytest.raises(StoreError, match="earlier fsync"):
            send(sink, wire_object(InstanceNumber=2))
    assert not list(archive.journal_rows())
    recovered = Archive.open(archive.url).sweep()
    assert (recovered.completed, recovered.dropped) == (1, 0), "it has its final name, so a new process completes it"


def test_what_only_the_journal_had_no_room_for_is_finished_when_it_is_sent_again(archive: Archive) -> None:
    fail = FailAt("write", errno.ENOSPC, lambda descriptor, data: b'"seq"' in bytes(data)[:10])
    failing = Archive.open(archive.url, operations=WatchedOperations(fail))
    item = wire_object()
    with failing.sink() as sink:
        with pytest.raises(StoreFullError):
            send(sink, item)
        assert list(files(archive).values()) == [item.stored]
        fail.armed = False
        assert send(sink, item).state == "stored"
        assert send(sink, item).state == "duplicate"
    assert len(list(archive.journal_rows())) == 1
    assert not spooled(archive)


def test_what_only_the_journal_had_no_room_for_is_finished_when_the_sink_is_closed(archive: Archive) -> None:
    fail = FailAt("write", errno.ENOSPC, lambda descriptor, data: b'"seq"' in bytes(data)[:10])
    failing = Archive.open(archive.url, operations=WatchedOperations(fail))
    with failing.sink() as sink:
        with pytest.raises(StoreFullError):
            send(sink, wire_object())
        fail.armed = False
    assert len(list(archive.journal_rows())) == 1
    assert not spooled(archive)


@pytest.mark.parametrize("durability", list(Durability))
@pytest.mark.parametrize("is_sent_again", [True, False])
def test_what_only_its_spool_name_is_left_of_is_not_recorded_twice(
    archive: Archive, durability: Durability, is_sent_again: bool
) -> None:
    fail = FailAt("unlink", errno.EIO)
    failing = Archive.open(archive.url, operations=WatchedOperations(fail))
    items = [wire_object(InstanceNumber=number) for number in (1, 2)]
    with failing.sink(durability=durability) as sink:

        def take() -> list[Receipt]:
            receipts = send_all(sink, items)
            return receipts if durability is Durability.OBJECT else sink.commit_study(receipts[0].study_instance_uid)

        assert [receipt.state for receipt in take()] == ["stored", "stored"]
        assert len(spooled(archive)) >= 2
        fail.armed = False
        if is_sent_again:
            assert [receipt.state for receipt in take()] == ["duplicate", "duplicate"]
    assert len({row.path for row in archive.journal_rows()}) == len(list(archive.journal_rows()))
    assert archive.sync_index() == 2
    assert not spooled(archive)


def test_the_journal_is_sealed_though_a_file_made_in_advance_could_not_be_removed(archive: Archive) -> None:
    fail = FailAt("unlink", errno.EIO)
    fail.armed = False
    failing = Archive.open(archive.url, operations=WatchedOperations(fail))
    with failing.sink() as sink:
        send(sink, wire_object())
        fail.armed = True
    assert fail.failures
    assert archive.sync_index() == 1
    assert not spooled(archive)


@pytest.mark.parametrize("is_sent_again", [True, False])
def test_of_a_study_that_was_named_in_part_no_object_is_without_its_row(archive: Archive, is_sent_again: bool) -> None:
    items = [wire_object(InstanceNumber=number) for number in (1, 2)]
    fail = FailAt("link", errno.ENOSPC, lambda source, target: Path(source).name == "00000002.part")
    failing = Archive.open(archive.url, operations=WatchedOperations(fail))
    with failing.sink(durability=Durability.STUDY) as sink:
        study = send_all(sink, items)[0].study_instance_uid
        with pytest.raises(StoreFullError):
            sink.commit_study(study)
        assert list(files(archive).values()) == [items[0].stored]
        fail.armed = False
        if is_sent_again:
            send_all(sink, items)
            assert [receipt.state for receipt in sink.commit_study(study)] == ["stored", "stored"]
            assert len(list(archive.journal_rows())) == 2
    assert sorted(row.sha256 for row in archive.journal_rows()) == sorted(
        item.sha256 for item in items[: 2 if is_sent_again else 1]
    )
    assert not spooled(archive)


# -- durability study


def test_objects_of_a_study_appear_together_when_the_study_is_committed(archive: Archive) -> None:
    items = [wire_object(InstanceNumber=number) for number in (1, 2, 3)]
    told: list[str] = []
    with archive.sink(durability=Durability.STUDY, on_receipt=lambda receipt, _: told.append(receipt.state)) as sink:
        study = send_all(sink, [*items, items[0]])[0].study_instance_uid
        assert (files(archive), told, list(archive.journal_rows())) == ({}, [], [])
        receipts = sink.commit_study(study)
        assert [receipt.state for receipt in receipts] == told == ["stored", "stored", "stored", "duplicate"]
        assert sink.commit_study(study) == []
    assert set(files(archive).values()) == {item.stored for item in items}
    assert not spooled(archive)


def test_a_sink_that_is_closed_commits_its_studies_and_one_that_is_broken_off_does_not(archive: Archive) -> None:
    with archive.sink(durability=Durability.STUDY) as sink:
        send(sink, wire_object(InstanceNumber=1))
    assert len(files(archive)) == 1

    class BrokenOffError(Exception):
        pass

    def break_off(sink: ArchiveSink) -> None:
        send(sink, wire_object(InstanceNumber=2))
        raise BrokenOffError

    with pytest.raises(BrokenOffError), archive.sink(durability=Durability.STUDY) as sink:
        break_off(sink)
    assert len(files(archive)) == 1
    assert not spooled(archive)


# -- elsewhere


def test_the_sink_files_into_any_store_from_a_local_spool(tmp_path: Path) -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    item, other, broken = wire_object(), wire_object(PatientName="Other"), wire_object(StudyInstanceUID=None)
    with ArchiveSink(store, tmp_path) as sink:
        receipts = send_all(sink, [item, item, other, broken])
    assert [receipt.state for receipt in receipts] == ["stored", "duplicate", "variant", "quarantined"]
    assert store.read_bytes(receipts[0].path) == item.stored
    assert not list((tmp_path / "spool").rglob("*.part"))


def test_a_receiver_pays_for_no_library_but_the_standard_one(tmp_path: Path) -> None:
    program = f"""
import sys
from vna.archive import Archive
from vna.model import Provenance
with Archive.create({str(tmp_path / "a")!r}).sink() as sink:
    sink("1.2", "1.3", "1.2.840.10008.1.2", Provenance("x")).commit()
heavy = {{"pyarrow", "deltalake", "duckdb", "sqlalchemy", "fsspec", "pydicom", "numpy", "pandas"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
