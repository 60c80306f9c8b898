"""Unique identifiers inside a data set: which other objects it names, and giving them their new UIDs.

A reference is a value of VR UI at any depth, except the data set's own identity (SOP, Series and Study Instance UID at the top
level) and except what the Original Attributes Sequence keeps, which is history.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vna.part10.elements import MAX_DEPTH, Encoding, StructureError, vr_of
from vna.part10.raw import RawElement, find, item_of, read_elements, read_items, sequence_of

ORIGINAL_ATTRIBUTES = 0x04000561
SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
IDENTITY = frozenset((SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID))


@dataclass(frozen=True, slots=True)
class Reference:
    """One UID that a data set names, and the study and series that the items around it place it in (empty: they do not)."""

    uid: str
    study_instance_uid: str = ""
    series_instance_uid: str = ""


def references(elements: Sequence[RawElement], encoding: Encoding) -> Iterator[Reference]:
    """Yield every reference of a data set, level by level. Raises StructureError where a sequence cannot be walked."""
    for element in elements:
        if element.tag == ORIGINAL_ATTRIBUTES:
            continue
        if _is_uid(element) and element.tag not in IDENTITY:
            for value in element.value.split(b"\\"):
                yield Reference(_text(value))
        elif _is_sequence(element):
            yield from _nested(element, encoding, "", "", 0)


def _nested(element: RawElement, encoding: Encoding, study: str, series: str, depth: int) -> Iterator[Reference]:
    if depth > MAX_DEPTH:
        raise StructureError("DEPTH", "sequences are nested too deeply")
    for item in read_items(element, encoding):
        inner = read_elements(item.content, item.encoding)
        here_study, here_series = _uid(inner, STUDY_INSTANCE_UID) or study, _uid(inner, SERIES_INSTANCE_UID) or series
        for each in inner:
            if _is_uid(each) and each.tag not in (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID):
                for value in each.value.split(b"\\"):
                    yield Reference(_text(value), here_study, here_series)
            elif _is_sequence(each):
                yield from _nested(each, item.encoding, here_study, here_series, depth + 1)
        yield Reference("", here_study, here_series)


def with_uids(elements: dict[int, RawElement], encoding: Encoding, uids: Mapping[str, str]) -> set[int]:
    """Give every reference to a UID of ``uids`` its new one, in place; say which top-level elements changed."""
    wanted = {old.encode("latin-1"): new.encode("latin-1") for old, new in uids.items()}
    is_there = re.compile(b"|".join(map(re.escape, wanted))).search
    changed = set()
    for tag, element in elements.items():
        if tag != ORIGINAL_ATTRIBUTES and tag not in IDENTITY and is_there(element.raw):
            new = _renamed(element, encoding, wanted, 0)
            if new is not element:
                elements[tag] = new
                changed.add(tag)
    return changed


def _renamed(element: RawElement, encoding: Encoding, uids: Mapping[bytes, bytes], depth: int) -> RawElement:
    """Give an element with its references renamed; the very same object where it has none to rename."""
    if _is_uid(element):
        values = element.value.split(b"\\")
        new = [uids.get(value.strip(b" \0"), value) for value in values]
        if new == values:
            return element
        joined = b"\\".join(new)
        return RawElement.of(element.tag, element.vr, joined + b"\0" * (len(joined) & 1), encoding)
    if not _is_sequence(element):
        return element
    if depth > MAX_DEPTH:
        raise StructureError("DEPTH", "sequences are nested too deeply")
    items = read_items(element, encoding)
    raws = []
    for item in items:
        inner = read_elements(item.content, item.encoding)
        new_inner = [_renamed(each, item.encoding, uids, depth + 1) for each in inner]
        is_same = all(a is b for a, b in zip(inner, new_inner, strict=True))
        raws.append(item.raw if is_same else item_of(item, b"".join(each.raw for each in new_inner)))
    if all(raw is item.raw for raw, item in zip(raws, items, strict=True)):
        return element
    return sequence_of(element, raws, encoding)


def _is_uid(element: RawElement) -> bool:
    return (element.vr or vr_of(element.tag)) == b"UI" and not element.is_undefined


def _is_sequence(element: RawElement) -> bool:
    return element.vr == b"SQ" or element.is_undefined or (not element.vr and vr_of(element.tag) == b"SQ")


def _uid(elements: Sequence[RawElement], tag: int) -> str:
    element = find(elements, tag)
    return _text(element.value) if element else ""


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")
