"""Studies and orders, normalised, and how a study and an order agree.

Nouns: :class:`Exam` (a study of the PACS or an order of the RIS), :class:`ExamComparison`, :class:`PersonLevel`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from statistics import median
from typing import NamedTuple

from vna.reconcile.dates import DateLevel, Day, compare_days, month_first, parse_day, parse_minutes
from vna.reconcile.identifiers import Identifier, IdLevel, compare_all, compare_ids, normalise
from vna.reconcile.lists import Row
from vna.reconcile.names import Level, compare_names
from vna.reconcile.procedures import ModalityLevel, ProcedureLevel, Procedures, compare_modalities
from vna.reconcile.records import Person
from vna.reconcile.rules import SiteRules

_SPLIT = re.compile(r"[\\,;|/ ]+")
_SEVERAL = re.compile(r"[\\;,|]")


class PersonLevel(IntEnum):
    """Whether a study and an order are of one patient."""

    OTHER = 0
    UNKNOWN = 1
    LIKELY = 2
    SAME = 3


class DayLevel(IntEnum):
    """How far study date and order date lie apart: SAME is within the tolerance, NEAR within a week."""

    MISSING = -1
    FAR = 0
    NEAR = 1
    SAME = 2


@dataclass(frozen=True, slots=True)
class Exam:
    """A study or an order. ``minutes`` counts from the beginning of the calendar, None where the time is unknown."""

    index: int
    person: Person
    accessions: tuple[Identifier, ...]
    raw_accession: str
    uid: str
    day: Day | None
    time: int | None
    modalities: frozenset[str]
    description: str
    station: str

    @property
    def minutes(self) -> int | None:
        """Give date and time in minutes."""
        return None if self.day is None or self.time is None else self.day.ordinal() * 1440 + self.time


def exams(rows: Sequence[Row], persons: Sequence[Person], rules: SiteRules) -> list[Exam]:
    """Normalise the rows of a list; ``persons`` are its patients, in the same order."""
    months = month_first(row.get("StudyDate", "") for row in rows)
    found = []
    for row, person in zip(rows, persons, strict=True):
        issuer = row.get("IssuerOfAccessionNumber", "")
        raw = row.get("AccessionNumber", "")
        texts = [*_SEVERAL.split(raw), *(t for t in _SEVERAL.split(row.get("RequestedAccessionNumbers", "")) if t.strip())]
        accessions = dict.fromkeys(i for text in texts if (i := normalise(text, issuer, rules.accessions)) is not None)
        stamp = row.get("StudyTime", "")
        day_text = row.get("StudyDate", "")
        if not stamp and re.search(r"[T ]\d\d:?\d\d", day_text):
            stamp = day_text
        modalities = frozenset(
            m.upper() for m in (*_SPLIT.split(row.get("ModalitiesInStudy", "")), *_SPLIT.split(row.get("Modality", ""))) if m
        )
        description = row.get("StudyDescription", "").strip() or row.get("BodyPartExamined", "").strip()
        found.append(
            Exam(
                person.index,
                person,
                tuple(accessions),
                raw.strip(),
                row.get("StudyInstanceUID", "").strip(),
                parse_day(day_text, months_first=months),
                parse_minutes(stamp),
                modalities,
                description,
                row.get("StationName", "").strip(),
            )
        )
    return found


class ExamComparison(NamedTuple):
    """How a study and an order agree. ``days`` is study minus order; ``gap`` the same in minutes, None where unknown."""

    uid: int  # 1 same, 0 different, -1 missing
    accession: IdLevel
    literal: bool
    person: PersonLevel
    date: DayLevel
    days: int
    gap: int | None
    modality: ModalityLevel
    procedure: ProcedureLevel

    @property
    def fit(self) -> float:
        """Weigh everything but accession number and UID: what tells the orders of one patient apart."""
        total = {3: 6.0, 2: 4.0, 1: 0.0, 0: -12.0}[self.person] + {2: 4.0, 1: -3.0, 0: -6.0, -1: 0.0}[self.date]
        total += {2: 3.0, 1: 1.5, 0: -6.0, -1: 0.0}[self.modality] + {2: 3.0, 1: 1.5, 0: -4.0, -1: 0.0}[self.procedure]
        if self.days:
            total -= 1.0
        if self.gap is not None:
            total += 2.0 if abs(self.gap) <= 60 else 1.0 if abs(self.gap) <= 240 else 0.0 if abs(self.gap) <= 600 else -1.0
        return total

    @property
    def bits(self) -> float:
        """Weigh everything."""
        total = (
            self.fit + {IdLevel.SAME: 12.0, IdLevel.TYPO: 5.0, IdLevel.DIFFERENT: -3.0, IdLevel.INCOMPARABLE: 0.0}[self.accession]
        )
        return total + {1: 14.0, 0: 0.0, -1: 0.0}[self.uid]


class ExamComparer:
    """Compares studies with orders; holds what was learned of stations' clocks and of procedures' names."""

    def __init__(self, rules: SiteRules) -> None:
        self.rules = rules
        self.procedures = Procedures(rules.procedures)
        self.clocks: dict[str, int] = {}

    def compare(self, study: Exam, order: Exam) -> ExamComparison:
        """Compare one pair."""
        level, literal = IdLevel.INCOMPARABLE, False
        for a in study.accessions:
            for b in order.accessions:
                found = compare_ids(a, b)
                if found > level:
                    level = found
        if level is IdLevel.SAME:
            literal = bool(order.raw_accession) and order.raw_accession in (
                study.raw_accession,
                *_SEVERAL.split(study.raw_accession),
            )
        days, gap, date = self._apart(study, order)
        uid = -1 if not study.uid or not order.uid else int(study.uid == order.uid)
        return ExamComparison(
            uid,
            level,
            literal,
            same_person(study.person, order.person),
            date,
            days,
            gap,
            compare_modalities(study.modalities, order.modalities, self.rules.modality_groups),
            self.procedures.compare(study.description, order.description),
        )

    def _apart(self, study: Exam, order: Exam) -> tuple[int, int | None, DayLevel]:
        if study.day is None or order.day is None:
            return 0, None, DayLevel.MISSING
        shift = self.clocks.get(study.station, 0)
        gap = None if study.minutes is None or order.minutes is None else study.minutes - order.minutes - shift
        days = study.day.ordinal() - order.day.ordinal()
        if shift:
            days = round(gap / 1440) if gap is not None else days - round(shift / 1440)
        if abs(days) <= self.rules.thresholds.days:
            return days, gap, DayLevel.SAME
        return days, gap, DayLevel.NEAR if abs(days) <= 7 else DayLevel.FAR

    def learn(self, sure: Sequence[tuple[Exam, Exam]]) -> None:
        """Learn from pairs whose accession number and patient agree: procedures' names, and clocks that are always wrong."""
        offsets: dict[str, list[int]] = defaultdict(list)
        for study, order in sure:
            if compare_modalities(study.modalities, order.modalities, self.rules.modality_groups) is not ModalityLevel.DIFFERENT:
                self.procedures.learn(study.description, order.description)
            if study.station and study.minutes is not None and order.minutes is not None:
                offsets[study.station].append(study.minutes - order.minutes)
        for station, found in offsets.items():
            middle = int(median(found))
            steady = sum(abs(offset - middle) <= 360 for offset in found)
            if len(found) >= 8 and abs(middle) > 720 and steady >= 0.7 * len(found):
                self.clocks[station] = middle


