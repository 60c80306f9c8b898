"""The items of encapsulated Pixel Data, walked by their lengths (PS3.5 A.4)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

MAX_FRAGMENTS = 1_000_000
ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE_DELIMITATION = b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True, slots=True)
class Fragments:
    """What stands in encapsulated Pixel Data: the Basic Offset Table, then each fragment's (offset, length) in the data set."""

    table: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    is_whole: bool
    """False where the walk met something else than an item or the end, or more than :data:`MAX_FRAGMENTS`."""


def walk_fragments(read_at: Callable[[int, int], bytes], offset: int) -> Fragments:
    """Walk the items from ``offset`` on, reading the head of each and the offset table; never raises for bad content."""
    spans: list[tuple[int, int]] = []
    table: tuple[int, ...] = ()
    at = offset
    for number in range(MAX_FRAGMENTS + 1):
        head = read_at(at, 8)
        if len(head) < 8 or head[:4] != ITEM:
            return Fragments(table, tuple(spans), head[:4] == SEQUENCE_DELIMITATION)
        length = int.from_bytes(head[4:], "little")
        if number == 0:
            raw = read_at(at + 8, min(length, 4 * MAX_FRAGMENTS))
            table = struct.unpack(f"<{len(raw) // 4}I", raw[: len(raw) // 4 * 4])
        else:
            spans.append((at + 8, length))
        at += 8 + length
    return Fragments(table, tuple(spans), is_whole=False)
