"""How a data set can be encoded, which transfer syntaxes say so, and how to tell from its first bytes (PS3.5 7.1 and 10).

Nouns: encoding (implicit or explicit VR, byte order), transfer syntax (what the file meta or the presentation context claims).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from struct import Struct, unpack_from


class Encoding(StrEnum):
    """The three encodings that a data set can have (PS3.5 10 and Annex A)."""

    IMPLICIT_LITTLE = "implicit little endian"
    EXPLICIT_LITTLE = "explicit little endian"
    EXPLICIT_BIG = "explicit big endian"


IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
PAPYRUS_IMPLICIT = "1.2.840.10008.1.20"

DEFLATED = frozenset(
    {DEFLATED_EXPLICIT_LITTLE_ENDIAN, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}  # the latter two: JPIP, deflated
)
"""Transfer syntaxes whose whole data set is a raw deflate stream (PS3.5 A.5, A.7)."""

_NATIVE = frozenset({IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, PAPYRUS_IMPLICIT}) | DEFLATED

# JPEG .50-.66, .70; JPEG-LS .80, .81; JPEG 2000 .90-.93; JPIP .94, .95; MPEG .100-.106 (and fragmentable .1); HEVC .107, .108;
# JPEG XL .110-.112; HTJ2K .201-.203; JPIP HTJ2K .204, .205; RLE 1.2.5; MIME, XML 1.2.6; SMPTE 1.2.7; deflated frames 1.2.8.1
_KNOWN = re.compile(
    r"1\.2\.840\.10008\.1\.2\.("
    r"4\.(5\d|6[0-6]|70|8[01]|9[0-5]|10[0-8]|10[0-6]\.1|11[0-2]|20[1-5])"
    r"|5|6\.[12]|7\.[123]|8\.1)"
)

_BY_LABEL = {
    IMPLICIT_LITTLE_ENDIAN: Encoding.IMPLICIT_LITTLE,
    PAPYRUS_IMPLICIT: Encoding.IMPLICIT_LITTLE,
    EXPLICIT_LITTLE_ENDIAN: Encoding.EXPLICIT_LITTLE,
    ENCAPSULATED_UNCOMPRESSED: Encoding.EXPLICIT_LITTLE,
    DEFLATED_EXPLICIT_LITTLE_ENDIAN: Encoding.EXPLICIT_LITTLE,
    EXPLICIT_BIG_ENDIAN: Encoding.EXPLICIT_BIG,
}

# fmt: off
SHORT_VRS = ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
             "UL", "US")
LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
# fmt: on
"""Value representations with a 16-bit length, and those with two reserved bytes and a 32-bit length (PS3.5 7.1.2)."""

_VR_BYTES = frozenset(vr.encode() for vr in SHORT_VRS + LONG_VRS)
_PLAUSIBLE_LENGTH = 0x10000  # a first element is an identifier or a character set, never a long value


def is_known(transfer_syntax_uid: str) -> bool:
    """Tell whether the Standard defines this transfer syntax, retired ones included (PS3.6 Annex A)."""
    return declared_encoding(transfer_syntax_uid) is not None


def is_native(transfer_syntax_uid: str) -> bool:
    """Tell whether pixel data are stored natively, not encapsulated, in this (known) transfer syntax."""
    return transfer_syntax_uid in _NATIVE


@lru_cache(maxsize=256)
def declared_encoding(transfer_syntax_uid: str) -> Encoding | None:
    """Give the encoding that a transfer syntax stands for; None for a private or unknown one."""
    found = _BY_LABEL.get(transfer_syntax_uid)
    if found is None and _KNOWN.fullmatch(transfer_syntax_uid):
        return Encoding.EXPLICIT_LITTLE  # all of them (PS3.5 A.4)
    return found


def sniff(head: bytes) -> Encoding | None:
    """Tell the encoding from the first element of a data set; None when its eight bytes make sense in none.

    A group number is small, so its byte order shows; two letters that are a VR make the encoding explicit, since an implicit
    length would have to be beyond 16,000 to look like them.
    """
    if len(head) < 8:
        return None
    little, big = unpack_from("<H", head)[0], unpack_from(">H", head)[0]
    if head[4:6] in _VR_BYTES:
        return Encoding.EXPLICIT_LITTLE if little <= big else Encoding.EXPLICIT_BIG
    length = unpack_from("<I", head, 4)[0]
    if little <= 0x7FE0 and (length <= _PLAUSIBLE_LENGTH or length == 0xFFFFFFFF or little == 0x7FE0):
        return Encoding.IMPLICIT_LITTLE
    return None


@dataclass(frozen=True, slots=True)
class ByteOrder:
    """How one byte order reads elements: struct functions, and VRs as the 16-bit numbers that they look like."""

    little: bool
    element: Struct
    word: Struct
    short: frozenset[int]
    long: frozenset[int]
    sq: int
    un: int


def _byte_order(sign: str) -> ByteOrder:
    def number(vr: str) -> int:
        return int.from_bytes(vr.encode(), "little" if sign == "<" else "big")

    short, long = frozenset(map(number, SHORT_VRS)), frozenset(map(number, LONG_VRS))
    return ByteOrder(sign == "<", Struct(f"{sign}HHHH"), Struct(f"{sign}I"), short, long, number("SQ"), number("UN"))


LITTLE, BIG = _byte_order("<"), _byte_order(">")
