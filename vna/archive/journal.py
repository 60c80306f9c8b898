"""The journal: an append-only log of what the archive took, one folder a writer; all that a receiver writes beside objects.

``journal/<writer>/<n>.open`` is the segment that a living writer appends to and holds a lock (flock) on; sealed, it is renamed to
``journal/<writer>/<n>`` and never changes again. ``n`` is the ``seq`` of its first row, in 20 digits, so that segments sort and a
reader skips those it has had. A row counts when its line is whole and forced to the disk.

Segments are written on the local disk. Where the archive is elsewhere, sealed ones are put there under the same names
(:meth:`Journal.upload`) and removed here; who reads sees those of both places, each row once.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from vna.archive.layout import JOURNAL, SPOOL
from vna.archive.rows import JournalRow, decode, numbered
from vna.errors import InstanceMissingError, StoreError
from vna.store import Store
from vna.store.locks import hold, locked, release
from vna.store.operations import APPEND_MODE, FOLDER_MODE, SYSTEM, Operations, store_error, store_errors

log = logging.getLogger(__name__)

OPEN_SUFFIX = ".open"
_DIGITS = 20
_UPLOAD_LOCK = "upload.lock"
_ONE_LISTING = 1000
"""So many names a list of S3 shows as they stood at one moment."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One segment of one writer; ``n`` is the ``seq`` of its first row. A sealed one may stand in ``store`` only."""

    writer: str
    n: int
    path: Path = field(compare=False)
    is_open: bool = field(compare=False, default=False)
    store: Store | None = field(compare=False, default=None)

    @property
    def stored_path(self) -> str:
        """Where it stands in an archive once it is sealed."""
        return f"{JOURNAL}/{self.writer}/{self.n:0{_DIGITS}d}"


@dataclass(slots=True)
class _Entry:
    """What one caller wants written, and what became of it."""

    payloads: Sequence[bytes]
    done: bool = False
    error: StoreError | None = None


