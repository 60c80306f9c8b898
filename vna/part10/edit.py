"""Change elements of a data set's header and record what they were; pixel bytes are never touched.

:func:`edit_header` takes the bytes before Pixel Data and gives the bytes that take their place: the caller sends those, then the
rest of the object as it lies in the store. Elements that do not change are copied byte for byte. Every change is recorded in the
Original Attributes Sequence (PS3.3 C.12.1.1.9), see :mod:`vna.part10.original`.

Nouns: change (a new value for one element, or its removal), attribution (who changed it, when and why), edited header.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from vna.part10.elements import ITEM, Encoding, StructureError, header_bytes, is_private
from vna.part10.original import (
    CONTRIBUTING_EQUIPMENT,
    ISSUER_OF_PATIENT_ID,
    Attribution,
    add_our_equipment,
    original_attributes_item,
    with_item,
)
from vna.part10.raw import (
    SPECIFIC_CHARACTER_SET,
    RawElement,
    by_tag,
    declared_character_set,
    item_of,
    place,
    read_elements,
    read_items,
    sequence_of,
)
from vna.part10.references import ORIGINAL_ATTRIBUTES, with_uids
from vna.part10.runs import RUN
from vna.part10.values import BYTES_VRS, CharacterSetError, Value, convert_to_utf8, encode_value

UTF8 = b"ISO_IR 192"
SIGNATURES = frozenset((0x4FFE0001, 0xFFFAFFFA))
"""MAC Parameters and Digital Signatures Sequence (PS3.3 C.12.1.1.3): a changed data set is not what was signed."""


class NeedsAllError(Exception):
    """Text has to be converted, but the header was cut into runs: it must be read element by element."""


def interest(changes: Iterable[Change]) -> tuple[int, ...] | None:
    """Give the tags, ascending, that an edit by these changes looks at, so that the rest of a header can stay in runs.

    None where it looks at all of them, as for a group length.
    """
    tags = {change.path[0] for change in changes}
    if any(not tag & 0xFFFF for tag in tags):
        return None
    tags |= {tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8 for tag in tags if is_private(tag) and tag & 0xFFFF > 0xFF}
    return tuple(sorted(tags | _ALWAYS))


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


_ALWAYS = SIGNATURES | {
    SPECIFIC_CHARACTER_SET,
    0x00080016,
    0x00080018,
    CONTRIBUTING_EQUIPMENT,
    ISSUER_OF_PATIENT_ID,
    ORIGINAL_ATTRIBUTES,
}


@dataclass(frozen=True, slots=True)
class EditedHeader:
    """The new elements, the top-level tags that changed, and whether all text had to become UTF-8 for the new values."""

    elements: tuple[RawElement, ...]
    changed: tuple[int, ...]
    is_converted: bool = False

    @property
    def data(self) -> bytes:
        """The new header's bytes."""
        return b"".join([element.raw for element in self.elements])


def edit_header(
    header: bytes,
    encoding: Encoding,
    changes: Sequence[Change],
    attribution: Attribution,
    *,
    fallback_character_set: bytes = b"",
) -> EditedHeader:
    """Apply ``changes`` to the bytes of a header; see :func:`edit_elements`."""
    elements = read_elements(header, encoding)
    return edit_elements(elements, encoding, changes, attribution, fallback_character_set=fallback_character_set)


