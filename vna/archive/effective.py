"""An object as it leaves: its header with every active revision applied, its pixel bytes straight from the store."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import BinaryIO, NamedTuple, cast

from indexer.header import Header, HeaderScanner
from vna.archive.revisions import Standing
from vna.archive.spliced import SplicedFile
from vna.errors import DigestMismatchError, RefusedError
from vna.part10 import Head, file_meta, head_of, read_head
from vna.part10.edit import SIGNATURES, NeedsAllError, edit_elements
from vna.part10.elements import DEFLATED_UIDS, EXPLICIT_LE, Encoding, StructureError, encoding_of
from vna.part10.raw import RawElement, find, read_elements
from vna.part10.runs import RUN
from vna.part10.split import FIRST_READ, PIXELS, read_header_elements, read_interest, read_tail
from vna.part10.values import CharacterSetError

_INFLATED_LIMIT = 1 << 30
_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_keeps_instance_uid = attrgetter("keeps_instance_uid")


class EffectiveObject(NamedTuple):
    """One object as it leaves: ``head`` (file meta, header), the stored file's bytes from ``rest_at`` to ``rest_end``, ``tail``.

    ``tail`` is empty but for objects whose digital signatures, which stand behind the pixel data, had to go.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    head: bytes
    data_set_offset: int
    rest_at: int
    rest_end: int
    tail: bytes = b""

    @property
    def size(self) -> int:
        """How many bytes leave."""
        return len(self.head) + self.rest_end - self.rest_at + len(self.tail)


class StoredHeader(NamedTuple):
    """The header of one stored file, cut into elements; ``tail`` are the elements behind the pixel data, where that matters.

    ``meta`` is the file meta, where its bytes were kept.
    """

    head: Head
    encoding: Encoding
    elements: tuple[RawElement, ...]
    rest_at: int
    rest_end: int
    tail: tuple[RawElement, ...] = ()
    meta: bytes = b""

    @property
    def signatures(self) -> tuple[RawElement, ...]:
        """The digital signatures behind the pixel data."""
        return tuple(element for element in self.tail if element.tag in SIGNATURES)


def opened(file: BinaryIO, standing: Sequence[Standing]) -> tuple[EffectiveObject, BinaryIO]:
    """Give :func:`effective_object` of a stored file, and what leaves as a file that reads the rest of it there and closes it."""
    effective = effective_object(file, standing)
    spliced = SplicedFile(effective.head, file, effective.rest_at, effective.rest_end, effective.tail)
    return effective, cast("BinaryIO", spliced)


def effective_object(file: BinaryIO, standing: Sequence[Standing]) -> EffectiveObject:
    """Apply what the active revisions say to one stored file, which must be at its start; of it nothing but the header is read.

    Without revisions it leaves byte for byte. Raises RefusedError where a change cannot be applied without guessing,
    DigestMismatchError for a file that is not ours.
    """
    if not any(each.group.changes or each.group.uids for each in standing):
        return _as_stored(file)
    standing = tuple(standing)
    stored = read_stored(file, _interest(standing))
    try:
        edited = _edited(stored, standing)
    except NeedsAllError:
        file.seek(0)
        stored = read_stored(file)
        edited = _edited(stored, standing)
    head, header = stored.head, edited.header
    sop_class_uid = edited.sop_class_uid or head.sop_class_uid
    sop_instance_uid = edited.sop_instance_uid or head.sop_instance_uid
    if stored.meta and (sop_class_uid, sop_instance_uid) == head[:2]:
        meta = stored.meta
    else:
        meta = file_meta(sop_class_uid, sop_instance_uid, head.transfer_syntax_uid)
    if head.transfer_syntax_uid in DEFLATED_UIDS:
        header = _deflated(header)
    rest_end, tail = stored.rest_end, b""
    if stored.tail and edited.is_changed and stored.signatures:
        tail = b"".join([element.raw for element in stored.tail if element.tag not in SIGNATURES])
        rest_end -= sum(len(element.raw) for element in stored.tail)
    return EffectiveObject(
        sop_class_uid, sop_instance_uid, head.transfer_syntax_uid, meta + header, len(meta), stored.rest_at, rest_end, tail
    )


