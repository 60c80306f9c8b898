"""What names the patient of one object, as bytes to search for: name parts, IDs, accession number, birth date."""

from __future__ import annotations

import re
from typing import Protocol

NAME_PART_BYTES = 3
NUMBER_BYTES = 4

COMMON_WORDS = frozenset(
    b"anon anonymous anonymized anonymised deidentified first given last mid middle name no none not null other "
    b"patient phantom qa removed subject test unknown unnamed yes".split()
)
"""Words that stand in name fields without naming anybody, and would be missed in kept text."""

_NAME_SEPARATORS = re.compile(rb"[\^=\\ ,.\x00]+")
_INNER_SEPARATORS = re.compile(rb"[-']")
_PLACEHOLDER_DATES = (b"19000101", b"00010101", b"18000101")


class Identified(Protocol):
    """What tells the raw top-level values of one object."""

    def value(self, tag: int) -> bytes:
        """Give the raw value without padding, empty where it is absent."""


_NAMES = (0x00100010, 0x00101001, 0x00101005, 0x00101060)
_NUMBERS = (0x00100020, 0x00101000, 0x00080050, 0x00101002, 0x00102154)
_BIRTH_DATE = 0x00100030


def own_identifiers(top: Identified) -> tuple[bytes, ...]:
    """Collect the identifiers that an object states of its own patient."""
    found: list[bytes] = []
    for tag in _NAMES:
        found += name_parts(top.value(tag))
    for tag in _NUMBERS:
        found += [number for number in top.value(tag).split(b"\\") if is_number(number)]
    found += birth_dates(top.value(_BIRTH_DATE))
    return tuple(found)


def name_parts(name: bytes) -> list[bytes]:
    """Split a person's name into the parts worth searching for."""
    parts = _NAME_SEPARATORS.split(name)
    parts += [inner for part in parts for inner in _INNER_SEPARATORS.split(part) if inner != part]
    return [part for part in parts if len(part) >= NAME_PART_BYTES and part.lower() not in COMMON_WORDS and not part.isdigit()]


def is_number(value: bytes) -> bool:
    """Say whether an ID is long enough to be told from other text, and no common word."""
    return len(value.strip()) >= NUMBER_BYTES and value.strip().lower() not in COMMON_WORDS


def birth_dates(value: bytes) -> list[bytes]:
    """Write a birth date in the forms that people type it in; none for what is no date, or a placeholder such as 19000101."""
    if len(value) != 8 or not value.isdigit() or value in _PLACEHOLDER_DATES:
        return []
    year, month, day = value[:4], value[4:6], value[6:]
    forms = [value]
    for separator in (b"-", b".", b"/"):
        forms += [separator.join(order) for order in ((year, month, day), (day, month, year), (month, day, year))]
    return forms
