"""The elements of one level of a data set, as the bytes they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vna.part10.elements import (
    IMPLICIT_LE,
    ITEM,
    ITEM_DELIMITER,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED,
    Encoding,
    StructureError,
    TruncatedError,
    header_bytes,
    read_header,
    skip_item,
    skip_value,
)

SPECIFIC_CHARACTER_SET = 0x00080005
_HEADER = 8


class RawElement(NamedTuple):
    """One element. ``raw`` is all of it; ``value_at`` is where in it the value begins; ``is_undefined`` is its length's form.

    A named tuple, since a header is cut into a hundred of them for every object that is edited.
    """

    tag: int
    vr: bytes
    raw: bytes
    value_at: int
    is_undefined: bool = False

    @property
    def value(self) -> bytes:
        """Give the value's bytes; for undefined length with the delimiter."""
        return self.raw[self.value_at :]

    @classmethod
    def of(cls, tag: int, vr: bytes, value: bytes, encoding: Encoding, *, length: int | None = None) -> RawElement:
        """Encode an element around its value; ``length`` is UNDEFINED for a sequence whose value ends with its delimiter."""
        head = header_bytes(tag, vr, len(value) if length is None else length, encoding)
        return cls(tag, vr, head + value, len(head), length == UNDEFINED)


@dataclass(frozen=True, slots=True)
class RawItem:
    """One item of a sequence: all of it, its elements' bytes, the form of its length, and how its elements are encoded."""

    raw: bytes
    content: bytes
    is_undefined: bool
    encoding: Encoding


def read_elements(data: bytes, encoding: Encoding) -> list[RawElement]:
    """Cut one level of a data set into its elements. Raises StructureError where it cannot be walked to its end."""
    elements: list[RawElement] = []
    at = walk(data, 0, encoding, elements)
    if at < len(data):
        raise TruncatedError
    return elements


def walk(
    data: bytes, at: int, encoding: Encoding, elements: list[RawElement], stops: frozenset[int] = frozenset(), *, base: int = 0
) -> int:
    """Append the elements of one level from ``at`` on; give where it stopped: before a tag of ``stops``, or for want of bytes.

    ``data`` begins at offset ``base`` of what ``at`` counts in. Raises StructureError for bytes that form no data set.
    """
    end, short = len(data), SHORT_VRS if encoding.explicit else frozenset[bytes]()
    unpack, append, new = encoding.head, elements.append, tuple.__new__  # the class's own constructor costs three times as much
    at -= base
    while at < end:
        if short and at + _HEADER <= end:  # nine of ten elements: a short form of defined length
            group, number, vr, length = unpack(data, at)
            if vr in short:
                after = at + _HEADER + length
                if after > end:
                    break
                append(new(RawElement, (group << 16 | number, vr, data[at:after], _HEADER, False)))
                at = after
                continue
        try:
            header = read_header(data, at, encoding)
            if header[0] in stops:
                break
            after = skip_value(data, header, encoding)
        except TruncatedError:
            break
        append(RawElement(header[0], header[1], data[at:after], header[3] - at, header[2] == UNDEFINED))
        at = after
    return at + base


def find(elements: Iterable[RawElement], tag: int) -> RawElement | None:
    """Give the first element with a tag."""
    for element in elements:
        if element[0] == tag:
            return element
    return None


def declared_character_set(elements: Mapping[int, RawElement], inherited: bytes = b"") -> bytes:
    """Give the value of (0008,0005) without its padding, what is inherited where it is absent or empty."""
    element = elements.get(SPECIFIC_CHARACTER_SET)
    return (element.value.rstrip(b" \0") if element else b"") or inherited


def by_tag(elements: Iterable[RawElement]) -> dict[int, RawElement]:
    """Give elements by their tags, of repeated ones the last: readers keep that one."""
    return {element[0]: element for element in elements}


def read_items(element: RawElement, encoding: Encoding) -> list[RawItem]:
    """Cut a sequence into its items. A UN of undefined length is implicit little endian inside (PS3.5 6.2.2 note 4)."""
    inner = IMPLICIT_LE if element.vr == b"UN" else encoding
    data, at, items = element.raw, element.value_at, []
    while at < len(data):
        tag, _, length, start = read_header(data, at, inner)
        if tag == SEQUENCE_DELIMITER:
            break
        if tag != ITEM:
            raise StructureError("STRUCTURE", "a sequence holds something that is no item")
        end = skip_item(data, start, inner) if length == UNDEFINED else start + length
        stop = end - len(header_bytes(ITEM_DELIMITER, b"", 0, inner)) if length == UNDEFINED else end
        items.append(RawItem(data[at:end], data[start:stop], length == UNDEFINED, inner))
        at = end
    return items


def sequence_of(element: RawElement, items: Sequence[bytes], encoding: Encoding) -> RawElement:
    """Give a sequence with other items (whole ones, headers included), its own VR and form of length kept."""
    content = b"".join(items)
    if not element.is_undefined:
        return RawElement.of(element.tag, element.vr, content, encoding)
    inner = IMPLICIT_LE if element.vr == b"UN" else encoding
    return RawElement.of(
        element.tag, element.vr, content + header_bytes(SEQUENCE_DELIMITER, b"", 0, inner), encoding, length=UNDEFINED
    )


def item_of(item: RawItem, content: bytes) -> bytes:
    """Encode an item with other content, the form of its length kept."""
    if not item.is_undefined:
        return header_bytes(ITEM, b"", len(content), item.encoding) + content
    end = header_bytes(ITEM_DELIMITER, b"", 0, item.encoding)
    return header_bytes(ITEM, b"", UNDEFINED, item.encoding) + content + end


def place(elements: MutableSequence[RawElement], element: RawElement) -> None:
    """Put an element in its place: over the one with its tag (and away with its repeats), else before the first higher tag."""
    same = [index for index, other in enumerate(elements) if other.tag == element.tag]
    for index in reversed(same[1:]):
        del elements[index]
    if same:
        elements[same[0]] = element
        return
    index = next((number for number, other in enumerate(elements) if other.tag > element.tag), len(elements))
    elements.insert(index, element)
