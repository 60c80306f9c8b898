"""What a listing says of one file or object, and how names and times of a place become those of a table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_LIKE_AN_ESCAPE = re.compile(rb"\\(?=x(?:[89a-f][0-9a-f]|5c))")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a listing: its name relative to the root, its size in bytes, and what tells its versions apart."""

    name: bytes
    size: int
    modified: datetime


def path_of(name: bytes) -> str:
    r"""Give the text that a name stands under in the table, another one for every name.

    Bytes that are no UTF-8 become escapes such as ``\xff``. A backslash of the name stands as it is, unless it and what follows
    would read as an escape: then it is ``\x5c``.
    """
    return _LIKE_AN_ESCAPE.sub(rb"\\x5c", name).decode("utf-8", "backslashreplace")


def moment(microseconds: int) -> datetime:
    """Make a time of the microseconds since 1970; what no calendar has becomes its first or last day."""
    try:
        return min(max(_EPOCH + timedelta(microseconds=microseconds), _FIRST), _LAST)
    except OverflowError:
        return _LAST if microseconds > 0 else _FIRST
