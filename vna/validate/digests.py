"""Digests of pixel data, to find one picture under two UIDs, and two pictures under one.

A digest covers transfer syntax, rows, columns and the very bytes: native pixel data, or the fragments of encapsulated ones. The
same picture in another encoding has another digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from vna.errors import StoreError
from vna.executors import Workplace, spread
from vna.store import Store
from vna.validate.check import NotCanonicalError, Work, read_instance
from vna.validate.instance import Instance
from vna.validate.rules.pixels import COLUMNS, ROWS

NO_PICTURE = "none"
"""In place of a digest where there is nothing to tell pictures apart by: no pixel data, or one value throughout."""

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class PixelDigest:
    """The digest of one object's pixel data, in hexadecimal, or :data:`NO_PICTURE`."""

    sha256: str
    digest: str


def digest_all(batches: Iterable[Sequence[Work]], store: Callable[[], Store], place: Workplace) -> Iterator[list[PixelDigest]]:
    """Digest the pixel data of all objects, batch by batch in any order; what cannot be read is left out."""
    return spread(partial(_digest_batch, store), batches, place, lambda work: [])


def _digest_batch(store: Callable[[], Store], batch: Sequence[Work]) -> list[PixelDigest]:
    opened = store()
    return [found for work in batch if (found := _digest(work, opened)) is not None]


def _digest(work: Work, store: Store) -> PixelDigest | None:
    try:
        with store.open(work.path) as file:
            return PixelDigest(work.sha256, digest_pixels(file, work.size))
    except (OSError, StoreError, NotCanonicalError):
        return None


def digest_pixels(file: BinaryIO, size: int) -> str:
    """Digest the pixel data of one stored file. Raises NotCanonicalError for what is no file of this archive."""
    instance, _ = read_instance(file, size)
    digest = hashlib.sha256(f"{instance.transfer_syntax_uid}|{instance.integer(ROWS)}|{instance.integer(COLUMNS)}|".encode())
    first, is_picture = b"", False
    for offset, length in _spans(instance):
        for at in range(offset, offset + length, _CHUNK):
            chunk = instance.read_at(at, min(_CHUNK, offset + length - at))
            first = first or chunk[:1]
            is_picture = is_picture or chunk.count(first) != len(chunk)
            digest.update(chunk)
    return digest.hexdigest() if is_picture else NO_PICTURE


def _spans(instance: Instance) -> list[tuple[int, int]]:
    if instance.pixels is None:
        return []
    if instance.fragments is not None:
        return list(instance.fragments.spans)
    return [(instance.pixels.offset, instance.pixels.length or 0)]
