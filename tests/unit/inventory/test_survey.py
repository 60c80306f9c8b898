"""No study of a source that hides some is lost, and what cannot be proved is said."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.inventory.sources import FakeSource, study
from vna.errors import QueryTruncatedError
from vna.inventory.survey import survey
from vna.inventory.windows import EVERYTHING

TODAY = date(2026, 1, 1)


def spread(count: int, *, days: int = 100, start: date = date(2020, 1, 1)) -> list[dict[str, str]]:
    """Make studies on many days and times, of patients with different IDs."""
    return [
        study(n, f"{start + timedelta(days=n % days):%Y%m%d}", f"{n * 7 % 24:02d}{n % 60:02d}00", f"{'ABC1'[n % 4]}{n:05d}")
        for n in range(count)
    ]


def uids(records: list[dict[str, str]]) -> set[str]:
    return {record["StudyInstanceUID"] for record in records}


def test_a_source_without_limits_is_proved_whole_with_few_queries() -> None:
    records = spread(300)
    source = FakeSource(records)
    found = survey(source, TODAY)
    assert set(found.studies) == uids(records)
    assert (found.truncated, found.unproved) == (0, [])
    assert sum(window.dated for window in source.asked) < 40


def test_an_empty_source_is_complete() -> None:
    found = survey(FakeSource([]), TODAY)
    assert (found.studies, found.unproved, len(found.windows)) == ({}, [], 4)


@pytest.mark.parametrize("cap", [7, 50, 299])
def test_a_silent_cap_hides_nothing(cap: int) -> None:
    records = spread(300)
    found = survey(FakeSource(records, cap=cap), TODAY)
    assert set(found.studies) == uids(records)
    assert found.truncated > 0
    assert found.unproved == []


@pytest.mark.parametrize("limit", [7, 50, 299])
def test_a_refusing_cap_hides_nothing(limit: int) -> None:
    records = spread(300)
    found = survey(FakeSource(records, limit=limit), TODAY)
    assert set(found.studies) == uids(records)
    assert found.truncated > 0
    assert found.unproved == []


def test_a_day_with_more_studies_than_the_cap_is_cut_by_time() -> None:
    records = spread(200, days=1)
    found = survey(FakeSource(records, cap=20), TODAY)
    assert set(found.studies) == uids(records)
    assert found.unproved == []


def test_one_second_with_more_studies_than_the_cap_is_cut_by_patient() -> None:
    records = [study(n, "20200101", "120000", f"P{n:04d}") for n in range(60)]
    found = survey(FakeSource(records, cap=7), TODAY)
    assert set(found.studies) == uids(records)
    assert found.unproved == []


def test_studies_without_date_are_found_behind_a_cap() -> None:
    records = spread(100) + [study(1000 + n, "", "", f"Z{n}") for n in range(5)]
    found = survey(FakeSource(records, cap=10), TODAY)
    assert set(found.studies) == uids(records)
    assert found.unproved == []


def test_studies_without_time_are_found_on_a_day_behind_the_cap() -> None:
    records = spread(60, days=1) + [study(1000 + n, "20200101", "", f"Z{n}") for n in range(5)]
    found = survey(FakeSource(records, cap=8), TODAY)
    assert set(found.studies) == uids(records)
    assert found.unproved == []


def test_a_cap_that_equals_the_number_of_dated_studies_hides_no_undated_one() -> None:
    records = [*spread(50), study(1000, "", "", "Z1")]
    found = survey(FakeSource(records, cap=50), TODAY)
    assert set(found.studies) == uids(records)


def test_a_capped_source_without_wildcards_cannot_prove_that_no_study_lacks_a_date() -> None:
    records = [one | {"ModalitiesInStudy": ""} for one in spread(100)]
    found = survey(FakeSource(records, cap=10, empty_for=("PatientID",)), TODAY)
    assert set(found.studies) == uids(records)
    assert found.unproved == ["studies without StudyDate in the window everything"]


def test_a_whole_source_without_wildcards_is_believed() -> None:
    records = [one | {"ModalitiesInStudy": ""} for one in spread(40)]
    found = survey(FakeSource(records, empty_for=("PatientID",)), TODAY)
    assert (set(found.studies), found.unproved) == (uids(records), [])


def test_a_source_that_ignores_keys_is_not_asked_for_ever() -> None:
    records = [one | {"ModalitiesInStudy": "SR"} for one in spread(1000)]
    source = FakeSource(records, cap=500, ignores=("PatientID", "StudyDate", "StudyTime", "ModalitiesInStudy"))
    found = survey(source, TODAY)
    assert len(source.asked) < 300
    assert len(found.studies) == 500
    assert found.unproved


def test_too_many_in_one_second_of_one_patient_are_reported_as_unproved() -> None:
    records = [*spread(20), *(study(100 + n, "20200101", "120000", "SAME") for n in range(30))]
    found = survey(FakeSource(records, cap=7), TODAY)
    assert found.unproved
    assert not any("SAME" in text for text in found.unproved)


def test_a_round_number_of_studies_in_one_second_of_one_patient_is_doubted() -> None:
    records = [study(n, "20200101", "120000", "SAME") for n in range(150)]
    assert survey(FakeSource(records, cap=120), TODAY).unproved
    assert survey(FakeSource(records[:90]), TODAY).unproved == []


def test_a_source_that_refuses_everything_is_an_error() -> None:
    with pytest.raises(QueryTruncatedError, match="0xA700"):
        survey(FakeSource(spread(5), refuses_everything=True), TODAY)


def test_studies_listed_twice_are_counted_once_and_noted() -> None:
    records = [*spread(20), *spread(3)]
    found = survey(FakeSource(records), TODAY)
    assert len(found.studies) == 20
    assert found.duplicates >= 3
    assert found.duplicated["1.2.0"] >= 2


def test_an_answer_without_uid_is_not_lost_from_sight() -> None:
    found = survey(FakeSource([*spread(5), study(1, "20200101") | {"StudyInstanceUID": ""}]), TODAY)
    assert any("StudyInstanceUID" in text for text in found.unproved)


def test_dates_in_the_far_past_and_future_are_covered() -> None:
    records = [study(1, "18501231", "", "A"), study(2, "22990101", "", "B"), study(3, "20200101", "", "C"), study(4, "", "", "D")]
    found = survey(FakeSource(records, cap=2), TODAY)
    assert set(found.studies) == uids(records)
    assert found.unproved == []


def test_a_source_with_a_single_study_is_complete() -> None:
    found = survey(FakeSource([study(1, "20200101", "120000", "P1")]), TODAY)
    assert (set(found.studies), found.unproved) == ({"1.2.1"}, [])


def test_the_evidence_names_no_patient() -> None:
    found = survey(FakeSource(spread(100, days=1), cap=5), TODAY)
    texts = {asked.window.text() for asked in found.windows}
    assert any("PatientID=prefix of 1 characters" in text for text in texts)
    assert not any("A0" in text for text in texts)
    assert EVERYTHING.text() == "everything"


_RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["", "20200101", "20200102", "20210615", "19991231"]),
        st.sampled_from(["", "000000", "115959", "120000", "235959"]),
        st.sampled_from(["A1", "A2", "B", "B1", "cd", "9"]),
        st.sampled_from(["CT", "MR", "CT\\SR"]),
    ),
    max_size=40,
)


@settings(max_examples=30, deadline=None)
@given(rows=_RECORDS, cap=st.integers(2, 15), refuses=st.booleans())
def test_what_is_said_to_be_complete_is_complete(rows: list[tuple[str, str, str, str]], cap: int, refuses: bool) -> None:
    records = [study(n, day, time, f"{patient}-{n}", modality) for n, (day, time, patient, modality) in enumerate(rows)]
    source = FakeSource(records, **({"limit": cap} if refuses else {"cap": cap}))  # type: ignore[arg-type]
    found = survey(source, TODAY)
    assert found.unproved or set(found.studies) == {record["StudyInstanceUID"] for record in records}
