"""Find where a data set's header ends and its pixel data begin and end, reading no more than it must."""

from __future__ import annotations

import struct
from typing import BinaryIO

from vna.part10.elements import (
    DOUBLE_FLOAT_PIXEL_DATA,
    FLOAT_PIXEL_DATA,
    ITEM,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    UNDEFINED,
    Encoding,
    StructureError,
    TruncatedError,
    read_header,
)
from vna.part10.raw import RawElement, read_elements, walk
from vna.part10.runs import read_runs

PIXELS = frozenset((PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA))
FIRST_READ = 16 << 10
"""How many bytes of a file are read at first: more than most headers have."""
_LIMIT = 1 << 30
_LONGEST_TAIL = 64 << 20
_LONGEST_HEAD = 12


def read_header_elements(file: BinaryIO, encoding: Encoding, *, limit: int = _LIMIT) -> tuple[list[RawElement], int]:
    """Read a data set's elements up to its pixel data (or its end) from where ``file`` stands; tell where the pixel data begin.

    Raises StructureError where the bytes cannot be walked, and for a header longer than ``limit`` bytes.
    """
    start = file.tell()
    elements: list[RawElement] = []
    data, at, base = file.read(FIRST_READ), 0, 0
    while True:
        at = walk(data, at, encoding, elements, PIXELS, base=base)
        rest = data[at - base :]
        if len(rest) >= 4 and _tag(rest, encoding) in PIXELS:
            break
        more = file.read(max(2 * len(data), FIRST_READ))
        if not more:
            if rest:
                raise TruncatedError
            break
        data, base = rest + more, at
        if at + len(data) > limit:
            raise StructureError("OVERSIZE_VALUE", "the header is longer than the limit")
    return elements, start + at


def read_interest(start: bytes, at: int, interest: tuple[int, ...]) -> tuple[list[RawElement], int] | None:
    """Cut a header of explicit VR little endian that begins at ``at``, only where ``interest`` lies; see :func:`read_runs`.

    ``start`` is the first :data:`FIRST_READ` bytes of a file, or all of it. None for a header that is longer or needs a closer
    look: :func:`read_header_elements` gives it.
    """
    return read_runs(start, at, interest, PIXELS, is_whole=len(start) < FIRST_READ)


def read_tail(file: BinaryIO, at: int, encoding: Encoding) -> tuple[list[RawElement], int]:
    """Read the elements behind the pixel data whose element begins at ``at``, and tell where they begin.

    Gives none for a data set without pixel data. Raises StructureError where the pixel data or what follows cannot be walked.
    """
    size = file.seek(0, 2)
    if at >= size:
        return [], size
    file.seek(at)
    _, _, length, value_at = read_header(file.read(_LONGEST_HEAD), 0, encoding)
    end = at + value_at + length if length != UNDEFINED else _end_of_fragments(file, at + value_at, encoding)
    if end > size:
        raise TruncatedError
    if size - end > _LONGEST_TAIL:
        raise StructureError("OVERSIZE_VALUE", "what follows the pixel data is longer than the limit")
    file.seek(end)
    return read_elements(file.read(), encoding), end


def _end_of_fragments(file: BinaryIO, at: int, encoding: Encoding) -> int:
    while True:
        file.seek(at)
        head = file.read(8)
        tag, _, length, _ = read_header(head, 0, encoding)
        if tag == SEQUENCE_DELIMITER:
            return at + 8
        if tag != ITEM:
            raise StructureError("UNTERMINATED_PIXEL", "the pixel data are not made of items")
        at += 8 + length


def _tag(head: bytes, encoding: Encoding) -> int:
    group, element = struct.unpack_from(encoding.order + "HH", head)
    return int(group << 16 | element)
