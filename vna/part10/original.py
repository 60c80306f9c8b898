"""The Original Attributes Sequence (0400,0561): what a header said before it was changed (PS3.3 C.12.1.1.9).

Items are appended, never removed. Prior values are copied as the bytes they were; where one value inside a sequence changed, the
whole prior top-level sequence is recorded; a value that breaks its VR stands zero-length there and as raw bytes in the
Nonconforming Modified Attributes Sequence (0400,0551).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from vna.part10.conformance import conforms
from vna.part10.elements import ITEM, Encoding, StructureError, element_bytes, header_bytes, is_private, sequence_bytes, vr_of
from vna.part10.raw import SPECIFIC_CHARACTER_SET, RawElement, read_items, sequence_of

_PATIENT_ID, ISSUER_OF_PATIENT_ID = 0x00100020, 0x00100021
CONTRIBUTING_EQUIPMENT = 0x0018A001


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who changed a header, and why. ``at`` is a DT (PS3.5 6.2) with its offset from UTC, ``reason`` COERCE or CORRECT."""

    modifying_system: str
    at: str
    reason: str = "CORRECT"
    source: str = ""


def original_attributes_item(
    old: Mapping[int, RawElement], changed: Sequence[int], attribution: Attribution, encoding: Encoding, character_set: bytes
) -> bytes:
    """Build the elements of one item that records the values of the tags ``changed`` as they stood in ``old``.

    The Issuer of Patient ID is recorded with every Patient ID, a private element with its creator, and the character set
    whenever prior values are not plain ASCII, so that they stay readable after the object was converted.
    """
    tags = set(changed)
    if _PATIENT_ID in tags:
        tags.add(ISSUER_OF_PATIENT_ID)
    tags |= {tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8 for tag in changed if is_private(tag) and tag & 0xFFFF > 0xFF} & old.keys()
    if character_set and any(tag in old and not old[tag].value.isascii() for tag in tags):
        tags.add(SPECIFIC_CHARACTER_SET)
    modified: list[bytes] = []
    nonconforming: list[bytes] = []
    for tag in sorted(tags):
        element = old.get(tag)
        if element is None or conforms(element):
            modified.append(element.raw if element else element_bytes(tag, vr_of(tag) or b"UN", b"", encoding))
        else:
            modified.append(element_bytes(tag, element.vr, b"", encoding))
            nonconforming += _selected(element, encoding)
    content = sequence_bytes(0x04000550, [b"".join(modified)], encoding)
    if nonconforming:
        content += sequence_bytes(0x04000551, nonconforming, encoding)
    return content + _attributed(attribution, encoding)


@lru_cache(maxsize=64)
def _attributed(attribution: Attribution, encoding: Encoding) -> bytes:
    return (
        element_bytes(0x04000562, b"DT", attribution.at.encode("ascii"), encoding)
        + element_bytes(0x04000563, b"LO", attribution.modifying_system.encode("ascii"), encoding)
        + element_bytes(0x04000564, b"LO", attribution.source.encode("ascii"), encoding)
        + element_bytes(0x04000565, b"CS", attribution.reason.encode("ascii"), encoding)
    )


def with_item(tag: int, existing: RawElement | None, item: bytes, encoding: Encoding) -> RawElement:
    """Append one item to a sequence, or begin it; the items that are there stay byte for byte.

    Raises StructureError for a sequence that some system wrote as UN: its items are implicit VR, which prior values are not.
    """
    raw = header_bytes(ITEM, b"", len(item), encoding) + item
    if existing is None:
        return RawElement.of(tag, b"SQ", raw, encoding)
    if existing.vr == b"UN" and existing.value:
        raise StructureError("STRUCTURE", "an earlier Original Attributes Sequence is encoded as UN")
    if existing.vr == b"UN":
        return RawElement.of(tag, b"SQ", raw, encoding)
    return sequence_of(existing, [*(each.raw for each in read_items(existing, encoding)), raw], encoding)


def add_our_equipment(elements: dict[int, RawElement], encoding: Encoding) -> None:
    """Name us once in the Contributing Equipment Sequence, as equipment that modified the object (PS3.3 C.12.1.1.5).

    The item holds nothing that could differ between two runs or releases.
    """
    existing, item = elements.get(CONTRIBUTING_EQUIPMENT), _our_equipment(encoding)
    if existing is not None and (existing.vr == b"UN" or any(each.content == item for each in read_items(existing, encoding))):
        return
    elements[CONTRIBUTING_EQUIPMENT] = with_item(CONTRIBUTING_EQUIPMENT, existing, item, encoding)


@lru_cache(maxsize=4)
def _our_equipment(encoding: Encoding) -> bytes:
    code = (
        element_bytes(0x00080100, b"SH", b"109103", encoding)
        + element_bytes(0x00080102, b"SH", b"DCM", encoding)
        + element_bytes(0x00080104, b"LO", b"Modifying Equipment", encoding)
    )
    return (
        element_bytes(0x00080070, b"LO", b"vna", encoding)
        + element_bytes(0x0018A003, b"ST", b"Corrected attributes of the header", encoding)
        + sequence_bytes(0x0040A170, [code], encoding)
    )


def _selected(element: RawElement, encoding: Encoding) -> list[bytes]:
    """Give one item a value: Selector Attribute, its number, and the bytes as they were (PS3.3 Table 10-20, C.12.1.1.9.1)."""
    selector = struct.pack(encoding.order + "HH", element.tag >> 16, element.tag & 0xFFFF)
    is_text = (element.vr or vr_of(element.tag)) not in (b"ST", b"LT", b"UT")
    values = element.value.split(b"\\") if is_text else [element.value]
    return [
        element_bytes(0x00720026, b"AT", selector, encoding)
        + element_bytes(0x00720028, b"US", struct.pack(encoding.order + "H", number), encoding)
        + element_bytes(0x04000552, b"OB", value, encoding)
        for number, value in enumerate(values, 1)
    ]
