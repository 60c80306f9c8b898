"""Killed (SIGKILL) at every operation of its write order, then started again: nothing lost, torn, or done twice."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.crash import KillAt, WatchedOperations, run_and_kill
from tests.support.folders import quick_folder
from tests.support.objects import WireObject, send, send_all, wire_object
from vna.archive import Archive, Durability
from vna.model import Provenance, Receipt
from vna.store import Operations

Work = Callable[[Path, Operations], None]

ITEMS = [
    wire_object(InstanceNumber=1),
    wire_object(InstanceNumber=1),  # the same again
    wire_object(InstanceNumber=1, PatientName="Other^Name"),  # other bytes under the same UIDs
    wire_object(StudyInstanceUID=None),  # cannot be filed
    wire_object(InstanceNumber=2),
]


@pytest.fixture
def quick() -> Iterator[Path]:
    with quick_folder() as folder:
        yield folder


def fresh(folder: Path) -> Path:
    Archive.create(str(folder))
    return folder


def acknowledge(folder: Path) -> Callable[[Receipt], None]:
    """Note a receipt where the parent reads it, past the operations that are counted."""
    descriptor = os.open(folder.with_suffix(".acknowledged"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return lambda receipt: void(os.write(descriptor, f"{receipt.sha256} {receipt.path}\n".encode()))


def void(result: object) -> None:
    """Forget a result."""


def one_by_one(folder: Path, operations: Operations) -> None:
    with Archive.open(str(folder), operations=operations).sink() as sink:
        send_all(sink, ITEMS, acknowledge(folder))


def study_at_once(folder: Path, operations: Operations) -> None:
    note = acknowledge(folder)
    sink = Archive.open(str(folder), operations=operations).sink(
        durability=Durability.STUDY, on_receipt=lambda receipt, provenance: note(receipt)
    )
    with sink:
        study = next(receipt.study_instance_uid for receipt in send_all(sink, ITEMS))
        sink.commit_study(study)


def count_operations(work: Work, folder: Path) -> list[str]:
    counter = KillAt(-1)
    work(fresh(folder), WatchedOperations(counter))
    return counter.kinds


def kill_points(kinds: Sequence[str]) -> list[int]:
    """Every operation of the first and the last object, and a third of those between; VNA_EVERY_KILL takes all."""
    numbers = range(1, len(kinds) + 1)
    if os.environ.get("VNA_EVERY_KILL"):
        return list(numbers)
    return [k for k in numbers if k <= 32 or k > len(kinds) - 12 or k % 3 == 0]


def objects(root: Path) -> dict[str, str]:
    """The digests of everything under a final name."""
    files = [path for folder in ("instances", "quarantine") for path in (root / folder).rglob("*.dcm")]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def journal(root: Path) -> Counter[tuple[str, str, str, tuple[str, ...], str]]:
    rows = Archive.open(str(root)).journal_rows()
    return Counter((row.path, row.sha256, row.state, row.codes, row.source) for row in rows)


def leftovers(root: Path) -> list[str]:
    return [path.name for path in (root / "spool").rglob("*") if not path.name.endswith(".lock")]


def check_right_after_the_kill(root: Path, sent: set[str]) -> None:
    stored = objects(root)
    assert set(stored.values()) <= sent, "a torn object stands under a final name"
    assert all(stored[path] == sha256 for path, sha256, *_ in journal(root)), "the journal names what is not there"
    acknowledged = root.with_suffix(".acknowledged")
    for line in acknowledged.read_text().splitlines() if acknowledged.exists() else []:
        sha256, path = line.split()
        assert stored[path] == sha256, "an acknowledged object was lost"


@pytest.mark.parametrize("work", [one_by_one, study_at_once], ids=["durability object", "durability study"])
def test_killed_at_any_operation_and_started_again_the_archive_is_that_of_an_unbroken_run(work: Work, quick: Path) -> None:
    kinds = count_operations(work, quick / "unbroken")
    expected = objects(quick / "unbroken"), journal(quick / "unbroken")
    assert len(expected[0]) == len(expected[1]) == 4
    for k in kill_points(kinds):
        root = fresh(quick / str(k))
        assert run_and_kill(k, lambda operations, root=root: work(root, operations)), k  # type: ignore[misc]
        check_right_after_the_kill(root, {item.sha256 for item in ITEMS})
        work(root, WatchedOperations(lambda kind, arguments: None))
        assert (objects(root), journal(root)) == expected, f"killed before operation {k}, {kinds[k - 1]}"
        assert leftovers(root) == [], f"killed before operation {k}, {kinds[k - 1]}"


def test_what_was_published_but_not_journalled_is_completed_without_being_sent_again(quick: Path) -> None:
    kinds = count_operations(one_by_one, quick / "counted")
    first_journal_write = kinds.index("link") + kinds[kinds.index("link") :].index("write") + 1
    root = fresh(quick / "a")
    assert run_and_kill(first_journal_write, lambda operations: one_by_one(root, operations))
    assert list(objects(root).values()) == [ITEMS[0].sha256]
    assert not journal(root)
    recovered = Archive.open(str(root)).sweep()
    assert (recovered.writers, recovered.completed, recovered.dropped) == (1, 1, 0)
    assert [(path, sha256, source) for path, sha256, _, _, source in journal(root)] == [
        (next(iter(objects(root))), ITEMS[0].sha256, "legacy")
    ]
    assert Archive.open(str(root)).sweep().writers == 0


def test_what_was_only_spooled_is_dropped_for_nobody_was_told_of_it(quick: Path) -> None:
    half_written = count_operations(one_by_one, quick / "counted").index("create") + 3
    root = fresh(quick / "a")
    assert run_and_kill(half_written, lambda operations: one_by_one(root, operations))
    assert leftovers(root) != []
    recovered = Archive.open(str(root)).sweep()
    assert (recovered.completed, recovered.dropped) == (0, 1)
    assert leftovers(root) == []
    assert objects(root) == {}


def test_a_published_object_whose_intent_a_power_failure_took_is_read_again(quick: Path) -> None:
    kinds = count_operations(one_by_one, quick / "counted")
    for item in (ITEMS[0], ITEMS[3]):
        root = fresh(quick / item.sha256)
        after_link = kinds.index("link") + 2

        def work(operations: Operations, root: Path = root, item: WireObject = item) -> None:
            with Archive.open(str(root), operations=operations).sink() as sink:
                send(sink, item)

        assert run_and_kill(after_link, work)
        for intents in (root / "spool").rglob("intents-*"):
            intents.write_bytes(b"")
        assert Archive.open(str(root)).sweep().completed == 1
        ((_, sha256, state, codes, source),) = journal(root)
        assert (sha256, source) == (item.sha256, "")
        assert (state, codes) == (("stored", ()) if item is ITEMS[0] else ("quarantined", ("NO_STUDY_INSTANCE_UID",)))
        assert len(list(root.glob("quarantine/*/*.json"))) == (item is ITEMS[3])


def test_a_spool_file_that_a_power_failure_damaged_is_not_published(quick: Path) -> None:
    before_link = count_operations(one_by_one, quick / "counted").index("link") + 1
    root = fresh(quick / "a")
    assert run_and_kill(before_link, lambda operations: one_by_one(root, operations))
    (part,) = (root / "spool").rglob("*.part")
    part.chmod(0o640)
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    recovered = Archive.open(str(root)).sweep()
    assert (recovered.completed, recovered.dropped) == (0, 1)
    assert objects(root) == {}


def test_rows_written_by_recovery_are_seen_by_a_reader_that_saw_rows_which_a_power_failure_took(quick: Path) -> None:
    kinds = count_operations(one_by_one, quick / "counted")
    before_unlink = kinds.index("link") + kinds[kinds.index("link") :].index("unlink") + 1
    root = fresh(quick / "a")
    assert run_and_kill(before_unlink, lambda operations: one_by_one(root, operations))
    archive = Archive.open(str(root))
    ((writer, seen),) = ((row.writer, row.seq) for row in archive.journal_rows())
    for segment in (root / "journal").rglob("*.open"):
        segment.write_bytes(b"")  # the row had been read, but it was not on the disk yet
    archive.sweep()
    assert [row.sha256 for row in archive.journal_rows({writer: seen})] == [ITEMS[0].sha256]


def test_recovery_itself_may_be_killed_anywhere(quick: Path) -> None:
    kinds = count_operations(one_by_one, quick / "counted")
    before_journal = kinds.index("link") + kinds[kinds.index("link") :].index("write") + 1
    for k in range(1, 40):
        root = fresh(quick / str(k))
        assert run_and_kill(before_journal, lambda operations, root=root: one_by_one(root, operations))  # type: ignore[misc]
        killed = run_and_kill(
            k,
            lambda operations, root=root: void(Archive.open(str(root), operations=operations).sweep()),  # type: ignore[misc]
        )
        Archive.open(str(root)).sweep()
        assert list(journal(root).values()) == [1]
        assert leftovers(root) == []
        if not killed:
            break
    else:
        pytest.fail("the recovery never came to its end")


def test_several_threads_killed_together_lose_nothing(quick: Path) -> None:
    items = [wire_object(InstanceNumber=number) for number in range(24)]

    def work(folder: Path, operations: Operations) -> None:
        note = acknowledge(folder)
        with (
            Archive.open(str(folder), operations=operations).sink() as sink,
            ThreadPoolExecutor(4) as threads,
        ):
            for receipt in threads.map(lambda item: send(sink, item), items):
                note(receipt)

    total = len(count_operations(work, quick / "unbroken"))
    expected = objects(quick / "unbroken"), journal(quick / "unbroken")
    for k in range(25, total - 30, max(1, total // 8)):
        root = fresh(quick / str(k))
        run_and_kill(k, lambda operations, root=root: work(root, operations))  # type: ignore[misc]
        check_right_after_the_kill(root, {item.sha256 for item in items})
        work(root, WatchedOperations(lambda kind, arguments: None))
        assert (objects(root), journal(root)) == expected
        assert leftovers(root) == []


def test_a_worker_process_that_outlives_its_killed_parent_does_not_make_that_look_alive(quick: Path) -> None:
    root = fresh(quick / "a")
    program = f"""
