"""What the text of a key means, and which keys are refused without telling their value."""

from __future__ import annotations

import re

import pytest

from vna.errors import ConfigError
from vna.query import ATTRIBUTES, Level, question
from vna.query.matching import Anything, Matcher, Nothing, Patterns, Ranges, Values, matcher
from vna.query.sql import name_expression


def read(keyword: str, text: str) -> Matcher:
    return matcher(ATTRIBUTES[keyword], text)


@pytest.mark.parametrize("text", ["", "  ", "*", "**", "\\", "A\\*"])
def test_no_value_and_a_star_alone_match_everything(text: str) -> None:
    assert read("PatientID", text) == read("StudyDate", "*") == Anything()


@pytest.mark.parametrize(
    ("keyword", "text", "expected"),
    [
        ("PatientID", " P1 ", Values(("P1",))),
        ("PatientID", "P?\\Q", Patterns(("P?", "Q"))),
        ("PatientName", "MUELLER", Patterns(("MUELLER",))),
        ("PatientID", '""', Nothing()),
        ("StudyInstanceUID", "1.2\\1.3", Values(("1.2", "1.3"))),
        ("SeriesNumber", "007", Values((7,))),
        ("StudyDate", "20240229", Ranges((("20240229", "20240229"),))),
        ("StudyDate", "-20240229", Ranges((("00000000", "20240229"),))),
        ("StudyDate", "20240101-", Ranges((("20240101", "99999999"),))),
        ("StudyTime", "08", Ranges((("080000.000000", "085960.999999"),))),
        ("StudyTime", "0815-0830", Ranges((("081500.000000", "083060.999999"),))),
        ("StudyTime", "-081530.5", Ranges((("000000.000000", "081530.599999"),))),
        ("StudyTime", "08-", Ranges((("080000.000000", "235960.999999"),))),
    ],
)
def test_a_key_becomes_a_matcher(keyword: str, text: str, expected: Matcher) -> None:
    assert read(keyword, text) == expected


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("StudyDate", "20240230"), ("StudyDate", "2024*"), ("StudyDate", "-"), ("StudyTime", "2500"), ("StudyTime", "8-9"),
        ("StudyTime", "-"), ("StudyInstanceUID", "1.2.*"), ("SeriesNumber", "x1"), ("NumberOfStudyRelatedSeries", "3"),
    ],
)  # fmt: skip
def test_what_cannot_be_matched_is_refused_without_the_value(keyword: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(keyword, text)
    assert keyword in str(caught.value)
    assert text not in str(caught.value) or text == "-"


@pytest.mark.parametrize(
    ("pattern", "found", "missed"),
    [
        ("a^b", ["a^b", "a^b^^^", "a ^b", "x^y=a^b", "=a^b", "x=y=a^b"], ["a", "a^b^c", "a^bc", "a^b^^dr"]),
        ("a^*", ["a", "a^b", "a^b^c", "x=a"], ["ab", "b^a"]),
        ("a*", ["a", "ab^c", "a^c"], ["b^a", "b"]),
        ("a?", ["ab", "x=ab"], ["a", "a=b", "abc"]),
        ("a=b", ["a=b", "a=b=c", "a^^=b"], ["a", "b=a", "a=c"]),
        ("=b", ["a=b", "=b", "x^y=b=z"], ["b", "a=c"]),
        ("a^^*", ["a", "a^^c"], ["a^b"]),
        ("a.b(", ["a.b("], ["axb("]),
        ("=", ["a", "a=b"], []),
    ],
)
def test_names_match_by_group_and_without_empty_components(pattern: str, found: list[str], missed: list[str]) -> None:
    expression = re.compile(name_expression(pattern))
    assert [name for name in found if not expression.fullmatch(name)] == []
    assert [name for name in missed if expression.fullmatch(name)] == []


def test_keys_that_nobody_knows_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        question(Level.STUDY, {"PatientsName": "x"})
    assert "PatientName" in caught.value.hint


def test_keys_below_the_level_are_refused() -> None:
    with pytest.raises(ConfigError, match="below STUDY"):
        question(Level.STUDY, {"Modality": "CT"})
    with pytest.raises(ConfigError, match="told of patients"):
        question(Level.STUDY, {"NumberOfPatientRelatedStudies": ""})


def test_a_hierarchical_question_needs_the_unique_keys_above_and_no_others() -> None:
    question(Level.STUDY, {"PatientName": "A*", "StudyDate": "20240101"}, hierarchical=True)
    question(Level.SERIES, {"StudyInstanceUID": "1.2", "Modality": "CT"}, hierarchical=True)
    for keys in ({"Modality": "CT"}, {"StudyInstanceUID": "1.2\\1.3"}, {"StudyInstanceUID": "1.2", "StudyDate": "20240101"}):
        with pytest.raises(ConfigError, match="hierarchical"):
            question(Level.SERIES, keys, hierarchical=True)


def test_a_combined_range_is_one() -> None:
    with pytest.raises(ConfigError, match="one StudyTime"):
        question(Level.STUDY, {"StudyDate": "20240101", "StudyTime": "08\\09"}, combined=True)


def test_told_are_the_level_what_identifies_those_above_and_what_is_asked_for() -> None:
    told = question(Level.SERIES, {"StudyDescription": ""}, include=["PatientName"]).told
    assert told[:4] == ("PatientID", "PatientName", "StudyInstanceUID", "StudyDescription")
    assert {"Modality", "SeriesNumber", "NumberOfSeriesRelatedInstances"} <= set(told)
    assert "StudyDate" not in told
