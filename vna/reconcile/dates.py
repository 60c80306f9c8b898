"""Dates and times of lists (DA, TM, and what spreadsheets make of them), and how two birth dates agree.

Nouns: :class:`Day` (year, month, day; a missing or placeholder date is ``None``), :class:`DateLevel`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from enum import IntEnum
from typing import NamedTuple

PLACEHOLDERS = frozenset(
    ("19000101", "19010101", "18000101", "00010101", "11111111", "99999999", "00000000", "18991230", "18991231")
)
"""Dates that systems write for "unknown"; they are no evidence."""

_PLAIN = re.compile(r"^(\d{4})(\d{2})(\d{2})")
_ISO = re.compile(r"^(\d{4})[-./ ](\d{1,2})[-./ ](\d{1,2})")
_LOCAL = re.compile(r"^(\d{1,2})([-./ ])(\d{1,2})[-./ ](\d{4})")
_TIME = re.compile(r"^(\d{2}):?(\d{2})?:?(\d{2})?")


class Day(NamedTuple):
    """A calendar date."""

    year: int
    month: int
    day: int

    def text(self) -> str:
        """Write it as a DA value (PS3.5 6.2)."""
        return f"{self.year:04d}{self.month:02d}{self.day:02d}"

    def ordinal(self) -> int:
        """Count days, so that differences can be taken."""
        return date(self.year, self.month, self.day).toordinal()


class DateLevel(IntEnum):
    """How well two birth dates agree, in rising order."""

    MISSING = -1
    DIFFERENT = 0
    PART = 1  # two of year, month and day agree; or the year, where one list only knew the year
    TYPO = 2  # one digit differs, or two neighbours are swapped
    SWAPPED = 3  # day and month exchanged
    EXACT = 4


def month_first(values: Iterable[str]) -> bool:
    """Tell whether a column of local dates puts the month first: some second number is above 12 and no first one is."""
    first = second = False
    for value in values:
        found = _LOCAL.match(value)
        if found:
            first |= int(found[1]) > 12
            second |= int(found[3]) > 12
    return second and not first


def parse_day(text: str, *, months_first: bool = False) -> Day | None:
    """Read a date in DICOM's, ISO's or a local form; None for what is empty, impossible or a placeholder."""
    text = text.strip()
    if not text:
        return None
    found = _PLAIN.match(text) or _ISO.match(text)
    if found:
        year, month, day = int(found[1]), int(found[2]), int(found[3])
    else:
        local = _LOCAL.match(text)
        if not local:
            return None
        year, month, day = int(local[4]), int(local[3]), int(local[1])
        if (months_first and local[2] == "/") or month > 12:
            month, day = day, month
    if month > 12 and day <= 12:
        month, day = day, month
    try:
        date(year, month, day)
    except ValueError:
        return None
    parsed = Day(year, month, day)
    return None if parsed.text() in PLACEHOLDERS or year < 1850 or year > 2200 else parsed


def parse_minutes(text: str) -> int | None:
    """Read a TM value, or hh:mm:ss, as minutes after midnight; None when there is none. A date before it is skipped."""
    text = text.strip()
    if "T" in text or (" " in text and ":" in text):
        text = re.split(r"[T ]", text)[-1]
    found = _TIME.match(text)
    if not found:
        return None
    hour, minute = int(found[1]), int(found[2] or 0)
    return hour * 60 + minute if hour < 24 and minute < 60 else None


def compare_days(left: Day | None, right: Day | None) -> DateLevel:
    """Compare two birth dates."""
    if left is None or right is None:
        return DateLevel.MISSING
    if left == right:
        return DateLevel.EXACT
    if left.year == right.year and left.month == right.day and left.day == right.month:
        return DateLevel.SWAPPED
    a, b = left.text(), right.text()
    wrong = [i for i in range(8) if a[i] != b[i]]
    if len(wrong) == 1 or (
        len(wrong) == 2 and wrong[1] - wrong[0] == 1 and a[wrong[0]] == b[wrong[1]] and a[wrong[1]] == b[wrong[0]]
    ):
        return DateLevel.TYPO
    same = (left.year == right.year) + (left.month == right.month) + (left.day == right.day)
    if same == 2:
        return DateLevel.PART
    if left.year == right.year and ((left.month, left.day) == (1, 1) or (right.month, right.day) == (1, 1)):
        return DateLevel.PART
    if abs(left.ordinal() - right.ordinal()) <= 1:
        return DateLevel.PART
    return DateLevel.DIFFERENT