class _Edited(NamedTuple):
    """A header as it leaves; a UID is empty where the data set gives none."""

    header: bytes
    sop_class_uid: str
    sop_instance_uid: str
    is_changed: bool = True


def _edited(stored: StoredHeader, standing: tuple[Standing, ...]) -> _Edited:
    """Edit a header; one that is cut into runs only if no other one was the same in all that the edit looks at."""
    elements = stored.elements
    if RUN not in [element[1] for element in elements]:
        after = edited_elements(stored, standing)
        header = b"".join([element.raw for element in after])
        return _Edited(header, _uid(after, _SOP_CLASS_UID), _uid(after, _SOP_INSTANCE_UID), after != elements)
    apart = _SOP_INSTANCE_UID if all(map(_keeps_instance_uid, standing)) else None  # which differs in every object
    looked_at = tuple([tag if vr == RUN or tag == apart else raw for tag, vr, raw, _, _ in elements])
    parts, sop_class_uid, sop_instance_uid = _edited_alike(looked_at, standing)
    header = b"".join([part if isinstance(part, bytes) else elements[part][2] for part in parts])
    return _Edited(header, sop_class_uid, sop_instance_uid or _uid(elements, _SOP_INSTANCE_UID))


@lru_cache(maxsize=64)
def _edited_alike(looked_at: tuple[bytes | int, ...], standing: tuple[Standing, ...]) -> tuple[tuple[bytes | int, ...], str, str]:
    """Edit what an edit looks at, the bytes of elements, with the first tag alone of all that stands apart.

    Gives the new header, with the number of what stands apart in its place, and the UIDs that it then shows.
    """
    numbers = {part: number for number, part in enumerate(looked_at) if isinstance(part, int)}
    before = [RawElement(part, RUN, b"", 0) if isinstance(part, int) else _element(part) for part in looked_at]
    after = _applied(tuple(before), EXPLICIT_LE, (), standing)
    parts = [numbers[element.tag] if element.vr == RUN else element.raw for element in after]
    return tuple(parts), _uid(after, _SOP_CLASS_UID), _uid(after, _SOP_INSTANCE_UID)


def _element(raw: bytes) -> RawElement:
    (element,) = read_elements(raw, EXPLICIT_LE)
    return element


def _as_stored(file: BinaryIO) -> EffectiveObject:
    stored = _head(file)
    offset = stored.data_set_offset
    file.seek(0)
    meta = file.read(offset)
    return EffectiveObject(
        stored.sop_class_uid, stored.sop_instance_uid, stored.transfer_syntax_uid, meta, offset, offset, _size(file)
    )


def _interest(standing: Sequence[Standing]) -> tuple[int, ...] | None:
    """Give the tags that at least one of the edits looks at; None as soon as one looks at all of them."""
    if len(standing) == 1:
        return None if standing[0].group.uids else standing[0].interest
    if any(each.group.uids for each in standing):
        return None
    tags: set[int] = set()
    for each in standing:
        if each.interest is None:
            return None
        tags.update(each.interest)
    return tuple(sorted(tags))


