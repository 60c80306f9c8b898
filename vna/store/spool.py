"""The spool: files under temporary names, written by one writer, on the disk of this machine.

Nothing here is an object yet. A spool file becomes one when the store publishes it under its final name; what is left of a
writer that died is completed or dropped by :mod:`vna.archive.recovery`.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from contextlib import suppress
from pathlib import Path

from vna.errors import StoreError
from vna.store.hashing import LARGE, HashingThread, hashing_thread
from vna.store.operations import FILE_MODE, NO_LINKS, SYSTEM, Operations, store_error, store_errors
from vna.store.room import Reserve, Room

SUFFIX = ".part"
CHECK_EVERY = 64 << 20
"""After so many bytes of one object it is asked again whether there is room."""

_PREPARED = 4  # files that wait for objects: as many as there are threads that take turns on a few cores
_PIECE = 1 << 20
_JOINED_BYTES = 64 << 10  # a larger first piece costs more to copy than a write of its own


class SpoolFile:
    """One file under a temporary name, hashed while it is written. Not thread-safe; :meth:`discard` or :meth:`close` ends it.

    ``head`` is what it begins with: written with the first piece where that is small, which saves a call of the system.
    ``descriptor`` is the file's, open and empty.
    """

    __slots__ = (
        "_check_at",
        "_descriptor",
        "_digest",
        "_has_thread",
        "_head",
        "_operations",
        "_room",
        "_thread",
        "location",
        "size",
    )

    def __init__(
        self,
        location: str,
        operations: Operations,
        descriptor: int,
        thread: HashingThread | None = None,
        room: Room | None = None,
        head: bytes = b"",
    ) -> None:
        self.size = len(head)
        self.location = location
        self._head = head
        self._room = room
        self._check_at = CHECK_EVERY
        self._operations = operations
        self._digest = hashlib.sha256(head)
        self._thread = thread
        self._has_thread = False
        self._descriptor = descriptor

    @property
    def name(self) -> str:
        """Its name within the spool."""
        return self.location.rpartition("/")[2]

    @property
    def path(self) -> Path:
        """Where it is; :attr:`location` says the same as text, which costs nothing."""
        return Path(self.location)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append ``chunk`` and hash it. Raises StoreFullError when there is no room; then :meth:`discard`."""
        if self._head and len(chunk) <= _JOINED_BYTES:
            head, self._head = self._head, b""
            self._write(head + chunk)
        else:
            self._write_head()
            self._write(chunk)
        if self._has_thread or (self.size >= LARGE and self._claims_thread()):
            assert self._thread is not None
            self._thread.update(self._digest, chunk)
        else:
            self._digest.update(chunk)
        self.size += len(chunk)
        if self.size >= self._check_at and self._room is not None:
            self._check_at = self.size + CHECK_EVERY
            self._room.check()

    def _write_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._write(head)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._operations.write(self._descriptor, data)
        except OSError as exc:
            raise store_error(exc, "the spool file could not be written") from exc

    def sha256(self) -> str:
        """Tell the SHA-256 of everything written, in hexadecimal; a head that nothing followed is written by now."""
        self._write_head()
        self._end_hashing()
        return self._digest.hexdigest()

    def _claims_thread(self) -> bool:
        self._has_thread = self._thread is not None and self._thread.claim()
        return self._has_thread

    def _end_hashing(self) -> None:
        if self._has_thread:
            self._has_thread = False
            assert self._thread is not None
            self._thread.release()

    def read_at(self, offset: int, length: int) -> bytes:
        """Read back up to ``length`` bytes from ``offset``."""
        with store_errors("the spool file could not be read back"):
            return os.pread(self._descriptor, length, offset)

    def sync(self) -> None:
        """Force the bytes to the disk and close the file. If that fails it is lost: discarded, and StoreError raised."""
        try:
            with store_errors("the spool file could not be forced to the disk"):
                if self._descriptor < 0:
                    self._descriptor = os.open(self.location, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                self._operations.sync(self._descriptor)
            self.close()
        except StoreError:
            self.discard()
            raise

    def close(self) -> None:
        """Close the file and leave it under its spool name. Safe to repeat."""
        self._end_hashing()
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with store_errors("the spool file could not be closed"):
                os.close(descriptor)

    def discard(self) -> None:
        """Close the file and remove its spool name. Safe to repeat."""
        self.close()
        with store_errors("the spool file could not be removed"):
            self._operations.unlink(self.location)


class Spool:
    """A folder of spool files that one writer alone fills. Thread-safe."""

    def __init__(self, folder: Path, operations: Operations = SYSTEM, reserve: Reserve | None = None) -> None:
        self.folder = folder
        self._room = Room(folder, reserve)
        self._prefix = f"{folder}/"
        self._operations = operations
        self._numbers = itertools.count(1)
        self._thread = hashing_thread()
        self._prepared: deque[tuple[str, int]] = deque()

    def create(self, head: bytes = b"") -> SpoolFile:
        """Open a new spool file (O_EXCL) that begins with ``head``. Raises StoreFullError when only the reserve is left."""
        self._room.check()
        try:
            location, descriptor = self._prepared.pop() if self._prepared else self._made()
        except IndexError:  # another thread was quicker
            location, descriptor = self._made()
        return SpoolFile(location, self._operations, descriptor, self._thread, self._room, head)

    def link(self, file: Path, size: int) -> SpoolFile:
        """Give a whole file on the same disk, of that size, a name of this spool too, or else copy it.

        Even where only the reserve is left: what is uploaded makes room.
        """
        location = f"{self._prefix}{next(self._numbers):08d}{SUFFIX}"
        with store_errors("the file could not be given a name in the spool"):
            try:
                self._operations.link(file, location)
            except OSError as exc:
                if exc.errno not in NO_LINKS:
                    raise
                return self._copied(file)
        linked = SpoolFile(location, self._operations, -1)
        linked.size = size
        return linked

    def _copied(self, file: Path) -> SpoolFile:
        location, descriptor = self._made()
        copy = SpoolFile(location, self._operations, descriptor)
        try:
            with file.open("rb") as source:
                while chunk := source.read(_PIECE):
                    copy.write(chunk)
        except (OSError, StoreError):
            copy.discard()
            raise
        return copy

    def prepare(self) -> None:
        """Create a file in advance, while there is time: the next object finds it. What cannot be done now is done then."""
        if len(self._prepared) < _PREPARED:
            with suppress(StoreError):
                self._room.check()
                self._prepared.append(self._made())

    def close(self) -> None:
        """Remove what was prepared and not used."""
        while self._prepared:
            location, descriptor = self._prepared.pop()
            with store_errors("the spool file could not be removed"):
                os.close(descriptor)
                self._operations.unlink(location)

    def _made(self) -> tuple[str, int]:
        location = f"{self._prefix}{next(self._numbers):08d}{SUFFIX}"
        try:
            return location, self._operations.create(location, FILE_MODE)
        except OSError as exc:
            raise store_error(exc, "no spool file could be created") from exc
