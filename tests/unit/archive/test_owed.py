"""Acknowledged from the spool: what is durable before the receipt, what becomes of it after, and what an error leaves."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.crash import FailAt, WatchedOperations
from tests.support.objects import WireObject, send, wire_object
from vna.archive import Archive
from vna.archive.owed import Debts
from vna.errors import ConfigError, DigestMismatchError, InstanceMissingError, StoreError, StoreFullError
from vna.model import Receipt
from vna.store import SYSTEM, Operations, open_store
from vna.store.room import Reserve

PATIENCE_S = 20
ITEMS = [wire_object(InstanceNumber=number) for number in range(1, 7)]


class Service:
    """A store whose puts are answered as ``said`` says, by the path; it counts them, and how many are under way at once."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.said: Callable[[str], StoreError | None] = lambda path: None
        self.puts: list[str] = []
        self.at_once = self.most_at_once = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def exists(self, path: str) -> bool:
        self._answer(path)
        return bool(self._store.exists(path))

    def publish(self, files: Sequence[tuple[Path | str, str]]) -> list[bool]:
        with self._lock:
            self.puts += [path for _, path in files]
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            for _, path in files:
                self._answer(path)
            return list(self._store.publish(files))
        finally:
            with self._lock:
                self.at_once -= 1

    def came_from(self, local: Path, path: str) -> bool:
        """A token for each put, as S3 has it, is more than this store can tell: nothing here stands by an earlier try."""
        return False

    def _answer(self, path: str) -> None:
        error = self.said(path)
        if error is not None:
            raise error


def down(path: str) -> StoreError:
    return StoreError("the object could not be put: no answer")


@pytest.fixture
def service() -> Service:
    return Service(open_store(f"memory://{uuid.uuid4().hex}"))


@pytest.fixture
def archive(service: Service, tmp_path: Path) -> Archive:
    return on(service, tmp_path)


def on(service: Service, folder: Path, operations: Operations = SYSTEM) -> Archive:
    return Archive(service, "id", operations, spool=str(folder / "s"))


def take(archive: Archive, *items: WireObject) -> list[Receipt]:
    with archive.sink(owes=True) as sink:
        return [send(sink, item) for item in items]


def rows(archive: Archive) -> list[str]:
    return sorted(row.sha256 for row in archive.journal_rows())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def left(archive: Archive) -> list[str]:
    """Name what the workspace holds but locks and the journal."""
    paths = [path.relative_to(archive.workspace) for path in archive.workspace.rglob("*") if path.is_file()]
    return sorted(str(path) for path in paths if path.suffix != ".lock" and path.parts[0] != "journal")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vna.archive.uploading._LONGEST_PAUSE_S", 0.05)


# -- before the receipt


def test_an_object_its_record_and_its_name_are_forced_to_the_disk_before_the_receipt(service: Service, tmp_path: Path) -> None:
    steps: list[str] = []

    def note(kind: str, arguments: tuple[Any, ...]) -> None:
        named = [
            Path(os.readlink(f"/proc/self/fd/{each}") if isinstance(each, int) else each) for each in _names(kind, arguments)
        ]
        shown = [path.relative_to(tmp_path / "s" / "id").as_posix() for path in named]
        steps.append(re.sub("[0-9TZ]{20,}-[0-9a-f]{8}", "W", " ".join([kind, *shown])))

    def acknowledge(receipt: Receipt, provenance: object) -> None:
        steps.append(f"receipt {receipt.state}")

    archive = on(service, tmp_path)
    archive.sweep()
    archive = on(service, tmp_path, WatchedOperations(note))
    archive._keeps_workspace = True
    with archive.sink(owes=True, on_receipt=acknowledge) as sink:
        assert steps[-4:] == ["make_folder owed", "sync_folder .", "make_folder owed/W", "sync_folder owed"]
        steps.clear()
        send(sink, ITEMS[0], chunk=1 << 20)
        until_receipt = steps[: steps.index("receipt owed") + 1]
    assert until_receipt == [
        "create spool/W/00000001.part", "write spool/W/00000001.part", "sync spool/W/00000001.part",
        "create owed/W/00000001.json", "write owed/W/00000001.json", "sync owed/W/00000001.json",
        "rename spool/W/00000001.part owed/W/00000001.part", "sync_folder owed/W",
        "receipt owed",
    ]  # fmt: skip
    assert service.puts == []