def read_stored(file: BinaryIO, interest: tuple[int, ...] | None = None) -> StoredHeader:
    """Read the header of one stored file, which must be at its start, inflated where it is deflated.

    With the tags of :func:`vna.part10.edit.interest`, what lies between them may come in runs; with None, all comes one by one.

    Raises RefusedError where it cannot be walked or its pixel data come first, DigestMismatchError for a file that is not ours.
    """
    if interest is not None:
        if (stored := _read_in_runs(file, interest)) is not None:
            return stored
        file.seek(0)
    head = _head(file)
    syntax = head.transfer_syntax_uid
    try:
        if syntax in DEFLATED_UIDS:
            elements = read_elements(_inflated(file.read()), EXPLICIT_LE)
            return StoredHeader(head, EXPLICIT_LE, tuple(elements), file.tell(), file.tell())
        encoding = encoding_of(syntax)
        elements, rest_at = read_header_elements(file, encoding)
        tags = [element[0] for element in elements]
        is_plain = tags and SIGNATURES.isdisjoint(tags) and tags == sorted(set(tags))
        tail = [] if is_plain else read_tail(file, rest_at, encoding)[0]
    except StructureError as exc:
        raise _refused(exc) from exc
    if any(element.tag < min(PIXELS) for element in tail) or find(elements, _SOP_INSTANCE_UID) is None:
        raise RefusedError("the header cannot be edited: part of it stands behind the pixel data")
    return StoredHeader(head, encoding, tuple(elements), rest_at, _size(file), tuple(tail))


def _read_in_runs(file: BinaryIO, interest: tuple[int, ...]) -> StoredHeader | None:
    """Read a header that is short and plain; None where it takes a closer look."""
    start = file.read(FIRST_READ)
    try:
        head = head_of(start)
    except ValueError:
        return None
    if head.transfer_syntax_uid in DEFLATED_UIDS or encoding_of(head.transfer_syntax_uid) is not EXPLICIT_LE:
        return None
    found = read_interest(start, head.data_set_offset, interest)
    if found is None:
        return None
    elements, rest_at = found
    tags = [element[0] for element in elements]
    if _SOP_INSTANCE_UID not in tags or not SIGNATURES.isdisjoint(tags):
        return None
    return StoredHeader(head, EXPLICIT_LE, tuple(elements), rest_at, _size(file), meta=start[: head.data_set_offset])


def _size(file: BinaryIO) -> int:
    try:
        return os.fstat(file.fileno()).st_size  # which keeps what is in the buffer
    except (OSError, AttributeError):
        return file.seek(0, os.SEEK_END)


def _head(file: BinaryIO) -> Head:
    try:
        return read_head(file)
    except ValueError as exc:
        raise DigestMismatchError(f"a stored object is damaged: {exc}", hint="restore it from a copy") from exc


def edited_elements(stored: StoredHeader, standing: Sequence[Standing]) -> tuple[RawElement, ...]:
    """Apply what active revisions say, one after the other. Raises RefusedError where that would need a guess."""
    return _applied(stored.elements, stored.encoding, stored.signatures, standing)


def _applied(
    elements: tuple[RawElement, ...], encoding: Encoding, signatures: Sequence[RawElement], standing: Sequence[Standing]
) -> tuple[RawElement, ...]:
    for each in standing:
        try:
            result = edit_elements(
                elements,
                encoding,
                each.changes,
                each.revision.attribution,
                uids=each.group.uids,
                signatures=signatures,
                fallback_character_set=each.revision.read_as.encode("ascii", "replace"),
            )
        except StructureError as exc:
            raise _refused(exc) from exc
        except CharacterSetError as exc:
            raise RefusedError(
                f"the change was refused: {exc}", hint="--text-is names the set that the text is really in"
            ) from exc
        except ValueError as exc:
            raise RefusedError(f"the change was refused: {exc}") from exc
        elements, signatures = result.elements, () if result.changed else signatures
    return elements


def _refused(exc: StructureError) -> RefusedError:
    return RefusedError(f"the header cannot be edited: {exc.code}: {exc}", hint="`vna validate` says what is wrong with it")


def scan(elements: Sequence[RawElement], transfer_syntax_uid: str) -> Header:
    """Scan a plain (inflated) header as the index does."""
    plain = "1.2.840.10008.1.2.1" if transfer_syntax_uid in DEFLATED_UIDS else transfer_syntax_uid
    scanner = HeaderScanner(plain)
    scanner.feed(b"".join([element.raw for element in elements]))
    return scanner.close()


def _uid(elements: Sequence[RawElement], tag: int) -> str:
    element = find(elements, tag)
    return element.value.decode("latin-1").rstrip(" \0") if element else ""


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
