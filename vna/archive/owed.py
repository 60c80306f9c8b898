"""What is owed to the store: objects that were acknowledged when they were durable on this machine's disk, and are not there yet.

``owed/<writer>/<k>.part`` is such an object, under the number that it had in that writer's spool; ``<k>.json`` is its record: the
journal row that will tell of it. An object is owed while its ``.part`` stands there. The record is durable before that name is
given, and the name before anything is acknowledged; both go once the object is in the store and its row in the journal. Nothing
here is removed because its writer died, and no row tells of it before (docs/adr/0056-acknowledged-from-the-spool.md).
"""

from __future__ import annotations

import hashlib
import heapq
import json
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vna.archive.layout import OWED, SPOOL
from vna.archive.rows import JournalRow, encode, from_fields
from vna.archive.stored import read_row
from vna.errors import StoreError
from vna.model import Receipt
from vna.store import SYSTEM, Operations, SpoolFile
from vna.store.grouping import GroupCommit
from vna.store.operations import FILE_MODE, store_errors
from vna.store.spool import SUFFIX

log = logging.getLogger(__name__)

RECORD = ".json"
DAMAGED = ".damaged"
"""What an object is called whose bytes are not those that were acknowledged: it waits for a person."""

STATE = "owed"
"""The state of a receipt for what is durable on this machine alone."""

_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Owed:
    """How much is owed: objects, bytes, when the oldest came (UTC, ISO 8601; empty if there is none), and what is damaged."""

    objects: int = 0
    bytes: int = 0
    since: str = ""
    damaged: int = 0


class Owing:
    """One writer's way to acknowledge from the disk: :meth:`take` returns when the object and its record are durable there.

    Thread-safe. After a failed fsync of its folder it takes nothing more. Bytes that it took of late, and owes still, are a
    duplicate.
    """

    def __init__(self, workspace: Path, writer: str, operations: Operations = SYSTEM) -> None:
        self._folder = workspace / OWED / writer
        self._operations = operations
        self._names = GroupCommit(self._sync_folder)
        self._is_lost = False
        self._lock = threading.Lock()
        self._taken: OrderedDict[str, Path] = OrderedDict()
        with store_errors("what is owed could not be kept"):
            for folder in (self._folder.parent, self._folder):
                operations.make_folder(folder)
                operations.sync_folder(folder.parent)

    def take(self, spool: SpoolFile, row: JournalRow) -> Receipt:
        """Make an object durable here and give its receipt. Raises StoreFullError or StoreError; it is not owed then.

        Where only the last step failed, it may be uploaded all the same, without having been acknowledged.
        """
        with self._lock:
            same = self._taken.get(row.sha256)
        if same is not None and _holds(same, row.sha256):
            spool.discard()
            return row.receipt()._replace(state="duplicate")
        spool.sync()
        target = self._folder / spool.name
        record = target.with_suffix(RECORD)
        is_named = False
        try:
            with store_errors("what is owed could not be recorded"):
                self._write(record, encode(row) + b"\n")
                self._operations.rename(spool.location, target)
                is_named = True
                self._names.wait()
        finally:
            if not is_named:
                spool.discard()
                with suppress(OSError):
                    self._operations.unlink(record)
        with self._lock:
            self._taken[row.sha256] = target
            if len(self._taken) > _REMEMBERED:
                self._taken.popitem(last=False)
        return row.receipt()._replace(state=STATE)

    def _write(self, path: Path, data: bytes) -> None:
        descriptor = self._operations.create(path, FILE_MODE)
        try:
            self._operations.write(descriptor, data)
            self._operations.sync(descriptor)
        finally:
            os.close(descriptor)

    def _sync_folder(self) -> None:
        if self._is_lost:
            raise StoreError("an earlier fsync of what is owed failed", hint="end this process, examine the disk, start again")
        try:
            self._operations.sync_folder(self._folder)
        except OSError:
            self._is_lost = True
            raise


