"""Complete what writers left that died between two steps of the write order.

Nothing here looks through the store: the spool names of a dead writer, and the intents beside them, say all that was in flight.
A spool file whose intent was written down was complete and durable, so it is published, if it was not yet, and gets its journal
row; anything else was acknowledged to nobody and is dropped. Running it again, or being killed in it, changes nothing.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vna.archive.examine import places
from vna.archive.journal import Journal, JournalWriter, Segment, is_whole, read_segment, segments, with_open_segment
from vna.archive.layout import JOURNAL, SPOOL
from vna.archive.rows import JournalRow, encode, from_fields
from vna.archive.sink import holds, now, put_reason
from vna.archive.stored import read_row
from vna.archive.unfinished import stands
from vna.archive.writers import INTENTS, LOCK, claim, read_intents, registration
from vna.store import SYSTEM, LocalStore, Operations, Store
from vna.store.locks import release
from vna.store.operations import APPEND_MODE, store_errors
from vna.store.spool import SUFFIX

log = logging.getLogger(__name__)

SEQ_GAP = 1_000_000
"""How far ``seq`` jumps at a recovery, so that a reader of rows that a power failure took does not miss their successors."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery found: writers that had died, objects completed, and spool files that nobody was told of, dropped."""

    writers: int = 0
    completed: int = 0
    dropped: int = 0


def recover(store: Store, workspace: Path, operations: Operations = SYSTEM) -> Recovered:
    """Complete and sweep what dead writers left; the living are not touched. Quick when there is nothing to do."""
    dead = completed = dropped = 0
    with store_errors("what an earlier run left could not be completed"):
        with registration(workspace):
            writers = sorted({*_spooling(workspace), *with_open_segment(workspace / JOURNAL)})
        for writer in writers:
            with _taken_over(workspace, writer) as is_dead:
                if is_dead:
                    done, lost = _Recovery(store, workspace, writer, operations).run()
                    dead, completed, dropped = dead + 1, completed + done, dropped + lost
        if isinstance(store, LocalStore):
            store.sweep()
    if dead:
        log.info("recovery: %d writers had died, %d objects completed, %d spool files dropped", dead, completed, dropped)
    return Recovered(dead, completed, dropped)


def _spooling(workspace: Path) -> list[str]:
    return [entry.name for entry in os.scandir(workspace / SPOOL) if entry.is_dir(follow_symlinks=False)]


@contextmanager
def _taken_over(workspace: Path, writer: str) -> Iterator[bool]:
    """Hold the locks of a dead writer; False if it lives, somebody else has taken it over, or nothing is left of it.

    Only they are held while it is recovered, which takes as long as the store takes: others come and go meanwhile.
    """
    with registration(workspace):
        held = _claimed(workspace, writer)
    try:
        yield bool(held)
    finally:
        for descriptor in held:
            release(descriptor)


def _claimed(workspace: Path, writer: str) -> list[int]:
    """Claim the lock file of a writer, made where it died before it had one, and its open segment: both or none."""
    held: list[int] = []
    locks = [(workspace / SPOOL / writer / LOCK, True)]
    locks += [(segment.path, False) for segment in segments(workspace / JOURNAL, writer) if segment.is_open]
    for path, make in locks:
        with suppress(FileNotFoundError):
            descriptor = claim(path, make=make)
            if descriptor is not None:
                held.append(descriptor)
                continue
            for each in held:
                release(each)
            return []
    return held


