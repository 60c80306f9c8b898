"""Which receivers of this archive are running on this machine: a pull that finds one need not listen itself.

A receiver holds a lock (flock) on ``spool/receiver-<port>.json`` for its whole life; the lock goes away with the process, so a
file that is left behind by a dead one announces nothing. Whoever relies on it for a while shares a lock on
``spool/receiver-<port>.users``, so that a receiver which ends of its own accord can wait for that.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vna.archive.layout import SPOOL
from vna.errors import LockedError
from vna.store.operations import APPEND_MODE, FOLDER_MODE, store_errors

_ATTEMPTS = 40
_BETWEEN_S = 0.025
_WIDTH = 512


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running Storage SCP of this archive; one that ``is_ending`` serves those that rely on it already, and nobody else."""

    ae_title: str
    host: str
    port: int
    is_ending: bool = False


class Announcement:
    """What a receiver that is announced says of itself."""

    def __init__(self, descriptor: int, receiver: Receiver, workspace: Path) -> None:
        self._descriptor = descriptor
        self._receiver = receiver
        self._workspace = workspace
        self._write(receiver)

    def last_call(self, at_most_s: float) -> bool:
        """Let nobody else rely on this receiver, and wait until nobody does; False if somebody still does after that time."""
        self._write(replace(self._receiver, is_ending=True))
        give_up = time.monotonic() + at_most_s
        with _users(self._workspace, self._receiver.port) as users:
            while not _try_lock(users):
                if time.monotonic() >= give_up:
                    return False
                time.sleep(_BETWEEN_S)
        return True

    def _write(self, receiver: Receiver) -> None:
        # Always as long, in one write: whoever reads sees the one or the other.
        with store_errors("the receiver could not be announced"):
            os.pwrite(self._descriptor, json.dumps(asdict(receiver)).encode("ascii").ljust(_WIDTH), 0)


def _path(workspace: Path, port: int) -> Path:
    return workspace / SPOOL / f"receiver-{port}.json"


def _open(path: Path) -> int:
    with store_errors("the receiver could not be announced"):
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, APPEND_MODE)


@contextmanager
def _users(workspace: Path, port: int) -> Iterator[int]:
    descriptor = _open(_path(workspace, port).with_suffix(".users"))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def announced(workspace: Path, receiver: Receiver) -> Iterator[Announcement]:
    """Announce a receiver while the block runs. Raises LockedError where one is announced on that port already."""
    descriptor = _open(_path(workspace, receiver.port))
    try:
        if not _locked(descriptor):
            raise LockedError(f"a receiver of this archive runs on port {receiver.port} already")
        yield Announcement(descriptor, receiver, workspace)
    finally:
        os.close(descriptor)


@contextmanager
def relying_on(workspace: Path, port: int) -> Iterator[Receiver | None]:
    """Rely on the receiver on ``port`` while the block runs: it does not end of its own accord. None where there is none to."""
    with _users(workspace, port) as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        receiver = running_receiver(workspace, port)
        yield None if receiver is None or receiver.is_ending else receiver


def _locked(descriptor: int) -> bool:
    """Lock the announcement. Whoever just looks whether there is a receiver holds it for a moment: that is waited for."""
    for _ in range(_ATTEMPTS):
        if _try_lock(descriptor):
            return True
        time.sleep(_BETWEEN_S)
    return False


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