class JournalWriter:
    """One writer's journal. Thread-safe: rows of all threads that wait at the same time share one write and one fsync.

    After a failed fsync nothing that this writer says can be believed any more: what it had not confirmed is cut off and every
    later :meth:`append` raises StoreError. A write that fails for want of space is cut off too, but the writer goes on.
    """

    def __init__(
        self,
        journal: Path,
        writer: str,
        operations: Operations = SYSTEM,
        *,
        last_seq: int = 0,
        rows_per_segment: int = 5000,
        bytes_per_segment: int = 16 << 20,
    ) -> None:
        self.writer = writer
        self._folder = journal / writer
        self._operations = operations
        self._rows_per_segment = rows_per_segment
        self._bytes_per_segment = bytes_per_segment
        self._waiting = threading.Lock()
        self._writing = threading.Lock()
        self._pending: list[_Entry] = []
        self._seq = last_seq
        self._descriptor = -1
        self._path = Path()
        self._first = 0
        self._end = 0
        self._rows = 0
        self._lost = False
        self._has_folder = False

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write rows (:func:`vna.archive.rows.encode`) and return when they are durable.

        Raises StoreFullError or StoreError; the rows are not in the journal then.
        """
        entry = _Entry(payloads)
        with self._waiting:
            self._pending.append(entry)
        with self._writing:
            if not entry.done:
                self._write_pending()
        if entry.error is not None:
            raise entry.error

    def seal(self) -> None:
        """Close the open segment for good, so that it can be committed to the index. Does nothing when there is none."""
        with self._writing, store_errors("the journal segment could not be sealed"):
            self._seal()

    def close(self) -> None:
        """Seal and leave. After a failed fsync the segment stays open on disk, for recovery to look at."""
        with self._writing, store_errors("the journal segment could not be sealed"):
            if self._lost:
                self._release()
            else:
                self._seal()
            self._lost = True

    # -- everything below runs under self._writing

    def _write_pending(self) -> None:
        with self._waiting:
            entries, self._pending = self._pending, []
        error: StoreError | None = None
        is_written = False
        try:
            self._write([payload for entry in entries for payload in entry.payloads])
            is_written = True
        except StoreError as exc:
            error = exc
        except OSError as exc:
            error = store_error(exc, "the journal could not be written")
        finally:
            if not is_written and error is None:
                error = StoreError("the write to the journal was interrupted")
            for entry in entries:
                entry.done, entry.error = True, error

    def _write(self, payloads: Sequence[bytes]) -> None:
        if self._lost:
            raise StoreError("the journal can no longer be trusted", hint="end this process and start it again")
        if self._rows >= self._rows_per_segment or self._end >= self._bytes_per_segment:
            self._seal()
        if self._descriptor < 0:
            self._begin()
        first = self._seq + 1
        # Numbers are not used twice, even if this write fails: a reader may have seen the lines before they are cut off.
        self._seq += len(payloads)
        lines = b"".join(numbered(first + i, payload) for i, payload in enumerate(payloads))
        durable = False
        try:
            self._operations.write(self._descriptor, lines)
            self._sync()
            durable = True
        finally:
            if not durable:
                self._cut_off()
        self._end += len(lines)
        self._rows += len(payloads)

    def _sync(self) -> None:
        try:
            self._operations.sync(self._descriptor)
        except OSError:
            self._lost = True
            raise

    def _begin(self) -> None:
        if not self._has_folder:
            for folder in (self._folder.parent, self._folder):
                self._operations.make_folder(folder)
                self._operations.sync_folder(folder.parent)
            self._has_folder = True
        path = self._folder / f"{self._seq + 1:0{_DIGITS}d}{OPEN_SUFFIX}"
        descriptor = self._operations.create(path, APPEND_MODE)
        try:
            hold(descriptor)
            self._operations.sync_folder(self._folder)
        except OSError:
            release(descriptor)
            path.unlink(missing_ok=True)
            raise
        self._descriptor, self._path = descriptor, path
        self._end = self._rows = 0

    def _cut_off(self) -> None:
        """Remove what this write left behind the last durable row."""
        try:
            self._operations.truncate(self._descriptor, self._end)
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
        except OSError:
            self._lost = True

    def _seal(self) -> None:
        if self._descriptor < 0:
            return
        if self._rows:
            self._operations.rename(self._path, self._path.with_suffix(""))
        else:
            self._operations.unlink(self._path)
        self._operations.sync_folder(self._folder)
        self._release()

    def _release(self) -> None:
        if self._descriptor >= 0:
            release(self._descriptor)
            self._descriptor = -1


class Journal:
    """The journal of one archive: its segments below ``workspace/journal``, and those that were put into ``store``, if any."""

    def __init__(self, workspace: Path, store: Store | None = None) -> None:
        self.folder = workspace / JOURNAL
        self._spool = workspace / SPOOL
        self._store = store

    def by_writer(self) -> Iterator[tuple[str, list[Segment]]]:
        """Name every writer, in their order, with its segments, oldest first.

        A writer's segment is never left out while a later one is named, so that whoever has read up to a row misses none before.
        """
        if self._store is None:
            for writer in _writers(self.folder):
                yield writer, segments(self.folder, writer)
            return
        # First what is here, then what is there: a segment that moves in between is seen in one place at least.
        here = {writer: segments(self.folder, writer, self._store) for writer in _writers(self.folder)}
        there = self._uploaded(JOURNAL)
        for writer in sorted({*here, *there}):
            yield writer, _united(here.get(writer, []), there.get(writer, []))

    def segments(self, writer: str) -> list[Segment]:
        """List one writer's segments, oldest first."""
        here = segments(self.folder, writer, self._store)
        if self._store is None:
            return here
        return _united(here, self._uploaded(f"{JOURNAL}/{writer}").get(writer, []))

    def read(self, after: Mapping[str, int] | None = None, *, tolerant: bool = False) -> Iterator[JournalRow]:
        """Read the rows of all writers, each in its own order, that come behind ``after`` (writer -> ``seq`` of the last had)."""
        seen = after or {}
        for writer, every in self.by_writer():
            last = seen.get(writer, 0)
            for i, segment in enumerate(every):
                if i + 1 < len(every) and every[i + 1].n <= last + 1:
                    continue
                for row in read_segment(segment, tolerant=tolerant):
                    if row.seq > last:
                        yield row

    def upload(self) -> int:
        """Put sealed segments into the store, each writer's in their order, and remove them here; return how many.

        Safe to repeat and to be killed in. Raises StoreError when one cannot be put: it and the later ones stay here.
        """
        if self._store is None or not self.folder.exists():
            return 0
        with store_errors("the journal could not be put into the store"):
            self._spool.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            with locked(self._spool / _UPLOAD_LOCK):
                return sum(self._upload(writer) for writer in _writers(self.folder))

    def _upload(self, writer: str) -> int:
        assert self._store is not None
        sealed = [segment for segment in segments(self.folder, writer) if not segment.is_open]
        for segment in sealed:
            is_new = self._store.put_file(segment.path, segment.stored_path)
            if not is_new and self._store.read_bytes(segment.stored_path) != segment.path.read_bytes():
                raise StoreError(
                    f"the store holds another journal segment {segment.path.name} of {writer}",
                    hint="was the local spool restored from an old copy? Keep both and ask for help",
                )
            segment.path.unlink()
        if not (self._spool / writer).exists():  # the writer has left: nobody will write there any more
            with suppress(OSError):
                (self.folder / writer).rmdir()
        return len(sealed)

    def _uploaded(self, prefix: str) -> dict[str, list[Segment]]:
        """List segments in the store."""
        assert self._store is not None
        names = list(self._store.list(prefix))
        if len(names) >= _ONE_LISTING:
            # Of two segments put while a long list was made, it may show the second alone: a list begun afterwards shows both.
            last = {name.rpartition("/")[0]: name for name in names}
            names = [name for name in self._store.list(prefix) if name <= last.get(name.rpartition("/")[0], "")]
        found: dict[str, list[Segment]] = {}
        for name in names:
            writer, _, number = name.removeprefix(f"{JOURNAL}/").rpartition("/")
            if number.isascii() and number.isdigit():
                segment = Segment(writer, int(number), self.folder / writer / number, store=self._store)
                found.setdefault(writer, []).append(segment)
        return found


