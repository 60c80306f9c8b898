"""Which receivers of this archive are running on this machine: a pull that finds one need not listen itself.

A receiver holds a lock (flock) on ``spool/receiver-<port>.json`` for its whole life; the lock goes away with the process, so a
file that is left behind by a dead one announces nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from vna.archive.layout import SPOOL
from vna.errors import LockedError
from vna.store.operations import APPEND_MODE, FOLDER_MODE, store_errors

_ATTEMPTS = 40
_BETWEEN_S = 0.025


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running Storage SCP of this archive."""

    ae_title: str
    host: str
    port: int


def _path(workspace: Path, port: int) -> Path:
    return workspace / SPOOL / f"receiver-{port}.json"


@contextmanager
def announced(workspace: Path, receiver: Receiver) -> Iterator[None]:
    """Announce a receiver while the block runs. Raises LockedError where one is announced on that port already."""
    path = _path(workspace, receiver.port)
    with store_errors("the receiver could not be announced"):
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, APPEND_MODE)
    try:
        if not _locked(descriptor):
            raise LockedError(f"a receiver of this archive runs on port {receiver.port} already")
        with store_errors("the receiver could not be announced"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(receiver)).encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Lock the announcement. Whoever just looks whether there is a receiver holds it for a moment: that is waited for."""
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_S)
        else:
            return True
    return False


def running_receiver(workspace: Path, port: int) -> Receiver | None:
    """Find the receiver of this archive that runs on ``port``; None where there is none, or it has died."""
    try:
        descriptor = os.open(_path(workspace, port), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        try:
            return Receiver(**json.loads(os.pread(descriptor, 4096, 0)))
        except (ValueError, TypeError):
            return None  # it is only just starting
    finally:
        os.close(descriptor)
