"""Exams: studies find their orders, alone and in groups, and a wrong worklist pick is never followed."""

from __future__ import annotations

import pytest

from tests.support.exam_populations import harbour_exams, riverside_exams
from tests.support.populations import Patients, Row
from vna.reconcile.exams import match_exams
from vna.reconcile.merges import Merges
from vna.reconcile.procedures import ProcedureLevel, Procedures
from vna.reconcile.rules import SiteRules

ORDER = {
    "PatientID": "123",
    "PatientName": "Doe^John",
    "PatientBirthDate": "19700203",
    "AccessionNumber": "A5001",
    "StudyDate": "20230510",
    "StudyTime": "0900",
    "Modality": "CT",
    "StudyDescription": "CT HEAD",
}


def links(pacs: list[Row], ris: list[Row]) -> set[tuple[str, str, int | None, int | None]]:
    found = match_exams([ORDER | row for row in pacs], [ORDER | row for row in ris], SiteRules(), Merges())
    return {(link.outcome.value, link.rule, link.left, link.right) for link in found.links}


@pytest.mark.parametrize(
    ("study", "rule"),
    [
        ({}, "R1"),
        ({"StudyDate": "20230511", "StudyTime": "0010"}, "R1"),
        ({"PatientID": "000123"}, "R1"),
        ({"AccessionNumber": "5001"}, "R3"),
        ({"AccessionNumber": "A0005001"}, "R3"),
        ({"AccessionNumber": "A5010"}, "R3"),
        ({"AccessionNumber": ""}, "R4"),
        ({"AccessionNumber": "", "PatientID": "000123", "StudyDescription": "Brain"}, "R4"),
    ],
)
def test_a_study_finds_its_order(study: Row, rule: str) -> None:
    assert links([study], [{}]) == {("auto", rule, 0, 0)}


def test_the_study_uid_of_the_order_decides_when_the_number_is_lost() -> None:
    assert links([{"AccessionNumber": "", "StudyInstanceUID": "1.2.3"}], [{"StudyInstanceUID": "1.2.3"}]) == {
        ("auto", "R2", 0, 0)
    }


def test_a_number_of_another_patient_is_a_conflict() -> None:
    study = {"PatientID": "999", "PatientName": "MILLER^ROSE", "PatientBirthDate": "19550906"}
    assert ("conflict", "R5", 0, 0) in links([study], [{}])


def test_a_wrong_worklist_pick_still_finds_its_own_order() -> None:
    other = {
        "PatientID": "999",
        "PatientName": "Miller^Rose",
        "PatientBirthDate": "19550906",
        "AccessionNumber": "A7000",
        "StudyDate": "20230601",
    }
    found = links([{"AccessionNumber": "A7000"}], [{}, other])
    assert ("auto", "R4", 0, 0) in found
    assert not any(outcome == "auto" and right == 1 for outcome, _, _, right in found)


def test_another_region_under_the_same_number_waits_for_a_person() -> None:
    assert links([{"StudyDescription": "CT KNEE LEFT"}], [{}]) == {("review", "R8", 0, 0)}
    assert links([{"StudyDate": "20230810"}], [{}]) == {("review", "R8", 0, 0)}


def test_a_wrong_clock_is_overlooked_only_while_no_nearer_partner_exists() -> None:
    assert links([{"StudyDate": "20230512"}], [{}]) == {("auto", "R11", 0, 0)}
    rival = {"AccessionNumber": "A9000", "StudyDate": "20230512"}
    assert not any(outcome == "auto" and right == 0 for outcome, _, _, right in links([{"StudyDate": "20230512"}], [{}, rival]))


def test_reused_numbers_are_told_apart_by_patient_and_issuer() -> None:
    other = {
        "PatientID": "123",
        "IssuerOfPatientID": "B",
        "IssuerOfAccessionNumber": "B",
        "PatientName": "Miller^Rose",
        "PatientBirthDate": "19550906",
    }
    found = links([{"IssuerOfAccessionNumber": "A"}], [{"IssuerOfAccessionNumber": "A"}, other])
    assert ("auto", "R1", 0, 0) in found
    assert ("orphan_ris", "R7", None, 1) in found


def test_one_order_with_two_studies_and_one_study_with_two_orders_are_groups() -> None:
    assert links([{}, {"StudyTime": "0930"}], [{}]) == {("auto", "R1", 0, 0), ("auto", "R1", 1, 0)}
    two = [{}, {"AccessionNumber": "A5002", "StudyDescription": "CT CHEST"}]
    assert links([{"StudyDescription": "CT Head + Thorax"}], two) == {("auto", "R1", 0, 0), ("auto", "R6", 0, 1)}
    assert links([{"StudyDescription": "CT Head + Thorax", "AccessionNumber": ""}], two) == {
        ("auto", "R6", 0, 0),
        ("auto", "R6", 0, 1),
    }


def test_a_wrong_pick_within_one_patient_is_not_followed() -> None:
    orders = [
        {"StudyDescription": "", "StudyTime": "0800"},
        {"StudyDescription": "", "AccessionNumber": "A5002", "StudyTime": "1500"},
    ]
    studies = [{"StudyDescription": "", "StudyTime": "0810"}, {"StudyDescription": "", "StudyTime": "1505"}]
    assert not any(outcome == "auto" and (left, right) == (1, 0) for outcome, _, left, right in links(studies, orders))


def test_two_orders_that_fit_alike_wait_for_a_person() -> None:
    orders = [{"AccessionNumber": "A5001"}, {"AccessionNumber": "A6002"}]
    assert {outcome for outcome, _, left, _ in links([{"AccessionNumber": ""}], orders) if left is not None} == {"review"}


def test_descriptions_are_compared_by_region_side_map_and_what_was_learned() -> None:
    procedures = Procedures({"SPECIAL A": "CT HEAD"})
    assert procedures.compare("CT Thorax nativ", "CT CHEST W/O CONTRAST") is ProcedureLevel.SAME
    assert procedures.compare("Knee left", "XR KNEE RIGHT") is ProcedureLevel.DIFFERENT
    assert procedures.compare("SPECIAL A", "CT HEAD") is ProcedureLevel.SAME
    assert procedures.compare("PROTOCOL 17", "CODE 4711") is ProcedureLevel.MISSING
    for _ in range(5):
        procedures.learn("PROTOCOL 17", "CODE 4711")
    assert procedures.compare("PROTOCOL 17", "CODE 4711") is ProcedureLevel.SAME


@pytest.mark.parametrize("draw", [riverside_exams, harbour_exams])
def test_no_automatic_match_is_wrong_and_nearly_all_are_automatic(draw: object) -> None:
    assert callable(draw)
    exams: Patients = draw(2_000, seed=31)
    found = match_exams(exams.pacs, exams.ris, SiteRules(), Merges())
    auto = {
        (exams.pacs[x.left]["key"], exams.ris[x.right]["key"])
        for x in found.links
        if x.outcome == "auto" and x.left is not None and x.right is not None
    }
    assert not auto - exams.pairs()
    matched = {pacs for pacs, _ in auto}
    wanted = {key for key, orders in exams.truth.items() if orders}
    assert len(matched & wanted) >= 0.97 * len(wanted)
