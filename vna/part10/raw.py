"""The elements of one level of a data set, as the bytes they are."""

from __future__ import annotations

from collections.abc import MutableSequence
from dataclasses import dataclass

from vna.part10.elements import (
    IMPLICIT_LE,
    ITEM,
    ITEM_DELIMITER,
    SEQUENCE_DELIMITER,
    UNDEFINED,
    Encoding,
    StructureError,
    header_bytes,
    read_header,
    skip_item,
    skip_value,
)


@dataclass(frozen=True, slots=True)
class RawElement:
    """One element. ``raw`` is all of it; ``value_at`` is where in it the value begins; ``is_undefined`` is its length's form."""

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
    elements, at = [], 0
    while at < len(data):
        header = read_header(data, at, encoding)
        end = skip_value(data, header, encoding)
        elements.append(RawElement(header[0], header[1], data[at:end], header[3] - at, header[2] == UNDEFINED))
        at = end
    return elements


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


def place(elements: MutableSequence[RawElement], element: RawElement) -> None:
    """Put an element in its place: over the one with its tag, else before the first with a higher tag."""
    for index, other in enumerate(elements):
        if other.tag == element.tag:
            elements[index] = element
            return
    index = next((number for number, other in enumerate(elements) if other.tag > element.tag), len(elements))
    elements.insert(index, element)
