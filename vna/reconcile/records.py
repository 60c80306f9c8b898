"""The patients of a list, normalised once: what blocking and comparing work on.

Nouns: :class:`Person` (one record), :class:`People` (all of one side, with how often each name and date occurs).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from vna.reconcile.dates import Day, month_first, parse_day
from vna.reconcile.identifiers import Identifier, normalise
from vna.reconcile.lists import Row
from vna.reconcile.merges import NO_MERGES, Merges
from vna.reconcile.names import Name, fold, parse_name
from vna.reconcile.rules import SiteRules

_SEX = {
    "M": "M",
    "MALE": "M",
    "MANNLICH": "M",
    "H": "M",
    "F": "F",
    "FEMALE": "F",
    "W": "F",
    "WEIBLICH": "F",
    "V": "F",
    "1": "M",
    "2": "F",
}
_OTHERS = re.compile(r"[\\;,|~]")
_DIGITS = re.compile(r"\D+")


@dataclass(frozen=True, slots=True)
class Person:
    """One record: ``index`` is its row, ``ids`` start with the primary one, after merges."""

    index: int
    ids: tuple[Identifier, ...]
    name: Name
    birth_name: Name
    birth_date: Day | None
    sex: str
    phone: str
    address: str
    is_junk: bool = False


@dataclass(frozen=True, slots=True)
class People:
    """All records of one side."""

    persons: Sequence[Person]

    def __len__(self) -> int:
        return len(self.persons)


def people(rows: Sequence[Row], rules: SiteRules, merges: Merges = NO_MERGES) -> People:
    """Normalise the rows of a list. The form of local dates is judged over the whole column."""
    months = month_first(row.get("PatientBirthDate", "") for row in rows)
    junk_names, junk_ids = junk_patterns(rules)
    empty = parse_name("")
    found = []
    for index, row in enumerate(rows):
        raw_name, raw_id = row.get("PatientName", ""), row.get("PatientID", "")
        name = parse_name(raw_name)
        ids = _ids(row, rules, merges)
        birth_name = row.get("PatientBirthName", "")
        junk = is_junk(name, raw_name, raw_id, junk_names, junk_ids)
        found.append(
            Person(
                index,
                ids,
                name,
                parse_name(birth_name) if birth_name else empty,
                _day(row.get("PatientBirthDate", ""), months),
                _SEX.get(fold(row.get("PatientSex", "").strip()), ""),
                _DIGITS.sub("", row.get("PatientTelephoneNumbers", ""))[-8:],
                _address(row.get("PatientAddress", "")),
                junk,
            )
        )
    return People(found)


@lru_cache(maxsize=100_000)
def _day(text: str, months: bool) -> Day | None:
    return parse_day(text, months_first=months)


@lru_cache(maxsize=200_000)
def _address(text: str) -> str:
    return "".join(c for c in fold(text) if c.isalnum())[:24]


def _ids(row: Row, rules: SiteRules, merges: Merges) -> tuple[Identifier, ...]:
    issuer = row.get("IssuerOfPatientID", "")
    texts = [row.get("PatientID", "")]
    others = row.get("OtherPatientIDs", "")
    if others:
        texts += _OTHERS.split(others)
    found: list[Identifier] = []
    for text in texts:
        identifier = normalise(text, issuer, rules.patient_ids)
        if identifier is not None:
            identifier = merges.apply(identifier) if merges.surviving else identifier
            if identifier not in found:
                found.append(identifier)
    return tuple(found)


def junk_patterns(rules: SiteRules) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """Compile what the rules say of junk, for names and for IDs."""
    names, ids = ("|".join(f"(?:{pattern})" for pattern in patterns) for patterns in (rules.junk_names, rules.junk_ids))
    return re.compile(names, re.IGNORECASE) if names else None, re.compile(ids, re.IGNORECASE) if ids else None


def is_junk(name: Name, raw_name: str, raw_id: str, names: re.Pattern[str] | None, ids: re.Pattern[str] | None) -> bool:
    """Tell test patients and phantoms: by a word of the name, by the site's patterns, or by the ID."""
    if name.is_test or (names is not None and names.search(raw_name)):
        return True
    return ids is not None and not raw_id.isdigit() and ids.search(raw_id.strip()) is not None


@dataclass(frozen=True, slots=True)
class Frequencies:
    """How often names and birth dates occur on both sides together: rare agreement weighs more (term frequencies)."""

    records: int
    family: Counter[str]
    given: Counter[str]
    full: Counter[str]
    birth: Counter[Day]

    def share(self, counter: Counter[str], key: str) -> float:
        """Give how likely a random record has this value; a value seen twice (a pair) still counts as rare."""
        return max(counter[key] - 1, 0.5) / max(self.records, 1)

    def birth_share(self, day: Day) -> float:
        """Give how likely a random record has this birth date; never less than one day in a hundred years."""
        return max((self.birth[day] - 1) / max(self.records, 1), 1 / 36_500)


def frequencies(*sides: People) -> Frequencies:
    """Count the values of all sides."""
    family: Counter[str] = Counter()
    given: Counter[str] = Counter()
    full: Counter[str] = Counter()
    birth: Counter[Day] = Counter()
    total = 0
    for side in sides:
        for person in side.persons:
            if person.is_junk:
                continue
            total += 1
            family[person.name.family_key] += 1
            given[person.name.given_key] += 1
            full[person.name.family_key + "^" + person.name.given_key] += 1
            if person.birth_date is not None:
                birth[person.birth_date] += 1
    return Frequencies(total, family, given, full, birth)
