"""An object as it leaves: its header with every active revision applied, its pixel bytes straight from the store."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from indexer.header import Header, HeaderScanner
from vna.archive.revisions import ElementChange, Revision, changes_of
from vna.errors import DigestMismatchError, RefusedError
from vna.part10 import Head, file_meta, read_head
from vna.part10.edit import edit_header
from vna.part10.elements import DEFLATED_UIDS, StructureError, encoding_of
from vna.part10.split import read_header_bytes
from vna.part10.values import CharacterSetError

_INFLATED_LIMIT = 1 << 30


@dataclass(frozen=True, slots=True)
class EffectiveObject:
    """One object as it leaves. ``head`` is file meta and header; what follows is the stored file's bytes from ``rest_at`` on."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    head: bytes
    data_set_offset: int
    rest_at: int
    size: int


def effective_object(
    file: BinaryIO, revisions: Sequence[Revision], sha256: str, *, fallback_character_set: bytes = b""
) -> EffectiveObject:
    """Apply the active revisions to one stored file, which must be at its start; nothing but its header is read.

    Raises RefusedError where a change cannot be applied without guessing, DigestMismatchError for a file that is not ours.
    """
    try:
        stored = read_head(file)
    except ValueError as exc:
        raise DigestMismatchError(f"a stored object is damaged: {exc}") from exc
    standing = changes_of(revisions, sha256)
    if not standing:
        return _as_stored(file, stored)
    header, rest_at = read_stored_header(file, stored.transfer_syntax_uid)
    for revision, changes in standing:
        header = edited(header, stored.transfer_syntax_uid, changes, revision, fallback_character_set)
    scanned = scan(header, stored.transfer_syntax_uid)
    sop_class_uid = scanned.uid(0x00080016) or stored.sop_class_uid
    sop_instance_uid = scanned.uid(0x00080018) or stored.sop_instance_uid
    meta = file_meta(sop_class_uid, sop_instance_uid, stored.transfer_syntax_uid)
    if stored.transfer_syntax_uid in DEFLATED_UIDS:
        header = _deflated(header)
    end = file.seek(0, 2)
    size = len(meta) + len(header) + end - rest_at
    return EffectiveObject(sop_class_uid, sop_instance_uid, stored.transfer_syntax_uid, meta + header, len(meta), rest_at, size)


def _as_stored(file: BinaryIO, stored: Head) -> EffectiveObject:
    """Give an object that no revision concerns: nothing is made anew, so it leaves byte for byte."""
    offset = stored.data_set_offset
    file.seek(0)
    meta = file.read(offset)
    return EffectiveObject(
        stored.sop_class_uid, stored.sop_instance_uid, stored.transfer_syntax_uid, meta, offset, offset, file.seek(0, 2)
    )


def read_stored_header(file: BinaryIO, transfer_syntax_uid: str) -> tuple[bytes, int]:
    """Read the header of the data set that ``file`` stands at, inflated where it is deflated, and tell where the rest begins."""
    try:
        if transfer_syntax_uid in DEFLATED_UIDS:
            return _inflated(file.read()), file.tell()
        header = read_header_bytes(file, encoding_of(transfer_syntax_uid))
    except StructureError as exc:
        raise RefusedError(f"the header cannot be edited: {exc.code}", hint="`vna validate` says what is wrong with it") from exc
    return header, file.tell()


def edited(
    header: bytes,
    transfer_syntax_uid: str,
    changes: Sequence[ElementChange],
    revision: Revision,
    fallback_character_set: bytes = b"",
) -> bytes:
    """Apply one revision's changes to a header. Raises RefusedError where that would need a guess."""
    try:
        return edit_header(
            header,
            encoding_of(transfer_syntax_uid),
            [change.as_change() for change in changes],
            revision.attribution,
            fallback_character_set=fallback_character_set,
        ).data
    except StructureError as exc:
        raise RefusedError(f"the header cannot be edited: {exc.code}", hint="`vna validate` says what is wrong with it") from exc
    except CharacterSetError as exc:
        raise RefusedError(f"the change was refused: {exc}", hint="name the set that the text is really in") from exc


def scan(header: bytes, transfer_syntax_uid: str) -> Header:
    """Scan a plain (inflated) header as the index does."""
    plain = "1.2.840.10008.1.2.1" if transfer_syntax_uid in DEFLATED_UIDS else transfer_syntax_uid
    scanner = HeaderScanner(plain)
    scanner.feed(header)
    return scanner.close()


def _inflated(data: bytes) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = engine.decompress(data, _INFLATED_LIMIT)
    except zlib.error as exc:
        raise StructureError("INFLATE_ERROR", "the deflated data set is damaged") from exc
    if not engine.eof:
        raise StructureError("INFLATE_LIMIT", "the deflated data set is too large, or cut off")
    return plain


def _deflated(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = engine.compress(data) + engine.flush()
    return packed + b"\0" * (len(packed) & 1)
