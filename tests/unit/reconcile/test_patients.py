"""Patients: automatic pairs are never wrong, and what is hard goes to a person."""

from __future__ import annotations

import pytest

from tests.support.populations import Patients, Row, harbour, riverside
from vna.errors import RefusedError
from vna.reconcile.lists import ReadList, from_rows
from vna.reconcile.merges import NO_MERGES, Merges, read_merges
from vna.reconcile.rules import MatchLevel, Outcome, SiteRule, SiteRules
from vna.reconcile.run import match

DEFAULTS = SiteRules()
HEADER = ("key", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")


def as_list(rows: list[Row], name: str = "list", level: MatchLevel = MatchLevel.PATIENT) -> ReadList:
    header = list(dict.fromkeys(column for row in rows for column in row))
    return from_rows(header, [[row.get(column, "") for column in header] for row in rows], name, level, name, {})


def outcomes(
    pacs: list[tuple[str, ...]], ris: list[tuple[str, ...]], rules: SiteRules = DEFAULTS, merges: Merges = NO_MERGES
) -> set[tuple[str, str, str, str]]:
    left, right = (
        [dict(zip(HEADER, (f"{side}{i}", *row), strict=True)) for i, row in enumerate(rows)]
        for side, rows in (("p", pacs), ("r", ris))
    )
    _, file = match(as_list(right), as_list(left), MatchLevel.PATIENT, rules, merges)
    return {(row["outcome"], row["rule"], row["pacs_key"], row["ris_key"]) for row in file.rows}


@pytest.mark.parametrize(
    ("pacs", "ris", "outcome", "rule"),
    [
        (("000123", "", "DOE^JOHN", "19700203", "M"), ("123", "H", "Doe^John^A", "19700203", "M"), "auto", "P1"),
        (("000123", "", "MUELLER^JUERGEN", "19700203", ""), ("123", "H", "Müller^Jürgen", "19700203", "M"), "auto", "P1"),
        (("123", "", "DOE^BILL", "19700203", "M"), ("123", "H", "Doe^William", "19700203", "M"), "auto", "P1"),
        (("123", "", "SMIHT^GERALDINE", "19700203", "F"), ("123", "H", "Smith^Geraldine", "19700203", "F"), "auto", "P2"),
        (("123", "", "DOE^JOHN", "19700302", "M"), ("123", "H", "Doe^John", "19700203", "M"), "auto", "P3"),
        (("123", "", "DOE^JOHN", "19400203", "M"), ("123", "H", "Doe^John", "19700203", "M"), "review", "P8"),
        (("123", "", "DOE^JOHN", "19410817", "M"), ("123", "H", "Doe^John", "19700203", "M"), "review", "P8"),
        (("123", "", "DOE^JOHN^^^SR", "", "M"), ("123", "H", "Doe^John^^^Jr", "19700203", "M"), "review", "P8"),
        (("123", "", "DOE^ANNA", "19700203", "F"), ("123", "H", "Doe^Hanna", "19700203", "F"), "review", "P8"),
        (("123", "", "DOE^JAN", "19700203", ""), ("123", "H", "Doe^Jana", "19700203", "F"), "review", "P8"),
        (("123", "", "DOE^PAUL", "19700203", "M"), ("123", "H", "Doe^Eric", "19700203", "M"), "review", "P8"),
        (("123", "", "BABY BOY OF DOE", "20240203", "M"), ("123", "H", "Doe^Eric", "20240203", "M"), "review", "P8"),
        (("123", "", "MILLER^ROSE", "19550906", "F"), ("123", "H", "Doe^Eric", "19700203", "M"), "conflict", "P7"),
        (("124", "H", "DOE^JOHN", "19700203", "M"), ("55123", "H", "Doe^John", "19700203", "M"), "review", "P9"),
        (("123", "EAST", "MILLER^ROSE", "19550906", "F"), ("123", "H", "Doe^Eric", "19700203", "M"), "orphan_pacs", "P12"),
        (("1", "", "TEST^PATIENT", "19550906", "F"), ("123", "H", "Doe^Eric", "19700203", "M"), "junk", "P13"),
    ],
)
def test_one_pair_gets_the_outcome_of_its_rule(pacs: tuple[str, ...], ris: tuple[str, ...], outcome: str, rule: str) -> None:
    assert (outcome, rule) in {(o, r) for o, r, p, _ in outcomes([pacs], [ris]) if p}


def test_twins_with_one_id_and_their_initial_wait_for_a_person() -> None:
    ris = [("123", "H", "Doe^Jack", "20100203", "M"), ("124", "H", "Doe^Jim", "20100203", "M")]
    found = outcomes([("124", "H", "DOE^J", "20100203", "M")], ris)
    assert {o for o, _, p, _ in found if p} == {"review"}


def test_two_namesakes_without_ids_are_never_told_apart_by_chance() -> None:
    ris = [("", "", "Szczepaniak^Zofia", "19610203", "F"), ("", "", "Szczepaniak^Zofia", "19610203", "F")]
    found = outcomes([("", "", "SZCZEPANIAK^ZOFIA", "19610203", "F")], ris)
    assert {(o, r) for o, r, p, _ in found if p} == {("review", "P10")}


def test_a_merge_brings_a_prior_id_to_its_survivor() -> None:
    pacs, ris = [("777", "H", "DOE^JOHN", "19700203", "M")], [("123", "H", "Doe^John", "19700203", "M")]
    merges = read_merges([{"prior": "777", "surviving": "123"}], SiteRules().patient_ids)
    assert ("auto", "P1", "p0", "r0") in outcomes(pacs, ris, merges=merges)
    assert ("review", "P9", "p0", "r0") in outcomes(pacs, ris)


def test_a_site_switches_rules_off_and_adds_its_own() -> None:
    pacs, ris = [("123", "", "MILLER^ANN", "19700203", "F")], [("123", "H", "Doe^Ann", "19700203", "F")]
    own = SiteRule(
        "S1", MatchLevel.PATIENT, Outcome.AUTO, {"patient_id": ("same",), "birth_date": ("exact",), "given": ("exact",)}
    )
    assert ("review", "P8", "p0", "r0") in outcomes(pacs, ris)
    assert ("auto", "S1", "p0", "r0") in outcomes(pacs, ris, SiteRules(rules=(own,)))
    same = [("123", "", "DOE^ANN", "19700203", "F")]
    assert ("review", "P11", "p0", "r0") in outcomes(same, ris, SiteRules(disabled=("P1",)))


def test_the_list_of_another_hospital_is_refused() -> None:
    one, other = riverside(60, 60, seed=3), harbour(60, 60, seed=4)
    for row in other.ris:
        row["PatientID"] = "X" + row["PatientID"]
        row["IssuerOfPatientID"] = "ELSEWHERE"
    for row in one.pacs:
        row["IssuerOfPatientID"] = "MAIN"
    with pytest.raises(RefusedError, match="next to nothing matches"):
        match(as_list(other.ris), as_list(one.pacs), MatchLevel.PATIENT, SiteRules())


@pytest.mark.parametrize(
    ("draw", "ids", "least"), [(riverside, True, 0.99), (riverside, False, 0.93), (harbour, True, 0.99), (harbour, False, 0.93)]
)
def test_no_automatic_pair_is_wrong_and_few_true_pairs_are_lost(draw: object, ids: bool, least: float) -> None:
    assert callable(draw)
    people: Patients = draw(1_500, 1_400, seed=21, ids=ids)
    _, file = match(as_list(people.ris), as_list(people.pacs), MatchLevel.PATIENT, SiteRules())
    found = {(row["pacs_key"], row["ris_key"]): row["outcome"] for row in file.rows if row["pacs_key"] and row["ris_key"]}
    true = people.pairs()
    assert not [pair for pair, outcome in found.items() if outcome == "auto" and pair not in true]
    assert sum(found.get(pair) in ("auto", "review") for pair in true) >= least * len(true)
    assert {row["pacs_key"] for row in file.rows if row["pacs_key"]} == {row["key"] for row in people.pacs}
    assert all(row["explanation"] for row in file.rows)


def test_the_same_lists_give_the_same_decisions() -> None:
    people = riverside(300, 300, seed=5)
    made = [match(as_list(people.ris), as_list(people.pacs), MatchLevel.PATIENT, SiteRules())[1].rows for _ in range(2)]
    assert made[0] == made[1]
