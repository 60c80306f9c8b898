"""Text of a data set by its Specific Character Set (0008,0005), with code extensions (PS3.3 C.12.1.1.2, PS3.5 6.1.2).

The answers are those of pydicom, without its warnings, exceptions and import: whatever cannot be decoded as declared is decoded
with replacement characters and reported. Component groups of person names are kept (``Yamada^Tarou=山田^太郎``), and so are the
backslashes between several values.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache

_DEFAULT = "iso8859"
_ESCAPE = b"\x1b"

_TERMS = {
    "": _DEFAULT,
    "ISO_IR 6": _DEFAULT,
    "ISO_IR 13": "shift_jis",
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 126": "iso_ir_126",
    "ISO_IR 127": "iso_ir_127",
    "ISO_IR 138": "iso_ir_138",
    "ISO_IR 144": "iso_ir_144",
    "ISO_IR 148": "iso_ir_148",
    "ISO_IR 166": "iso_ir_166",
    "ISO_IR 203": "iso8859_15",
    "ISO 2022 IR 6": _DEFAULT,
    "ISO 2022 IR 13": "shift_jis",
    "ISO 2022 IR 58": "iso_ir_58",
    "ISO 2022 IR 87": "iso2022_jp",
    "ISO 2022 IR 100": "latin_1",
    "ISO 2022 IR 101": "iso8859_2",
    "ISO 2022 IR 109": "iso8859_3",
    "ISO 2022 IR 110": "iso8859_4",
    "ISO 2022 IR 126": "iso_ir_126",
    "ISO 2022 IR 127": "iso_ir_127",
    "ISO 2022 IR 138": "iso_ir_138",
    "ISO 2022 IR 144": "iso_ir_144",
    "ISO 2022 IR 148": "iso_ir_148",
    "ISO 2022 IR 149": "euc_kr",
    "ISO 2022 IR 159": "iso2022_jp_2",
    "ISO 2022 IR 166": "iso_ir_166",
    "ISO 2022 IR 203": "iso8859_15",
    "ISO 2022 GBK": "GBK",
    "ISO 2022 58": "GB2312",
    "ISO_IR 192": "utf-8",
    "GB18030": "GB18030",
    "GBK": "GBK",
}
"""Defined term -> Python codec (PS3.3 Tables C.12-2 to C.12-5)."""

_ALONE = frozenset({"ISO_IR 192", "GBK", "GB18030"})  # no code extensions with these (PS3.3 Table C.12-5)

_DESIGNATED = {
    b"\x1b(B": _DEFAULT,
    b"\x1b-A": "latin_1",
    b"\x1b)I": "shift_jis",
    b"\x1b(J": "shift_jis",
    b"\x1b$B": "iso2022_jp",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso_ir_126",
    b"\x1b-G": "iso_ir_127",
    b"\x1b-H": "iso_ir_138",
    b"\x1b-L": "iso_ir_144",
    b"\x1b-M": "iso_ir_148",
    b"\x1b-T": "iso_ir_166",
    b"\x1b-b": "iso8859_15",
    b"\x1b$)C": "euc_kr",
    b"\x1b$(D": "iso2022_jp_2",
    b"\x1b$)A": "iso_ir_58",
}
"""Escape sequence -> Python codec (PS3.3 Tables C.12-3 and C.12-4)."""

_KEEPS_ESCAPE = frozenset({"iso2022_jp", "iso2022_jp_2", "iso_ir_58"})  # these codecs read the escape sequence themselves
_PART = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_CONTROL = re.compile(rb"[\t\n\f\r]")  # each ends what an escape sequence designated (PS3.5 6.1.2.5.3)
_MISSPELT = re.compile(r"ISO[^_]IR|ISO.2022.IR.")

# Codec names that some writers put in place of a defined term. No other codec is reachable from a file.
_BORROWED = re.compile(r"(utf-8|ascii|iso8859-\d+|cp125\d|koi8-r|gbk|gb2312|gb18030|big5|euc_kr|euc_jp|shift_jis)")


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """The codecs of one value of Specific Character Set; ``is_standard`` tells whether all its terms are defined ones."""

    encodings: tuple[str, ...]
    is_standard: bool = True

    def decode(self, raw: bytes) -> tuple[str, bool]:
        """Decode ``raw`` and tell whether that worked as declared; never raises. Padding is kept."""
        first = self.encodings[0]
        if _ESCAPE not in raw:
            return _decode(raw, first)
        text, worked = "", True
        for part in _PART.findall(raw):
            piece, fine = self._escaped(part) if part[:1] == _ESCAPE else _decode(part, first)
            text += piece
            worked = worked and fine
        return text, worked

    def _escaped(self, part: bytes) -> tuple[str, bool]:
        length = 4 if part.startswith((b"\x1b$(", b"\x1b$)")) else 3
        encoding = _DESIGNATED.get(part[:length], "")
        first = self.encodings[0]
        if encoding not in self.encodings and encoding != _DEFAULT:
            return part.decode(first, "replace"), False
        if encoding in _KEEPS_ESCAPE:
            text, worked = _decode(part, encoding)
            return (text, True) if worked else (part.decode(first, "replace"), False)
        body = part[length:]
        control = _CONTROL.search(body)
        cut = control.start() if control else len(body)
        try:
            return body[:cut].decode(encoding) + body[cut:].decode(first), True
        except UnicodeError:
            return part.decode(first, "replace"), False


def _decode(raw: bytes, encoding: str) -> tuple[str, bool]:
    try:
        return raw.decode(encoding), True
    except UnicodeError:
        return raw.decode(encoding, "replace"), False


@lru_cache(maxsize=256)
def character_set(specific_character_set: bytes) -> CharacterSet:
    """Read a raw value of (0008,0005). Misspelt terms are corrected, unknown ones read as ISO_IR 6; both are not standard."""
    terms = specific_character_set[:512].decode("latin_1").rstrip(" \0").split("\\")
    found = [_codec(term) for term in terms]
    is_standard = all(fine for _, fine in found)
    if terms[0] in _ALONE:
        return CharacterSet((found[0][0],), is_standard and len(terms) == 1)
    kept = [codec for term, (codec, _) in zip(terms, found, strict=True) if term not in _ALONE]
    return CharacterSet(tuple(kept), is_standard and len(kept) == len(terms))


def _codec(term: str) -> tuple[str, bool]:
    if term in _TERMS:
        return _TERMS[term], True
    if term.strip() in _TERMS:
        return _TERMS[term.strip()], True
    if _MISSPELT.match(term):
        corrected = "ISO 2022 IR " + term[12:] if term[4:8] == "2022" else "ISO_IR" + term[6:]
        return _TERMS.get(corrected, _DEFAULT), False
    try:
        name = codecs.lookup(term).name if term.isascii() and term.isprintable() else ""
    except LookupError:
        name = ""
    return (name, False) if _BORROWED.fullmatch(name) else (_DEFAULT, False)


_BY_CHARACTER_SET = frozenset({"PN", "LO", "SH", "UC", "LT", "ST", "UT"})


def decode(raw: bytes, vr: str, specific_character_set: bytes | str = b"") -> str:
    """Decode the raw value of an element with value representation ``vr``; never raises.

    Trailing spaces and NULs of each value are removed, and empty component groups at the end of a name; several values stay
    separated by backslashes. Value representations outside PN, LO, SH, UC, LT, ST and UT know the default repertoire only
    (PS3.5 6.1.2.3).
    """
    return decode_checked(raw, vr, specific_character_set)[0]


def decode_checked(raw: bytes, vr: str, specific_character_set: bytes | str = b"") -> tuple[str, bool]:
    """Decode as :func:`decode` does, and tell whether the value was what its character set says."""
    if vr not in _BY_CHARACTER_SET:
        return strip(raw.decode("latin_1")), True
    if isinstance(specific_character_set, str):
        specific_character_set = specific_character_set.encode("latin_1", "replace")
    declared = character_set(specific_character_set)
    text, worked = declared.decode(raw)
    text = strip(text)
    return text.rstrip("=") if vr == "PN" else text, worked and (declared.is_standard or raw.isascii())


def strip(text: str) -> str:
    """Remove the padding of each value: trailing spaces and NULs (PS3.5 6.2)."""
    if "\\" in text:
        return "\\".join(value.rstrip(" \0") for value in text.split("\\"))
    return text.rstrip(" \0")