class _Recovery:
    """The recovery of one dead writer, whose locks are held."""

    def __init__(self, store: Store, workspace: Path, writer: str, operations: Operations) -> None:
        self._store = store
        self._workspace = workspace
        self._writer = writer
        self._operations = operations
        self._folder = workspace / JOURNAL
        self._journal = Journal(workspace, None if isinstance(store, LocalStore) else store)
        self._spool = workspace / SPOOL / writer

    def run(self) -> tuple[int, int]:
        """Return how many objects were completed and how many spool files dropped."""
        for segment in segments(self._folder, self._writer):
            if segment.is_open:
                adopt(segment, self._operations)
        parts = sorted(self._spool.glob(f"*{SUFFIX}"))
        intents = read_intents(self._spool) if self._spool.is_dir() else {}
        known: set[tuple[str, str]] = set()
        last_seq = 0
        if parts or intents:
            for segment in self._journal.segments(self._writer):
                for row in read_segment(segment, tolerant=True):
                    known.add((row.path, row.sha256))
                    last_seq = max(last_seq, row.seq)
        rows = self._completed(parts, intents)
        completed = len(rows)
        rows += self._nameless(intents, known)
        fresh = [row for row in rows if (row.path, row.sha256) not in known]
        self._record(fresh, last_seq)
        self._clear(parts)
        return len(fresh), len(parts) - completed

    def _completed(self, parts: list[Path], intents: dict[str, dict[str, object]]) -> list[JournalRow]:
        """Publish what was about to be, and take its intents out; return the rows of all that has its final name."""
        rows = []
        for part in parts:
            fields = intents.pop(part.name, None)
            row = self._row_of(part) if fields is None else from_fields(self._writer, fields)
            if row is not None and self._publish(part, row):
                rows.append(row)
        return rows

    def _nameless(self, intents: dict[str, dict[str, object]], known: set[tuple[str, str]]) -> list[JournalRow]:
        """Return the rows of what has its final name and no spool name any more: renamed, or put before a power failure took it.

        A link does not outlive its spool name like that: the intent alone was not forced to the disk.
        """
        if isinstance(self._store, LocalStore) and self._store.keeps_source:
            return []
        rows = []
        for name, fields in intents.items():
            row = from_fields(self._writer, fields)
            if (row.path, row.sha256) not in known and self._stands_nameless(name, row):
                rows.append(row)
        return rows

    def _stands_nameless(self, name: str, row: JournalRow) -> bool:
        if self._store.keeps_source:
            return self._store.came_from(self._spool / name, row.path)  # by its token: another writer's has its own row
        return holds(self._store, row) is True

    def _publish(self, part: Path, row: JournalRow) -> bool:
        """Make sure that a spool file has its final name, durably; False if it is damaged or that name is another file's."""
        if part.stat().st_size != row.size or file_digest(part) != row.sha256:
            return False
        if not stands(self._store, part, row.path):
            return False
        put_reason(self._store, row)
        return True

    def _row_of(self, part: Path) -> JournalRow | None:
        """Read the row of a file that has a final name but no intent (a power failure took it); None if it has no such name."""
        if not isinstance(self._store, LocalStore) or part.stat().st_nlink < 2:
            return None
        with part.open("rb") as file:
            read = read_row(file, self._writer, now())
        for row in places(read):
            if self._store.came_from(part, row.path):
                return row
        return None

    def _record(self, rows: list[JournalRow], last_seq: int) -> None:
        if rows:
            journal = JournalWriter(self._folder, self._writer, self._operations, last_seq=last_seq + SEQ_GAP)
            journal.append([encode(row) for row in rows])
            journal.close()

    def _clear(self, parts: list[Path]) -> None:
        for part in parts:
            self._operations.unlink(part)
        with registration(self._workspace):  # nobody looks for dead writers meanwhile, and finds half of one
            for path in [*self._spool.glob(f"{INTENTS}-*"), self._spool / LOCK]:
                self._operations.unlink(path)
            self._operations.remove_folder(self._spool)


def adopt(segment: Segment, operations: Operations = SYSTEM) -> None:
    """Seal the open segment of a dead writer: a torn end is cut off, and a segment without rows goes away.

    Lines damaged in its middle - pages that a power failure took while later ones stayed - are left out, and the original kept
    beside it as ``<n>.damaged``.
    """
    lines = segment.path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if is_whole(line)]
    sealed = segment.path.with_suffix("")
    if not whole:
        operations.unlink(segment.path)
    elif whole == lines[: len(whole)]:
        descriptor = operations.open_append(segment.path)
        try:
            operations.truncate(descriptor, sum(map(len, whole)))
            operations.sync(descriptor)
        finally:
            os.close(descriptor)
        operations.rename(segment.path, sealed)
    else:
        log.warning("journal segment %s of %s: %d lines are damaged", sealed.name, segment.writer, len(lines) - len(whole))
        repaired = segment.path.with_suffix(".repaired")
        repaired.unlink(missing_ok=True)
        descriptor = operations.create(repaired, APPEND_MODE)
        try:
            operations.write(descriptor, b"".join(whole))
            operations.sync(descriptor)
        finally:
            os.close(descriptor)
        operations.rename(repaired, sealed)
        operations.rename(segment.path, segment.path.with_suffix(".damaged"))
    operations.sync_folder(segment.path.parent)


def file_digest(file: Path) -> str:
    """Read a local file to its end and tell its SHA-256."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
