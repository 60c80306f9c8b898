"""Rules about values and their value representations (PS3.5 6.2), nested ones included.

Private elements are left out: their dictionaries are not public, and their oddities hinder nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache

from indexer.text import decode
from vna.model import Severity
from vna.validate.instance import Instance, Visit, defined_multiplicity, defined_vr
from vna.validate.registry import Found, finds, rule

_DA = re.compile(r"(\d{4})(\d\d)(\d\d)")
_TM = re.compile(r"([01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)? *")
_DT = re.compile(
    r"(\d{4})(?:(0[1-9]|1[0-2])(?:(0[1-9]|[12]\d|3[01])(?:([01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?)?)?)?"
    r"(?:[+-](?:0\d|1[0-4])[0-5]\d)? *"
)
_IS = re.compile(r" *[+-]?\d+ *")
_DS = re.compile(r" *[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)? *")
_CS = re.compile(r"[A-Z0-9 _]*")
_AS = re.compile(r"\d{3}[DWMY]")
_AE = re.compile(r"[\x20-\x5b\x5d-\x7e]*")
_UI = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*")

_BINARY_SIZE = {
    "US": 2,
    "SS": 2,
    "UL": 4,
    "SL": 4,
    "FL": 4,
    "FD": 8,
    "UV": 8,
    "SV": 8,
    "AT": 4,
    "OW": 2,
    "OL": 4,
    "OF": 4,
    "OD": 8,
}
_MAX_CHARACTERS = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240}
_MAX_BYTES = {"CS": 16, "AE": 16, "DS": 16, "IS": 12, "UI": 64}
_KEY_UIDS = frozenset({0x00080018, 0x0020000D, 0x0020000E})
_SHOWN = 64

_AMBIGUOUS = {"US or SS": {"US", "SS"}, "OB or OW": {"OB", "OW"}, "US or OW": {"US", "OW"}, "US or SS or OW": {"US", "SS", "OW"}}


def _public(instance: Instance, *vrs: str) -> Iterator[Visit]:
    for vr in vrs:
        for visit in instance.by_vr.get(vr, ()):
            if not (visit.element.tag >> 16) & 1 and visit.element.raw:
                yield visit


def _values(visit: Visit) -> list[str]:
    return (visit.element.raw or b"").decode("latin-1").rstrip("\0").split("\\")


def _unlike(instance: Instance, is_right: Callable[[str], object], *vrs: str) -> Iterator[Found]:
    for visit in _public(instance, *vrs):
        bad = tuple(value[:_SHOWN] for value in _values(visit) if value.strip() and not is_right(value))
        if bad:
            yield Found(visit.where, bad[:3])


@cache
def is_date(value: str) -> bool:
    """Say whether a DA value is a day of the calendar, as eight digits (PS3.5 6.2)."""
    match = _DA.fullmatch(value.strip(" "))
    if match is None:
        return False
    try:
        date(*map(int, match.groups()))
    except ValueError:
        return False
    return True


def is_integer_string(value: str) -> bool:
    """Say whether an IS value is an integer of 32 bits (PS3.5 6.2)."""
    return _IS.fullmatch(value) is not None and len(value) < 32 and -(2**31) <= int(value) < 2**31


@rule("BAD_DATE", Severity.WARNING, "A date or time is not written as one, or does not exist.", "PS3.5 6.2 (DA, TM, DT)")
def bad_date(instance: Instance) -> Iterator[Found]:
    """Find DA, TM and DT values that no reader can trust: 20261345, 00000000, 2004.01.19 (ACR-NEMA), ranges, 246060."""
    yield from _unlike(instance, is_date, "DA")
    yield from _unlike(instance, _TM.fullmatch, "TM")
    yield from _unlike(instance, _DT.fullmatch, "DT")


@finds("BAD_NUMBER")
def bad_number(instance: Instance) -> Iterator[Found]:
    """Find IS and DS values that are no numbers or too large, and binary values of a length that no number has."""
    yield from _unlike(instance, is_integer_string, "IS")
    yield from _unlike(instance, _DS.fullmatch, "DS")
    for vr, size in _BINARY_SIZE.items():
        for visit in instance.by_vr.get(vr, ()):
            if visit.element.length % size and not (visit.element.tag >> 16) & 1:
                yield Found(visit.where, (f"{visit.element.length} bytes of {vr}",))


@rule("BAD_CODE_STRING", Severity.WARNING, "A code string has characters that it may not have.", "PS3.5 6.2 (CS)")
def bad_code_string(instance: Instance) -> Iterator[Found]:
    """Find CS values with lower case letters, punctuation or other characters: enumerated values then match nothing."""
    yield from _unlike(instance, _CS.fullmatch, "CS")


@rule("BAD_AGE", Severity.WARNING, "An age is not three digits and D, W, M or Y.", "PS3.5 6.2 (AS)")
def bad_age(instance: Instance) -> Iterator[Found]:
    """Find AS values such as ``45`` or ``45Y``."""
    yield from _unlike(instance, lambda value: _AS.fullmatch(value.strip(" ")), "AS")


@rule("BAD_AE_TITLE", Severity.WARNING, "An AE title has characters that it may not have.", "PS3.5 6.2 (AE)")
def bad_ae_title(instance: Instance) -> Iterator[Found]:
    """Find AE values with control characters or letters beyond the default repertoire."""
    yield from _unlike(instance, _AE.fullmatch, "AE")


@finds("BAD_UID")
def bad_uid(instance: Instance) -> Iterator[Found]:
    """Find UI values, nested ones included, that are no UIDs (PS3.5 9.1): references by them lead nowhere.

    SOP, series and study instance UID of the object itself are judged on receipt.
    """
    for visit in _public(instance, "UI"):
        if visit.depth == 0 and visit.element.tag in _KEY_UIDS:
            continue
        values = (visit.element.raw or b"").decode("latin-1").split("\\")
        bad = tuple(value[:_SHOWN] for value in values if not _is_uid(value.rstrip("\0")))
        if bad:
            yield Found(visit.where, bad[:3])


@rule("UID_ROOT", Severity.INFO, "A UID begins with a root that does not exist.", "PS3.5 9.1; ISO/IEC 8824")
def uid_root(instance: Instance) -> Iterator[Found]:
    """Find UIDs that nobody can have been given: the first component is over 2, or the second over 39 under 0 or 1."""
    for visit in _public(instance, "UI"):
        bad = tuple(value for value in (text.rstrip("\0") for text in _values(visit)) if _is_uid(value) and not _has_root(value))
        if bad:
            yield Found(visit.where, bad[:3])


def _has_root(uid: str) -> bool:
    first, _, rest = uid.partition(".")
    return not uid or first == "2" or (first in ("0", "1") and int(rest.partition(".")[0] or 40) < 40)


def _is_uid(value: str) -> bool:
    return not value or (len(value) <= 64 and _UI.fullmatch(value) is not None)


@rule("VALUE_TOO_LONG", Severity.WARNING, "A value is longer than its value representation allows.", "PS3.5 6.2")
def value_too_long(instance: Instance) -> Iterator[Found]:
    """Find SH, LO, CS, DS, ... values over their length: some targets refuse them, some cut them silently."""
    for vr, limit in _MAX_BYTES.items():
        for visit in _public(instance, vr):
            if visit.element.length > limit:
                yield from _over(visit, limit, _values(visit))
    for vr, limit in _MAX_CHARACTERS.items():
        for visit in _public(instance, vr):
            if visit.element.length > limit:
                text = decode(visit.element.raw or b"", vr, visit.character_set)
                yield from _over(visit, limit, [text] if vr in ("ST", "LT") else text.split("\\"))


def _over(visit: Visit, limit: int, values: list[str]) -> Iterator[Found]:
    longest = max((len(value.rstrip(" \0")) for value in values), default=0)
    if longest > limit:
        yield Found(visit.where, (f"{longest} characters of {visit.element.vr}",))


@rule("BAD_PERSON_NAME", Severity.WARNING, "A person name has too many components or groups, or one is too long.", "PS3.5 6.2.1")
def bad_person_name(instance: Instance) -> Iterator[Found]:
    """Find PN values with more than five components in a group, more than three groups, or a group over 64 characters."""
    for visit in _public(instance, "PN"):
        text = decode(visit.element.raw or b"", "PN", visit.character_set)
        for name in text.split("\\"):
            groups = name.split("=")
            if len(groups) > 3:
                yield Found(visit.where, (f"{len(groups)} groups",))
            elif any(group.count("^") > 4 for group in groups):
                yield Found(visit.where, (f"{max(group.count('^') for group in groups) + 1} components",))
            elif any(len(group.rstrip()) > 64 for group in groups):
                yield Found(visit.where, (f"{max(map(len, groups))} characters in a group",))


@rule("VALUE_MULTIPLICITY", Severity.WARNING, "An element has more or fewer values than PS3.6 allows.", "PS3.6 6; PS3.5 6.4")
def value_multiplicity(instance: Instance) -> Iterator[Found]:
    """Find values that split where they should not: a backslash in a Patient ID makes it two."""
    for vr in ("CS", "DA", "TM", "DT", "IS", "DS", "SH", "LO", "PN", "UI", "AE", "AS", "US", "SS", "UL", "SL", "FL", "FD"):
        for visit in _public(instance, vr):
            allowed = defined_multiplicity(visit.element.tag)
            if allowed in ("", "1-n") or defined_vr(visit.element.tag) != vr:
                continue
            count = _count(visit)
            if not _fits(allowed, count):
                yield Found(visit.where, (f"{count} values, {allowed} allowed",))


def _count(visit: Visit) -> int:
    size = _BINARY_SIZE.get(visit.element.vr)
    if size is not None:
        return visit.element.length // size
    raw = visit.element.raw or b""
    if visit.element.vr in ("SH", "LO", "PN") and b"\\" in raw:
        return decode(raw, visit.element.vr, visit.character_set).count("\\") + 1  # 0x5C may be half of a Kanji
    return raw.count(b"\\") + 1


@cache
def _fits(multiplicity: str, count: int) -> bool:
    for choice in multiplicity.split(" or "):
        least, _, most = choice.partition("-")
        if not most:
            if count == int(least):
                return True
        elif most.endswith("n"):
            step = int(most[:-1] or 1)
            if count >= int(least) and count % step == 0:
                return True
        elif int(least) <= count <= int(most):
            return True
    return False


@rule("VR_MISMATCH", Severity.WARNING, "An element has another value representation than PS3.6 gives it.", "PS3.6 6; PS3.5 7.1.2")
def vr_mismatch(instance: Instance) -> Iterator[Found]:
    """Find public elements written under a wrong VR. UN is legal for what the sender did not know (PS3.5 6.2.2 note 4)."""
    for visit in instance.visits:
        vr, defined = visit.element.vr, defined_vr(visit.element.tag)
        if defined and vr not in ("UN", "OB", "OW", defined) and vr not in _AMBIGUOUS.get(defined, ()):
            yield Found(visit.where, (f"{vr}, {defined} expected",))
