"""The journal: group commit, torn ends, failing disks, and readers that read on."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crash import FailAt, WatchedOperations
from vna.archive.journal import Journal, JournalWriter, segments
from vna.archive.recovery import adopt
from vna.archive.rows import JournalRow, decode, encode, numbered
from vna.errors import StoreError, StoreFullError
from vna.model import Provenance
from vna.store import LocalStore


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


def row(name: str) -> JournalRow:
    return JournalRow(
        "w", 0, "stored", f"instances/{name}.dcm", name * 64, 7, "2026-01-01T00:00:00Z", row={"PatientName": "Müller^Ä"}
    )


def names(journal: Path, **after: int) -> list[str]:
    return [found.sha256[0] for found in Journal(journal.parent).read(after)]


def test_a_row_comes_back_as_it_was() -> None:
    full = JournalRow(
        "w", 5, "flagged", "p", "ab", 3, "2026-01-01T00:00:00Z", ("BAD_UID",), "1.2", "1.3", "1.4",
        Provenance("legacy", "AE", "VNA", "127.0.0.1", "MOVER", "/a/b", {"SourceApplicationEntityTitle": "CT"}, ("NO_PREAMBLE",)),
        {"StudyInstanceUID": "1", "SeriesInstanceUID": "2", "PatientName": "山田^太郎=やまだ", "Rows": 5, "odd": "\ud800\n"},
    )  # fmt: skip
    line = numbered(5, encode(full))
    assert line.count(b"\n") == 1
    assert decode("w", line) == full
    assert (full.source, full.study_instance_uid, full.series_instance_uid) == ("legacy", "1", "2")
    assert full.receipt().codes == ("BAD_UID", "NO_PREAMBLE")


def test_a_row_has_its_own_provenance_whatever_the_row_before_it_had() -> None:
    told = [
        Provenance("pacs"),
        Provenance("pacs"),
        Provenance("pacs", "AE"),
        Provenance("pacs", file_meta={"SourceApplicationEntityTitle": "X"}),
        Provenance("pacs", file_meta={"SourceApplicationEntityTitle": "Y"}),
        Provenance("pacs", codes=("NO_PREAMBLE",)),
        Provenance("pacs", codes=("NO_PREAMBLE", "META_GROUPLEN")),
        Provenance("pacs"),
    ]
    for provenance in (*told, *reversed(told)):
        assert decode("w", numbered(1, encode(row("a")._replace(provenance=provenance)))).provenance == provenance
    for damaged in (b'{"codes": 1}', b'{"unknown": "x"}', b'"pacs"', b"null", b"1"):
        line = numbered(1, encode(row("a")._replace(provenance=Provenance("pacs"))))
        with pytest.raises(ValueError):
            decode("w", line.replace(b'{"source":"pacs"}', damaged))
    with pytest.raises(ValueError):
        decode("w", numbered(1, encode(row("a"))).replace(b'"state":"', b'"state":"\xff'))


def test_a_row_is_written_as_it_is_whatever_the_row_before_it_was() -> None:
    columns: list[dict[str, object]] = [
        {"PatientID": "1", "Rows": 5, "Modality": None},
        {"PatientID": "1", "Rows": 6, "Modality": None},
        {"PatientID": "2", "Rows": 6, "Modality": "CT"},
        {"PatientID": None, "Rows": 6, "Modality": "CT"},
        {"PatientID": "2", "Columns": 6, "Modality": "CT"},
        {"Rows": 5},
        {},
        {"PatientID": "1", "Rows": 5, "Modality": None},
    ]
    for told in columns:
        written = decode("w", numbered(1, encode(row("a")._replace(row=told))))
        assert written.row == {name: value for name, value in told.items() if value is not None}


def test_rows_are_visible_while_the_segment_is_open_and_after_it_was_sealed(journal: Path) -> None:
    writer = JournalWriter(journal, "w")
    writer.append([encode(row("a")), encode(row("b"))])
    assert names(journal) == ["a", "b"]
    writer.seal()
    writer.append([encode(row("c"))])
    assert names(journal) == ["a", "b", "c"]
    writer.close()
    assert [(segment.n, segment.is_open) for segment in segments(journal, "w")] == [(1, False), (3, False)]
    assert [path.name for path in sorted((journal / "w").iterdir())] == [f"{1:020d}", f"{3:020d}"]


def test_a_writer_without_rows_leaves_nothing(journal: Path) -> None:
    writer = JournalWriter(journal, "w")
    writer.seal()
    writer.close()
    assert list(journal.iterdir()) == []


def test_segments_are_rolled_and_a_reader_reads_on_from_its_position(journal: Path) -> None:
    writer = JournalWriter(journal, "w", rows_per_segment=2)
    for name in "abcde":
        writer.append([encode(row(name))])
    assert [segment.n for segment in segments(journal, "w")] == [1, 3, 5]
    for position, rest in enumerate(["abcde", "bcde", "cde", "de", "e", ""]):
        assert names(journal, w=position) == list(rest)
    writer.close()


def test_the_rows_of_all_waiting_threads_share_one_fsync(journal: Path) -> None:
    syncs: list[str] = []

    def slowly(kind: str, arguments: tuple[object, ...]) -> None:
        if kind == "sync":
            syncs.append(kind)
            time.sleep(0.05)

    writer = JournalWriter(journal, "w", WatchedOperations(slowly))
    threads = [threading.Thread(target=writer.append, args=([encode(row("a"))],)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(journal) == ["a"] * 20
    assert [found.seq for found in Journal(journal.parent).read()] == list(range(1, 21))
    assert len(syncs) <= 4
    writer.close()


def test_a_full_disk_leaves_no_part_of_a_row_and_the_writer_goes_on(journal: Path) -> None:
    fail = FailAt("write", errno.ENOSPC)
    fail.armed = False
    writer = JournalWriter(journal, "w", WatchedOperations(fail))
    writer.append([encode(row("a"))])
    fail.armed = True
    with pytest.raises(StoreFullError):
        writer.append([encode(row("b"))])
    fail.armed = False
    writer.append([encode(row("c"))])
    assert [(found.sha256[0], found.seq) for found in Journal(journal.parent).read()] == [("a", 1), ("c", 3)]
    writer.close()


def test_after_a_failed_fsync_nothing_is_acknowledged_any_more(journal: Path) -> None:
    fail = FailAt("sync", errno.EIO)
    fail.armed = False
    writer = JournalWriter(journal, "w", WatchedOperations(fail))
    writer.append([encode(row("a"))])
    fail.armed = True
    with pytest.raises(StoreError):
        writer.append([encode(row("b"))])
    fail.armed = False
    with pytest.raises(StoreError, match="no longer be trusted"):
        writer.append([encode(row("c"))])
    writer.close()
    assert fail.failures == 1, "a failed fsync was tried again"
    assert names(journal) == ["a"]


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_torn_last_line_is_cut_off_when_the_segment_is_adopted(journal: Path, cut: int) -> None:
    writer = JournalWriter(journal, "w")
    writer.append([encode(row("a")), encode(row("b"))])
    (segment,) = segments(journal, "w")
    segment.path.write_bytes(segment.path.read_bytes()[:-cut])
    assert names(journal) == ["a"]
    adopt(segment)
    assert names(journal) == ["a"]
    assert not segments(journal, "w")[0].is_open


def test_a_segment_that_never_got_a_whole_row_goes_away(journal: Path) -> None:
    writer = JournalWriter(journal, "w")
    writer.append([encode(row("a"))])
    (segment,) = segments(journal, "w")
    segment.path.write_bytes(segment.path.read_bytes()[:-1])
    adopt(segment)
    assert segments(journal, "w") == []


def test_lines_behind_a_damaged_one_are_kept_and_so_is_the_original(journal: Path) -> None:
    writer = JournalWriter(journal, "w")
    writer.append([encode(row(name)) for name in "abc"])
    (segment,) = segments(journal, "w")
    lines = segment.path.read_bytes().splitlines(keepends=True)
    segment.path.write_bytes(lines[0] + bytes(50) + b"\n" + lines[2])
    adopt(segment)
    assert names(journal) == ["a", "c"]
    assert (journal / "w" / f"{1:020d}.damaged").read_bytes() == lines[0] + bytes(50) + b"\n" + lines[2]


def test_a_damaged_line_in_a_sealed_segment_is_not_passed_over_in_silence(journal: Path) -> None:
    writer = JournalWriter(journal, "w")
    writer.append([encode(row(name)) for name in "abc"])
    writer.close()
    (segment,) = segments(journal, "w")
    segment.path.write_bytes(segment.path.read_bytes().replace(b'"path":"instances/b', b'"pat'))
    with pytest.raises(StoreError, match="line 2"):
        names(journal)
    assert [found.sha256[0] for found in Journal(journal.parent).read(tolerant=True)] == ["a", "c"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> LocalStore:
    """A store that the journal's sealed segments go to."""
    (tmp_path / "elsewhere").mkdir()
    return LocalStore(tmp_path / "elsewhere")


