"""Raw data elements: read one header, walk or skip a value, write one element; values are never decoded.

Works on a bytes-like buffer of a data set in explicit or implicit VR, little or big endian (PS3.5 section 7 and Annex A). An
editor that walks a data set once with :func:`read_header` copies what it keeps as slices, byte for byte.

Nouns: encoding (how a transfer syntax lays out elements), header (tag, VR, length and where the value begins).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

UNDEFINED = 0xFFFFFFFF
"""The length that says: read on to the delimiter (PS3.5 7.1.1)."""
ITEM = 0xFFFEE000
ITEM_DELIMITER = 0xFFFEE00D
SEQUENCE_DELIMITER = 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009
MAX_DEPTH = 64
"""Sequences nested deeper than this are refused: no IOD comes near it, and a hostile file must not exhaust the stack."""

LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""The VRs whose explicit header has two reserved bytes and a 32 bit length (PS3.5 Table 7.1-1)."""
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

EXPLICIT_BIG_ENDIAN_UID = "1.2.840.10008.1.2.2"
IMPLICIT_LITTLE_ENDIAN_UID = "1.2.840.10008.1.2"
DEFLATED_UIDS = frozenset(("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"))
"""Transfer syntaxes whose whole data set is a raw deflate stream (PS3.5 A.5)."""