def _holds(part: Path, sha256: str) -> bool:
    """Tell whether those bytes are still owed, unharmed. Should they be uploaded meanwhile, they are in the store."""
    try:
        with part.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


class Debts:
    """What all writers of a workspace owe, the dead ones included: to be listed, read, and removed once it is in the store."""

    def __init__(self, workspace: Path, operations: Operations = SYSTEM) -> None:
        self._folder = workspace / OWED
        self._spool = workspace / SPOOL
        self._operations = operations

    def __bool__(self) -> bool:
        return next(self._parts(), None) is not None

    def some(self, limit: int, without: Container[str] = ()) -> list[str]:
        """Name some of the oldest of each writer, about ``limit`` in all, ``without`` those."""
        writers = self._writers()
        share = max(1, limit // max(1, len(writers)))
        found = []
        for writer in writers:
            names = (entry.path for entry in self._entries(writer) if entry.name.endswith(SUFFIX) and entry.path not in without)
            found.append(heapq.nsmallest(share, names))
        # In turns, so that no writer waits for another one's last.
        return [each[i] for i in range(share) for each in found if i < len(each)] if found else []

    def summary(self) -> Owed:
        """Add up what is owed, and what was set aside."""
        objects = size = damaged = 0
        oldest = float("inf")
        for entry in self._parts():
            with suppress(FileNotFoundError):
                found = entry.stat()
                objects, size, oldest = objects + 1, size + found.st_size, min(oldest, found.st_mtime)
        for writer in self._writers():
            damaged += sum(entry.name.endswith(DAMAGED) for entry in self._entries(writer))
        since = datetime.fromtimestamp(oldest, UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if objects else ""
        return Owed(objects, size, since, damaged)

    def is_older(self, than: float) -> bool:
        """Tell whether anything is owed that came before that time (seconds since the epoch)."""
        for entry in self._parts():
            with suppress(FileNotFoundError):
                if entry.stat().st_mtime < than:
                    return True
        return False

    def row(self, part: Path, writer: str) -> JournalRow:
        """Read the row of an object, for a journal of ``writer``; from its bytes where the record is none.

        Only a power failure takes a record, of what was not acknowledged or is in the store by now.
        """
        try:
            return from_fields(writer, json.loads(part.with_suffix(RECORD).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            log.warning("an object that is owed has no record: its row is read from its bytes")
        received = datetime.fromtimestamp(part.stat().st_mtime, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        with part.open("rb") as file:
            return read_row(file, writer, received)

    def settle(self, part: Path) -> None:
        """Remove an object that is in the store, with its row in the journal."""
        with store_errors("what is not owed any more could not be removed"):
            self._operations.unlink(part)
            self._operations.unlink(part.with_suffix(RECORD))

    def set_aside(self, part: Path) -> None:
        """Keep an object whose bytes are damaged where nobody tries to upload it."""
        with store_errors("a damaged object could not be set aside"):
            self._operations.rename(part, part.with_suffix(DAMAGED))
            self._operations.sync_folder(part.parent)

    def sweep(self) -> None:
        """Remove the empty folders of writers that have left, and records whose object was never given its name."""
        for writer in self._writers():
            if (self._spool / writer).exists():
                continue  # it lives, or is yet to be recovered
            for entry in self._entries(writer):
                record = Path(entry.path)
                if record.suffix == RECORD and not any(record.with_suffix(each).exists() for each in (SUFFIX, DAMAGED)):
                    self._operations.unlink(record)
            self._operations.remove_folder(self._folder / writer)

    def _parts(self) -> Iterator[os.DirEntry[str]]:
        for writer in self._writers():
            yield from (entry for entry in self._entries(writer) if entry.name.endswith(SUFFIX))

    def _writers(self) -> list[str]:
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return []

    def _entries(self, writer: str) -> Iterator[os.DirEntry[str]]:
        with suppress(FileNotFoundError), os.scandir(self._folder / writer) as entries:
            yield from entries
