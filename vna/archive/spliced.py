"""A file made of a new head and the rest of a stored one, for readers that want a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import threading
from typing import BinaryIO

_CHUNK = 1 << 20


def _write(descriptor: int, data: bytes) -> None:
    if (count := os.write(descriptor, data)) < len(data):
        view = memoryview(data)[count:]
        while view:
            view = view[os.write(descriptor, view) :]


class _Pipe:
    """A pipe as long as this user may have it: sendfile's own one makes file systems take the bytes in pieces of 64 KiB."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.process = os.getpid()
        with contextlib.suppress(PermissionError):
            fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, _CHUNK)

    def __del__(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class _Pipes(threading.local):
    """The pipe of each thread, empty between two uses. A child process makes its own."""

    pipe: _Pipe | None = None

    def take(self) -> _Pipe:
        """Give this thread's pipe away; it comes back if it is empty."""
        pipe, self.pipe = self.pipe, None
        return pipe if pipe is not None and pipe.process == os.getpid() else _Pipe()


_PIPES = _Pipes()


def _move(source: BinaryIO, descriptor: int, at: int, end: int) -> int:
    """Move bytes of one file to another within the system; give how far that went, which may be nowhere."""
    try:
        origin = source.fileno()
    except (OSError, AttributeError):  # a file of a service has no descriptor
        return at
    begun, pipe = at, _PIPES.take()
    try:
        while at < end and (waiting := os.splice(origin, pipe.writer, min(end - at, _CHUNK), offset_src=at)):
            while waiting:
                moved = os.splice(pipe.reader, descriptor, waiting)
                waiting, at = waiting - moved, at + moved
    except OSError as exc:
        if at > begun or exc.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    else:
        _PIPES.pipe = pipe
    return at


class SplicedFile(io.RawIOBase):
    """Bytes in memory, followed by those of ``rest`` from ``rest_at`` to ``rest_end``, followed by bytes in memory.

    Read-only, seekable; closing it closes ``rest``.
    """

    def __init__(self, head: bytes, rest: BinaryIO, rest_at: int, rest_end: int, tail: bytes = b"") -> None:
        super().__init__()
        self._head = head
        self._rest = rest
        self._rest_at = rest_at
        self._tail_at = len(head) + max(rest_end - rest_at, 0)
        self._tail = tail
        self._size = self._tail_at + len(tail)
        self._position = 0
        self._rest_position = -1

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position in the whole."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        """Say where reading goes on."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes, at most up to the next seam between the parts (to the end without a ``size``)."""
        if size < 0:
            return self.readall()
        at = self._position
        if at < len(self._head):
            piece = self._head[at : at + size]
        elif at < self._tail_at:
            self._go_to(at)
            piece = self._rest.read(min(size, self._tail_at - at))
            self._rest_position = at + len(piece)
        else:
            piece = self._tail[at - self._tail_at : at - self._tail_at + size]
        self._position += len(piece)
        return piece

    def readall(self) -> bytes:
        """Read to the end."""
        return b"".join(iter(lambda: self.read(self._size), b""))

    def copy_to(self, descriptor: int) -> None:
        """Write all of it to an open file: what comes from the stored file goes from file to file within the system."""
        _write(descriptor, self._head)
        at, end = self._rest_at, self._rest_at + self._tail_at - len(self._head)
        self._position = len(self._head) + _move(self._rest, descriptor, at, end) - self._rest_at
        if self._position < self._size:
            while piece := self.read(_CHUNK):
                _write(descriptor, piece)

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        """Fill ``buffer`` with the next bytes, at most up to the next seam between the parts."""
        view, at = memoryview(buffer).cast("B"), self._position
        if at < len(self._head):
            count = self._copy(self._head, at, view)
        elif at < self._tail_at:
            self._go_to(at)
            count = self._rest.readinto(view[: self._tail_at - at])  # type: ignore[attr-defined]
            self._rest_position = at + count
        else:
            count = self._copy(self._tail, at - self._tail_at, view)
        self._position += count
        return int(count)

    def _go_to(self, at: int) -> None:
        if self._rest_position != at:
            self._rest.seek(self._rest_at + at - len(self._head))

    @staticmethod
    def _copy(source: bytes, at: int, view: memoryview) -> int:
        piece = source[at : at + len(view)]
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """Close both."""
        self._rest.close()
        super().close()
