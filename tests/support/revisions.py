"""Revisions put into an archive as a corrector does that dies before the index knows of them."""

from __future__ import annotations

from datetime import UTC, datetime

from vna.archive import Archive
from vna.archive.revisions import ElementChange, Group, Revision, put_revision
from vna.model import Receipt
from vna.part10.original import Attribution


def revise(archive: Archive, patient_id: str, *receipts: Receipt) -> Revision:
    """Give objects of one study another patient ID, without telling the index."""
    change = ElementChange((0x00100020,), "LO", {"vr": "LO", "Value": [patient_id]}, {"vr": "LO", "Value": ["P1"]})
    group = Group(tuple(receipt.sha256 for receipt in receipts), (change,))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    study = receipts[0].study_instance_uid
    return put_revision(archive.store, Revision(study, 0, now, "tester", "test", Attribution("test", "20260101"), (group,)))
