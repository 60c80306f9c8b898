"""The registry of structural problems: what can be wrong with the bytes of an object, and what follows from it.

A problem is data, never an exception. Its code is stable and never reused; its class says what an archive should do: accept,
accept with a recorded warning, or quarantine (keep the bytes, do not forward them until a person has decided).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Disposition(StrEnum):
    """What follows from a problem, the mildest first."""

    ACCEPT = "accept"
    WARN = "warn"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Problem:
    """One defect that was found. ``where`` is a tag (``(0010,0020)``) or a byte offset; ``detail`` never holds a value."""

    code: str
    where: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ProblemType:
    """What a code means: its class, one sentence, and the part of the Standard (or the advisory) that it rests on."""

    code: str
    disposition: Disposition
    text: str
    reference: str


_A, _W, _Q = Disposition.ACCEPT, Disposition.WARN, Disposition.QUARANTINE

_TABLE = (
    # the file as a whole, and its meta information
    ("EMPTY", _Q, "The file holds no bytes.", "PS3.10 7"),
    ("NOT_DICOM", _Q, "Neither a DICOM prefix nor anything that reads as a data set was found.", "PS3.10 7.1"),
    ("NO_MAGIC", _Q, "A preamble is there, but the prefix DICM is not.", "PS3.10 7.1"),
    ("NO_META", _Q, "Nothing follows the prefix DICM.", "PS3.10 7.1"),
    ("NO_PREAMBLE", _W, "The preamble and the prefix DICM are missing.", "PS3.10 7.1"),
    ("META_TRUNCATED", _Q, "The file ends inside its meta information.", "PS3.10 7.1"),
    ("META_GROUPLEN", _W, "The meta information's group length is wrong or missing.", "PS3.10 7.1"),
    ("TS_MISSING", _W, "No Transfer Syntax UID is given; the encoding was inferred from the first elements.", "PS3.10 7.1"),
    ("TS_UNKNOWN", _W, "The transfer syntax is private or unknown; its pixel data are treated as opaque.", "PS3.5 10"),
    ("TS_MISMATCH", _Q, "The data set is not encoded as its transfer syntax says.", "PS3.5 10"),
    ("PREAMBLE_EXEC", _W, "The preamble makes the file executable or active elsewhere.", "PS3.10 7.5, CVE-2019-11687"),
    # elements
    ("UNPARSEABLE", _Q, "What follows the meta information does not read as a data set.", "PS3.5 7.1"),
    ("VALUE_OVERRUN", _Q, "An element's length goes beyond the end of the data set.", "PS3.5 7.1"),
    ("TRAILING_FRAGMENT", _Q, "The data set ends inside the header of an element.", "PS3.5 7.1"),
    ("TRAILING_PADDING", _W, "Zero bytes follow the last element.", "PS3.10 7.2"),
    ("ILLEGAL_GROUP", _W, "An element of group 0000 to 0003 stands in the data set.", "PS3.5 7.1"),
    ("TAG_ORDER", _W, "The elements are not in ascending order, or one is there twice.", "PS3.5 7.1"),
    ("DUP_IDENTITY_TAG", _Q, "An element that identifies the object is there twice, with different values.", "PS3.5 7.1"),
    ("BAD_VR", _Q, "An element's value representation does not exist.", "PS3.5 6.2"),
    ("VR_LENGTH_FORM", _Q, "An element uses the wrong form of length for its value representation.", "PS3.5 7.1.2"),
    ("ODD_LENGTH", _W, "A value has an odd length.", "PS3.5 7.1.1"),
    ("OVERSIZE_VALUE", _W, "An index column's value is too long to be one and was left out.", "PS3.5 6.2"),
    ("ELEMENT_LIMIT", _Q, "The data set has more elements than the limit allows.", "limit"),
    # sequences
    ("DEPTH", _Q, "Sequences are nested deeper than the limit allows.", "limit"),
    ("UNTERMINATED_SQ", _Q, "A sequence or item of undefined length is never closed.", "PS3.5 7.5"),
    ("UNDEFINED_ON_NON_SQ", _Q, "A value that is no sequence has undefined length.", "PS3.5 7.5"),
    ("STRUCTURE", _Q, "Items and delimiters do not nest as sequences must.", "PS3.5 7.5"),
    # pixel data
    ("TRUNCATED_PIXEL", _Q, "The file ends before its pixel data do.", "PS3.5 8.1"),
    ("PIXEL_SIZE_MISMATCH", _Q, "The pixel data are shorter than Rows, Columns and the rest require.", "PS3.5 8.1.1"),
    ("UNTERMINATED_PIXEL", _Q, "Encapsulated pixel data have no sequence delimiter.", "PS3.5 A.4"),
    ("FRAGMENT_OVERRUN", _Q, "A fragment of encapsulated pixel data goes beyond the end of the data set.", "PS3.5 A.4"),
    ("OFFSET_TABLE", _W, "The offset table does not point at the fragments.", "PS3.5 A.4, PS3.3 C.7.6.3.1.8"),
    # deflated transfer syntaxes
    ("INFLATE_LIMIT", _Q, "The deflated data set inflates beyond the limit.", "limit"),
    ("INFLATE_ERROR", _Q, "The deflated data set is damaged or cut off.", "PS3.5 A.5"),
    ("INFLATE_TRAILER", _W, "Bytes follow the end of the deflated data set.", "PS3.5 A.5"),
    # identity
    ("NO_SOP_INSTANCE_UID", _Q, "The data set has no SOP Instance UID.", "PS3.3 C.12.1"),
    ("NO_STUDY_INSTANCE_UID", _Q, "The data set has no Study Instance UID.", "PS3.3 C.7.2.1"),
    ("NO_SERIES_INSTANCE_UID", _Q, "The data set has no Series Instance UID.", "PS3.3 C.7.3.1"),
    ("MEDIA_DIRECTORY", _Q, "The file is a DICOMDIR: a directory of other files, no instance.", "PS3.3 F.3"),
    ("BAD_UID", _W, "A UID is not one: wrong characters, a component with a leading zero, too long.", "PS3.5 9.1"),
    ("SOP_MISMATCH", _Q, "SOP class or instance differ between the data set and what announced it.", "PS3.10 7.1, PS3.4 B.2.2"),
    ("UID_CONFLICT", _Q, "Another object with other bytes has the same SOP Instance UID.", "PS3.5 9"),
    # values of index columns
    ("CHARSET", _W, "Text could not be decoded as its Specific Character Set says.", "PS3.3 C.12.1.1.2"),
    ("BAD_NUMBER", _W, "A number is not one, or does not fit.", "PS3.5 6.2"),
    # outside the data set
    ("UNREADABLE", _Q, "The file could not be opened or read.", "operating system"),
)

PROBLEMS: dict[str, ProblemType] = {row[0]: ProblemType(*row) for row in _TABLE}
"""Every code, in the order in which a reader of the file would meet it."""

_ORDER = {_A: 0, _W: 1, _Q: 2}


def disposition(problems: Iterable[Problem]) -> Disposition:
    """Tell what follows from all ``problems`` together: the worst class among them, ``ACCEPT`` if there are none."""
    worst = _A
    for problem in problems:
        worst = max(worst, PROBLEMS[problem.code].disposition, key=_ORDER.__getitem__)
    return worst


def codes(problems: Iterable[Problem]) -> tuple[str, ...]:
    """List the distinct codes of ``problems``, the deciding ones first, otherwise in the order they were found."""
    distinct = dict.fromkeys([problem.code for problem in problems])
    if not distinct:
        return ()
    return tuple(sorted(distinct, key=lambda code: -_ORDER[PROBLEMS[code].disposition]))


def tag_text(tag: int) -> str:
    """Write a tag as the Standard does: ``(0010,0020)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
