"""The index: each segment exactly once, united with open journals, and made anew from the objects."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import quick_folder
from tests.support.instances import make_instance
from tests.support.objects import send, send_all, wire_object
from vna.archive import Archive, rebuild
from vna.archive.journal import Segment
from vna.archive.stored import stored_row
from vna.errors import ConfigError, RefusedError, StoreError
from vna.executors import Workplace, opened
from vna.model import Progress, Provenance

ITEMS = [
    wire_object(InstanceNumber=1, PatientName="Müller^Ä"),
    wire_object(InstanceNumber=2, PatientID="P2"),
    wire_object(InstanceNumber=1, PatientName="Other"),
    wire_object(StudyInstanceUID=None),
    wire_object(make_instance("1.2.840.10008.1.2.2", InstanceNumber=3)),
]
LOGICAL = "SELECT * FROM instances ORDER BY path"


@pytest.fixture
def archive() -> Iterator[Archive]:
    with quick_folder() as folder:
        yield Archive.create(str(folder / "a"))


@pytest.fixture
def filled(archive: Archive) -> Archive:
    with archive.sink() as sink:
        send_all(sink, ITEMS)
        sink.quarantine_bytes(Path(__file__), "NOT_DICOM", Provenance("folder"))
    archive.sync_index()
    return archive


def rows(archive: Archive, *without: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in without} for row in archive.query(LOGICAL)]


def test_a_row_says_what_the_object_is_where_it_is_and_who_sent_it(archive: Archive) -> None:
    with archive.sink() as sink:
        receipt = send(sink, ITEMS[0])
    assert archive.sync_index() == 1
    (row,) = archive.query(LOGICAL)
    (told,) = archive.journal_rows()
    assert (row["path"], row["sha256"], row["size"], row["status"]) == (receipt.path, receipt.sha256, receipt.size, "stored")
    assert (row["source"], row["PatientName"], row["Rows"], row["codes"]) == ("legacy", "Müller^Ä", 8, None)
    assert row["received_at"].isoformat() == told.received_at.replace("Z", "+00:00")


def test_a_segment_is_taken_exactly_once(filled: Archive) -> None:
    assert filled.sync_index() == 0
    version = filled.index_info()["version"]
    assert filled.sync_index() == 0
    assert told(filled) == {"instances": 6, "studies": 2, "bytes": total_size(filled), "version": version}


def told(archive: Archive) -> dict[str, Any]:
    """Give what is told of the archive; what is told of the tables besides must be there too, and no more than that."""
    info = archive.index_info()
    about_tables = {"files", "index_bytes", "uncommitted", "behind_s", "tables"}
    assert info.keys() == {"instances", "studies", "bytes", "version"} | about_tables
    return {name: value for name, value in info.items() if name not in about_tables}


def total_size(archive: Archive) -> int:
    return sum(row.size for row in archive.journal_rows())


def test_several_segments_of_several_writers_come_in_one_commit(archive: Archive) -> None:
    for item in ITEMS:
        with archive.sink() as sink:
            send(sink, item)
    assert archive.sync_index() == 5
    assert archive.index_info()["version"] == 1


def test_what_only_an_open_journal_knows_is_in_the_view_and_never_twice(archive: Archive) -> None:
    with archive.sink() as sink:
        send(sink, ITEMS[0])
        assert len(rows(archive)) == 1
        assert archive.sync_index() == 0, "the segment is open: it belongs to its writer"
        sink.seal()
        send(sink, ITEMS[1])
        assert len(rows(archive)) == 2
        assert archive.sync_index() == 1
        assert len(rows(archive)) == 2
    assert archive.sync_index() == 1
    assert len(rows(archive)) == 2


def test_a_commit_between_journal_and_table_shows_no_row_twice(filled: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    from indexer import query

    with filled.sink() as sink:
        send(sink, wire_object(InstanceNumber=9))
    genuine = query.connect
    commits = iter([1])

    def overtaken(*arguments: Any, **options: Any) -> Any:
        if next(commits, None):
            Archive.open(filled.url).sync_index()
        return genuine(*arguments, **options)

    monkeypatch.setattr(query, "connect", overtaken)
    assert len(rows(filled)) == 7


def test_an_index_that_is_written_without_end_can_be_read(filled: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    from indexer import query

    genuine = query.connect
    numbers = iter(range(10, 100))

    def overtaken(*arguments: Any, **options: Any) -> Any:
        other = Archive.open(filled.url)
        with other.sink() as sink:
            send(sink, wire_object(InstanceNumber=next(numbers)))
        other.sync_index()
        return genuine(*arguments, **options)

    monkeypatch.setattr(query, "connect", overtaken)
    for already in range(3):
        assert len(rows(filled)) == 6 + already


def test_the_index_deleted_and_rebuilt_is_logically_the_same(filled: Archive) -> None:
    before = rows(filled)
    shutil.rmtree(filled.root / "index")
    steps: list[Progress] = []
    assert filled.rebuild_index(steps.append) == 6
    assert rows(filled) == before
    assert steps[-1].done == 6
    assert filled.sync_index() == 0, "the rebuilt table accounts for the journal"


def test_the_index_deleted_without_a_rebuild_comes_back_from_the_journal(filled: Archive) -> None:
    before = rows(filled)
    shutil.rmtree(filled.root / "index")
    assert rows(filled) == before
    assert filled.sync_index() == 6
    assert rows(filled) == before


def test_without_the_journal_all_but_source_and_time_of_receipt_comes_back(filled: Archive) -> None:
    before = rows(filled, "source", "received_at")
    shutil.rmtree(filled.root / "index")
    shutil.rmtree(filled.root / "journal")
    assert filled.rebuild_index() == 6
    assert rows(filled, "source", "received_at") == before
    assert filled.query("SELECT count(source) AS n, count(received_at) AS m FROM instances") == [{"n": 0, "m": 0}]


def test_worker_processes_rebuild_the_same(filled: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(filled)
    monkeypatch.setattr("vna.archive.rebuild._FILES_PER_TASK", 2)
    monkeypatch.setattr("vna.archive.rebuild._ROWS_PER_COMMIT", 3)
    assert filled.rebuild_index(workers=2) == 6
    assert rows(filled) == before


def test_workers_sort_a_long_journal_and_what_they_die_of_is_sorted_here(
    filled: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled.sink() as sink:
        send_all(sink, [wire_object(SOPInstanceUID=f"1.2.9.{number}", InstanceNumber=number) for number in range(5)])
    filled.sync_index()
    before = rows(filled)
    monkeypatch.setattr("vna.archive.rebuild._LONG_JOURNAL", 1)
    assert filled.rebuild_index(workers=2) == len(before) == 11
    assert rows(filled) == before
    sealed = [segment for _, found in filled.journal.by_writer() for segment in found]
    assert len(sealed) > 1
    with opened(Workplace(2)) as pool:
        by_workers = list(rebuild._sorted_by(pool, sealed))
        list(pool.run(os._exit, [1]))
        assert list(rebuild._sorted_by(pool, sealed)) == by_workers == list(map(rebuild._sorted, sealed))


def test_a_rebuild_with_digests_names_what_is_damaged_and_keeps_what_was_recorded(filled: Archive) -> None:
    before = rows(filled)
    differing: list[str] = []
    assert filled.rebuild_index(on_differing=differing.append) == 6
    assert (rows(filled), differing) == (before, [])
    path = next(str(row["path"]) for row in before if row["status"] == "stored")
    (filled.root / path).chmod(0o640)
    data = bytearray((filled.root / path).read_bytes())
    data[-1] ^= 1
    (filled.root / path).write_bytes(data)
    filled.rebuild_index()
    assert rows(filled) == before, "only headers are read"
    filled.rebuild_index(on_differing=differing.append)
    assert (rows(filled), differing) == (before, [path])


def test_the_journal_is_read_once_however_many_parts_there_are(filled: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    genuine = rebuild.read_segment

    def counted(segment: Segment, **options: Any) -> Any:
        read.append(segment.stored_path)
        return genuine(segment, **options)

    monkeypatch.setattr(rebuild, "read_segment", counted)
    filled.rebuild_index()
    assert read
    assert len(read) == len(set(read))


def test_a_hard_linked_copy_of_the_archive_hides_nothing_from_a_rebuild(filled: Archive, tmp_path: Path) -> None:
    before = rows(filled, "source", "received_at")
    snapshot = filled.root.parent / "snapshot"
    subprocess.run(["cp", "-al", str(filled.root), str(snapshot)], check=True)
    shutil.rmtree(filled.root / "journal")
    assert filled.rebuild_index() == 6
    assert rows(filled, "source", "received_at") == before


def test_objects_that_come_in_while_the_index_is_rebuilt_are_neither_lost_nor_doubled(
    filled: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vna.archive.rebuild._FILES_PER_TASK", 1)
    sent: list[str] = []
    with filled.sink() as sink:
        send(sink, wire_object(InstanceNumber=50))  # in a segment that stays open

        def meanwhile(progress: Progress) -> None:
            number = 100 + len(sent)
            sent.append(send(sink, wire_object(InstanceNumber=number, StudyInstanceUID=f"1.2.{number}")).sha256)
            if number % 2:
                sink.seal()

        filled.rebuild_index(meanwhile)
        assert len(rows(filled)) == 7 + len(sent)
        filled.sync_index()
    filled.sync_index()
    assert len(rows(filled)) == len({row["sha256"] for row in rows(filled)}) == 7 + len(sent)


def test_corrected_files_beside_their_objects_are_no_objects(filled: Archive) -> None:
    before = rows(filled)
    path = next(row["path"] for row in before if row["status"] == "stored")
    filled.store.put_bytes(b"corrected", path.replace(".dcm", ".r1.dcm"))
    filled.rebuild_index()
    assert rows(filled) == before


def test_an_object_that_cannot_be_read_has_a_row_that_says_so(filled: Archive) -> None:
    row = stored_row(filled.store, "instances/00/1/2/none.dcm", "ab" * 32)
    assert (row.state, row.codes, row.path, row.sha256) == (
        "quarantined", ("UNREADABLE",), "instances/00/1/2/none.dcm", "ab" * 32,
    )  # fmt: skip


@pytest.mark.parametrize("leftovers", [["replaced"], ["replaced", "rebuild"], ["rebuild"]])
def test_a_rebuild_that_died_while_it_put_the_new_table_in_place_is_made_good(filled: Archive, leftovers: list[str]) -> None:
    before = rows(filled)
    table = filled.root / "index" / "instances"
    for suffix in leftovers:
        shutil.copytree(table, table.with_name(f"instances.{suffix}"))
    if "replaced" in leftovers:
        shutil.rmtree(table)
    filled.sync_index()
    assert rows(filled) == before
    assert filled.rebuild_index() == 6
    assert sorted(path.name for path in table.parent.iterdir()) == ["instances"]


def test_a_damaged_index_says_so_and_is_rebuilt(filled: Archive) -> None:
    before = rows(filled)
    for commit in (filled.root / "index/instances/_delta_log").glob("*.json"):
        commit.write_bytes(b"\0" * 100)
    with pytest.raises(StoreError):
        rows(filled)
    assert filled.rebuild_index() == 6
    assert rows(filled) == before


def test_killed_while_it_takes_segments_in_the_next_sync_does_the_rest(archive: Archive) -> None:
    for item in ITEMS:
        with archive.sink() as sink:
            send(sink, item)
    program = """
