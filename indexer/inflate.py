"""Inflate a deflated data set piece by piece, within limits, never holding more than one piece (PS3.5 A.5)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from indexer.problems import Problem
from indexer.record import Limits

_PIECE = 1 << 18


class Inflater:
    """One deflate stream. ``inflate`` what comes until ``is_over``, then ``finish``; ``problems`` tells what went wrong, and
    ``is_whole`` whether the end of the stream was reached.

    ``consumed`` counts the bytes that the stream was made of, ``produced`` what came out of them.
    """

    def __init__(self, limits: Limits) -> None:
        self.problems: list[Problem] = []
        self.is_over = False
        self.is_whole = False
        self.consumed = 0
        self.produced = 0
        self._limits = limits
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def inflate(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what ``chunk`` inflates to, in pieces of at most 256 KiB; ends early at a limit or at damage."""
        while chunk and not self.is_over:
            try:
                piece = self._stream.decompress(chunk, _PIECE)
            except zlib.error:
                if self.consumed or chunk[:1] != b"\x78" or self.problems:
                    self._end("INFLATE_ERROR", "the stream is damaged")
                    return
                self.problems.append(Problem("INFLATE_ERROR", "", "a zlib header stands before the stream"))
                self._stream = zlib.decompressobj()
                continue
            rest = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            self.consumed += len(chunk) - len(rest)
            self.produced += len(piece)
            self.is_over = self.is_whole = self._stream.eof
            chunk = rest
            if self._is_beyond_limits():
                self._end("INFLATE_LIMIT", f"{self.produced} bytes from {self.consumed}")
                return
            if piece:
                yield piece
            elif not rest:
                return

    def finish(self) -> None:
        """Say that no more bytes come."""
        if not self.is_over:
            self._end("INFLATE_ERROR", "the stream is cut off")

    def _is_beyond_limits(self) -> bool:
        limits = self._limits
        if self.produced <= limits.inflate_free_bytes:
            return self.produced > limits.inflated_bytes
        return self.produced > min(limits.inflated_bytes, limits.inflate_ratio * self.consumed)

    def _end(self, code: str, detail: str) -> None:
        self.is_over, self.is_whole = True, False
        self.problems.append(Problem(code, "", detail))