def _names(kind: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments[:2] if kind in ("link", "rename") else arguments[:1]


@pytest.mark.parametrize(
    ("kind", "where"),
    [("sync", ".part"), ("create", ".json"), ("write", ".json"), ("sync", ".json"), ("rename", ".part")],
)
@pytest.mark.parametrize(("error", "raised"), [(errno.EIO, StoreError), (errno.ENOSPC, StoreFullError)])
def test_what_could_not_be_made_durable_is_not_owed(
    kind: str, where: str, error: int, raised: type[StoreError], service: Service, tmp_path: Path
) -> None:
    def concerns(named: Path | str | int, *rest: object) -> bool:
        return (os.readlink(f"/proc/self/fd/{named}") if isinstance(named, int) else str(named)).endswith(where)

    failing = FailAt(kind, error, concerns)
    failing.armed = False
    archive = on(service, tmp_path, WatchedOperations(failing))
    with archive.sink(owes=True) as sink:
        failing.armed = True
        with pytest.raises(raised):
            send(sink, ITEMS[0])
        assert failing.failures
        failing.armed = False
        assert archive.owed().objects == 0
        assert not list(archive.workspace.rglob("owed/*/*"))
        assert send(sink, ITEMS[0]).state == "owed"
        assert archive.owed().objects == 1
    archive.sweep()
    assert rows(archive) == [ITEMS[0].sha256]
    assert left(archive) == []


def test_a_folder_that_could_not_be_forced_to_the_disk_is_trusted_no_more(service: Service, tmp_path: Path) -> None:
    failing = FailAt("sync_folder", errno.EIO, lambda path: path.parent.name == "owed")
    archive = on(service, tmp_path, WatchedOperations(failing))
    with archive.sink(owes=True) as sink:
        with pytest.raises(StoreError, match="could not be recorded"):
            send(sink, ITEMS[0])
        failing.armed = False
        with pytest.raises(StoreError, match="an earlier fsync"):
            send(sink, ITEMS[1])
    with archive.sink(owes=True) as sink:
        assert send(sink, ITEMS[2]).state == "owed"


def test_nothing_is_taken_when_only_the_reserve_is_left(archive: Archive) -> None:
    with archive.sink(owes=True, reserve=Reserve(bytes=1 << 60, share=1.0)) as sink, pytest.raises(StoreFullError):
        send(sink, ITEMS[0])
    assert archive.owed().objects == 0


def test_what_is_owed_is_uploaded_though_only_the_reserve_is_left(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(room: object) -> None:
        raise StoreFullError("only the reserve is free")

    with archive.sink(owes=True) as sink:
        send(sink, ITEMS[0])
        monkeypatch.setattr("vna.store.room.Room.check", full)
        with pytest.raises(StoreFullError):
            send(sink, wire_object(InstanceNumber=99, PatientName="Other^Name" * 5))
    archive.sweep()
    assert rows(archive) == [ITEMS[0].sha256]
    assert archive.owed().objects == 0


def test_a_local_archive_owes_nothing(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    with pytest.raises(ConfigError, match="owes nothing"):
        archive.sink(owes=True)
    with pytest.raises(ConfigError, match="owes nothing"):
        archive.uploader()
    assert archive.owed().objects == 0
    assert not (archive.root / "owed").exists()


def test_no_answer_of_the_service_is_needed_to_acknowledge(service: Service, archive: Archive) -> None:
    service.said = down
    assert [receipt.state for receipt in take(archive, *ITEMS)] == ["owed"] * len(ITEMS)


# -- what is owed


def test_what_is_owed_is_counted_and_in_neither_store_nor_journal(service: Service, archive: Archive) -> None:
    begun = time.time()
    receipts = take(archive, *ITEMS[:3])
    owed = archive.owed()
    assert (owed.objects, owed.bytes, owed.damaged) == (3, sum(len(item.stored) for item in ITEMS[:3]), 0)
    assert owed.since.startswith("20") and owed.since.endswith("Z")
    assert not archive.owes_from_before(begun - 60)
    assert archive.owes_from_before(time.time() + 60)
    assert rows(archive) == []
    for receipt in receipts:
        with pytest.raises(InstanceMissingError):
            archive.open_object(receipt.path)


def test_what_is_owed_is_uploaded_and_recorded_once_with_its_provenance(archive: Archive) -> None:
    receipts = take(archive, *ITEMS)
    archive.sweep()
    assert rows(archive) == sorted(item.sha256 for item in ITEMS)
    assert {row.source for row in archive.journal_rows()} == {"legacy"}
    for receipt, item in zip(receipts, ITEMS, strict=True):
        assert archive.store.read_bytes(receipt.path) == item.stored
    assert archive.owed().objects == 0
    assert left(archive) == []


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EIO])
def test_without_hard_links_in_the_spool_what_is_owed_is_copied_there(service: Service, tmp_path: Path, code: int) -> None:
    fail = FailAt("link", code)
    archive = on(service, tmp_path, WatchedOperations(fail))
    take(archive, *ITEMS[:2])
    archive.sweep()
    assert fail.failures
    expected = [] if code == errno.EIO else sorted(item.sha256 for item in ITEMS[:2])  # a disk that fails is another matter
    assert rows(archive) == expected
    assert archive.owed().objects == 2 - len(expected)
    if expected:
        assert left(archive) == []


def test_a_duplicate_of_what_is_owed_is_told_so_and_kept_once(service: Service, archive: Archive) -> None:
    with archive.sink(owes=True) as sink:
        states = [send(sink, ITEMS[0]).state for _ in range(3)]
        assert states == ["owed", "duplicate", "duplicate"]
        assert archive.owed().objects == 1
        archive.sweep()
        assert send(sink, ITEMS[0]).state == "owed", "nobody asks the store whether it is there still"
    archive.sweep()
    assert rows(archive) == [ITEMS[0].sha256]
    assert len(service.puts) == 1
    assert left(archive) == []


def test_the_same_from_two_writers_is_recorded_once(archive: Archive) -> None:
    with archive.sink(owes=True) as sink, archive.sink(owes=True) as other:
        assert [send(sink, ITEMS[0]).state, send(other, ITEMS[0]).state] == ["owed", "owed"]
    archive.sweep()
    assert rows(archive) == [ITEMS[0].sha256]
    assert left(archive) == []


def test_bytes_that_were_damaged_since_are_no_duplicate(archive: Archive) -> None:
    with archive.sink(owes=True) as sink:
        send(sink, ITEMS[0])
        (path,) = archive.workspace.rglob("owed/*/*.part")
        path.chmod(0o640)
        path.write_bytes(ITEMS[0].stored[:-2] + b"??")
        assert send(sink, ITEMS[0]).state == "owed"
    archive.sweep()
    assert rows(archive) == [ITEMS[0].sha256]
    assert archive.owed().damaged == 1


def test_other_bytes_under_the_same_uids_are_both_kept(archive: Archive) -> None:
    one, other = ITEMS[0], wire_object(InstanceNumber=1, PatientName="Other^Name")
    events: list[Mapping[str, Any]] = []
    first, second = take(archive, one, other)
    assert first.path == second.path
    with archive.uploader(events.append) as uploader:
        uploader.stop(PATIENCE_S)
    stored = {row.state: row for row in archive.journal_rows()}
    assert set(stored) == {"stored", "variant"}
    assert stored["variant"].codes == ("UID_CONFLICT",)
    assert {row.sha256 for row in stored.values()} == {one.sha256, other.sha256}
    for row in stored.values():
        assert archive.store.read_bytes(row.path) in (one.stored, other.stored)
    assert sorted(str(event["state"]) for event in events if event["event"] == "uploaded") == ["stored", "variant"]


def test_what_another_machine_stored_meanwhile_stands_and_ours_is_kept_beside_it(service: Service, tmp_path: Path) -> None:
    ours, theirs = on(service, tmp_path / "ours"), on(service, tmp_path / "theirs")
    other = wire_object(InstanceNumber=1, PatientName="Other^Name")
    take(ours, ITEMS[0], ITEMS[1])
    with theirs.sink() as sink:
        send(sink, other)
        send(sink, ITEMS[1])
    ours.sweep()
    theirs.sweep()
    recorded = sorted((row.state, row.sha256) for row in ours.journal_rows())
    assert recorded == sorted([("stored", other.sha256), ("stored", ITEMS[1].sha256), ("variant", ITEMS[0].sha256)])
    assert ours.owed().objects == 0


def test_an_object_for_quarantine_has_its_reason_beside_it(archive: Archive) -> None:
    (receipt,) = take(archive, wire_object(StudyInstanceUID=None))
    assert (receipt.state, receipt.path.startswith("quarantine/"), bool(receipt.codes)) == ("owed", True, True)
    archive.sweep()
    assert [row.state for row in archive.journal_rows()] == ["quarantined"]
    assert archive.store.exists(receipt.path.replace(".dcm", ".json"))


@pytest.mark.parametrize("record", [None, b"", b'{"state": "stored"}'])
def test_without_its_record_an_object_is_uploaded_by_what_it_says_itself(record: bytes | None, archive: Archive) -> None:
    take(archive, ITEMS[0])
    (path,) = archive.workspace.rglob("owed/*/*.json")
    path.unlink()
    if record is not None:
        path.write_bytes(record)
    archive.sweep()
    assert rows(archive) == [ITEMS[0].sha256]
    assert left(archive) == []


def test_damaged_bytes_are_set_aside_and_not_uploaded(archive: Archive) -> None:
    take(archive, ITEMS[0], ITEMS[1])
    path = min(archive.workspace.rglob("owed/*/*.part"))
    path.chmod(0o640)
    path.write_bytes(ITEMS[0].stored[:-2] + b"??")
    events: list[Mapping[str, Any]] = []
    with archive.uploader(events.append) as uploader:
        uploader.stop(PATIENCE_S)
    assert rows(archive) == [ITEMS[1].sha256]
    owed = archive.owed()
    assert (owed.objects, owed.damaged) == (0, 1)
    assert {"event": "owed_damaged", "sop_instance_uid": ITEMS[0].sop_instance_uid, "sha256": ITEMS[0].sha256} in events
    assert path.with_suffix(".damaged").exists()
    assert path.with_suffix(".json").exists()
    archive.sweep()
    assert archive.owed().damaged == 1


# -- uploading


def test_it_goes_on_while_objects_come_and_ends_with_nothing_owed(service: Service, archive: Archive) -> None:
    with archive.uploader() as uploader, archive.sink(owes=True) as sink:
        for item in ITEMS:
            send(sink, item)
        until(lambda: len(service.puts) == len(ITEMS))
        assert uploader.stop(PATIENCE_S)
    assert rows(archive) == sorted(item.sha256 for item in ITEMS)
    assert archive.sweep().writers == 0
    assert left(archive) == []


@pytest.mark.usefixtures("quick")
def test_a_service_that_is_down_holds_everything_up_until_it_is_back(service: Service, archive: Archive) -> None:
    events: list[Mapping[str, Any]] = []
    service.said = down
    with archive.uploader(events.append) as uploader, archive.sink(owes=True) as sink:
        for item in ITEMS:
            send(sink, item)
        until(lambda: uploader.is_held_up)
        time.sleep(0.5)
        assert service.puts == [], "one look is enough to know"
        assert archive.owed().objects == len(ITEMS)
        held_up = [event for event in events if event["event"] == "uploads_held_up"]
        assert len(held_up) == 1
        assert "no answer" in held_up[0]["reason"]
        assert 0 < held_up[0]["objects"] <= len(ITEMS)
        service.said = lambda path: None
        until(lambda: any(event["event"] == "uploads_caught_up" for event in events))
        assert archive.owed().objects == 0
        assert uploader.stop(PATIENCE_S)
    assert rows(archive) == sorted(item.sha256 for item in ITEMS)
    assert [event["event"] for event in events].count("uploaded") == len(ITEMS)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [DigestMismatchError("other bytes"), StoreError("too large")])
