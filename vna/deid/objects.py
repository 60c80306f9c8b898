"""De-identify one object: read its header, judge it, write it; pixel bytes are copied in pieces, not held in memory."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from vna.deid.cleaning import UncleanableError, clean
from vna.deid.engine import Edited, Engine
from vna.deid.holds import Hold, object_hold
from vna.deid.pixels import PixelPolicy
from vna.deid.top_level import ISSUER_OF_PATIENT_ID, PATIENT_ID, STUDY_INSTANCE_UID, Span, TopLevel, read_top_level
from vna.deid.values import Patient
from vna.part10 import file_meta
from vna.part10.elements import (
    DEFLATED_UIDS,
    EXPLICIT_LE,
    ITEM,
    SEQUENCE_DELIMITER,
    UNDEFINED,
    Encoding,
    StructureError,
    TruncatedError,
    encoding_of,
    header_bytes,
    read_header,
)

_FIRST_READ = 1 << 17
_PIECE = 1 << 22
_MOST_HEADER_BYTES = 1 << 30
_MOST_INFLATED_BYTES = 1 << 31
_UID = re.compile(r"[0-9.]{1,64}")
_TRANSFER_SYNTAX_UID = 0x00020010


@dataclass(slots=True)
class Made:
    """What became of one object: the edited header and where it went, or why it is held."""

    hold: Hold | None = None
    edited: Edited | None = None
    transfer_syntax_uid: str = ""
    path: str = ""
    size: int = 0
    sha256: str = ""
    cleaned: bool = False
    released: bool = False
    actions: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes de-identified objects by one recipe, key and policy into the folder ``target``.

    Without a target it only finds out what would become of an object.
    """

    engine: Engine
    policy: PixelPolicy
    target: Path | None

    def make(self, file: BinaryIO, known: tuple[bytes, ...] = (), issuer: bytes = b"") -> Made:
        """De-identify the Part 10 file ``file``.

        The output is written to a temporary name and renamed, so that a file under a final name is whole. ``known`` are
        identifiers that no kept text may hold, ``issuer`` that of the Patient ID where the object names none. Structural faults
        and what cannot be made safe come back as a hold, never as an exception.
        """
        made = Made()
        try:
            transfer_syntax_uid, offset = _part10_head(file)
            made.transfer_syntax_uid = transfer_syntax_uid
            if transfer_syntax_uid in DEFLATED_UIDS:
                file, offset = BytesIO(_inflated(file, offset)), 0
            top = _read_header_of(file, offset, encoding_of(transfer_syntax_uid))
            self._make(made, _Opened(file, offset, top), known, issuer)
        except (StructureError, UncleanableError) as exc:
            made.hold = Hold(exc.code)
        return made

    def _make(self, made: Made, opened: _Opened, known: tuple[bytes, ...], issuer: bytes) -> None:
        top = opened.top
        patient = Patient(top.value(PATIENT_ID), top.value(ISSUER_OF_PATIENT_ID) or issuer, top.value(STUDY_INSTANCE_UID))
        verdict = self.policy.judge(top)
        made.hold = object_hold(top, made.transfer_syntax_uid) or verdict.hold
        made.released, made.cleaned = verdict.released, bool(verdict.coordinates)
        made.edited = self.engine.edit(top, patient, known, cleaned_pixels=made.cleaned)
        made.actions = made.edited.actions
        if made.hold is None and not all(map(_UID.fullmatch, made.edited.uids_of_path)):
            made.hold = Hold("BAD_UID")
        if made.hold is not None:
            return
        pixels = None
        if verdict.coordinates and top.pixel is not None:
            encapsulated = top.pixel.length == UNDEFINED
            value = opened.pixel_value()
            pixels = clean(value, top, made.transfer_syntax_uid, verdict.coordinates, encapsulated=encapsulated)
        if self.target is not None:
            self._write(made, opened.chunks(made.edited, pixels, partial(self._tail, opened, patient)), self.target)

    def _tail(self, opened: _Opened, patient: Patient, tail: bytes) -> bytes:
        return self.engine.edit_tail(tail, opened.top.encoding, patient)

    def _write(self, made: Made, chunks: Iterator[bytes], target: Path) -> None:
        edited = made.edited
        assert edited is not None
        made.path = "/".join((edited.patient_id or "unknown", *edited.uids_of_path)) + ".dcm"
        final = target / made.path
        final.parent.mkdir(parents=True, exist_ok=True)
        # Process ids are not unique among the hosts of a cluster, and a lost worker may still write what another one does again.
        temporary = final.with_name(f".{final.name}.{secrets.token_hex(8)}.part")
        digest = hashlib.sha256()
        if made.transfer_syntax_uid in DEFLATED_UIDS:
            chunks = iter([_deflated(b"".join(chunks))])
        meta = file_meta(edited.sop_class_uid, edited.sop_instance_uid, made.transfer_syntax_uid)
        try:
            with temporary.open("wb") as out:
                for chunk in chain([meta], chunks):
                    digest.update(chunk)
                    out.write(chunk)
                made.size = out.tell()
            temporary.replace(final)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        made.sha256 = digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Opened:
    """An object being read: its file, where in it the data set begins, and its top level."""

    file: BinaryIO
    offset: int
    top: TopLevel

    def pixel_value(self) -> bytes:
        """Read the value of the pixel data, without the delimiter that ends fragments."""
        pixel = self.top.pixel
        assert pixel is not None
        start = self.offset + pixel.value_at
        end = _pixel_end(self.file, self.offset, pixel, self.top.encoding) - (8 if pixel.length == UNDEFINED else 0)
        self.file.seek(start)
        return self.file.read(end - start)

    def chunks(self, edited: Edited, pixels: bytes | None, edit_tail: Callable[[bytes], bytes]) -> Iterator[bytes]:
        """Give the output's data set in pieces: the edited header, the pixel data, and the edited elements behind it."""
        pixel = self.top.pixel
        if pixel is None:
            yield edited.data
            return
        end = _pixel_end(self.file, self.offset, pixel, self.top.encoding)
        if pixels is None:
            yield edited.data
            yield from _pieces(self.file, self.offset + pixel.value_at, end)
        else:
            encoding = self.top.encoding
            length = UNDEFINED if pixel.length == UNDEFINED else len(pixels)
            yield edited.data[: pixel.at - pixel.value_at]
            yield header_bytes(pixel.tag, pixel.vr, length, encoding)
            yield pixels
            if length == UNDEFINED:
                yield header_bytes(SEQUENCE_DELIMITER, b"", 0, encoding)
        self.file.seek(end)
        tail = self.file.read()
        if tail.strip(b"\0"):
            yield edit_tail(tail)