import sys
from tests.support.crash import KillAt, WatchedOperations
from vna.archive import Archive
Archive.open(sys.argv[1], operations=WatchedOperations(KillAt(int(sys.argv[2])))).sync_index()
"""
    for k in (1, 7, 14):
        command = [sys.executable, "-c", program, archive.url, str(k)]
        assert subprocess.run(command, cwd=Path(__file__).parents[3], check=False).returncode == -9, k
    archive.sync_index()
    assert len(rows(archive)) == 5
    assert sorted(row["sha256"] for row in rows(archive)) == sorted(row.sha256 for row in archive.journal_rows())


# -- questions


def test_a_selection_goes_by_condition_and_by_study(filled: Archive) -> None:
    studies = {row["StudyInstanceUID"] for row in rows(filled)} - {None}
    assert {row["PatientID"] for row in filled.select("PatientID = 'P2'")} == {"P2"}
    assert len(filled.select("PatientID = 'P1' OR PatientID = 'P2' -- both", columns=["path"])) == 5
    for study in studies:
        assert {row["StudyInstanceUID"] for row in filled.select(studies=[study])} == {study}
    assert len(filled.select(studies=sorted(studies))) == 4
    assert filled.select("PatientID = 'P2'", ["1.2.3"]) == []
    assert [list(row) for row in filled.select("PatientID = 'P2'", columns=["path", "sha256"])] == [["path", "sha256"]]


def test_a_condition_that_is_none_is_the_users_mistake(filled: Archive) -> None:
    with pytest.raises(ConfigError):
        filled.select("PatientId === 'x'")
    with pytest.raises(ConfigError):
        filled.query("SELECT NoSuchColumn FROM instances")


def test_an_empty_archive_answers_with_nothing(archive: Archive) -> None:
    assert archive.select() == []
    assert told(archive) == {"instances": 0, "studies": 0, "bytes": 0, "version": 0}
    assert archive.rebuild_index() == 0


def test_a_rebuilt_row_of_every_object_equals_the_one_that_the_sink_wrote(filled: Archive) -> None:
    for row in filled.journal_rows():
        again = stored_row(filled.store, row.path)
        for name in ("state", "path", "sha256", "size", "codes"):
            assert getattr(again, name) == getattr(row, name), name
        assert {name: value for name, value in again.row.items() if value is not None} == row.row


def test_a_rebuild_refuses_a_store_in_which_everything_is_missing(filled: Archive) -> None:
    before = rows(filled)
    for name in ("instances", "quarantine"):
        (filled.root / name).rename(filled.root / f"{name}.away")  # as where a disk was not mounted
    with pytest.raises(RefusedError, match="shows no object at all, and the journal knows some") as refused:
        filled.rebuild_index()
    assert refused.value.exit_code == 21
    (filled.root / "journal").rename(filled.root / "journal.away")
    with pytest.raises(RefusedError, match="shows no object at all, and the index holds 6"):
        filled.rebuild_index()
    assert rows(filled) == before


def test_a_rebuild_refuses_a_store_whose_instances_are_missing_though_something_is_in_quarantine(filled: Archive) -> None:
    before = rows(filled)
    quarantined = len(list(filled.root.glob("quarantine/**/*.dcm")))
    (filled.root / "instances").rename(filled.root / "instances.away")
    (filled.root / "instances").mkdir()
    with pytest.raises(RefusedError, match="all 4 objects that the journal knows below instances/ are missing") as refused:
        filled.rebuild_index()
    assert refused.value.exit_code == 21
    assert rows(filled) == before
    missing: list[int] = []
    assert filled.rebuild_index(accept_missing=True, on_missing=missing.append) == quarantined == 2
    assert missing == [4]


def test_a_rebuild_refuses_when_more_than_a_small_share_is_missing(filled: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "_HANDFUL", 1)
    before = rows(filled)
    gone = [filled.root / str(row["path"]) for row in before if str(row["path"]).startswith("instances/")][:2]
    gone[0].unlink()
    missing: list[int] = []
    assert filled.rebuild_index(on_missing=missing.append) == 5
    gone[1].unlink()
    with pytest.raises(RefusedError, match="2 of 6 objects that the journal knows are missing"):
        filled.rebuild_index()
    assert len(rows(filled)) == 5
    assert filled.rebuild_index(accept_missing=True, on_missing=missing.append) == 4
    assert missing == [1, 2]


def test_a_rebuild_without_the_journal_refuses_when_the_index_holds_much_more(
    filled: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "_HANDFUL", 1)
    shutil.rmtree(filled.root / "journal")
    shutil.rmtree(filled.root / "instances")
    with pytest.raises(RefusedError, match="4 of 6 objects that the index holds are missing"):
        filled.rebuild_index()
    assert len(rows(filled)) == 6
    assert filled.rebuild_index(accept_missing=True) == 2


def test_every_object_that_a_list_leaves_out_is_looked_for(filled: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(filled)
    gone, hidden = sorted(str(row["path"]) for row in before if str(row["path"]).startswith("instances/"))[:2]
    (filled.root / gone).unlink()
    monkeypatch.setattr(rebuild, "_LOOKED_FOR", 1)
    monkeypatch.setattr(filled.store, "list", lambda prefix="": (n for n in _listed(filled, prefix) if n != hidden))
    for is_accepted in (False, True):
        with pytest.raises(RefusedError, match="does not show objects that are there"):
            filled.rebuild_index(accept_missing=is_accepted)


def _listed(archive: Archive, prefix: str) -> Iterator[str]:
    return Archive.open(archive.url).store.list(prefix)


def test_a_rebuild_leaves_out_what_is_really_gone(filled: Archive) -> None:
    path = str(rows(filled)[0]["path"])
    (filled.root / path).unlink()
    assert filled.rebuild_index() == 5
    assert path not in {row["path"] for row in rows(filled)}
