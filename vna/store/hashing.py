"""A digest of large pieces on a thread of its own, while the next piece is received and written.

hashlib, read and write all let other threads run, so on a machine with a core to spare the digest of a large object costs nearly
no time. One object at a time has it; for all others, and for small ones, handing over would cost more than it saves. For those
between, that depends on what else the machine does: it is found out by trying.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import Protocol

LARGE = 4 << 20
"""An object that has come to this size is worth handing over in any case."""

MIDDLING = 64 << 10
"""An object that comes in pieces of this size may be worth it: see :class:`Trials`."""

_TRY_EVERY = 16
_WEIGHT = 0.2  # of the last object in what is known

_BEHIND = 8  # pieces that may wait for their digest: what an object may hold in memory


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Tell the digest of everything taken so far."""


class Trials:
    """Whether it pays to hand middling objects over: both ways are tried, and the one goes on that took less time a byte of late.

    The other one is tried again with every sixteenth object, since what pays changes with what else the machine does.
    """

    def __init__(self) -> None:
        self._count = 0
        self._cost = {True: 0.0, False: 0.0}  # seconds a byte, handed over or not; 0: not tried yet

    def next_is_handed(self) -> bool:
        """Say whether the next object should be handed over."""
        self._count += 1
        is_better = self._cost[True] <= self._cost[False]
        return is_better is (self._count % _TRY_EVERY != 0)

    def note(self, *, is_handed: bool, seconds: float, size: int) -> None:
        """Note how long an object of ``size`` bytes took from its first piece until its digest was known."""
        cost, known = seconds / size, self._cost[is_handed]
        # An object that waited for its peer says little: it may count for twice what is known, no more.
        self._cost[is_handed] = known + _WEIGHT * (min(cost, 2 * known) - known) if known else cost


class HashingThread:
    """One thread that updates the digest of one object at a time. Thread-safe; the thread starts with the first object."""

    def __init__(self) -> None:
        self.trials = Trials()
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
