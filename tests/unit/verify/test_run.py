"""A verification at an embedded PACS, honest and not: only what was found there counts, and the certificate says how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.instances import make_uid
from tests.support.objects import WireObject
from tests.support.sites import TargetSite, target_site
from vna.demo.faults import Faults
from vna.errors import LockedError, PeerError
from vna.forward import run as forward
from vna.ledger import StoredObject
from vna.model import Progress, Provenance
from vna.part10 import file_meta
from vna.verify import VERIFY_CODES, VerifyOptions, VerifyResult, Way, plan, run
from vna.verify.certificate import digest_of
from vna.verify.comparing import Comparer, Verdict

SECRET = "Geheim^Patient"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TargetSite]:
    with target_site(tmp_path) as made:
        yield made


def sent(site: TargetSite, *patients: str, images: int = 3) -> list[WireObject]:
    """Store studies, and send them to the target."""
    objects = [item for patient in patients or ("P1",) for item in site.fill(patient, images, PatientName=SECRET)]
    forward(site.archive, site.ledger, site.node, site.local)
    return objects


def verify(site: TargetSite, **options: object) -> VerifyResult:
    chosen = {"first_wait_s": 0.01, "settle_s": 0.5, **options}
    return run(site.archive, site.ledger, site.node, site.local, VerifyOptions(**chosen))  # type: ignore[arg-type]


def certificate(result: VerifyResult) -> dict:  # type: ignore[type-arg]
    content = json.loads(Path(result.certificate).read_text())
    assert digest_of(content) == content["sha256"]
    return content


def falsify(site: TargetSite, uid: str, old: bytes, new: bytes) -> None:
    """Change the bytes that the target holds of an instance."""
    held = site.pacs.objects()[uid]
    assert old in held.data_set
    site.pacs._catalogue._objects[uid] = replace(held, data_set=held.data_set.replace(old, new))


def test_everything_that_is_there_is_verified_byte_for_byte(site: TargetSite) -> None:
    sent(site, "P1", "P2")
    result = verify(site)
    assert (result.studies, result.expected, result.verified, result.missing, result.different) == (2, 6, 6, 0, 0)
    assert (result.sampled, result.bound, result.closed) == (6, 0.0, True)
    assert site.figures() == {"expected": 6, "stored": 6, "verified": 6}
    assert certificate(result)["comparison"]["codes"] == {"IDENTICAL": 6, "EQUIVALENT": 0, "DIFFERENT": 0, "UID_SET": 0}


def test_the_result_has_the_promised_keys(site: TargetSite) -> None:
    sent(site)
    keys = {"node", "studies", "expected", "verified", "missing", "different", "sampled", "bound", "certificate", "closed"}
    assert keys <= verify(site).as_json().keys()


def test_a_second_verification_asks_nothing_and_issues_nothing(site: TargetSite) -> None:
    sent(site)
    first = verify(site)
    files, asked = sorted(site.ledger.evidence_folder().iterdir()), len(site.pacs.requests)
    second = verify(site)
    assert (second.certificate, second.as_json()["unchanged"]) == (first.certificate, True)
    assert (second.verified, second.sampled) == (3, 3)
    assert sorted(site.ledger.evidence_folder().iterdir()) == files
    assert len(site.pacs.requests) == asked


def test_what_the_target_lost_is_due_once_more_and_then_refused(site: TargetSite) -> None:
    site.fill("P1", 4)
    site.pacs.faults = Faults(store_loses_every=2)
    forward(site.archive, site.ledger, site.node, site.local)
    result = verify(site)
    assert (result.verified, result.missing, result.closed) == (2, 2, False)
    assert set(site.reasons().values()) == {"NOT_AT_TARGET"}
    assert site.figures() == {"expected": 4, "stored": 4, "verified": 2, "pending": 2}
    site.pacs.faults = Faults(store_loses_every=1)
    assert forward(site.archive, site.ledger, site.node, site.local).sent == 2
    result = verify(site)
    assert (result.verified, result.missing, result.closed) == (2, 2, True)
    assert site.figures() == {"expected": 4, "stored": 4, "verified": 2, "refused": 2}
    assert {one["code"] for one in certificate(result)["exceptions"]} == {"NOT_AT_TARGET"}
    assert forward(site.archive, site.ledger, site.node, site.local).studies == 0


def test_a_resend_that_arrives_is_verified(site: TargetSite) -> None:
    site.fill("P1", 2)
    site.pacs.faults = Faults(store_loses_every=2)
    forward(site.archive, site.ledger, site.node, site.local)
    assert verify(site).missing == 1
    site.pacs.faults = Faults()
    forward(site.archive, site.ledger, site.node, site.local)
    result = verify(site)
    assert (result.verified, result.missing, result.closed) == (2, 0, True)


def test_changed_values_are_named_by_keyword_and_stay_pending(site: TargetSite) -> None:
    objects = sent(site)
    falsify(site, objects[1].sop_instance_uid, b"CT HEAD ", b"CT CHEST")
    result = verify(site)
    assert (result.verified, result.different, result.closed) == (2, 1, False)
    assert site.reasons() == {objects[1].sop_instance_uid: "DIFFERENT"}
    (exception,) = certificate(result)["exceptions"]
    assert (exception["code"], exception["detail"]) == ("DIFFERENT", "StudyDescription")
    again = verify(site)
    assert (again.different, again.as_json()["unchanged"], again.certificate) == (1, True, result.certificate)


def test_changed_pixels_are_found(site: TargetSite) -> None:
    site.fill("P1", 2)
    site.pacs.faults = Faults(store_alters=True)
    forward(site.archive, site.ledger, site.node, site.local)
    result = verify(site)
    assert result.different == 2
    assert {one["detail"] for one in certificate(result)["exceptions"]} == {"PixelData"}


def test_another_encoding_of_the_same_is_equivalent(site: TargetSite) -> None:
    objects = sent(site)
    old = b"\x08\x00\x30\x10LO\x08\x00CT HEAD "
    falsify(site, objects[0].sop_instance_uid, old, old[:6] + b"\x0a\x00CT HEAD   ")
    result = verify(site)
    assert (result.verified, result.closed) == (3, True)
    assert certificate(result)["comparison"]["codes"]["EQUIVALENT"] == 1


def test_what_is_listed_and_not_given_back_is_not_verified(site: TargetSite) -> None:
    sent(site)
    site.pacs.faults = Faults(retrieve_drops_every=1)
    result = verify(site)
    assert (result.verified, result.missing, result.closed) == (0, 3, False)
    assert set(site.reasons().values()) == {"NOT_RETURNED"}


def test_what_is_dropped_once_is_asked_for_again(site: TargetSite) -> None:
    sent(site, images=5)
    site.pacs.faults = Faults(retrieve_drops_every=4)
    assert verify(site).verified == 5


def test_a_target_without_c_get_is_retrieved_from_by_c_move(site: TargetSite) -> None:
    sent(site)
    site.pacs._refuses = frozenset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vna.demo.pacs._QUERIES", {f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in "12"})
        result = verify(site)
    assert (result.verified, result.sampled) == (3, 3)
    assert [request.service for request in site.pacs.requests].count("C-MOVE") == 1


def test_a_target_that_cannot_be_retrieved_from_is_verified_by_uids_and_the_certificate_says_so(site: TargetSite) -> None:
    sent(site)
    site.pacs.destinations = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vna.demo.pacs._QUERIES", {f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in "12"})
        result = verify(site)
    assert (result.verified, result.sampled, result.bound, result.closed) == (3, 0, 1.0, True)
    assert "by their UIDs alone" in certificate(result)["comparison"]["note"]
    rows = list(site.ledger.outcomes.at_target("target"))
    assert {row.verify_detail for row in rows} == {"no way to retrieve: get 0x0122, move 0xA801"}


def test_studies_that_share_a_uid_are_not_compared_with_each_other(site: TargetSite) -> None:
    shared = make_uid("shared")
    for n in range(6):
        site.fill(f"P{n}", 1, SOPInstanceUID=shared, StudyDescription=f"STUDY {n}")
    site.ledger.absorb(site.archive.journal_rows(site.ledger.positions()))
    objects = [one for n in range(6) for one in site.ledger.objects.of_study(make_uid("study", f"P{n}"))]
    assert len({one.sha256 for one in objects}) == 6
    comparer = Comparer(site.archive)

    def compare(stored: StoredObject) -> Verdict:
        meta = file_meta(stored.sop_class_uid, shared, stored.transfer_syntax_uid)
        with comparer.batch([stored]) as batch, site.archive.open_object(stored.path) as file:
            incoming = comparer(stored.sop_class_uid, shared, stored.transfer_syntax_uid, Provenance("target"))
            incoming.write(file.read()[len(meta) :])
            incoming.commit()
            return batch.results[stored.sha256].verdict

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(compare, objects * 5)) == {Verdict.IDENTICAL}


def test_without_retrieval_wanted_the_uids_decide(site: TargetSite) -> None:
    sent(site)
    assert (verify(site, way=Way.NONE).sampled, [one.service for one in site.pacs.requests].count("C-GET")) == (0, 0)


@pytest.mark.parametrize(("sample", "bound"), [(4, 0.75), (0, 1.0), (100, 0.0)])
def test_a_sample_limits_what_is_compared_and_bounds_the_rest(site: TargetSite, sample: int, bound: float) -> None:
    sent(site, "P1", "P2", "P3")
    result = verify(site, sample=sample)
    assert (result.verified, result.sampled, result.bound) == (9, min(sample, 9), bound)
    assert certificate(result)["comparison"]["codes"]["UID_SET"] == 9 - min(sample, 9)


def test_a_listing_that_is_cut_off_makes_nothing_missing(site: TargetSite) -> None:
    sent(site, images=5)
    site.pacs.faults = Faults(find_cap=2)
    assert (verify(site).verified, verify(site).missing) == (5, 0)


def test_refused_instances_stand_in_the_certificate_but_are_not_expected(site: TargetSite) -> None:
    site.fill("P1", 2)
    site.pacs.faults = Faults(store_status=0x0122)
    forward(site.archive, site.ledger, site.node, site.local)
    site.pacs.faults = Faults()
    sent(site, "P2")
    result = verify(site)
    assert (result.expected, result.verified, result.refused, result.closed) == (3, 3, 2, True)
    assert {(one["state"], one["code"]) for one in certificate(result)["exceptions"]} == {("refused", "0x0122")}


def test_only_chosen_studies_are_verified_and_certified(site: TargetSite) -> None:
    sent(site, "P1", "P2")
    result = verify(site, studies=(make_uid("study", "P1"),))
    assert (result.studies, result.expected, result.verified, result.closed) == (1, 3, 3, False)
    assert make_uid("study", "P1") in certificate(result)["scope"]
    assert plan(site.archive, site.ledger, site.node).as_json()["instances"] == 3
    assert verify(site, where="InstanceNumber = 1").verified == 2


def test_a_target_that_is_gone_is_an_error_and_nothing_is_written(site: TargetSite) -> None:
    sent(site, "P1", "P2")
    node = site.node
    site.pacs.stop()
    with pytest.raises(PeerError):
        run(site.archive, site.ledger, node, site.local, VerifyOptions(first_wait_s=0.01))
    assert site.figures() == {"expected": 6, "stored": 6, "pending": 6}


def test_a_study_that_another_run_verifies_is_left_to_it(site: TargetSite) -> None:
    sent(site, "P1")
    with site.ledger.leases.held("verify", "target", make_uid("study", "P1")), pytest.raises(LockedError):
        verify(site)


def test_an_interruption_leaves_a_ledger_that_can_be_gone_on_with(site: TargetSite) -> None:
    sent(site, "P1", "P2", "P3", "P4")

    def interrupt(_progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(site.archive, site.ledger, site.node, site.local, VerifyOptions(workers=2), interrupt)
    result = verify(site)
    assert (result.verified, result.locked) == (12, 0)


def test_the_certificate_names_no_patient_and_has_a_page_to_read(site: TargetSite) -> None:
    objects = sent(site)
    falsify(site, objects[0].sop_instance_uid, b"Geheim", b"Anders")
    path = Path(verify(site).certificate)
    page = path.with_suffix(".html").read_text()
    assert "Geheim" not in path.read_text() + page
    assert "Anders" not in path.read_text() + page
    assert "PatientName" in page
    assert "http" not in page.replace("http-equiv", "")
    assert all(code in page for code in VERIFY_CODES)


def test_nothing_sent_means_nothing_expected(site: TargetSite) -> None:
    site.fill("P1")
    result = verify(site)
    assert (result.studies, result.expected, result.closed) == (0, 0, False)
    assert site.pacs.requests == []
