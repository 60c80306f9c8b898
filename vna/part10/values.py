"""Values to bytes, and a header's text to UTF-8 (PS3.5 6.1 and 6.2)."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from indexer.text import character_set as declared_set
from vna.part10.elements import Encoding, StructureError, vr_of
from vna.part10.raw import SPECIFIC_CHARACTER_SET, RawElement, find, item_of, place, read_elements, read_items, sequence_of

Value: TypeAlias = "str | int | float | tuple[object, ...]"
"""One value: text, a number, base64 text for the binary VRs, or for SQ an item (a tuple of changes)."""

BYTES_VRS = frozenset(
    (b"AT", b"FD", b"FL", b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SL", b"SS", b"SV", b"UL", b"UN", b"US", b"UV")
)
"""The value representations in which no byte is padding that may be left out of account."""

TEXT_VRS = frozenset(("SH", "LO", "ST", "LT", "UC", "UT", "PN"))
"""The value representations that Specific Character Set governs (PS3.5 6.1.2.3)."""

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))


class CharacterSetError(ValueError):
    """Text cannot be held by, or is not in, the character set that the object declares. The message holds no values."""


@lru_cache(maxsize=1024)
def encode_value(values: tuple[Value, ...], vr: str, encoding: Encoding, specific_character_set: bytes) -> bytes:
    """Encode the values of one element, padded to even length.

    Raises CharacterSetError for text that the first term of the character set cannot hold: code extensions are read, never
    written, since ISO_IR 192 says the same without them. Raises ValueError for a value that its VR cannot take.
    """
    if vr in _NUMBERS:
        kind = int if vr not in ("FL", "FD") else float
        try:
            return b"".join(struct.pack(encoding.order + _NUMBERS[vr], kind(str(value))) for value in values)
        except struct.error as exc:
            raise ValueError(f"a value does not fit into VR {vr}") from exc
    if vr == "AT":
        tags = [int(str(value), 16) for value in values]
        return b"".join(struct.pack(encoding.order + "HH", tag >> 16, tag & 0xFFFF) for tag in tags)
    if vr in _BINARY:
        data = b"".join(base64.b64decode(str(value), validate=True) for value in values)
        return data + b"\0" * (len(data) & 1)
    text = "\\".join(map(str, values))
    data = _encoded(text, vr, specific_character_set)
    return data + (b"\0" if vr == "UI" else b" ") * (len(data) & 1)


def _encoded(text: str, vr: str, specific_character_set: bytes) -> bytes:
    if text.isascii():
        return text.encode("ascii")
    if vr not in TEXT_VRS:
        raise ValueError(f"VR {vr} holds the default character repertoire only")
    codec = declared_set(specific_character_set).encodings[0] if specific_character_set else "ascii"
    try:
        data = text.encode("ascii" if codec == "iso8859" else codec)
    except UnicodeEncodeError as exc:
        raise CharacterSetError("the object's character set cannot hold a new value") from exc
    if codec == "shift_jis" and len(data) != len(text):  # ISO_IR 13 is its single-byte part only (PS3.3 Table C.12-2)
        raise CharacterSetError("the object's character set cannot hold a new value")
    return data


def convert_to_utf8(
    elements: Sequence[RawElement], encoding: Encoding, specific_character_set: bytes, fallback: bytes
) -> list[RawElement]:
    """Give the same elements with all text in ISO_IR 192, and (0008,0005) saying so.

    Items that declare a character set of their own stay as they are. Text in elements whose VR nobody knows stays too. Raises
    CharacterSetError for bytes that are not what the set says, where ``fallback`` does not read them either.
    """
    result = [_converted(element, encoding, specific_character_set, fallback) for element in elements]
    place(result, RawElement.of(SPECIFIC_CHARACTER_SET, b"CS", b"ISO_IR 192", encoding))
    return result


def _converted(element: RawElement, encoding: Encoding, declared: bytes, fallback: bytes) -> RawElement:
    vr = element.vr if element.vr not in (b"", b"UN") else vr_of(element.tag)
    if vr == b"SQ" or element.is_undefined:
        return _converted_sequence(element, encoding, declared, fallback)
    if vr.decode("latin-1") not in TEXT_VRS or (element.value.isascii() and b"\x1b" not in element.value):
        return element
    text, worked = declared_set(declared).decode(element.value)
    if not worked and fallback:
        text, worked = declared_set(fallback).decode(element.value)
    if not worked:
        where = f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X})"
        raise CharacterSetError(f"{where} is not in the character set that the object declares")
    data = text.rstrip(" \0").encode("utf-8")
    data += b" " * (len(data) & 1)
    if element.vr == b"UN" or not element.vr:
        return RawElement.of(element.tag, element.vr, data, encoding)
    return RawElement.of(element.tag, vr, data, encoding)


def _converted_sequence(element: RawElement, encoding: Encoding, declared: bytes, fallback: bytes) -> RawElement:
    try:
        items = read_items(element, encoding)
    except StructureError:
        return element
    raws = []
    for item in items:
        inner = read_elements(item.content, item.encoding)
        own = find(inner, SPECIFIC_CHARACTER_SET)
        if own is not None and own.value.strip(b" \0"):
            raws.append(item.raw)
            continue
        raws.append(item_of(item, b"".join(_converted(each, item.encoding, declared, fallback).raw for each in inner)))
    return sequence_of(element, raws, encoding)
