"""Dates, identifiers and merges."""

from __future__ import annotations

import pytest

from vna.errors import RefusedError
from vna.reconcile.dates import DateLevel, compare_days, month_first, parse_day, parse_minutes
from vna.reconcile.identifiers import IdLevel, IdRules, compare_ids, normalise
from vna.reconcile.merges import read_merges
from vna.reconcile.sounds import sound_key, typing_errors


@pytest.mark.parametrize("text", ["19700203", "1970-02-03", "1970.02.03", "03.02.1970", "3/2/1970", "1970-02-03 00:00:00"])
def test_a_date_is_read_in_every_form(text: str) -> None:
    day = parse_day(text)
    assert day is not None
    assert day.text() == "19700203"


@pytest.mark.parametrize("text", ["", "00000000", "19000101", "99999999", "19701332", "unknown", "18000101"])
def test_placeholders_are_no_date(text: str) -> None:
    assert parse_day(text) is None


def test_american_dates_are_told_by_the_column() -> None:
    assert month_first(["02/13/1970", "03/04/1971"])
    assert not month_first(["13/02/1970", "03/04/1971"])
    assert parse_day("03/04/1971", months_first=True) == (1971, 3, 4)


@pytest.mark.parametrize(
    ("left", "right", "level"),
    [
        ("19700203", "19700203", DateLevel.EXACT),
        ("19700203", "19700302", DateLevel.SWAPPED),
        ("19700203", "19700204", DateLevel.TYPO),
        ("19700203", "19850203", DateLevel.PART),
        ("19700101", "19700512", DateLevel.PART),
        ("19700203", "19810916", DateLevel.DIFFERENT),
        ("19700203", "", DateLevel.MISSING),
    ],
)
def test_birth_dates_get_their_level(left: str, right: str, level: DateLevel) -> None:
    assert compare_days(parse_day(left), parse_day(right)) == level


def test_times_are_minutes_after_midnight() -> None:
    assert [parse_minutes(text) for text in ("0815", "08:15:30", "081530.123", "2020-01-01 08:15", "", "2500")] == [
        495,
        495,
        495,
        495,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("left", "right", "level"),
    [
        (("000123", ""), ("123", ""), IdLevel.SAME),
        (("MRN-000123", ""), ("123", "A"), IdLevel.SAME),
        (("000123", "A"), ("000123", "B"), IdLevel.INCOMPARABLE),
        (("123456", "A"), ("123465", "A"), IdLevel.TYPO),
        (("123456", "A"), ("987654", "A"), IdLevel.DIFFERENT),
        (("123456^^^A", ""), ("123456", "B"), IdLevel.INCOMPARABLE),
        (("A123456", ""), ("B123456", ""), IdLevel.TYPO),
    ],
)
def test_ids_are_compared_under_their_issuer(left: tuple[str, str], right: tuple[str, str], level: IdLevel) -> None:
    a, b = normalise(*left, IdRules()), normalise(*right, IdRules())
    assert a is not None
    assert b is not None
    assert compare_ids(a, b) == level


def test_words_and_zeros_are_no_id() -> None:
    assert [normalise(text, "", IdRules()) for text in ("", "UNKNOWN", "0000", "9999999", "n/a")] == [None] * 5


def test_a_site_says_what_to_strip_and_whether_zeros_count() -> None:
    rules = IdRules(strip_prefixes=("KH-",), zeros_count=True, issuers={"Haus 1": "H1"})
    found = normalise("KH-00123", "Haus 1", rules)
    assert found is not None
    assert (found.text, found.issuer) == ("00123", "H1")


def test_merges_follow_chains_and_ignore_what_merges_into_itself() -> None:
    rows = [{"prior": "1", "surviving": "2"}, {"prior": "2", "surviving": "0003"}, {"prior": "7", "surviving": "007"}]
    merges = read_merges(rows, IdRules())
    start = normalise("0001", "HOSP", IdRules())
    assert start is not None
    assert (merges.apply(start).text, merges.apply(start).issuer) == ("3", "HOSP")
    assert merges.ignored == 1


@pytest.mark.parametrize(
    "rows",
    [
        [{"prior": "1", "surviving": "2"}, {"prior": "2", "surviving": "1"}],
        [{"prior": "1", "surviving": "2"}, {"prior": "2", "surviving": "3"}, {"prior": "3", "surviving": "2"}],
        [{"prior": "1", "surviving": "2"}, {"prior": "1", "surviving": "3"}],
        [{"prior": "1", "prior_issuer": "A", "surviving": "2"}],
        [{"prior": "", "surviving": "2"}],
    ],
)
def test_a_merge_list_that_cannot_be_right_is_refused(rows: list[dict[str, str]]) -> None:
    with pytest.raises(RefusedError, match="row"):
        read_merges(rows, IdRules())


def test_sounds_bring_spellings_together() -> None:
    for a, b in (
        ("MEYER", "MAIER"),
        ("GONZALEZ", "GONSALES"),
        ("YOUSSEF", "YUSUF"),
        ("HERNANDEZ", "ERNANDEZ"),
        ("PHILIP", "FILIP"),
    ):
        assert sound_key(a) == sound_key(b)
    assert sound_key("SMITH") != sound_key("BROWN")


def test_typing_errors_are_counted_up_to_a_limit() -> None:
    cases = {
        ("SMITH", "SMIHT"): 1,
        ("SMITH", "SMTH"): 1,
        ("SMITH", "SMYTHE"): 2,
        ("SMITH", "JONES"): 3,
        ("", "AB"): 2,
        ("ABC", "ABC"): 0,
    }
    assert {pair: typing_errors(*pair) for pair in cases} == cases
    assert typing_errors("ABCD", "ACBD", 1) == 1
    assert typing_errors("ABCD", "DCBA", 1) == 2
