"""The index is kept quick and small while the archive goes on, and tells in what state it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.lease import locked
from tests.support.objects import send, wire_object
from vna.archive import Archive
from vna.errors import LockedError
from vna.model import Progress


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive of six studies, taken into the index one by one."""
    archive = Archive.create(str(tmp_path / "archive"))
    for number in range(6):
        with archive.sink() as sink:
            send(sink, wire_object(StudyInstanceUID=f"1.2.{number}", SOPInstanceUID=f"1.2.{number}.1"))
        archive.sync_index()
    return archive


def instances(archive: Archive) -> list[dict[str, object]]:
    return archive.query("SELECT * FROM instances ORDER BY SOPInstanceUID")


def test_optimising_merges_files_writes_the_studies_and_changes_no_answer(archive: Archive) -> None:
    before = instances(archive)
    steps: list[Progress] = []
    done = archive.optimize_index(steps.append)
    assert (done["steps"], done["rows"], done["added"], done["removed"], done["studies"]) == (1, 6, 1, 6, 6)
    assert archive.index_info()["tables"]["instances"]["files"] == 1
    assert archive.index_info()["tables"]["studies"]["rows"] == 6
    assert instances(archive) == before
    assert (steps[-1].done, steps[-1].total) == (6, 6)
    assert archive.optimize_index()["steps"] == 0, "nothing is left to do"


def test_a_dry_run_says_what_would_be_done_and_does_nothing(archive: Archive) -> None:
    before = archive.index_info()
    done = archive.optimize_index(dry_run=True)
    assert (done["steps"], done["rows"], done["added"], done["removed"]) == (1, 6, 0, 6)
    assert archive.index_info() == before


def test_two_cannot_optimise_at_once_nor_rebuild_meanwhile(archive: Archive) -> None:
    with locked(f"{archive.url}/index/instances"):
        with pytest.raises(LockedError) as caught:
            archive.optimize_index()
        with pytest.raises(LockedError):
            archive.rebuild_index()
        with archive.sink() as sink:
            send(sink, wire_object(StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1"))
        assert archive.sync_index() == 1, "what comes in is not kept waiting"
    assert caught.value.exit_code == 11
    assert archive.optimize_index()["removed"] == 7
    assert archive.rebuild_index() == 7


def test_the_index_tells_what_it_lacks(archive: Archive) -> None:
    info = archive.index_info()
    assert (info["uncommitted"], info["behind_s"], info["files"]) == (0, 0.0, 6)
    assert info["index_bytes"] == sum(each["bytes"] for each in info["tables"].values())
    with archive.sink() as sink:
        send(sink, wire_object(StudyInstanceUID="1.2.9", SOPInstanceUID="1.2.9.1"))
        info = archive.index_info()
        assert (info["uncommitted"], info["instances"]) == (1, 7), "queries see it all the same"
        assert info["behind_s"] > 0
    archive.sync_index()
    assert archive.index_info()["uncommitted"] == 0
