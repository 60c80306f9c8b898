"""Turns: how many associations of one process handle pieces of large objects at the same moment.

Each piece needs the interpreter before and after it is hashed and written. With fifty associations at it, whoever has only a word
to say, as an echo has, waits for fifty threads; here the fifty wait for each other, in the order of their coming, and their peers
wait in the network. What a turn covers is work on bytes that have come already, so no peer can hold one.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Final

BULK_BYTES: Final = 1 << 20
"""From this length on an object takes turns with others."""


class Turns:
    """Lets ``count`` threads at once into its ``with`` blocks, the others first come, first served."""

    __slots__ = ("_free", "_lock", "_queue")

    def __init__(self, count: int) -> None:
        self._free = count
        self._lock = threading.Lock()
        self._queue: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._queue.append(mine)
        mine.acquire()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().release()  # the turn is handed on: nobody who comes just now is sooner
            else:
                self._free += 1


BULK: Final = Turns(max(2, os.cpu_count() or 2))
"""The turns of this process: they share out its interpreter and its cores, of which there is one set."""
