"""Locks (flock) that must not live on in a forked child.

A lock belongs to the open file, which a forked child shares: a worker process that outlives a killed writer would make that look
alive. So a child lets go of what its parent held, as soon as it comes into being.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vna.store.operations import APPEND_MODE

_held: set[int] = set()


def hold(descriptor: int) -> None:
    """Take the exclusive lock on an open file, for as long as it is open here. Raises BlockingIOError if it is taken."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _held.add(descriptor)


def release(descriptor: int) -> None:
    """Close an open file and so give its lock up."""
    _held.discard(descriptor)
    os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the exclusive lock on a file, which is made if need be, while the block runs; waited for."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, APPEND_MODE)
    _held.add(descriptor)  # before it is waited for: a child forked meanwhile would share what comes of that
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor in _held:  # in a forked child it is closed already
            release(descriptor)


def _let_go() -> None:
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
