"""Find where a data set's header ends and its pixel data begin, reading no more than it must."""

from __future__ import annotations

from typing import BinaryIO

from vna.part10.elements import (
    DOUBLE_FLOAT_PIXEL_DATA,
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    Encoding,
    StructureError,
    TruncatedError,
    read_header,
    skip_value,
)

_FIRST_READ = 64 << 10
_PIXELS = frozenset((PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA))
_LIMIT = 1 << 30


def read_header_bytes(file: BinaryIO, encoding: Encoding, *, limit: int = _LIMIT) -> bytes:
    """Read a data set up to its pixel data (or its end) from where ``file`` stands, and leave ``file`` there.

    Raises StructureError where the bytes cannot be walked, and for a header longer than ``limit`` bytes.
    """
    start = file.tell()
    data = file.read(_FIRST_READ)
    at = 0
    while True:
        try:
            at = _walk(data, at, encoding)
            if at < len(data):
                break
            more = file.read(len(data))
            if not more:
                break
            data += more
        except _MoreNeeded as exc:
            at = exc.at
            more = file.read(max(len(data), _FIRST_READ))
            if not more:
                raise TruncatedError from None
            data += more
        if len(data) > limit:
            raise StructureError("OVERSIZE_VALUE", "the header is longer than the limit")
    file.seek(start + at)
    return data[:at]


class _MoreNeeded(Exception):  # noqa: N818 - a signal between the two functions here
    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at


def _walk(data: bytes, at: int, encoding: Encoding) -> int:
    """Give the offset of the pixel data's element, or the length of ``data`` when everything in it was walked."""
    while at < len(data):
        try:
            header = read_header(data, at, encoding)
            if header[0] in _PIXELS:
                return at
            at = skip_value(data, header, encoding)
        except TruncatedError:
            raise _MoreNeeded(at) from None
    return at
