"""Revisions in the index: each is shown as soon as it can be, whoever died and whatever could not be read meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.support.objects import send, wire_object
from tests.support.revisions import revise
from vna.archive import Archive
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


@pytest.mark.parametrize("error", [RefusedError("no"), DigestMismatchError("rotten"), InstanceMissingError("gone")])
def test_an_object_that_is_damaged_gone_or_cannot_be_changed_holds_nothing_up(
    error: Exception, archive: Archive, receipts: list[Receipt]
) -> None:
    revise(archive, "NEW", *receipts[:2])
    archive.store = _Fails(archive.root, error, receipts[1].path)
    assert archive.sync_revisions() == 1
    assert patients(archive, *receipts[:2]) == ["NEW", "P1"]
