"""Read the plain values of a top-level sequence's items, for rules that look into one."""

from __future__ import annotations

from vna.deid.top_level import TopLevel
from vna.part10.elements import ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER, UNDEFINED, read_header, skip_value


def items_of(top: TopLevel, tag: int) -> list[dict[int, bytes]]:
    """Give for each item of a sequence its elements: tag -> raw value; nested sequences are left out."""
    span = top.found.get(tag)
    items: list[dict[int, bytes]] = []
    at = span.value_at if span else 0
    while span is not None and at < span.end:
        inner, _, size, at = read_header(top.buffer, at, top.encoding)
        if inner == SEQUENCE_DELIMITER:
            break
        if inner != ITEM:
            break
        end = span.end if size == UNDEFINED else at + size
        values: dict[int, bytes] = {}
        while at < end:
            header = read_header(top.buffer, at, top.encoding)
            if header[0] == ITEM_DELIMITER:
                at = header[3]
                break
            after = skip_value(top.buffer, header, top.encoding)
            if header[2] != UNDEFINED and header[1] != b"SQ":
                values[header[0]] = top.buffer[header[3] : after]
            at = after
        items.append(values)
    return items