def same_person(left: Person, right: Person) -> PersonLevel:
    """Tell whether two records are one patient, from ID, name and birth date, whichever are there."""
    level, _ = compare_all(left.ids, right.ids) if left.ids and right.ids else (IdLevel.INCOMPARABLE, False)
    born = compare_days(left.birth_date, right.birth_date)
    if left.name.is_empty or right.name.is_empty:
        if level is IdLevel.SAME:
            return PersonLevel.OTHER if born == DateLevel.DIFFERENT else PersonLevel.SAME
        if level is IdLevel.TYPO:
            return PersonLevel.LIKELY if born >= DateLevel.TYPO else PersonLevel.UNKNOWN
        return PersonLevel.UNKNOWN if level is IdLevel.INCOMPARABLE else PersonLevel.OTHER
    name = compare_names(left.name, right.name)
    alike = name.family >= Level.CLOSE and name.given >= Level.INITIAL
    strong = name.family >= Level.EQUIVALENT and name.given >= Level.EQUIVALENT
    newborn = left.name.is_baby or right.name.is_baby
    if level is IdLevel.SAME:
        if born == DateLevel.MISSING:
            somewhat = (
                PersonLevel.UNKNOWN if name.given >= Level.EQUIVALENT or name.family >= Level.EQUIVALENT else PersonLevel.OTHER
            )
            return PersonLevel.SAME if alike or name.given == Level.MISSING else somewhat
        if born == DateLevel.DIFFERENT:
            return PersonLevel.LIKELY if strong else PersonLevel.OTHER
        if alike or newborn or (name.given >= Level.EQUIVALENT and born >= DateLevel.EXACT):
            return PersonLevel.SAME
        return PersonLevel.UNKNOWN if born >= DateLevel.EXACT and name.family >= Level.CLOSE else PersonLevel.OTHER
    if born == DateLevel.EXACT and strong:
        return PersonLevel.LIKELY
    if born >= DateLevel.TYPO and alike and level in (IdLevel.TYPO, IdLevel.INCOMPARABLE):
        return PersonLevel.LIKELY
    if born == DateLevel.MISSING and strong:
        return PersonLevel.LIKELY if level is IdLevel.TYPO else PersonLevel.UNKNOWN
    return PersonLevel.OTHER