def _united(here: list[Segment], there: list[Segment]) -> list[Segment]:
    """Unite a writer's segments of both places, each once; what is sealed counts, and what is here is quicker to read."""
    found = {segment.n: segment for segment in there}
    found.update({segment.n: segment for segment in here if not segment.is_open or segment.n not in found})
    return sorted(found.values())


def _writers(journal: Path) -> list[str]:
    """Name the writers that a folder knows, in their order: their names begin with the time they started."""
    with store_errors("the journal could not be listed"):
        try:
            return sorted(entry.name for entry in os.scandir(journal) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []


def segments(journal: Path, writer: str, store: Store | None = None) -> list[Segment]:
    """List one writer's segments in a local folder, oldest first; ``store`` is where they may go meanwhile."""
    found: dict[int, Segment] = {}
    with store_errors("the journal could not be listed"):
        try:
            names = sorted(path.name for path in (journal / writer).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
    for name in names:
        number = name.removesuffix(OPEN_SUFFIX)
        if number.isascii() and number.isdigit():
            # A segment that is sealed while the folder is listed may show under both names: the sealed one counts.
            segment = Segment(writer, int(number), journal / writer / name, name.endswith(OPEN_SUFFIX), store)
            if segment.n not in found or not segment.is_open:
                found[segment.n] = segment
    return sorted(found.values())


def with_open_segment(journal: Path) -> list[str]:
    """Name the writers that have an open segment in a local folder."""
    return [writer for writer in _writers(journal) if any(segment.is_open for segment in segments(journal, writer))]


def read_segment(segment: Segment, *, tolerant: bool = False) -> Iterator[JournalRow]:
    """Read the rows of one segment, which may be sealed, put into the store, or still be written to, meanwhile.

    The torn end of an open segment is not there yet, or will never be, and is left out. A damaged line in a sealed segment
    raises StoreError, or is passed over with a warning when ``tolerant``.
    """
    for position, line in enumerate(_lines(segment), start=1):
        try:
            yield decode(segment.writer, line)
        except ValueError as exc:
            if segment.is_open:
                return
            if not tolerant:
                raise StoreError(
                    f"line {position} of the journal segment {segment.path.name} of {segment.writer} is damaged",
                    hint="'vna index rebuild' goes by the objects themselves and leaves the line out",
                ) from exc
            log.warning("journal segment %s of %s: line %d is damaged", segment.path.name, segment.writer, position)


def _lines(segment: Segment) -> Iterator[bytes]:
    with store_errors("the journal segment could not be read"):
        file = _opened(segment)
        if file is not None:
            with closing(file):
                for line in file:
                    if line.endswith(b"\n"):
                        yield line


def _opened(segment: Segment) -> BinaryIO | None:
    """Open a segment where it stands by now; None for an open one that had no row and was removed."""
    with suppress(FileNotFoundError):
        return segment.path.open("rb")
    if segment.is_open:
        with suppress(FileNotFoundError):
            return segment.path.with_suffix("").open("rb")
    if segment.store is not None:
        try:
            return BytesIO(segment.store.read_bytes(segment.stored_path))
        except InstanceMissingError:
            if not segment.is_open:
                raise
    elif not segment.is_open:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return None


def is_whole(line: bytes) -> bool:
    """Tell whether a line is one whole JSON object."""
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False
