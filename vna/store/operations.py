"""The one seam through which every durable operation on the local disk passes.

The store, the spool and the journal never call the operating system for anything that changes the disk but through an
:class:`Operations`. Tests put a recorder there, to prove the write order, or one that kills the process at the k-th operation,
to prove that nothing acknowledged is lost; a product run always uses :data:`SYSTEM`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType
from typing import Protocol

from vna.errors import StoreError, StoreFullError

FILE_MODE = 0o440
"""Mode of what is written once: read-only, so that an accident needs a chmod first."""

APPEND_MODE = 0o640
FOLDER_MODE = 0o750

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What a file system says that has no hard links, or no more of them."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Operations(Protocol):
    """What the durable parts ask of the operating system. Each method either does the whole thing or raises OSError.

    Names of objects and of spool files come as text: to make a Path of each would cost as much as some of the calls.
    """

    def create(self, path: Path | str, mode: int) -> int:
        """Create a file that must not exist (O_EXCL) and open it for reading and writing; the caller closes it."""

    def open_append(self, path: Path) -> int:
        """Open an existing file for reading and appending; the caller closes it."""

    def write(self, descriptor: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``."""

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut an open file to ``size`` bytes."""

    def sync(self, descriptor: int) -> None:
        """Force an open file to the disk (fsync). After a failure its content is undefined: never call it again."""

    def link(self, source: Path | str, target: Path | str) -> None:
        """Give a file a second name; FileExistsError when the name is taken."""

    def rename(self, source: Path | str, target: Path | str) -> None:
        """Rename a file, replacing what stands there."""

    def unlink(self, path: Path | str) -> None:
        """Remove one name of a file; no error when it is gone already."""

    def make_folder(self, path: Path) -> None:
        """Create a folder; no error when it is there already."""

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder; no error when it is gone already or not empty."""

    def sync_folder(self, path: Path) -> None:
        """Force the names in a folder to the disk (fsync of the folder)."""


class SystemOperations:
    """:class:`Operations` as the operating system does them."""

    def create(self, path: Path | str, mode: int) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)

    def open_append(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)

    def write(self, descriptor: int, data: bytes | bytearray | memoryview) -> None:
        written = os.write(descriptor, data)
        if written == len(data):
            return
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def link(self, source: Path | str, target: Path | str) -> None:
        os.link(source, target, follow_symlinks=False)

    def rename(self, source: Path | str, target: Path | str) -> None:
        os.rename(source, target)  # noqa: PTH104

    def unlink(self, path: Path | str) -> None:
        try:
            os.unlink(path)  # noqa: PTH108 - pathlib's own costs twice as much, once for each object
        except FileNotFoundError:
            return

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=FOLDER_MODE, exist_ok=True)

    def remove_folder(self, path: Path) -> None:
        try:
            path.rmdir()
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise

    def sync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


SYSTEM: Operations = SystemOperations()


class store_errors:  # noqa: N801 - read as a statement: with store_errors("...")
    """Turn an OSError into the store's own: StoreFullError for no space, no inodes or no quota, StoreError for the rest.

    ``what`` says what could not be done, in words that may be logged. A class, since a generator costs three times as much and
    every object passes a dozen of these.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> None:
        if exc is not None and isinstance(exc, OSError):
            raise store_error(exc, self._what) from exc


def store_error(exc: OSError, what: str) -> StoreError:
    """Make the store's error of an OSError; see :func:`store_errors`."""
    reason = os.strerror(exc.errno) if exc.errno else type(exc).__name__
    if exc.errno in _FULL:
        return StoreFullError(f"{what}: {reason}", hint="free space or inodes, or raise the quota, then run the command again")
    return StoreError(f"{what}: {reason}")
