"""Keys as a requestor writes them, and what they mean: the matching of PS3.4 C.2.2.2.

A key's text becomes one matcher: everything (C.2.2.2.3), the values of a list (C.2.2.2.1, .2 and multiple value matching), texts
with wildcards (C.2.2.2.4), a range of dates or times (C.2.2.2.5), or nothing at all (empty value matching).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from vna.errors import ConfigError
from vna.query.attributes import Attribute, Kind

_LEAST_TIME, _GREATEST_TIME = "000000.000000", "235960.999999"
_LEAST_DATE, _GREATEST_DATE = "00000000", "99999999"
_DATE = re.compile(r"[0-9]{8}", re.ASCII)
_TIME = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?", re.ASCII)
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}", re.ASCII)
_WILDCARDS = re.compile(r"[*?]")


@dataclass(frozen=True, slots=True)
class Anything:
    """Universal matching: every entity, whether it has a value or not."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Empty value matching: entities without a value."""


@dataclass(frozen=True, slots=True)
class Values:
    """Entities whose value is one of these."""

    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Patterns:
    """Entities whose value is like one of these: ``*`` stands for any characters, ``?`` for exactly one."""

    patterns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Entities whose value lies in one of these closed ranges: dates of 8 digits, or times ``HHMMSS.FFFFFF``."""

    ranges: tuple[tuple[str, str], ...]


Matcher = Anything | Nothing | Values | Patterns | Ranges


def matcher(attribute: Attribute, text: str) -> Matcher:
    """Read a key: several values stand with backslashes between them, and an entity matches if it matches one of them.

    Raises ConfigError, which never quotes the key's value, for what the attribute cannot be asked.
    """
    values = [value.strip() for value in text.split("\\")]
    values = [value for value in values if value]
    if not values or any(set(value) == {"*"} for value in values):
        return Anything()
    if values == ['""']:
        return Nothing()
    match attribute.kind:
        case Kind.UID:
            return Values(tuple(_checked(attribute, value, _UID) for value in values))
        case Kind.INTEGER:
            return Values(tuple(int(_checked(attribute, value, _INTEGER)) for value in values))
        case Kind.NAME:
            return Patterns(tuple(values))
        case Kind.TEXT:
            return Patterns(tuple(values)) if any(map(_WILDCARDS.search, values)) else Values(tuple(values))
        case Kind.DATE:
            return Ranges(tuple(_dates(attribute, value) for value in values))
        case Kind.TIME:
            return Ranges(tuple(_times(attribute, value) for value in values))
        case Kind.COUNT:
            raise ConfigError(f"{attribute.keyword} is told and cannot be matched", hint="give it no value")


def _checked(attribute: Attribute, value: str, form: re.Pattern[str]) -> str:
    if not form.fullmatch(value):
        raise _not(attribute, "a UID, without wildcards" if attribute.kind is Kind.UID else "a whole number, without wildcards")
    return value


def _dates(attribute: Attribute, value: str) -> tuple[str, str]:
    first, dash, last = value.partition("-")
    for part in (first, last):
        if part and not (_DATE.fullmatch(part) and _is_day(part)):
            raise _not(attribute, "a date YYYYMMDD, or a range with - between, before or behind")
    if not dash:
        return first, first
    if not first and not last:
        raise _not(attribute, "a range with at least one end")
    return first or _LEAST_DATE, last or _GREATEST_DATE


def _is_day(text: str) -> bool:
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _times(attribute: Attribute, value: str) -> tuple[str, str]:
    """Read a time or a range of times; what a time leaves out is anything, so that 08 reaches from 080000 to 085960.999999."""
    first, dash, last = value.partition("-")
    for part in (first, last):
        if part and not _TIME.fullmatch(part):
            raise _not(
                attribute, "a time HHMMSS.FFFFFF, of which the end may be left out, or a range with - between, before or behind"
            )
    if not dash:
        last = first
    if not first and not last:
        raise _not(attribute, "a range with at least one end")
    return _filled(first, _LEAST_TIME), _filled(last, _GREATEST_TIME) if last else _GREATEST_TIME


def _filled(time: str, rest: str) -> str:
    whole, _, fraction = time.partition(".")
    whole += ("000000" if rest == _LEAST_TIME else "235960")[len(whole) :]
    return f"{whole}.{fraction}{rest[7 + len(fraction) :]}"


def _not(attribute: Attribute, expected: str) -> ConfigError:
    return ConfigError(f"the value of {attribute.keyword} is not {expected}")
