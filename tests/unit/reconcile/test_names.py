"""Names are compared with what clerks and interfaces do to them in mind."""

from __future__ import annotations

import pytest

from vna.reconcile.names import Level, compare_names, parse_name

SAME = [
    ("Müller^Jürgen", "MUELLER^JUERGEN"),
    ("Müller^Jürgen", "MULLER^JURGEN"),
    ("Weiß^Anna", "WEISS^ANNA"),
    ("DOE^JOHN^A", "Doe, John"),
    ("van den Berg^Jan", "VANDENBERG^JAN"),
    ("van den Berg^Jan", "BERG^JAN"),
    ("O'Brien^Pat", "O BRIEN^PAT"),
    ("McDonald^Ann", "MC DONALD^ANN"),
    ("Al-Hassan^Omar", "ALHASSAN^OMAR"),
    ("NGUYỄN^VĂN ANH", "NGUYEN^VAN ANH"),
    ("KIM^MIN JUN", "Kim^Min-Jun"),
    ("KIM^MIN JUN", "MINJUN^KIM"),
    ("Wang^XiaoDong=王^小東", "王小東"),
    ("Иванов^Иван", "IVANOV^IVAN"),
    ("DOE JOHN", "DOE^JOHN"),
    ("DOE^JOHN^^DR", "Dr. John^Doe"),
    ("García López^María", "LOPEZ GARCIA^MARIA"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_one_name_written_in_two_ways_is_the_same(left: str, right: str) -> None:
    found = compare_names(parse_name(left), parse_name(right))
    assert found.family >= Level.EXACT
    assert found.given >= Level.EXACT


@pytest.mark.parametrize(
    ("left", "right", "family", "given"),
    [
        ("SMITH^BILL", "SMITH^WILLIAM", Level.EXACT, Level.EQUIVALENT),
        ("MOHAMMED^AHMED", "MUHAMMAD^AHMAD", Level.EQUIVALENT, Level.EQUIVALENT),
        ("ZHANG^WEI", "CHANG^WEI", Level.EQUIVALENT, Level.EXACT),
        ("GARCIA LOPEZ^MARIA", "GARCIA^MARIA", Level.PARTIAL, Level.EXACT),
        ("SMITH JONES^ANN", "JONES^ANN", Level.PARTIAL, Level.EXACT),
        ("SMITH^J", "SMITH^JOHN", Level.EXACT, Level.INITIAL),
        ("SMIHT^JOHN", "SMITH^JOHN", Level.CLOSE, Level.EXACT),
        ("SMITH^ANNA^MARIA", "SMITH^ANNA^LENA", Level.EXACT, Level.WEAK),
        ("SMITH^ANNA", "SMITH^PAULA", Level.EXACT, Level.DIFFERENT),
        ("BABY BOY OF SMITH", "SMITH^BABY A", Level.EXACT, Level.MISSING),
        ("UNKNOWN^UNKNOWN", "SMITH^ANN", Level.MISSING, Level.MISSING),
    ],
)
def test_each_part_gets_its_level(left: str, right: str, family: Level, given: Level) -> None:
    found = compare_names(parse_name(left), parse_name(right))
    assert (found.family, found.given) == (family, given)


@pytest.mark.parametrize(("left", "right"), [(a, b) for a, b in SAME])
def test_comparing_is_symmetric(left: str, right: str) -> None:
    one, other = compare_names(parse_name(left), parse_name(right)), compare_names(parse_name(right), parse_name(left))
    assert (one.family, one.given) == (other.family, other.given)


def test_fathers_sons_twins_and_test_patients_are_told_by_their_words() -> None:
    assert parse_name("SMITH^JOHN^^^JR").generation == 2
    assert parse_name("SMITH^BABY GIRL B").multiple == "B"
    assert parse_name("TEST^PATIENT").is_test
    assert not parse_name("TESTER-JONES^ANN").is_empty