def edit_elements(
    before: Sequence[RawElement],
    encoding: Encoding,
    changes: Sequence[Change],
    attribution: Attribution,
    *,
    uids: Mapping[str, str] = MappingProxyType({}),
    signatures: Sequence[RawElement] = (),
    fallback_character_set: bytes = b"",
) -> EditedHeader:
    """Apply ``changes`` to a data set's header and append one item to its Original Attributes Sequence.

    Idempotent: changes that are all in place already give back the same elements, with no new item. ``before`` are all elements,
    or pieces cut by :func:`interest` where ``uids`` are none; NeedsAllError says that these do not suffice, since text must be
    converted. References to the UIDs ``uids`` get the new ones. A value that the object's Specific Character Set cannot hold
    converts all text of the header to ISO_IR 192; text that is not what the set says then needs ``fallback_character_set`` (a
    value of (0008,0005)). Where something changed, digital signatures are removed and recorded - ``signatures`` are those that
    stand behind the pixel data, which the caller then leaves out - and the Contributing Equipment Sequence names us, once.

    Raises StructureError where the header cannot be walked or a path leads nowhere, and
    :class:`~vna.part10.values.CharacterSetError` where text cannot be converted without guessing.
    """
    old = by_tag(before)
    character_set = declared_character_set(old)
    relabelled = next((change for change in changes if change.path == (SPECIFIC_CHARACTER_SET,)), None)
    base, is_converted = before, False
    try:
        after, changed = _apply(old, changes, encoding, _new_set(relabelled, character_set))
    except CharacterSetError as exc:
        if relabelled is not None:
            raise
        if any(element.vr == RUN for element in before):
            raise NeedsAllError from exc
        base, is_converted = convert_to_utf8(before, encoding, character_set, fallback_character_set), True
        after, changed = _apply(by_tag(base), changes, encoding, UTF8)
        changed.add(SPECIFIC_CHARACTER_SET)
    if uids:
        changed |= with_uids(after, encoding, uids)
    if not changed - ({SPECIFIC_CHARACTER_SET} if is_converted else set()):
        return EditedHeader(tuple(before), ())
    for element in signatures:
        old[element.tag] = element
    for tag in SIGNATURES & old.keys():
        after.pop(tag, None)
        changed.add(tag)
    item = original_attributes_item(old, sorted(changed), attribution, encoding, character_set)
    after[ORIGINAL_ATTRIBUTES] = with_item(ORIGINAL_ATTRIBUTES, after.get(ORIGINAL_ATTRIBUTES), item, encoding)
    add_our_equipment(after, encoding)
    new = _with_group_lengths(_in_order(base, after), old, encoding)
    return EditedHeader(tuple(new), tuple(sorted(changed)), is_converted)


def _new_set(change: Change | None, old: bytes) -> bytes:
    if change is None or change.value is None:
        return old if change is None else b""
    return "\\".join(map(str, change.value)).encode("ascii", "replace")


def _apply(
    elements: Mapping[int, RawElement], changes: Sequence[Change], encoding: Encoding, character_set: bytes
) -> tuple[dict[int, RawElement], set[int]]:
    """Give the elements after the changes, and the tags at this level that differ from before."""
    result = dict(elements)
    changed: set[int] = set()
    for change in changes:
        tag = change.path[0]
        old = result.get(tag)
        new = _changed(old, change, encoding, character_set)
        if new is None and old is not None:
            del result[tag]
            changed.add(tag)
        elif new is not None and (old is None or not _same(old, new)):
            result[tag] = new
            changed.add(tag)
    return result, changed


def _in_order(before: Sequence[RawElement], after: Mapping[int, RawElement]) -> list[RawElement]:
    """Put elements in the order of their tags; where they were not, each keeps its place, and of repeated ones one is left."""
    tags = [element[0] for element in before]
    if tags == sorted(set(tags)):
        return [after[tag] for tag in sorted(after)]
    result = [after[tag] for tag in dict.fromkeys(tags) if tag in after]
    for tag in sorted(after.keys() - set(tags)):
        place(result, after[tag])
    return result


def _same(old: RawElement, new: RawElement) -> bool:
    """Compare text without its padding; numbers, bytes and sequences as they stand."""
    if old.raw == new.raw:
        return True
    if new.vr == b"SQ" or old.is_undefined or new.vr in BYTES_VRS:
        return False
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
    elements, _ = _apply({}, [change for change in value if isinstance(change, Change)], encoding, character_set)
    return b"".join([elements[tag].raw for tag in sorted(elements)])


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
    nested = Change(tuple(rest), change.vr, change.value)
    before = by_tag(inner)
    after, changed = _apply(before, [nested], item.encoding, declared_character_set(before, character_set))
    if not changed:
        return old
    for signature in SIGNATURES:
        after.pop(signature, None)
    new = _with_group_lengths(_in_order(inner, after), before, item.encoding)
    raws = [each.raw for each in items]
    raws[number] = item_of(item, b"".join([element.raw for element in new]))
    return sequence_of(old, raws, encoding)


def _with_group_lengths(elements: list[RawElement], before: Mapping[int, RawElement], encoding: Encoding) -> list[RawElement]:
    """Bring the (retired) group lengths of changed groups up to date, where there are any (PS3.5 7.2)."""
    for index, element in enumerate(elements):
        if element[0] & 0xFFFF == 0:
            group = [each for each in elements if each.tag >> 16 == element.tag >> 16 and each is not element]
            if group == [each for each in before.values() if each.tag >> 16 == element.tag >> 16 and each is not element]:
                continue
            value = sum(len(each.raw) for each in group).to_bytes(4, "little" if encoding.little_endian else "big")
            elements[index] = RawElement.of(element.tag, element.vr, value, encoding)
    return elements
