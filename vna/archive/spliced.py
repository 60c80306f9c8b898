"""A file made of a new head and the rest of a stored one, for readers that want a file."""

from __future__ import annotations

import io
import os
from typing import BinaryIO


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

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        """Fill ``buffer`` with the next bytes, at most up to the next seam between the parts."""
        view = memoryview(buffer).cast("B")
        at, wanted = self._position, len(view)
        if at < len(self._head):
            count = self._copy(self._head, at, view)
        elif at < self._tail_at:
            if self._rest_position != at:
                self._rest.seek(self._rest_at + at - len(self._head))
            count = self._rest.readinto(view[: min(wanted, self._tail_at - at)])  # type: ignore[attr-defined]
            self._rest_position = at + count
        else:
            count = self._copy(self._tail, at - self._tail_at, view)
        self._position += count
        return int(count)

    @staticmethod
    def _copy(source: bytes, at: int, view: memoryview) -> int:
        piece = source[at : at + len(view)]
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """Close both."""
        self._rest.close()
        super().close()
