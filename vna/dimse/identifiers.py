"""Identifiers of queries and retrieves: keywords and text to a data set and back (PS3.4 C.4), by Specific Character Set.

Answers come from strangers, so they are read by the same bounded scanner that reads received objects.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

from indexer import text
from indexer.header import HeaderScanner, Limits
from vna.dimse.attributes import keyword_of, tag_of, vr_of
from vna.dimse.limits import IDENTIFIER_BYTES
from vna.dimse.pdus import ProtocolError
from vna.dimse.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN

LEVELS: Final = ("PATIENT", "STUDY", "SERIES", "IMAGE")
_UNIQUE_KEYS: Final = (
    ("IMAGE", "SOPInstanceUID"),
    ("SERIES", "SeriesInstanceUID"),
    ("STUDY", "StudyInstanceUID"),
    ("PATIENT", "PatientID"),
)
"""Unique key of each level, the deepest first (PS3.4 C.6.1.1)."""

_SPECIFIC_CHARACTER_SET = 0x00080005
_UNASKED: Final = (
    "SpecificCharacterSet",
    "QueryRetrieveLevel",
    "RetrieveAETitle",
    "InstanceAvailability",
    "TimezoneOffsetFromUTC",
)
"""What peers return without being asked (PS3.4 C.4.1.1.3.2)."""

_LONG: Final = frozenset(("SQ", "OB", "OW", "OD", "OF", "OL", "OV", "UN", "UC", "UR", "UT", "SV", "UV"))
"""Value representations with four bytes of length (PS3.5 Table 7.1-1)."""

_BINARY: Final = frozenset(("SQ", "OB", "OW", "OD", "OF", "OL", "OV", "UN", "AT"))
_NUMBERS: Final = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i", "FL": "<f", "FD": "<d", "UV": "<Q", "SV": "<q"}
_LIMITS: Final = Limits(value_bytes=IDENTIFIER_BYTES)


def level_of(keys: Mapping[str, str]) -> str:
    """Return the query/retrieve level that the unique keys in ``keys`` speak of: the deepest one given.

    Raises ValueError where there is none, since a retrieve without a unique key asks for everything.
    """
    for level, keyword in _UNIQUE_KEYS:
        if keys.get(keyword):
            return level
    raise ValueError("a unique key is needed: StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID or PatientID")


def encode(level: str, keys: Mapping[str, str], transfer_syntax: str, *, asks_charset: bool = False) -> bytes:
    """Encode an identifier; an empty value is a universal match and a return key.

    With ``asks_charset`` (0008,0005) stands in it even where no value needs it: some peers name their character set only when
    asked. Raises ValueError for a keyword that the dictionary does not know, or a value that the element cannot hold.
    """
    if level not in LEVELS:
        raise ValueError(f"{level!r} is no query/retrieve level: {', '.join(LEVELS)}")
    values = {"QueryRetrieveLevel": level, **keys}
    is_special = not all(value.isascii() for value in values.values())
    if is_special or asks_charset:
        values.setdefault("SpecificCharacterSet", "ISO_IR 192" if is_special else "")
    elements = sorted((tag_of(keyword), value) for keyword, value in values.items())
    is_implicit = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    return b"".join(_element(tag, value, is_implicit) for tag, value in elements)


def decode(data: bytes, transfer_syntax: str, keywords: Iterable[str]) -> dict[str, str]:
    """Decode the asked ``keywords`` of an identifier, and what peers return unasked: keyword -> text.

    Several values are joined by backslashes, all groups of a person name kept; sequences and binary values are left out. Raises
    ProtocolError for what cannot be read to its end.
    """
    wanted = frozenset(tag_of(keyword) for keyword in (*_UNASKED, *keywords))
    scanner = HeaderScanner(transfer_syntax, _LIMITS, wanted=wanted)
    scanner.feed(data)
    header = scanner.close()
    if not header.has_header_end and data:
        codes = ", ".join(problem.code for problem in header.problems)
        raise ProtocolError("IDENTIFIER", f"an identifier that cannot be read ({codes})")
    charset = header.elements.get(_SPECIFIC_CHARACTER_SET, b"")
    return {
        keyword_of(tag): _text(raw, vr, charset)
        for tag, raw in sorted(header.elements.items())
        if tag in wanted and (vr := vr_of(tag)) not in _BINARY
    }


def _element(tag: int, value: str, is_implicit: bool) -> bytes:
    vr = vr_of(tag)
    if value and (vr in _BINARY or vr[:2] in _NUMBERS):
        raise ValueError(f"{keyword_of(tag)} cannot be matched by text")
    raw = value.encode("utf-8")
    if len(raw) & 1:
        raw += b"\0" if vr == "UI" else b" "
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if is_implicit:
        return head + len(raw).to_bytes(4, "little") + raw
    if vr in _LONG:
        return head + vr.encode("ascii") + b"\0\0" + len(raw).to_bytes(4, "little") + raw
    if len(raw) > 0xFFFE:
        raise ValueError(f"{keyword_of(tag)} is too long for one query: ask in several")
    return head + vr[:2].encode("ascii") + len(raw).to_bytes(2, "little") + raw


def _text(raw: bytes, vr: str, charset: bytes) -> str:
    form = _NUMBERS.get(vr[:2])  # "US or SS" is unsigned here, as in every key that has it
    if form is not None:
        size = struct.calcsize(form)
        whole = raw[: len(raw) // size * size]
        return "\\".join(str(number) for (number,) in struct.iter_unpack(form, whole))
    if not charset and not raw.isascii():
        charset = _undeclared(raw)
    return text.decode(raw, vr, charset).strip()


def _undeclared(raw: bytes) -> bytes:
    """Guess the character set of a peer that names none although it needs one: UTF-8 where it is valid, else Latin-1."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return b"ISO_IR 100"
    return b"ISO_IR 192"