def test_an_object_that_alone_is_not_taken_hinders_no_other(error: StoreError, service: Service, archive: Archive) -> None:
    receipts = take(archive, *ITEMS)
    service.said = lambda path: error if path == receipts[0].path else None
    with archive.uploader() as uploader:
        until(lambda: archive.owed().objects == 1)
        assert uploader.stop(PATIENCE_S)
    assert len(rows(archive)) == len(ITEMS) - 1
    service.said = lambda path: None
    archive.sweep()
    assert rows(archive) == sorted(item.sha256 for item in ITEMS)


@pytest.mark.usefixtures("quick")
def test_an_object_that_alone_is_not_taken_hinders_no_other_at_the_end_either(service: Service, archive: Archive) -> None:
    receipts = take(archive, *(wire_object(InstanceNumber=number) for number in range(40)))
    service.said = lambda path: StoreError("too large") if path == receipts[0].path else None
    archive.sweep()
    assert archive.owed().objects == 1
    assert len(rows(archive)) == 39


@pytest.mark.usefixtures("quick")
def test_what_cannot_be_looked_for_once_is_looked_for_again(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine, failures = Debts.some, iter([OSError(errno.EMFILE, "too many open files"), RuntimeError("unforeseen")])

    def some(*arguments: Any) -> list[str]:
        for failure in failures:
            raise failure
        return genuine(*arguments)

    monkeypatch.setattr(Debts, "some", some)
    monkeypatch.setattr("vna.archive.uploading._TURN_S", 0.01)
    take(archive, *ITEMS)
    with archive.uploader() as uploader:
        until(lambda: archive.owed().objects == 0)
        assert uploader.stop(PATIENCE_S)


def test_a_sink_that_cannot_be_opened_once_is_opened_later(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vna.archive.uploading._TURN_S", 0.01)
    failing = FailAt("make_folder", errno.ENOSPC, lambda path: path.parent.name == "spool")
    take(on(service, tmp_path), *ITEMS)
    archive = on(service, tmp_path, WatchedOperations(failing))
    with archive.uploader() as uploader:
        until(lambda: failing.failures > 1)
        failing.armed = False
        until(lambda: archive.owed().objects == 0)
        assert uploader.stop(PATIENCE_S)


def test_no_more_are_put_at_once_than_there_are_threads(service: Service, archive: Archive) -> None:
    take(archive, *(wire_object(InstanceNumber=number) for number in range(40)))

    def slowly(path: str) -> None:
        time.sleep(0.02)

    service.said = slowly
    archive.sweep()
    assert 1 < service.most_at_once <= 8


@pytest.mark.usefixtures("quick")
def test_what_failed_a_moment_ago_is_tried_once_more_at_the_end(service: Service, archive: Archive) -> None:
    (receipt,) = take(archive, ITEMS[0])
    service.said = lambda path: DigestMismatchError("other bytes") if path == receipt.path else None
    with archive.uploader() as uploader:
        until(lambda: uploader._tried)
        service.said = lambda path: None
        assert uploader.stop(PATIENCE_S)
        assert archive.owed().objects == 0


def test_an_unanswered_put_is_left_to_recovery_at_the_end_and_recorded_once(service: Service, archive: Archive) -> None:
    (receipt,) = take(archive, ITEMS[0])
    looks: list[str] = []

    def said(path: str) -> StoreError | None:
        looks.append(path)
        return None if looks == [receipt.path] else down(path)  # it looks whether the name is free, and then puts

    service.said = said
    with archive.uploader() as uploader:
        until(lambda: uploader.is_held_up)
        assert uploader.stop(PATIENCE_S)
    assert service.puts == [receipt.path]
    assert archive.owed().objects == 1
    service.said = lambda path: None
    recovered = archive.sweep()
    assert recovered.completed == 1
    assert archive.owed().objects == 0
    assert rows(archive) == [ITEMS[0].sha256]
    assert left(archive) == []


def test_it_is_owed_until_its_row_is_durable(service: Service, tmp_path: Path) -> None:
    steps: list[str] = []
    quiet = on(service, tmp_path)

    def note(kind: str, arguments: tuple[Any, ...]) -> None:
        named = Path(os.readlink(f"/proc/self/fd/{arguments[0]}") if isinstance(arguments[0], int) else arguments[0])
        inside = named.parts[len(quiet.workspace.parts) :]
        steps.append(f"{kind} {inside[0] if inside else '.'}")

    take(quiet, ITEMS[0])
    on(service, tmp_path, WatchedOperations(note)).sweep()
    durable = steps.index("sync journal")
    assert steps.index("write journal") < durable < steps.index("unlink owed")
    assert steps.count("unlink owed") == 2
    assert not any(step in steps[:durable] for step in ("rename owed", "unlink owed"))


def test_what_the_time_does_not_suffice_for_stays_owed(service: Service, archive: Archive) -> None:
    take(archive, *(wire_object(InstanceNumber=number) for number in range(40)))
    service.said = lambda path: time.sleep(0.2)
    with archive.uploader() as uploader:
        assert uploader.stop(0.5)
        assert archive.owed().objects > 0
        owed = archive.owed().objects
        archive.sweep()
        assert archive.owed().objects == owed, "it is nobody else's turn yet"
    service.said = lambda path: None
    archive.sweep()
    assert archive.owed().objects == 0
    assert len(rows(archive)) == 40
    assert left(archive) == []


def test_a_thread_that_waits_for_the_service_is_not_waited_for(service: Service, archive: Archive) -> None:
    take(archive, ITEMS[0])
    goes_on = threading.Event()

    def hanging(path: str) -> None:
        goes_on.wait(PATIENCE_S)

    service.said = hanging
    with archive.uploader() as uploader:
        until(lambda: uploader._busy)
        assert not uploader.stop(0.1)
        assert archive.owed().objects == 1
        goes_on.set()
        assert uploader.stop(PATIENCE_S)
    assert archive.owed().objects == 0
    assert rows(archive) == [ITEMS[0].sha256]


def test_two_uploaders_take_turns(archive: Archive) -> None:
    with archive.uploader() as first, archive.uploader() as second:
        take(archive, ITEMS[0])
        until(lambda: archive.owed().objects == 0)
        assert second._sink is None
        assert first.stop(PATIENCE_S)
        first._release()
        take(archive, ITEMS[1])
        until(lambda: archive.owed().objects == 0)
        assert second.stop(PATIENCE_S)
    assert len(rows(archive)) == 2


def test_objects_of_several_writers_come_in_turns(archive: Archive) -> None:
    with archive.sink(owes=True) as sink, archive.sink(owes=True) as other:
        for item in ITEMS[:4]:
            send(sink, item)
        send(other, ITEMS[4])
    found = Debts(archive.workspace).some(4)
    assert len({Path(name).parent for name in found}) == 2
    assert found == sorted(found, key=lambda name: Path(name).name)
    assert found[0] not in Debts(archive.workspace).some(4, {found[0]})


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    until(lambda: not any(thread.name.startswith("owed") for thread in threading.enumerate()))