class StructureError(ValueError):
    """The bytes do not form a data set. ``code`` is a structural problem code; the message holds no values."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TruncatedError(StructureError):
    """The buffer ends inside an element: with more bytes of the same data set the walk may succeed."""

    def __init__(self) -> None:
        super().__init__("VALUE_OVERRUN", "an element reaches beyond the end of the data")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are laid out: explicit or implicit VR, and the byte order."""

    explicit: bool = True
    little_endian: bool = True
    head: Callable[..., tuple[Any, ...]] = field(init=False, repr=False, compare=False)
    long: Callable[..., tuple[Any, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        order = "<" if self.little_endian else ">"
        object.__setattr__(self, "head", struct.Struct(order + ("HH2sH" if self.explicit else "HHI")).unpack_from)
        object.__setattr__(self, "long", struct.Struct(order + "I").unpack_from)

    @property
    def order(self) -> str:
        """Give the byte order as :mod:`struct` writes it."""
        return "<" if self.little_endian else ">"


EXPLICIT_LE = Encoding()
IMPLICIT_LE = Encoding(explicit=False)
EXPLICIT_BE = Encoding(little_endian=False)


def encoding_of(transfer_syntax_uid: str) -> Encoding:
    """Give the encoding of the data set of a transfer syntax; a deflated one is meant after inflating it."""
    if transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN_UID:
        return IMPLICIT_LE
    return EXPLICIT_BE if transfer_syntax_uid == EXPLICIT_BIG_ENDIAN_UID else EXPLICIT_LE


def actual_encoding(start: bytes, encoding: Encoding) -> Encoding:
    """Correct an encoding by the data set's first element: some files are implicit VR where their transfer syntax is not.

    And the other way about, as every tolerant reader does; ``start`` is at least the first 8 bytes of the data set.
    """
    has_vr = start[4:6].isalpha() and start[4:6].isupper()
    if len(start) < 8 or has_vr is encoding.explicit:
        return encoding
    if not encoding.explicit:  # two letters may be a length too: only a VR that exists is one
        return EXPLICIT_LE if start[4:6] in LONG_VRS or start[4:6] in SHORT_VRS else encoding
    return IMPLICIT_LE if encoding.little_endian else encoding


class Header(NamedTuple):
    """One element's header: its tag, VR (empty in implicit VR and for items), length and the offset of its value."""

    tag: int
    vr: bytes
    length: int
    value_at: int


def read_header(buffer: bytes | memoryview, at: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
    """Read the element header at ``at``: (tag, VR, length, offset of the value), in the order of :class:`Header`.

    A plain tuple, since this is called for every element. Raises TruncatedError where the buffer ends inside the header.
    A VR that is not two capital letters is read as an implicit VR element, as other toolkits do.
    """
    try:
        if not encoding.explicit:
            group, element, length = encoding.head(buffer, at)
            return group << 16 | element, b"", length, at + 8
        group, element, vr, length = encoding.head(buffer, at)
        if vr in SHORT_VRS:
            return group << 16 | element, vr, length, at + 8
        if vr in LONG_VRS:
            return group << 16 | element, vr, encoding.long(buffer, at + 8)[0], at + 12
        if group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
            return group << 16 | element, b"", encoding.long(buffer, at + 4)[0], at + 8
    except struct.error:
        raise TruncatedError from None
    return group << 16 | element, vr, length, at + 8


def skip_value(buffer: bytes | memoryview, header: tuple[int, bytes, int, int], encoding: Encoding, depth: int = 0) -> int:
    """Give the offset behind an element's value, walking through it where its length is undefined."""
    tag, vr, length, at = header
    if length != UNDEFINED:
        if at + length > len(buffer):
            raise TruncatedError
        return at + length
    if depth > MAX_DEPTH:
        raise StructureError("DEPTH", "sequences are nested too deeply")
    nested = IMPLICIT_LE if vr == b"UN" else encoding
    while True:
        inner, _, size, start = read_header(buffer, at, nested)
        if inner == SEQUENCE_DELIMITER:
            return start
        if inner != ITEM:
            raise StructureError("UNTERMINATED_SQ", f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is not made of items")
        at = start + size if size != UNDEFINED else skip_item(buffer, start, nested, depth + 1)
        if at > len(buffer):
            raise TruncatedError


def skip_item(buffer: bytes | memoryview, at: int, encoding: Encoding, depth: int = 0) -> int:
    """Give the offset behind an item of undefined length whose first element is at ``at``."""
    while True:
        header = read_header(buffer, at, encoding)
        if header[0] == ITEM_DELIMITER:
            return header[3]
        at = skip_value(buffer, header, encoding, depth)


def element_bytes(tag: int, vr: bytes, value: bytes, encoding: Encoding, value_vr: bytes = b"") -> bytes:
    """Encode one element of defined length; a value of odd length is padded as its VR wants (PS3.5 6.2).

    ``value_vr`` is the VR that the value has by its tag, where the header is to say another (UN) or none.
    """
    if len(value) & 1:
        value += b"\0" if (value_vr or vr) in (b"UI", b"OB", b"UN") else b" "
    return header_bytes(tag, vr, len(value), encoding) + value


def header_bytes(tag: int, vr: bytes, length: int, encoding: Encoding) -> bytes:
    """Encode an element's header. Raises StructureError where the VR cannot hold so long a value."""
    order = encoding.order
    if not encoding.explicit or tag >> 16 == 0xFFFE or not vr:
        return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, length)
    if vr in LONG_VRS:
        return struct.pack(order + "HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length)
    if length > 0xFFFF:
        raise StructureError("OVERSIZE_VALUE", "the value is longer than its VR allows")
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr, length)


def sequence_bytes(tag: int, items: list[bytes], encoding: Encoding, vr: bytes = b"SQ") -> bytes:
    """Encode a sequence of defined length from the bytes of its items' elements."""
    content = b"".join(header_bytes(ITEM, b"", len(item), encoding) + item for item in items)
    return header_bytes(tag, vr, len(content), encoding) + content


@cache
def vr_of(tag: int) -> bytes:
    """Give the VR that PS3.6 names for a tag, the first where there are several; empty for one that it does not know."""
    entry = DicomDictionary.get(tag)
    if entry is None and 0x50000000 <= tag < 0x61000000:
        entry = RepeatersDictionary.get(f"{tag >> 24:02X}xx{tag & 0xFFFF:04X}")
    return entry[0][:2].encode() if entry else b""


def is_private(tag: int) -> bool:
    """Say whether the element is private: its group number is odd (PS3.5 7.8)."""
    return bool(tag & 0x10000)
