"""A file's data set on its way out: read in large pieces into one buffer, framed as P-DATA without another copy."""

from __future__ import annotations

import io
import os
from typing import BinaryIO, Final

from vna.dimse.pdus import LAST, P_DATA_HEADER, P_DATA_TF

CHUNK: Final = 1 << 20


def fragment_size(peer_max_pdu: int) -> int:
    """Return how many bytes of a data set fit into one PDU of the peer's maximum (0 = no limit): even, at most ``CHUNK``."""
    return max(min(peer_max_pdu - 6, CHUNK) & ~1, 2) if peer_max_pdu else CHUNK


class OddLengthError(ValueError):
    """A data set whose length is odd cannot travel as it is."""


class DataSetReader:
    """Reads one data set after the other into a buffer that is used again. Raises OSError for what cannot be read."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(CHUNK))
        self._file: BinaryIO | None = None
        self._descriptor = -1
        self._position = 0
        self._in_file = 0
        self.left = 0

    def load(self, file: BinaryIO, offset: int, *, may_pad: bool) -> None:
        """Take over an opened file whose data set begins at ``offset``.

        Fragments have an even length (PS3.8 9.3.5.1). A data set that has not is sent with a NUL behind it if it ``may_pad``,
        which is right for a deflated one (PS3.5 A.5). Raises OddLengthError otherwise, OSError where there is no data set.
        """
        self._file = file
        try:
            self._descriptor = file.fileno()
            length = os.fstat(self._descriptor).st_size
        except (OSError, AttributeError, io.UnsupportedOperation):  # no file of the operating system
            self._descriptor = -1
            length = file.seek(0, os.SEEK_END)
            file.seek(offset)
        self._position = offset
        self._in_file = length - offset
        if self._in_file <= 0:
            raise OSError("it holds no data set")
        if self._in_file & 1 and not may_pad:
            raise OddLengthError
        self.left = self._in_file + (self._in_file & 1)

    def read(self, size: int) -> memoryview:
        """Return the next ``size`` bytes, or what is left of them; valid until the next call."""
        assert self._file is not None
        goal, done = min(size, self._in_file), 0
        while done < goal:
            target = self._view[done:goal]
            if self._descriptor >= 0:
                count = os.preadv(self._descriptor, [target], self._position)
            else:
                piece = self._file.read(goal - done)
                count = len(piece)
                target[:count] = piece
            if not count:
                raise OSError("it is shorter than it was")
            done += count
            self._position += count
        self._in_file -= done
        if done < min(size, self.left):
            self._view[done] = 0
            done += 1
        self.left -= done
        return self._view[:done]

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        if self._file is not None:
            self._file.close()
            self._file = None


def frame(piece: memoryview, fragment: int, context_id: int, *, is_end: bool) -> list[bytes | memoryview]:
    """Interleave a piece of a data set with P-DATA-TF headers; the last fragment is marked when ``is_end``."""
    parts: list[bytes | memoryview] = []
    total = len(piece)
    for start in range(0, total, fragment):
        data = piece[start : start + fragment]
        last = LAST if is_end and start + fragment >= total else 0
        parts += (P_DATA_HEADER.pack(P_DATA_TF, len(data) + 6, len(data) + 2, context_id, last), data)
    return parts
