"""Elements in the DICOM JSON Model (PS3.18 Annex F), both ways: raw bytes to JSON, JSON to what the header editor takes."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

from indexer.text import decode
from vna.part10.edit import Change
from vna.part10.elements import Encoding, StructureError, vr_of
from vna.part10.raw import RawElement, read_elements, read_items
from vna.part10.values import Value

_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_UNDIVIDED = frozenset(("ST", "LT", "UT", "UR"))
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_SPECIFIC_CHARACTER_SET = 0x00080005


def element_json(element: RawElement, encoding: Encoding, specific_character_set: bytes = b"") -> dict[str, Any]:
    """Give one element as JSON. Text is decoded; bytes that cannot be read as their VR says are kept as InlineBinary."""
    vr = (element.vr if element.vr not in (b"", b"UN") else vr_of(element.tag) or b"UN").decode("latin-1")
    if vr == "SQ" or element.is_undefined:
        try:
            items = [_item_json(item.content, item.encoding, specific_character_set) for item in read_items(element, encoding)]
        except StructureError:
            return {"vr": "UN", "InlineBinary": base64.b64encode(element.value).decode("ascii")}
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if not element.value:
        return {"vr": vr}
    if vr in _BINARY:
        return {"vr": vr, "InlineBinary": base64.b64encode(element.value).decode("ascii")}
    values = _values(element.value, vr, encoding, specific_character_set)
    return {"vr": vr, "Value": values} if any(value not in ("", {}) for value in values) else {"vr": vr}


def _item_json(content: bytes, encoding: Encoding, inherited: bytes) -> dict[str, Any]:
    elements = read_elements(content, encoding)
    own = next((each.value.rstrip(b" \0") for each in elements if each.tag == _SPECIFIC_CHARACTER_SET), inherited)
    return {f"{each.tag:08X}": element_json(each, encoding, own) for each in elements}


def _values(raw: bytes, vr: str, encoding: Encoding, specific_character_set: bytes) -> list[Any]:
    if vr in _NUMBERS:
        size = struct.calcsize(_NUMBERS[vr])
        return list(struct.unpack(encoding.order + _NUMBERS[vr] * (len(raw) // size), raw[: len(raw) // size * size]))
    if vr == "AT":
        pairs = struct.iter_unpack(encoding.order + "HH", raw[: len(raw) // 4 * 4])
        return [f"{group:04X}{element:04X}" for group, element in pairs]
    text = decode(raw, vr, specific_character_set)
    values = [text] if vr in _UNDIVIDED else text.split("\\")
    return [_name(value) for value in values] if vr == "PN" else list(values)


def _name(text: str) -> dict[str, str]:
    return {group: part for group, part in zip(_GROUPS, text.split("="), strict=False) if part}


def json_values(element: Mapping[str, Any]) -> tuple[Value, ...]:
    """Give the values of a JSON element as :class:`~vna.part10.edit.Change` takes them."""
    if "InlineBinary" in element:
        return (str(element["InlineBinary"]),)
    values = element.get("Value", ())
    if element["vr"] == "SQ":
        return tuple(tuple(_change(tag, each) for tag, each in sorted(item.items())) for item in values)
    if element["vr"] == "PN":
        return tuple(_name_text(value) for value in values)
    return tuple("" if value is None else value for value in values)


def _change(tag: str, element: Mapping[str, Any]) -> Change:
    return Change((int(tag, 16),), element["vr"], json_values(element))


def _name_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    groups = [str((value or {}).get(group, "")) for group in _GROUPS]
    return "=".join(groups).rstrip("=")