import os, signal, sys, time
from tests.support.objects import send, wire_object
from vna.archive import Archive
sink = Archive.open({str(root)!r}).sink()
send(sink, wire_object())
told, tells = os.pipe()
child = os.fork()
if child == 0:
    os.write(tells, b"!")
    time.sleep(60)
    os._exit(0)
os.read(told, 1)  # until the child runs: it has let go by then
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True)
    assert done.stdout is not None
    child = int(done.stdout.readline())
    try:
        assert done.wait() == -signal.SIGKILL
        assert Archive.open(str(root)).sweep().writers == 1
    finally:
        os.kill(child, signal.SIGKILL)
        done.stdout.close()
    assert len(journal(root)) == 1


def test_the_living_are_left_alone(quick: Path) -> None:
    root = fresh(quick / "a")
    archive = Archive.open(str(root))
    with archive.sink() as sink:
        send(sink, ITEMS[0])
        half = sink(ITEMS[4].sop_class_uid, ITEMS[4].sop_instance_uid, ITEMS[4].transfer_syntax_uid, Provenance("legacy"))
        half.write(ITEMS[4].data_set[:100])
        assert archive.sweep().writers == 0
        half.write(ITEMS[4].data_set[100:])
        assert half.commit().state == "stored"
    assert len(journal(root)) == 2


