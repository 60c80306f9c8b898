"""Scan objects of a bucket, reading only what the scan needs of each, many at the same time."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, BinaryIO, cast

from indexer.batch import Row, row_of
from indexer.bucket import IN_FLIGHT, Bucket, ChangedError, size_of, version_of
from indexer.found import moment, path_of
from indexer.scan import scan_open, unreadable

HEAD = 64 << 10
"""So many bytes are asked for first: more than most headers have."""

_NEAR = 64 << 10  # a request costs more than to read over so many bytes
_BLOCK = 256 << 10
_LARGEST_BLOCK = 1 << 20
_FAR_BLOCK = 4 << 10
_DIGEST_BLOCK = 4 << 20
_VERSIONS = 3


class RemoteFile:
    """One version of an object, seekable, read by ranges. What was read last stays, and so do the first :data:`HEAD` bytes."""

    def __init__(self, bucket: Bucket, name: bytes) -> None:
        self._bucket = bucket
        self._name = name
        self._head, answer = bucket.read(name, 0, HEAD)
        self.size = size_of(answer)
        self.modified = version_of(answer["LastModified"], str(answer["ETag"]))
        self._etag = str(answer["ETag"])
        self._position = 0
        self._block, self._block_at = self._head, 0
        self._step = HEAD

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, from the start or the end."""
        self._position = offset + (self.size if whence == io.SEEK_END else 0)
        return self._position

    def read(self, length: int) -> bytes:
        """Read up to ``length`` bytes; none at the end. Raises what :meth:`indexer.bucket.Bucket.read` raises."""
        at, wanted = self._position, min(length, self.size - self._position)
        if wanted <= 0:
            return b""
        data = self._held(at, wanted)
        if data is None:
            self._fetch(at, wanted)
            data = self._block[:wanted]
        self._position = at + len(data)
        return data

    def sha256(self) -> str:
        """Read the whole object, and give its SHA-256."""
        total = hashlib.sha256(self._head)
        for at in range(len(self._head), self.size, _DIGEST_BLOCK):
            data, _ = self._bucket.read(self._name, at, min(_DIGEST_BLOCK, self.size - at), self._etag)
            total.update(data)
        return total.hexdigest()

    def _held(self, at: int, wanted: int) -> bytes | None:
        for block, start in ((self._head, 0), (self._block, self._block_at)):
            if start <= at and at + wanted <= start + len(block):
                return block[at - start : at - start + wanted]
        return None

    def _fetch(self, at: int, wanted: int) -> None:
        """Read a block: a larger one each time where the scan reads on, some bytes where it jumps far."""
        gap = at - (self._block_at + len(self._block))
        if gap == 0:
            least = self._step
            self._step = min(2 * self._step, _LARGEST_BLOCK)
        else:
            least = _BLOCK if 0 < gap <= _NEAR else _FAR_BLOCK
        self._block, _ = self._bucket.read(self._name, at, min(max(wanted, least), self.size - at), self._etag)
        self._block_at = at


def scan_objects(
    url: str, options: Mapping[str, Any] | None, names: list[bytes], *, with_digest: bool
) -> list[tuple[bytes, Row]]:
    """Scan objects of a bucket; gives names and whole rows, none of objects that are gone. For errors see :meth:`Bucket.read`."""
    bucket = _opened(url, json.dumps(dict(options or {}), sort_keys=True))
    with ThreadPoolExecutor(min(IN_FLIGHT, len(names) or 1), thread_name_prefix="indexer-s3") as pool:
        rows = pool.map(lambda name: _scan(bucket, name, with_digest=with_digest), names)
        return [(name, row) for name, row in zip(names, rows, strict=True) if row is not None]


@lru_cache(maxsize=1)
def _opened(url: str, options: str) -> Bucket:
    return Bucket(url, json.loads(options))


def _scan(bucket: Bucket, name: bytes, *, with_digest: bool) -> Row | None:
    path = path_of(name)
    for _ in range(_VERSIONS):
        try:
            file = RemoteFile(bucket, name)
            digest = file.sha256() if with_digest else None
            return row_of(scan_open(cast(BinaryIO, file), path), path, bucket.url, file.modified, digest)
        except ChangedError:
            continue
        except FileNotFoundError:
            return None
        except OSError as exc:
            return row_of(unreadable(path, exc.strerror or ""), path, bucket.url, moment(0), None)
    return row_of(unreadable(path, "it changes all the time"), path, bucket.url, moment(0), None)
