"""Revisions in the index: each is shown as soon as it can be, whoever died and whatever could not be read meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.support.objects import send, wire_object
from tests.support.revisions import revise
from vna.archive import Archive, index, overlays
from vna.errors import DigestMismatchError, InstanceMissingError, RefusedError, StoreError
from vna.model import Receipt
from vna.store import LocalStore


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(str(tmp_path / "a"))


@pytest.fixture
def receipts(archive: Archive) -> list[Receipt]:
    """Two objects of one study, and one of another."""
    with archive.sink() as sink:
        made = [send(sink, wire_object(InstanceNumber=1)), send(sink, wire_object(InstanceNumber=2))]
        made.append(send(sink, wire_object(StudyInstanceUID="1.2.3.4", SOPInstanceUID="1.2.3.4.5")))
    archive.sync_index()
    return made


class _Fails(LocalStore):
    """A store that fails to open some objects."""

    def __init__(self, root: Path, error: Exception, *paths: str) -> None:
        super().__init__(root)
        self._error, self._paths = error, paths

    def open(self, path: str) -> BinaryIO:
        if path in self._paths:
            raise self._error
        return super().open(path)


def patients(archive: Archive, *receipts: Receipt) -> list[str]:
    by_digest = {row["sha256"]: row["PatientID"] for row in archive.query("SELECT sha256, PatientID FROM instances")}
    return [by_digest[receipt.sha256] for receipt in receipts]


def test_a_revision_whose_object_the_store_fails_to_give_stays_due_and_others_go_in(
    archive: Archive, receipts: list[Receipt]
) -> None:
    revise(archive, "NEW", *receipts[:2])
    revise(archive, "OTHER", receipts[2])
    store = archive.store
    archive.store = _Fails(archive.root, StoreError("the service does not answer"), receipts[1].path)
    with pytest.raises(StoreError, match="does not answer"):
        archive.sync_revisions()
    assert patients(archive, *receipts) == ["P1", "P1", "OTHER"]
    archive.store = store
    assert archive.sync_revisions() == 1
    assert patients(archive, *receipts) == ["NEW", "NEW", "OTHER"]


def test_a_disk_that_fails_in_the_middle_of_an_object_leaves_its_revision_due(archive: Archive, receipts: list[Receipt]) -> None:
    revise(archive, "NEW", *receipts[:2])
    store = archive.store
    archive.store = _Fails(archive.root, OSError(5, "Input/output error"), receipts[1].path)
    with pytest.raises(StoreError):
        archive.sync_revisions()
    archive.store = store
    assert archive.sync_index() == 0
    assert patients(archive, *receipts[:2]) == ["NEW", "NEW"]


@pytest.mark.parametrize("error", [RefusedError("no"), DigestMismatchError("rotten"), InstanceMissingError("gone")])
def test_an_object_that_is_damaged_gone_or_cannot_be_changed_holds_nothing_up(
    error: Exception, archive: Archive, receipts: list[Receipt]
) -> None:
    revise(archive, "NEW", *receipts[:2])
    archive.store = _Fails(archive.root, error, receipts[1].path)
    assert archive.sync_revisions() == 1
    assert patients(archive, *receipts[:2]) == ["NEW", "P1"]


def test_what_a_corrector_left_that_died_is_shown_after_the_next_sync(archive: Archive, receipts: list[Receipt]) -> None:
    revise(archive, "NEW", *receipts[:2])
    assert patients(archive, *receipts[:2]) == ["P1", "P1"]
    assert archive.sync_index() == 0
    assert patients(archive, *receipts[:2]) == ["NEW", "NEW"]
    version = archive.index_info()["tables"]["overlays"]["version"]
    archive.sync_index()
    assert archive.index_info()["tables"]["overlays"]["version"] == version


def test_revisions_are_taken_in_before_there_is_an_index(archive: Archive) -> None:
    with archive.sink() as sink:
        receipt = send(sink, wire_object())
    revise(archive, "NEW", receipt)
    assert archive.sync_revisions() == 1
    assert patients(archive, receipt) == ["NEW"]


def test_a_revision_that_cannot_be_taken_in_does_not_keep_what_is_received_out(archive: Archive, receipts: list[Receipt]) -> None:
    revise(archive, "NEW", receipts[0])
    with archive.sink() as sink:
        send(sink, wire_object(InstanceNumber=3))
    archive.store = _Fails(archive.root, StoreError("the service does not answer"), receipts[0].path)
    assert archive.sync_index() == 1


def test_a_rebuild_shows_corrected_values_at_every_moment_wherever_it_dies(
    archive: Archive, receipts: list[Receipt], monkeypatch: pytest.MonkeyPatch
) -> None:
    revise(archive, "NEW", *receipts[:2])
    archive.sync_revisions()
    genuine = overlays.sync_overlays
    seen = []

    def watched(*arguments: Any) -> int:
        seen.append(patients(archive, *receipts[:2]))
        done = genuine(*arguments)
        seen.append(patients(archive, *receipts[:2]))
        return done

    def dies(*arguments: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(overlays, "sync_overlays", watched)
    archive.rebuild_index()
    assert seen == [["NEW", "NEW"]] * 2
    assert patients(archive, *receipts[:2]) == ["NEW", "NEW"]
    for module, name in ((overlays, "sync_overlays"), (index, "replace_table")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, dies)
            with pytest.raises(KeyboardInterrupt):
                archive.rebuild_index()
        assert patients(archive, *receipts[:2]) == ["NEW", "NEW"]
    assert sorted(path.name for path in (archive.root / "index").iterdir()) == ["instances", "overlays"]


def test_damaged_overlays_are_made_anew_by_a_rebuild_and_lost_ones_by_the_next_sync(
    archive: Archive, receipts: list[Receipt]
) -> None:
    revise(archive, "NEW", *receipts[:2])
    archive.sync_revisions()
    for commit in (archive.root / "index/overlays/_delta_log").glob("*.json"):
        commit.write_bytes(bytes(100))
    with pytest.raises(StoreError):
        patients(archive, *receipts)
    archive.rebuild_index()
    assert patients(archive, *receipts[:2]) == ["NEW", "NEW"]
    shutil.rmtree(archive.root / "index/overlays")
    archive.sync_index()
    assert patients(archive, *receipts[:2]) == ["NEW", "NEW"]


def test_revisions_that_the_store_does_not_show_stay_in_the_index(archive: Archive, receipts: list[Receipt]) -> None:
    revise(archive, "NEW", *receipts[:2])
    archive.sync_revisions()
    (archive.root / "revisions").rename(archive.root / "revisions.away")
    archive.rebuild_index()
    assert patients(archive, *receipts[:2]) == ["NEW", "NEW"]