@pytest.mark.parametrize("has_lock", [True, False])
def test_writers_come_and_go_while_what_a_dead_one_left_is_published(
    has_lock: bool, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_link = count_operations(one_by_one, quick / "counted").index("link") + 1
    root = fresh(quick / "a")
    assert run_and_kill(before_link, lambda operations: one_by_one(root, operations))
    if not has_lock:
        for lock in (root / "spool").glob("*/lock"):
            lock.unlink()
    archive = Archive.open(str(root))
    publish, reached, go_on = archive.store.publish, threading.Event(), threading.Event()

    def publish_late(files: Sequence[tuple[Path | str, str]]) -> list[bool]:
        reached.set()
        assert go_on.wait(60)
        return publish(files)

    def come_and_go() -> int:
        other = Archive.open(str(root))
        with other.sink() as sink:
            assert send(sink, ITEMS[4]).state == "stored"
        return other.sweep().writers

    monkeypatch.setattr(archive.store, "publish", publish_late)
    with ThreadPoolExecutor(2) as threads:
        recovering = threads.submit(archive.sweep)
        try:
            assert reached.wait(60)
            assert threads.submit(come_and_go).result(30) == 0, "somebody else completes it already"
        finally:
            go_on.set()
        assert recovering.result(60).completed == 1
    assert sorted(sha256 for _, sha256, *_ in journal(root)) == sorted([ITEMS[0].sha256, ITEMS[4].sha256])
    assert leftovers(root) == []
