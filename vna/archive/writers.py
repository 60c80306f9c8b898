"""Writers: who may write to the archive's disk at the moment, and how to tell the living from the dead.

A writer owns ``spool/<writer>/``: a lock file, on which it holds a lock (flock) for its whole life, its spool files, and its
intents. The lock goes away with the process, however that ends, so that what a dead writer left can be completed at once. A
forked child does not have it: it must not use its parent's writer.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vna.archive.layout import SPOOL
from vna.errors import StoreError
from vna.store import SYSTEM, LocalStore, Operations, Spool, Store
from vna.store.locks import hold, locked, release
from vna.store.operations import APPEND_MODE, FOLDER_MODE, store_errors
from vna.store.room import Reserve

UPLOADED_WITHIN = timedelta(hours=12)
"""How long after an object was put into a bucket the journal segment of the machine that took it may follow."""

LOCK = "lock"
INTENTS = "intents"
_REGISTRATION = "writers.lock"
_LINES_PER_FILE = 1000
_NOTHING: set[str] = set()


def may_be_recorded_yet(store: Store, path: str) -> bool:
    """Tell of an object in a bucket that no record knows whether the machine that took it may still be about to tell of it."""
    return not isinstance(store, LocalStore) and store.age_s(path) < UPLOADED_WITHIN.total_seconds()


class Writer:
    """One living writer: its name, its spool and its intents. :meth:`leave` ends it."""

    def __init__(self, workspace: Path, operations: Operations = SYSTEM, reserve: Reserve | None = None) -> None:
        self._workspace = workspace
        with store_errors("the spool could not be opened"), registration(workspace):
            self.name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}"
            self.folder = workspace / SPOOL / self.name
            operations.make_folder(self.folder)
            operations.sync_folder(self.folder.parent)
            self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, APPEND_MODE)
            hold(self._lock)
        self.spool = Spool(self.folder, operations, reserve)
        self.intents = Intents(self.folder, operations)

    def leave(self, *, clean: bool) -> None:
        """Give the lock up; when ``clean``, remove the folder, in which nothing is left to complete."""
        if self._lock < 0:
            return
        with store_errors("the spool could not be closed"):
            self.intents.close()
            if clean:
                with registration(self._workspace):  # nobody looks for dead writers meanwhile, and finds half of one
                    for path in self.folder.iterdir():
                        path.unlink(missing_ok=True)
                    self.folder.rmdir()
            release(self._lock)
        self._lock = -1


@contextmanager
def registration(workspace: Path) -> Iterator[None]:
    """Hold the lock under which writers come into being and dead ones are looked for; short, and waited for."""
    folder = workspace / SPOOL
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    with locked(folder / _REGISTRATION):
        yield


def claim(path: Path, *, make: bool = False) -> int | None:
    """Take over the lock on a file that a dead writer held; None while that lives, or another claimed it.

    Raises FileNotFoundError if it is gone; with ``make``, if its folder is. The caller ends it with
    :func:`vna.store.locks.release`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), APPEND_MODE)
    try:
        hold(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


class Intents:
    """What a writer is about to publish: the journal row of each spool file, written down before the file gets its final name.

    They are not forced to the disk where publishing leaves the spool name (a link): that name alone tells after a power failure
    that there is something to complete, and the row is read from the object again, without its provenance. Thread-safe.
    """

    def __init__(self, folder: Path, operations: Operations = SYSTEM) -> None:
        self._folder = folder
        self._operations = operations
        self._lock = threading.Lock()
        self._number = 0
        self._descriptor = -1
        self._lines = 0
        self._is_lost = False
        self._unfinished: dict[int, set[str]] = {}

    def record(self, spool_name: str, payload: bytes, *, durable: bool) -> None:
        """Write down that a spool file is about to be published with that encoded journal row."""
        # The line break in front keeps a line whole that follows one which a full disk cut short.
        line = b'\n{"spool":"%b",%b\n' % (spool_name.encode("ascii"), payload[1:])  # a spool name needs no escapes
        with self._lock, store_errors("the intent could not be written"):
            self._turn_over(durable=durable)
            self._operations.write(self._descriptor, line)
            if durable:
                self._operations.sync(self._descriptor)
            self._lines += 1
            self._unfinished[self._number].add(spool_name)

    def finish(self, spool_name: str, *, given_up: bool = False) -> None:
        """Forget an intent: its row is in the journal, or (``given_up``) the file was not published after all."""
        with self._lock, store_errors("the intent could not be finished"):
            if given_up and self._descriptor >= 0:
                self._operations.write(
                    self._descriptor, b'\n{"spool":%b,"given_up":true}\n' % json.dumps(spool_name).encode("ascii")
                )
            self._unfinished.get(self._number, _NOTHING).discard(spool_name)
            if len(self._unfinished) > 1:
                self._finish_older(spool_name)

    def _finish_older(self, spool_name: str) -> None:
        for number, names in list(self._unfinished.items()):
            names.discard(spool_name)
            if not names and number != self._number:
                del self._unfinished[number]
                self._operations.unlink(self._path(number))

    def close(self) -> None:
        """Close the file and leave it where it is."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _turn_over(self, *, durable: bool) -> None:
        """Begin a new file now and then, so that finished ones can go and a long life leaves no long list."""
        if self._descriptor >= 0 and self._lines < _LINES_PER_FILE:
            return
        if self._is_lost:
            raise StoreError("an earlier fsync of the spool failed", hint="end this process, examine the disk, start again")
        if self._descriptor >= 0:
            os.close(self._descriptor)
            if not self._unfinished[self._number]:
                del self._unfinished[self._number]
                self._operations.unlink(self._path(self._number))
        self._number += 1
        self._descriptor = self._operations.create(self._path(self._number), APPEND_MODE)
        self._lines = 0
        self._unfinished[self._number] = set()
        if durable:
            self._sync_folder()

    def _sync_folder(self) -> None:
        """Force the new file's name to the disk; after a failure nothing is written any more, since nothing would tell of it."""
        try:
            self._operations.sync_folder(self._folder)
        except OSError:
            self._is_lost = True
            os.close(self._descriptor)
            self._descriptor = -1
            raise

    def _path(self, number: int) -> Path:
        return self._folder / f"{INTENTS}-{number:08d}"


def read_intents(folder: Path) -> dict[str, dict[str, object]]:
    """Read what a writer was about to publish: spool name -> decoded row.

    A torn last line is left out, and so is a file that a living writer removes meanwhile: nothing in it was still to be done.
    """
    found: dict[str, dict[str, object]] = {}
    for path in sorted(folder.glob(f"{INTENTS}-*")):
        lines: list[bytes] = []
        with suppress(FileNotFoundError):
            lines = path.read_bytes().splitlines()
        for line in lines:
            try:
                fields = json.loads(line)
                name = str(fields["spool"])
            except (ValueError, KeyError, TypeError):
                continue
            if fields.get("given_up"):
                found.pop(name, None)
            else:
                found[name] = fields
    return found


def intended_paths(workspace: Path) -> set[str]:
    """Name the objects that writers of this machine have been about to publish of late, whatever became of them."""
    found: set[str] = set()
    for folder in (workspace / SPOOL).glob("*/"):
        with suppress(FileNotFoundError):
            found.update(str(fields["path"]) for fields in read_intents(folder).values() if "path" in fields)
    return found
