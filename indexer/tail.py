"""Check what follows the header: the pixel data against the bytes that are there, and the elements behind them.

Only item headers, offset tables and trailing elements are read; pixel data themselves are never looked at. The list that a
check returns is also added to the header's problems, and elements found behind the pixel data to its elements.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from struct import unpack
from typing import Literal

from indexer.encodings import Encoding, is_known, is_native
from indexer.header import HeaderScanner
from indexer.problems import Problem, tag_text
from indexer.record import (
    BITS_ALLOCATED,
    COLUMNS,
    DEFAULT_LIMITS,
    NUMBER_OF_FRAMES,
    PHOTOMETRIC_INTERPRETATION,
    ROWS,
    SAMPLES_PER_PIXEL,
    Header,
    Limits,
    PixelData,
)

ReadAt = Callable[[int, int], bytes]
"""``read_at(offset, length)``: bytes of the data set from ``offset`` on, fewer at its end."""

_IMPOSSIBLE = 0xFFFF0000  # a length beyond this is damage, not the length of any pixel data
_FIRST_READ = 4096
_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
_TABLE_BYTES = 16 << 20
_SUBSAMPLED = {b"YBR_FULL_422": (2, 3), b"YBR_PARTIAL_422": (2, 3), b"YBR_PARTIAL_420": (1, 2)}  # of three samples a pixel
_FRAMES = re.compile(rb"\s*\+?0*(\d{1,10})[\s\0]*")


def check_tail(header: Header, data_set_length: int, read_at: ReadAt, limits: Limits = DEFAULT_LIMITS) -> list[Problem]:
    """Check a data set of ``data_set_length`` bytes behind its header; gives the problems that this adds.

    Never raises on bad data. Costs nothing where native pixel data end with the data set; encapsulated ones cost a small read a
    fragment.
    """
    before, pixel = len(header.problems), header.pixel
    if header.deflated_length is not None:
        if header.has_header_end and data_set_length - header.deflated_length > 1:
            header.note("INFLATE_TRAILER", "", f"{data_set_length - header.deflated_length} bytes")
        if pixel is not None:
            _check_size(header, pixel)
    elif pixel is None:
        if header.end_offset < data_set_length and any(problem.code == "TRAILING_PADDING" for problem in header.problems):
            _check_padding(header, data_set_length, read_at)
    else:
        _check_pixel(header, pixel, data_set_length, read_at, limits)
    return header.problems[before:]


def _check_pixel(header: Header, pixel: PixelData, data_set_length: int, read_at: ReadAt, limits: Limits) -> None:
    _check_label(header, pixel)
    if pixel.length is None:
        end = _walk_fragments(header, pixel, data_set_length, read_at, limits)
        if end is None:
            return
    else:
        end = pixel.value_offset + pixel.length
        if end > data_set_length:
            code = "VALUE_OVERRUN" if pixel.length > _IMPOSSIBLE else "TRUNCATED_PIXEL"
            header.note(code, tag_text(pixel.tag), f"{end - data_set_length} of {pixel.length} bytes are missing")
            return
        _check_size(header, pixel)
    header.end_offset = end
    if end < data_set_length:
        _scan_behind(header, end, data_set_length, read_at, limits)


def _check_label(header: Header, pixel: PixelData) -> None:
    """Compare the form of the pixel data with the transfer syntax, where that is known and was not inferred."""
    uid = header.transfer_syntax_uid
    if is_known(uid) and is_native(uid) is (pixel.length is None) and pixel.length != 0:
        form = "encapsulated" if pixel.length is None else "native"
        header.note("TS_MISMATCH", tag_text(pixel.tag), f"the pixel data are {form}")


def expected_pixel_bytes(header: Header) -> int | None:
    """How many bytes native pixel data need by Rows, Columns and the rest (PS3.5 8.1.1); None when an attribute is missing."""
    return _expected_bytes(header.encoding is Encoding.EXPLICIT_BIG, *map(header.elements.get, _SIZES))


_SIZES = (ROWS, COLUMNS, BITS_ALLOCATED, SAMPLES_PER_PIXEL, NUMBER_OF_FRAMES, PHOTOMETRIC_INTERPRETATION)


@lru_cache(maxsize=256)
def _expected_bytes(is_big: bool, *sizes: bytes | None) -> int | None:
    """Compute :func:`expected_pixel_bytes` from the raw values of :data:`_SIZES`, which are those of the object before mostly."""
    order: Literal["big", "little"] = "big" if is_big else "little"
    rows, columns, bits, samples = (int.from_bytes(raw[:2], order) if raw and len(raw) >= 2 else 0 for raw in sizes[:4])
    if not rows or not columns or not bits:
        return None
    samples = samples or 1
    frames = _FRAMES.fullmatch(sizes[4] or b"")
    total = rows * columns * samples * bits * ((int(frames[1]) or 1) if frames else 1)
    if samples == 3:
        part, whole = _SUBSAMPLED.get((sizes[5] or b"").strip(b" \0"), (1, 1))
        total = total * part // whole
    return (total + 7) // 8


def _check_size(header: Header, pixel: PixelData) -> None:
    uid = header.transfer_syntax_uid
    if pixel.length is None or (is_known(uid) and not is_native(uid)):
        return
    if header.problems and any(problem.code == "TS_UNKNOWN" for problem in header.problems):
        return
    expected = expected_pixel_bytes(header)
    if expected is not None and pixel.length < expected:
        header.note("PIXEL_SIZE_MISMATCH", tag_text(pixel.tag), f"{pixel.length} bytes, {expected} are required")


def _check_padding(header: Header, data_set_length: int, read_at: ReadAt) -> None:
    """Make sure that what looks like padding is zero to the end, so that no element hides behind it."""
    at = header.end_offset
    while at < data_set_length:
        chunk = read_at(at, min(_CHUNK, data_set_length - at))
        if not chunk:
            return
        if chunk != _ZEROS[: len(chunk)]:
            header.note("STRUCTURE", f"offset {at}", "data follow zero bytes")
            return
        at += len(chunk)


def _walk_fragments(header: Header, pixel: PixelData, data_set_length: int, read_at: ReadAt, limits: Limits) -> int | None:
    """Step over the items of encapsulated pixel data (PS3.5 A.4); gives where they end, None when they do not."""
    code = "<HHI" if header.encoding is not Encoding.EXPLICIT_BIG else ">HHI"
    at = pixel.value_offset
    starts, table = array("Q"), b""
    for count in range(limits.elements):
        item = read_at(at, 8)
        if len(item) < 8:
            header.note("UNTERMINATED_PIXEL", f"offset {at}")
            return None
        group, element, length = unpack(code, item)
        if group != 0xFFFE or element not in (0xE000, 0xE0DD):
            header.note("UNTERMINATED_PIXEL" if count else "STRUCTURE", f"offset {at}", "no item stands here")
            return None
        if element == 0xE0DD:
            _check_tables(header, starts, table, data_set_length, read_at)
            return at + 8
        if at + 8 + length > data_set_length:
            header.note("FRAGMENT_OVERRUN", f"offset {at}")
            return None
        if count:
            starts.append(at)
        else:
            table = read_at(at + 8, length) if 0 < length <= _TABLE_BYTES else b"?" * bool(length)
        at += 8 + length
    header.note("ELEMENT_LIMIT", f"offset {at}", "fragments")
    return None


def _check_tables(header: Header, starts: array[int], table: bytes, data_set_length: int, read_at: ReadAt) -> None:
    """Compare the Basic and the Extended Offset Table with where the fragments are; offsets count from the first fragment."""
    first = starts[0] if starts else 0
    items = {start - first for start in starts}
    order = ">" if header.encoding is Encoding.EXPLICIT_BIG else "<"
    if table:
        offsets = unpack(f"{order}{len(table) // 4}I", table) if len(table) % 4 == 0 else (1,)
        if not _is_sound(offsets, items):
            header.note("OFFSET_TABLE", tag_text(0x7FE00010))
    if header.offset_table is not None:
        at, length = header.offset_table
        lengths = header.length_table[1] if header.length_table else -1
        fits = length % 8 == 0 and length == lengths and length <= _TABLE_BYTES and at + length <= data_set_length
        if not fits or not _is_sound(unpack(f"{order}{length // 8}Q", read_at(at, length)), items):
            header.note("OFFSET_TABLE", tag_text(0x7FE00001))


def _is_sound(offsets: tuple[int, ...], items: set[int]) -> bool:
    return offsets[:1] in ((), (0,)) and all(a < b for a, b in pairwise(offsets)) and items.issuperset(offsets)


def _scan_behind(header: Header, end: int, data_set_length: int, read_at: ReadAt, limits: Limits) -> None:
    """Read the elements that follow the pixel data, from ``end`` on; single zero bytes there are padding."""
    scanner = HeaderScanner(header.transfer_syntax_uid, limits, after=header, at=end)
    at, size = end, _FIRST_READ
    while at < data_set_length:
        jump = min(scanner.skippable, data_set_length - at)
        if jump:
            scanner.skip(jump)
            at, size = at + jump, _FIRST_READ
            continue
        chunk = read_at(at, min(size, data_set_length - at))
        if not chunk or scanner.feed(chunk):
            break
        at, size = at + len(chunk), min(size * 2, _CHUNK)
    scanner.close()
    if header.end_offset < data_set_length and any(problem.code == "TRAILING_PADDING" for problem in header.problems):
        _check_padding(header, data_set_length, read_at)
