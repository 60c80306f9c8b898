"""Several objects under one UID: which goes on is decided as data, and nothing is overwritten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.folders import quick_folder
from tests.support.objects import send, wire_object
from vna.archive import Archive
from vna.correct import CorrectOptions, VariantPolicy, decide_variants, revert
from vna.correct.variants import variant_uid
from vna.export import ExportOptions
from vna.export import run as export

FIRST, SECOND, THIRD = (wire_object(PatientName=name) for name in ("First", "Second", "Third"))
ALL = CorrectOptions()
FILEABLE = "status IN ('stored', 'flagged')"


@pytest.fixture
def archive() -> Iterator[Archive]:
    with quick_folder() as folder:
        made = Archive.create(str(folder / "a"))
        with made.sink() as sink:
            for item in (FIRST, SECOND, THIRD, wire_object(InstanceNumber=2)):
                send(sink, item)
        made.sync_index()
        yield made


def names(archive: Archive) -> dict[str, str]:
    return {row["PatientName"]: row["SOPInstanceUID"] for row in archive.select(f"{FILEABLE} AND InstanceNumber = 1")}


def test_the_first_one_stands_until_somebody_decides(archive: Archive) -> None:
    assert names(archive) == {"First": FIRST.sop_instance_uid}
    result = decide_variants(archive, VariantPolicy.KEEP_FIRST, ALL)
    assert (result.studies, result.instances, result.revisions) == (1, 2, 1)
    assert names(archive) == {"First": FIRST.sop_instance_uid}
    assert decide_variants(archive, VariantPolicy.KEEP_FIRST, ALL).revisions == 0


def test_variants_get_new_uids_that_follow_from_their_digests(archive: Archive) -> None:
    decide_variants(archive, VariantPolicy.NEW_UID, ALL)
    expected = {"First": FIRST.sop_instance_uid, "Second": variant_uid(SECOND.sha256), "Third": variant_uid(THIRD.sha256)}
    assert names(archive) == expected
    assert decide_variants(archive, VariantPolicy.NEW_UID, ALL).revisions == 0
    archive.rebuild_index()
    assert names(archive) == expected


def test_the_latest_variant_can_stand_for_the_uid(archive: Archive) -> None:
    decide_variants(archive, VariantPolicy.PREFER_VARIANT, ALL)
    assert names(archive) == {"Third": FIRST.sop_instance_uid}
    decide_variants(archive, VariantPolicy.KEEP_FIRST, ALL)
    assert names(archive) == {"First": FIRST.sop_instance_uid}


def test_a_decision_can_be_taken_back_and_nothing_stored_changed(archive: Archive) -> None:
    before = {path: archive.store.read_bytes(path) for path in archive.store.list("instances")}
    decide_variants(archive, VariantPolicy.PREFER_VARIANT, ALL)
    revert(archive, ALL)
    assert names(archive) == {"First": FIRST.sop_instance_uid}
    assert {path: archive.store.read_bytes(path) for path in archive.store.list("instances")} == before


def test_a_dry_run_leaves_no_trace(archive: Archive) -> None:
    assert decide_variants(archive, VariantPolicy.NEW_UID, ALL, dry_run=True).instances == 2
    assert list(archive.store.list("revisions")) == []


def test_what_was_decided_is_what_is_exported(archive: Archive) -> None:
    with quick_folder() as folder:
        decide_variants(archive, VariantPolicy.NEW_UID, ALL)
        assert export(archive, folder / "corrected").instances == 4
        assert export(archive, folder / "corrected").present == 4
        assert export(archive, folder / "received", ExportOptions(received=True)).instances == 4
