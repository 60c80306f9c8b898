"""Change elements of a data set's header and record what they were; pixel bytes are never touched.

:func:`edit_header` takes the bytes before Pixel Data and gives the bytes that take their place: the caller sends those, then the
rest of the object as it lies in the store. Elements that do not change are copied byte for byte. Every change is recorded in the
Original Attributes Sequence (PS3.3 C.12.1.1.9), see :mod:`vna.part10.original`.

Nouns: change (a new value for one element, or its removal), attribution (who changed it, when and why), edited header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vna.part10.elements import ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER, UNDEFINED, Encoding, StructureError, header_bytes
from vna.part10.original import Attribution, original_attributes_item, with_item
from vna.part10.raw import RawElement, place, read_elements, read_items
from vna.part10.values import CharacterSetError, Value, convert_to_utf8, encode_value

SPECIFIC_CHARACTER_SET = 0x00080005
ORIGINAL_ATTRIBUTES = 0x04000561
UTF8 = b"ISO_IR 192"


@dataclass(frozen=True, slots=True)
class Change:
    """Give one element a value.

    ``path`` is the element's tag, or for a nested one the tags and item numbers (from 0) that lead to it:
    ``(0x00400275, 0, 0x00401001)``. ``vr`` is its value representation. ``value`` holds the new values (items as tuples of
    changes for SQ); an empty tuple makes it zero-length, None removes it.
    """

    path: tuple[int, ...]
    vr: str
    value: tuple[Value, ...] | None


@dataclass(frozen=True, slots=True)
class EditedHeader:
    """The new bytes, the top-level tags that changed, and whether the whole header had to become UTF-8 for the new values."""

    data: bytes
    changed: tuple[int, ...]
    is_converted: bool = False


def edit_header(
    header: bytes,
    encoding: Encoding,
    changes: Sequence[Change],
    attribution: Attribution,
    *,
    fallback_character_set: bytes = b"",
) -> EditedHeader:
    """Apply ``changes`` to a data set's header and append one item to its Original Attributes Sequence.

    Idempotent: changes that are all in place already give back the same bytes, with no new item. A value that the object's
    Specific Character Set cannot hold converts all text of the header to ISO_IR 192; text that is not what the set says then
    needs ``fallback_character_set`` (a value of (0008,0005)). Raises StructureError where the header cannot be walked or a path
    leads nowhere, and :class:`~vna.part10.values.CharacterSetError` where text cannot be converted without guessing.
    """
    before = read_elements(header, encoding)
    character_set = _declared(before)
    try:
        after, changed = _apply(before, changes, encoding, character_set)
        is_converted = False
    except CharacterSetError:
        utf8 = convert_to_utf8(before, encoding, character_set, fallback_character_set)
        after, changed = _apply(utf8, changes, encoding, UTF8)
        is_converted = True
    if not changed:
        return EditedHeader(bytes(header), ())
    if is_converted and SPECIFIC_CHARACTER_SET not in changed:
        changed = (SPECIFIC_CHARACTER_SET, *changed)
    item = original_attributes_item(before, changed, attribution, encoding, character_set)
    existing = next((element for element in after if element.tag == ORIGINAL_ATTRIBUTES), None)
    place(after, with_item(ORIGINAL_ATTRIBUTES, existing, item, encoding))
    return EditedHeader(b"".join(element.raw for element in after), changed, is_converted)


def _declared(elements: Sequence[RawElement]) -> bytes:
    return next((element.value.rstrip(b" \0") for element in elements if element.tag == SPECIFIC_CHARACTER_SET), b"")


def _apply(
    elements: Sequence[RawElement], changes: Sequence[Change], encoding: Encoding, character_set: bytes
) -> tuple[list[RawElement], tuple[int, ...]]:
    """Give the elements after the changes, and the tags at this level that differ from before."""
    result = list(elements)
    changed: dict[int, None] = {}
    for change in changes:
        tag = change.path[0]
        old = next((element for element in result if element.tag == tag), None)
        new = _changed(old, change, encoding, character_set)
        if new is None and old is not None:
            result.remove(old)
            changed[tag] = None
        elif new is not None and (old is None or not _same(old, new)):
            place(result, new)
            changed[tag] = None
    return result, tuple(sorted(changed))


def _same(old: RawElement, new: RawElement) -> bool:
    """Compare values without their padding; a sequence is compared as it stands."""
    if new.vr == b"SQ" or old.is_undefined:
        return old.raw == new.raw
    return old.value.rstrip(b" \0") == new.value.rstrip(b" \0")


def _changed(old: RawElement | None, change: Change, encoding: Encoding, character_set: bytes) -> RawElement | None:
    if len(change.path) > 1:
        return _with_nested(old, change, encoding, character_set)
    if change.value is None:
        return None
    vr = old.vr if old is not None and old.vr not in (b"", b"UN") else change.vr.encode()
    tag = change.path[0]
    if change.vr == "SQ":
        items = [_item_content(value, encoding, character_set) for value in change.value]
        content = b"".join(header_bytes(ITEM, b"", len(item), encoding) + item for item in items)
        return RawElement.of(tag, b"SQ", content, encoding)
    return RawElement.of(tag, vr, encode_value(change.value, vr.decode(), encoding, character_set), encoding)


def _item_content(value: Value, encoding: Encoding, character_set: bytes) -> bytes:
    if not isinstance(value, tuple):
        raise StructureError("STRUCTURE", "an item of a sequence is a tuple of changes")
    elements, _ = _apply([], [change for change in value if isinstance(change, Change)], encoding, character_set)
    return b"".join(element.raw for element in elements)


def _with_nested(old: RawElement | None, change: Change, encoding: Encoding, character_set: bytes) -> RawElement:
    """Rewrite one item of a sequence; the other items, and the form of every length, stay as they are."""
    tag, number, *rest = change.path
    if old is None:
        raise StructureError("STRUCTURE", f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is not there to hold item {number}")
    items = read_items(old, encoding)
    if number >= len(items):
        raise StructureError("STRUCTURE", f"({tag >> 16:04X},{tag & 0xFFFF:04X}) has no item {number}")
    item = items[number]
    inner = read_elements(item.content, item.encoding)
    after, changed = _apply(
        inner, [Change(tuple(rest), change.vr, change.value)], item.encoding, _declared(inner) or character_set
    )
    if not changed:
        return old
    content = b"".join(element.raw for element in after)
    length = UNDEFINED if item.is_undefined else len(content)
    end = header_bytes(ITEM_DELIMITER, b"", 0, item.encoding) if item.is_undefined else b""
    raws = [each.raw for each in items]
    raws[number] = header_bytes(ITEM, b"", length, item.encoding) + content + end
    if not old.is_undefined:
        return RawElement.of(tag, old.vr, b"".join(raws), encoding)
    end = header_bytes(SEQUENCE_DELIMITER, b"", 0, item.encoding)
    return RawElement.of(tag, old.vr, b"".join(raws) + end, encoding, length=UNDEFINED)
