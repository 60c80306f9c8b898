"""Whether a value is one that its value representation allows (PS3.5 6.2)."""

from __future__ import annotations

import re
from datetime import date

from vna.part10.elements import vr_of
from vna.part10.raw import RawElement

_FORMS = {
    b"DA": rb"(\d{8})?",
    b"TM": rb"(\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?)?",
    b"DT": rb"(\d{4}(\d{2}){0,5}(\.\d{1,6})?([+-]\d{4})?)?",
    b"AS": rb"(\d{3}[DWMY])?",
    b"UI": rb"((0|[1-9]\d*)(\.(0|[1-9]\d*))*)?",
    b"IS": rb" *([+-]?\d{1,11})? *",
    b"DS": rb" *([+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?)? *",
    b"CS": rb"[A-Z0-9 _]{0,16}",
    b"AE": rb"[\x20-\x5b\x5d-\x7e]{0,16}",
    b"SH": rb"[^\\]{0,16}",
    b"LO": rb"[^\\]{0,64}",
}
_CONFORMING = {vr: re.compile(form, re.DOTALL) for vr, form in _FORMS.items()}
_LIMITS = {b"DS": 16, b"UI": 64}
_CHARACTERS = {"SH": 16, "LO": 64, "PN": 64, "ST": 1024, "LT": 10240}
_UNDIVIDED = frozenset(("ST", "LT", "UT", "UR"))
_INTEGERS = {"US": (0, 0xFFFF), "SS": (-0x8000, 0x7FFF), "UL": (0, 0xFFFFFFFF), "SL": (-0x80000000, 0x7FFFFFFF)}


def conforms(element: RawElement) -> bool:
    """Tell whether an element's value may stand in the Modified Attributes Sequence: whether it is what its VR allows."""
    vr = element.vr or vr_of(element.tag)
    form = _CONFORMING.get(vr)
    if form is None or element.is_undefined:
        return element.is_undefined or len(element.value) % 2 == 0
    if len(element.value) % 2:
        return False
    if vr in (b"SH", b"LO") and not element.value.isascii():
        return True  # the limit counts characters, and several bytes may be one
    values = element.value.rstrip(b" \0").split(b"\\")
    return all(form.fullmatch(value.rstrip(b" \0")) and len(value) <= _LIMITS.get(vr, 1 << 16) for value in values)


def is_value(value: object, vr: str) -> bool:
    """Tell whether a new value, as text or a number, is one that its VR allows; a date must also be one of the calendar."""
    if vr in _INTEGERS:
        low, high = _INTEGERS[vr]
        return re.fullmatch(r"[+-]?\d+", str(value)) is not None and low <= int(str(value)) <= high
    text = str(value)
    if vr in _CHARACTERS:
        parts = text.split("=") if vr == "PN" else [text]
        limit, forbidden = _CHARACTERS[vr], r"[\x00-\x09\x0b\x0e-\x1f\x7f]" if vr in _UNDIVIDED else r"[\x00-\x1f\x7f\\]"
        return len(parts) <= 3 and all(len(part) <= limit for part in parts) and not re.search(forbidden, text)
    form = _CONFORMING.get(vr.encode())
    if form is None:
        return True
    if not text.isascii() or not form.fullmatch(text.encode()) or len(text) > _LIMITS.get(vr.encode(), 1 << 16):
        return False
    return vr != "DA" or not text or _is_date(text)


def _is_date(text: str) -> bool:
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True
