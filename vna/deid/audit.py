"""The independent audit: read every output again and search it for what is known of its patient.

Shares no code with the engine: it reads with pydicom, has its own idea of what an identifier looks like, and searches the raw
bytes of the file as well as every value, private and nested ones included. What it finds, it names by tag and kind, never by
value.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

import pydicom
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

_SHORT = 6
_NAME_PART = 3
_NUMBER = 4
_UID = 16
_PLACEHOLDER_WORDS = """\
anon anonymous anonymized anonymised deidentified first given last mid middle name no none not null other patient phantom qa
removed subject test unknown unnamed yes
"""
_PLACEHOLDERS = frozenset(_PLACEHOLDER_WORDS.split())
_TEXT = frozenset(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_TERM_GROUPS = (0x0008, 0x0028)
_OURS = frozenset((0x00120062, 0x00120063, 0x00120064, 0x00280303))


@dataclass(frozen=True, slots=True)
class Known:
    """What the archive knows of one patient or object, as text. ``uids`` are those that had to be replaced."""

    names: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    birth_dates: tuple[str, ...] = ()
    uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leak:
    """One identifier that was found: its kind, and the element that holds it (``bytes``: somewhere in the file)."""

    kind: str
    where: str


@dataclass(slots=True)
class _Needles:
    """The identifiers of one object as searches."""

    words: list[tuple[str, re.Pattern[str]]] = field(default_factory=list)
    raw: list[tuple[str, bytes, re.Pattern[bytes]]] = field(default_factory=list)


def audit_bytes(content: bytes, known: Known, *, dates_retained: bool = False) -> list[Leak]:
    """Search one output. ``dates_retained``: the recipe keeps or shifts dates, so date attributes may hold any date."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(BytesIO(content))
            needles = _needles(known, _encodings(ds))
            leaks = [
                Leak(kind, where)
                for where, vr, tag, text in _texts(ds)
                if not (dates_retained and vr in ("DA", "DT"))
                for kind, pattern in needles.words
                if _is_searched(kind, vr, tag) and _matches(pattern, kind, text)
            ]
            leaks += _raw_leaks(content, ds, needles, dates_retained)
    except (InvalidDicomError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError) as exc:
        return [Leak("unreadable", type(exc).__name__)]
    return leaks


def _encodings(ds: Dataset) -> set[str]:
    declared = ds.get("SpecificCharacterSet") or "ISO_IR 6"
    names = [declared] if isinstance(declared, str) else list(declared)
    return {"utf-8", "latin-1"} | {python_encoding[name] for name in names if name in python_encoding}


def _needles(known: Known, encodings: set[str]) -> _Needles:
    needles = _Needles()
    for kind, text in _spellings(known):
        pattern = re.escape(text)
        if kind == "uid":
            pattern = rf"(?<![0-9.]){pattern}(?![0-9.])"
        elif kind == "birth date" or text.isdigit():
            pattern = rf"(?<![0-9]){pattern}(?![0-9])"
        elif len(text) < _SHORT:
            pattern = rf"(?<![0-9A-Za-z]){pattern}(?![0-9A-Za-z])"
        needles.words.append((kind, re.compile(pattern, re.IGNORECASE)))
        if len(text) >= _SHORT:
            for encoded in _encoded(text, encodings):
                raw = re.escape(encoded)
                if text.isdigit() or kind in ("uid", "birth date"):
                    raw = rb"(?<![0-9.])" + raw + rb"(?![0-9.])"
                needles.raw.append((kind, encoded, re.compile(raw)))
    return needles


def _encoded(text: str, encodings: set[str]) -> set[bytes]:
    """Encode an identifier as the object may; in lower case, as the bytes that are searched are lowered byte by byte."""
    found = set()
    for encoding in encodings:
        for form in (text, text.upper(), text.lower()):
            try:
                found.add(form.encode(encoding).lower())
            except (UnicodeEncodeError, LookupError):
                continue
    return found


def _spellings(known: Known) -> Iterator[tuple[str, str]]:
    """Give every identifier in the forms in which people write it."""
    for name in known.names:
        parts = re.split(r"[\^=\\ ,.]+", name)
        yield from (("name", part) for part in parts if len(part) >= _NAME_PART and _means_somebody(part))
    for number in known.numbers:
        text = number.strip()
        bare = re.sub(r"[^0-9A-Za-z]", "", text)
        forms = [text] + ([bare] if bare != text and len(bare) >= _SHORT else [])
        yield from (("number", form) for form in forms if len(text) >= _NUMBER and text.lower() not in _PLACEHOLDERS)
    for date in known.birth_dates:
        yield from (("birth date", form) for form in _written_dates(date))
    yield from (("uid", uid) for uid in known.uids if len(uid) >= _UID)


def _means_somebody(part: str) -> bool:
    return part.lower() not in _PLACEHOLDERS and not part.isdigit()


def _written_dates(date: str) -> list[str]:
    if not re.fullmatch(r"\d{8}", date) or date in ("19000101", "00010101", "18000101"):
        return []  # these stand for an unknown date
    year, month, day = date[:4], date[4:6], date[6:]
    orders = ((year, month, day), (day, month, year), (month, day, year))
    return [date] + [separator.join(order) for separator in "-./" for order in orders]


def _texts(ds: Dataset, path: str = "") -> Iterator[tuple[str, str, int, str]]:
    """Give every value as text: (where, VR, tag, text); binary values are left to the search of the raw bytes."""
    for element in ds:
        where = f"{path}({element.tag.group:04X},{element.tag.element:04X})"
        if element.VR == "SQ":
            for item in element.value or []:
                yield from _texts(item, f"{where}/")
        elif not isinstance(element.value, bytes) and element.value is not None:
            values = element.value if isinstance(element.value, list | pydicom.multival.MultiValue) else [element.value]
            yield where, str(element.VR), int(element.tag), "\\".join(str(value) for value in values)


def _is_searched(kind: str, vr: str, tag: int) -> bool:
    """Say whether an identifier of this kind would mean something in such an element: a name in a number would not."""
    if tag in _OURS:
        return False
    if kind == "uid":
        return vr == "UI" or vr in _TEXT
    if kind == "birth date":
        return vr in _TEXT or vr in ("DA", "DT")
    return vr in _TEXT or (vr == "CS" and tag >> 16 not in _TERM_GROUPS)


def _matches(pattern: re.Pattern[str], kind: str, text: str) -> bool:
    if pattern.search(text):
        return True
    # 12-345-67 for 1234567: an identifier must not hide behind separators.
    return kind == "number" and bool(pattern.search(re.sub(r"[ \-./_]", "", text)))


def _raw_leaks(content: bytes, ds: Dataset, needles: _Needles, dates_retained: bool) -> list[Leak]:
    """Search the bytes of the file; on a hit, once more without the values in which it would be a coincidence."""
    lowered = content.lower()
    # A plain search first: it runs at memory speed, where a pattern with its borders does not.
    hits = [(kind, pattern) for kind, encoded, pattern in needles.raw if encoded in lowered and pattern.search(lowered)]
    if not hits:
        return []
    for _, vr, tag, text in _texts(ds):
        is_coded = vr == "CS" and tag >> 16 in _TERM_GROUPS
        if tag in _OURS or is_coded or vr in ("DS", "IS") or (dates_retained and vr in ("DA", "DT")):
            value = text.lower().encode("utf-8", "replace")
            if any(pattern.search(value) for _, pattern in hits):
                lowered = lowered.replace(value, b"")
    return [Leak(kind, "bytes") for kind, pattern in hits if pattern.search(lowered)]
