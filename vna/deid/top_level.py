"""The top level of a data set: where each element stands, read once and used by everything that judges or edits an object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from vna.deid.table import tag_of
from vna.part10.elements import (
    DOUBLE_FLOAT_PIXEL_DATA,
    FLOAT_PIXEL_DATA,
    PIXEL_DATA,
    UNDEFINED,
    Encoding,
    StructureError,
    TruncatedError,
    actual_encoding,
    read_header,
    skip_value,
    vr_of,
)

PIXEL_TAGS = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
PATIENT_ID = 0x00100020
ISSUER_OF_PATIENT_ID = 0x00100021
_LAST_PLAIN_TAG = 0x7FE00000


class Span(NamedTuple):
    """One top-level element of the source: where its header, its value and the next element begin."""

    tag: int
    vr: bytes
    length: int
    at: int
    value_at: int
    end: int


@dataclass(slots=True)
class TopLevel:
    """The top-level elements of a data set up to its pixel data, and what they say about the object."""

    buffer: bytes
    encoding: Encoding
    spans: list[Span]
    pixel: Span | None = None
    found: dict[int, Span] = field(default_factory=dict)

    def value(self, tag: int) -> bytes:
        """Give an element's raw value without padding; empty where it is absent."""
        span = self.found.get(tag)
        if span is None or span.length == UNDEFINED:
            return b""
        return self.buffer[span.value_at : span.end].strip(b" \0")

    def text(self, keyword: str) -> str:
        """Give an element's value by keyword, as text of one byte a character."""
        tag = tag_of(keyword)
        return self.value(tag).decode("latin-1") if tag is not None else ""

    def number(self, keyword: str, missing: int = 0) -> int:
        """Give an element of VR US or IS as a number."""
        tag = tag_of(keyword)
        span = self.found.get(tag) if tag is not None else None
        if span is None:
            return missing
        raw = self.buffer[span.value_at : span.end]
        if (span.vr or vr_of(span.tag)) == b"IS":
            digits = raw.strip(b" \0")
            return int(digits) if digits.isdigit() else missing
        return int.from_bytes(raw[:2], "little" if self.encoding.little_endian else "big") if len(raw) >= 2 else missing


def read_top_level(buffer: bytes, encoding: Encoding) -> TopLevel:
    """Find the top-level elements up to the first pixel data element, whose value need not be in ``buffer``.

    Raises TruncatedError when the buffer ends before that (read more and try again), StructureError for what is no data set.
    """
    encoding = actual_encoding(buffer[:8], encoding)
    top = TopLevel(buffer, encoding, [])
    spans, found = top.spans, top.found
    at, end = 0, len(buffer)
    while at < end:
        header = read_header(buffer, at, encoding)
        tag, vr, length, value_at = header
        if tag >= _LAST_PLAIN_TAG:
            if tag in PIXEL_TAGS:
                top.pixel = Span(tag, vr, length, at, value_at, value_at)
                break
            if tag >> 16 == 0xFFFE:
                raise StructureError("STRUCTURE", "a delimiter stands outside of any sequence")
        after = value_at + length
        if length == UNDEFINED:
            after = skip_value(buffer, header, encoding)
        elif after > end:
            raise TruncatedError
        span = Span(tag, vr, length, at, value_at, after)
        spans.append(span)
        if tag not in found:
            found[tag] = span
        at = after
    return top