def written(journal: Path, *rows: str, writer: str = "w") -> JournalWriter:
    """Write a sealed segment for each row, and leave an open one behind the last."""
    open_one = JournalWriter(journal, writer, rows_per_segment=1)
    for name in rows:
        open_one.append([encode(row(name))])
    return open_one


def test_sealed_segments_go_where_the_archive_is_and_each_row_is_read_once(journal: Path, elsewhere: LocalStore) -> None:
    both = Journal(journal.parent, elsewhere)
    writer = written(journal, "a", "b", "c")
    assert [found.sha256[0] for found in both.read()] == ["a", "b", "c"]
    assert both.upload() == 2
    assert [path.name for path in (journal / "w").iterdir()] == [f"{3:020d}.open"]
    assert list(elsewhere.list("journal")) == [f"journal/w/{n:020d}" for n in (1, 2)]
    assert [found.sha256[0] for found in both.read()] == ["a", "b", "c"]
    assert [found.sha256[0] for found in both.read({"w": 1})] == ["b", "c"]
    writer.close()
    assert both.upload() == 1
    assert not (journal / "w").exists()
    assert [found.sha256[0] for found in both.read()] == ["a", "b", "c"]
    assert [segment.n for segment in both.segments("w")] == [1, 2, 3]
    assert both.upload() == 0


