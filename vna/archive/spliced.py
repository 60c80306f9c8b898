"""A file made of a new head and the rest of a stored one, for readers that want a file."""

from __future__ import annotations

import io
import os
from typing import BinaryIO


class SplicedFile(io.RawIOBase):
    """Bytes in memory, followed by those of ``rest`` from ``rest_at`` on. Read-only, seekable; closing it closes ``rest``."""

    def __init__(self, head: bytes, rest: BinaryIO, rest_at: int) -> None:
        super().__init__()
        self._head = head
        self._rest = rest
        self._rest_at = rest_at
        self._size = len(head) + max(rest.seek(0, os.SEEK_END) - rest_at, 0)
        self._position = 0

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
        """Fill ``buffer`` with the next bytes, at most up to the seam between the two parts."""
        view = memoryview(buffer)
        if self._position < len(self._head):
            piece = self._head[self._position : self._position + len(view)]
        else:
            self._rest.seek(self._rest_at + self._position - len(self._head))
            piece = self._rest.read(len(view))
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        """Close both."""
        self._rest.close()
        super().close()
