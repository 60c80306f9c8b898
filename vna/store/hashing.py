"""A digest of large pieces on a thread of its own, while the next piece is received and written.

hashlib, read and write all let other threads run, so on a machine with a core to spare the digest of a large object costs nearly
no time. One object at a time has it; for all others, and for small ones, handing over would cost more than it saves.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import Protocol

LARGE = 4 << 20
"""An object that has come to this size is worth handing over: below, the changes between threads cost more than they save."""

_BEHIND = 8  # pieces that may wait for their digest: what an object may hold in memory


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Tell the digest of everything taken so far."""


class HashingThread:
    """One thread that updates the digest of one object at a time. Thread-safe; the thread starts with the first object."""

    def __init__(self) -> None:
        self._owner = threading.Lock()
        self._room = threading.Semaphore(_BEHIND)
        self._due: SimpleQueue[tuple[Digest, bytes] | threading.Lock] = SimpleQueue()
        self._is_started = False

    def claim(self) -> bool:
        """Have the thread for one object; False while another one has it. Ended by :meth:`release`."""
        if not self._owner.acquire(blocking=False):
            return False
        if not self._is_started:
            self._is_started = True
            threading.Thread(target=self._run, name="digest", daemon=True).start()
        return True

    def update(self, digest: Digest, piece: bytes | bytearray | memoryview) -> None:
        """Have a copy of ``piece`` taken into ``digest``, in the order of these calls; waits when too much is behind."""
        self._room.acquire()
        self._due.put((digest, bytes(piece)))

    def release(self) -> None:
        """Wait until everything is taken, and leave the thread to another object."""
        reached = threading.Lock()
        reached.acquire()
        self._due.put(reached)
        reached.acquire()
        self._owner.release()

    def _run(self) -> None:
        while True:
            due = self._due.get()
            if isinstance(due, tuple):
                digest, piece = due
                digest.update(piece)
                self._room.release()
            else:
                due.release()


def hashing_thread() -> HashingThread | None:
    """Make a thread where the machine has a core for it."""
    return HashingThread() if (os.cpu_count() or 1) > 1 else None
