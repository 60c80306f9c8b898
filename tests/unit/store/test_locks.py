"""Locks that a forked child must not keep."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from vna.store.locks import locked


def test_a_child_that_was_forked_under_a_lock_does_not_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    from_parent, to_child = os.pipe()
    from_child, to_parent = os.pipe()
    with locked(path):
        child = os.fork()
        if child == 0:
            os.write(to_parent, b"!")
            os.close(to_child)
            os.read(from_parent, 1)  # until the parent has looked
            os._exit(0)
        os.read(from_child, 1)
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        for each in (descriptor, from_parent, to_child, from_child, to_parent):
            os.close(each)
        os.waitpid(child, 0)