def test_a_segment_that_moves_while_it_is_read_is_read_to_its_end(journal: Path, elsewhere: LocalStore) -> None:
    both = Journal(journal.parent, elsewhere)
    writer = written(journal, "a", "b")
    reading = both.read()
    assert next(reading).sha256[0] == "a"
    writer.close()
    both.upload()
    assert [found.sha256[0] for found in reading] == ["b"]


def test_an_upload_that_was_interrupted_is_gone_on_with(journal: Path, elsewhere: LocalStore) -> None:
    both = Journal(journal.parent, elsewhere)
    written(journal, "a", "b").close()
    elsewhere.put_file(journal / "w" / f"{1:020d}", f"journal/w/{1:020d}")  # put, and not removed here any more
    assert [found.sha256[0] for found in both.read()] == ["a", "b"]
    assert both.upload() == 2
    assert [found.sha256[0] for found in both.read()] == ["a", "b"]


def test_another_segment_under_the_same_name_is_not_taken_for_ours(journal: Path, elsewhere: LocalStore) -> None:
    both = Journal(journal.parent, elsewhere)
    written(journal, "a").close()
    elsewhere.put_bytes(b"{}\n", f"journal/w/{1:020d}")
    with pytest.raises(StoreError, match="holds another journal segment"):
        both.upload()
    assert (journal / "w" / f"{1:020d}").exists()


def test_of_a_list_that_shows_a_later_segment_alone_nothing_is_left_out(
    journal: Path, elsewhere: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vna.archive.journal._ONE_LISTING", 1)
    written(journal, "a", "b").close()
    Journal(journal.parent, elsewhere).upload()

    class Slow(LocalStore):
        lists = 0

        def list(self, prefix: str = "") -> Iterator[str]:
            self.lists += 1
            return (name for name in super().list(prefix) if self.lists > 1 or not name.endswith("1"))

    slow = Slow(elsewhere.root)
    assert [found.sha256[0] for found in Journal(journal.parent, slow).read()] == ["a", "b"]