def _part10_head(file: BinaryIO) -> tuple[str, int]:
    """Read preamble and file meta: the transfer syntax and where the data set begins."""
    start = file.read(4096)
    if start[128:132] != b"DICM":
        raise StructureError("STRUCTURE", "the file has no Part 10 preamble")
    at, transfer_syntax_uid = 132, ""
    while True:
        try:
            tag, _, length, value_at = read_header(start, at, EXPLICIT_LE)
            is_short = value_at + length > len(start)
        except TruncatedError:
            tag, length, value_at, is_short = 0x00020000, 0, at, True
        if tag >> 16 != 0x0002:
            return transfer_syntax_uid, at
        if is_short:
            more = file.read(1 << 16)
            if not more or len(start) > 1 << 22:
                if value_at >= len(start):
                    return transfer_syntax_uid, at
                raise TruncatedError
            start += more
            continue
        if tag == _TRANSFER_SYNTAX_UID:
            transfer_syntax_uid = start[value_at : value_at + length].strip(b" \0").decode("latin-1")
        at = value_at + length


def _read_header_of(file: BinaryIO, offset: int, encoding: Encoding) -> TopLevel:
    """Read as much of the data set as holds everything before the pixel data."""
    size = _FIRST_READ
    while True:
        file.seek(offset)
        buffer = file.read(size)
        try:
            top = read_top_level(buffer, encoding)
            if top.pixel is not None or len(buffer) < size:
                return top
        except TruncatedError:
            if len(buffer) < size or size >= _MOST_HEADER_BYTES:
                raise
        size *= 8


def _inflated(file: BinaryIO, offset: int) -> bytes:
    file.seek(offset)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(file.read(), _MOST_INFLATED_BYTES)
    except zlib.error as exc:
        raise StructureError("INFLATE_ERROR", "the deflated data set cannot be inflated") from exc
    if inflater.unconsumed_tail or not inflater.eof:
        raise StructureError("INFLATE_ERROR", "the deflated data set is cut short or too large")
    return content


def _pixel_end(file: BinaryIO, offset: int, pixel: Span, encoding: Encoding) -> int:
    """Give the offset in the file behind the pixel data's value, fragments walked one by one (PS3.5 A.4)."""
    at = offset + pixel.value_at
    end = file.seek(0, os.SEEK_END)
    if pixel.length != UNDEFINED:
        at += pixel.length
        if at > end:
            raise TruncatedError
        return at
    while True:
        file.seek(at)
        tag, _, length, _ = read_header(file.read(8), 0, encoding)
        at += 8
        if tag == SEQUENCE_DELIMITER:
            return at
        if tag != ITEM or length == UNDEFINED:
            raise StructureError("STRUCTURE", "the pixel data is not made of fragments")
        at += length
        if at > end:
            raise TruncatedError


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    file.seek(start)
    while start < end:
        piece = file.read(min(_PIECE, end - start))
        if not piece:
            raise TruncatedError
        yield piece
        start += len(piece)


def _deflated(content: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(content) + deflater.flush()
    return deflated + b"\0" * (len(deflated) & 1)
