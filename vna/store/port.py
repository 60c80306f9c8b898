"""What every store promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol


class Readable(Protocol):
    """Bytes that are read to their end."""

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes; none at the end."""


class Store(Protocol):
    """Objects under relative POSIX paths, written once.

    Promises, checked by one suite over every implementation:

    - **Create-only.** Nothing that stands under a path is overwritten by :meth:`publish`, :meth:`put_file` or :meth:`put_bytes`;
      they tell by their result that the path was taken. Of several writers to one path exactly one wins.
    - **Whole or absent.** A path is never seen with a part of its bytes.
    - **Durable on return.** When a writing method returns, content and name survive a power failure.
    - **Paths stay inside.** A path that is absolute, empty, or holds ``.``, ``..`` or an empty part raises ValueError.
    - **Errors.** StoreFullError when there is no room (nothing was written then), InstanceMissingError for a path that is not
      there, StoreError for everything else that the disk or the service says.

    There is no method that removes an object, and only :meth:`replace_damaged` exchanges one that is written once: removal goes
    through the archive's audited path only.
    """

    url: str

    @property
    def keeps_source(self) -> bool:
        """Whether :meth:`publish` leaves the local file under its own name (a link or a copy) rather than moving it."""

    def publish(self, files: Sequence[tuple[Path | str, str]]) -> list[bool]:
        """Give local files their final names, all at once; the answer tells for each whether it is the one that now stands there.

        The caller has forced each local file to disk already (:meth:`vna.store.spool.SpoolFile.sync`); the names are durable when
        this returns. A file whose path was taken is left alone.
        """

    def put_file(self, local: Path, path: str) -> bool:
        """Store a copy of a local file; False when the path is taken. The local file stays."""

    def put_stream(self, source: Readable, path: str) -> bool:
        """Store what is read from ``source`` to its end; False when the path is taken.

        What the source raises goes through to the caller, and nothing was stored then: a source that checks itself as it is read
        is never stored wrongly. A source with a method ``copy_to(descriptor)`` may be asked to write itself.
        """

    def put_bytes(self, data: bytes, path: str) -> bool:
        """Store a small object; False when the path is taken."""

    def replace_bytes(self, data: bytes, path: str) -> None:
        """Store a small derived object, replacing an earlier one atomically. Raises ValueError under a write-once prefix."""

    def amend_bytes(self, path: str, amend: Callable[[bytes | None], bytes | None]) -> bool:
        """Store what ``amend`` makes of a small derived object, so that nothing is lost of what others make of it meanwhile.

        It is given what stands there, None for nothing, and gives what is to stand there, None to leave it; it is asked again
        where another writer came in between, so it must do nothing else. True if something was stored. Raises ValueError under a
        write-once prefix.
        """

    def replace_damaged(self, local: Path, path: str, damaged: str) -> None:
        """Put a copy of ``local`` in the place of an object that was found damaged, atomically and durably.

        For :mod:`vna.archive.repair` alone, which has kept the damaged bytes elsewhere and proved the copy by its digest. It is
        done only while the SHA-256 of what stands there is ``damaged``, or while it cannot be read if that is empty: raises
        DigestMismatchError otherwise, and StoreError when the store cannot do it. Whoever reads meanwhile has one or the other.
        """

    def came_from(self, local: Path, path: str) -> bool:
        """Tell whether what stands under ``path`` is this local file, published: after an error, or a crash, nobody may know."""

    def settle(self, path: str) -> bool:
        """Make sure that an object which another writer published survives a power failure.

        The answer is True when its writer has finished with it, False when that writer may still be at work, or died.
        """

    def open(self, path: str) -> BinaryIO:
        """Open an object for reading, seekable; the caller closes it."""

    def read_bytes(self, path: str) -> bytes:
        """Read a small object as a whole."""

    def exists(self, path: str) -> bool:
        """Tell whether an object stands under that path."""

    def size(self, path: str) -> int:
        """Tell an object's size in bytes."""

    def age_s(self, path: str) -> float:
        """Tell how many seconds ago an object was put, by the clock of the disk or service."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """Name every object below a folder, in the order of their paths; nothing when there is no such folder."""


WRITE_ONCE = ("instances/", "quarantine/", "journal/", "revisions/")
"""Prefixes under which :meth:`Store.replace_bytes` and :meth:`Store.amend_bytes` refuse to work."""


def checked(path: str) -> str:
    """Return ``path`` if it is a relative POSIX path that stays inside; raise ValueError otherwise."""
    parts = path.split("/")
    if "" in parts or "." in parts or ".." in parts or "\\" in path or "\x00" in path:
        raise ValueError("not a relative path of a store")
    return path


def replaceable(path: str) -> str:
    """Return ``path`` if what stands there is derived and may be replaced; raise ValueError otherwise."""
    if checked(path).startswith(WRITE_ONCE):
        raise ValueError("what stands below that prefix is written once")
    return path
