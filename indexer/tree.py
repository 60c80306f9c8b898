"""Index a tree: list it, scan in several processes what a table does not hold of it, append.

Nouns: tree (a folder, one file, or what stands below a prefix of a bucket), batch (some of its files, which one process scans).
"""

from __future__ import annotations

import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from indexer.batch import Row, scan_batch
from indexer.columns import to_arrow
from indexer.errors import UsageError
from indexer.folder import walk
from indexer.found import Found
from indexer.listing import Due, Worklist
from indexer.replacing import AT_ONCE, replace_rows
from indexer.s3 import is_remote
from indexer.table import Segment, Table

ROWS_A_COMMIT = 20_000
COMMIT_AFTER_S = 30.0
"""Rows wait for a commit until there are so many of them, or for so long."""

_UNREADABLE = ("UNREADABLE",)
_LARGEST_BATCH = 500
_SMALLEST_BATCH = 20
_BATCHES_A_WORKER = 8

_Rows = list[tuple[bytes, Row]]
_Scan = Callable[[list[bytes]], _Rows]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: entries listed, how many of them are due, how many of these are done, and their bytes."""

    listed: int
    due: int | None = None
    done: int = 0
    bytes: int = 0


Report = Callable[[Progress], None]


@dataclass(slots=True)
class TreeResult:
    """What indexing a tree came to: of the files found, some are known already, and some are gone before they could be scanned.

    ``added`` and ``changed`` count the rows written, the latter in the place of those of earlier versions; ``flagged``,
    ``quarantined``, ``bytes`` (the files' sizes) and ``codes`` speak of these rows. ``unread`` counts files that changed and
    could not be read, whose earlier rows stay.
    """

    table: str
    found: int = 0
    added: int = 0
    changed: int = 0
    known: int = 0
    gone: int = 0
    unread: int = 0
    flagged: int = 0
    quarantined: int = 0
    bytes: int = 0
    seconds: float = 0.0
    codes: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Give the object that ``--json`` prints."""
        names = ("table", "found", "added", "changed", "known", "gone", "unread", "flagged", "quarantined", "bytes")
        made = {name: getattr(self, name) for name in names}
        return {**made, "seconds": round(self.seconds, 3), "codes": dict(sorted(self.codes.items()))}


@dataclass(frozen=True, slots=True)
class _Tree:
    """Where files are, what the table calls that place, how they are listed, and how some of them are scanned."""

    source: str
    listed: Iterator[Found]
    scan: _Scan


def index_tree(
    root: Path | str,
    table_url: str,
    *,
    workers: int = 1,
    with_digest: bool = False,
    report: Report = lambda progress: None,
    storage_options: Mapping[str, Any] | None = None,
    rows_a_commit: int = ROWS_A_COMMIT,
) -> TreeResult:
    """Scan every file below ``root``, a folder or ``s3://bucket/prefix``, and write a row for each to the table, made if need be.

    Rows have the path relative to ``root``, ``root`` itself as their source, and as ``received_at`` when the file was last
    modified. A file that the table holds with this size and time is left alone, so that an interrupted run is simply repeated;
    one that changed gets its new row in the place of the old one, in one commit. Rows of files that are gone stay, and so do
    those of files that changed and cannot be read.
    ``storage_options`` are s3fs's, for root and table alike. Raises UsageError when there is no such folder or bucket,
    IndexerError when service or table fail; what was scanned until then is committed.
    """
    started, result = time.monotonic(), TreeResult(table_url)
    tree = _tree(root, table_url, storage_options, with_digest)
    table = Table.create(table_url, storage_options=storage_options)
    with Worklist(table_url, storage_options) as work, ExitStack() as stack:
        work.fill(tree.listed, lambda count: report(Progress(count)))
        work.compare(tree.source, with_digest=with_digest)
        result.found, result.known = work.found, work.found - work.due
        writer = _Writer(table, tree.source, storage_options, result, rows_a_commit)
        size = min(_LARGEST_BATCH, max(_SMALLEST_BATCH, work.due // (_BATCHES_A_WORKER * workers)))
        stack.callback(writer.commit)
        done = 0
        for batch, rows in _scan_all(stack, workers, tree.scan, work.batches(size)):
            writer.take(batch, rows)
            done += len(batch)
            report(Progress(work.found, work.due, done, result.bytes))
    result.seconds = time.monotonic() - started
    return result


def _tree(root: Path | str, table_url: str, storage_options: Mapping[str, Any] | None, with_digest: bool) -> _Tree:
    if is_remote(str(root)):
        from indexer.bucket import Bucket
        from indexer.remote import scan_objects

        bucket = Bucket(str(root), storage_options)
        inside = table_url if is_remote(table_url) else ""
        scan = partial(scan_objects, bucket.url, storage_options, with_digest=with_digest)
        return _Tree(bucket.url, bucket.list(inside), scan)
    folder = Path(root)
    if not folder.exists():
        raise UsageError(f"there is no {root}")
    folder = folder.resolve()
    start = str(folder if folder.is_dir() else folder.parent)
    return _Tree(str(folder), walk(folder, Path(table_url)), partial(scan_batch, start, str(folder), with_digest=with_digest))


class _Writer:
    """Gathers rows and commits them: new ones are appended, those of changed files take the place of the old ones."""

    def __init__(
        self, table: Table, source: str, storage_options: Mapping[str, Any] | None, result: TreeResult, rows_a_commit: int
    ) -> None:
        self._table = table
        self._source = source
        self._storage_options = storage_options
        self._result = result
        self._rows_a_commit = rows_a_commit
        self._name, self._number = f"scan-{uuid.uuid4()}", 0
        self._new: list[Row] = []
        self._changed: list[Row] = []
        self._since = time.monotonic()

    def take(self, batch: list[Due], rows: _Rows) -> None:
        """Take the rows of a batch, and commit if that is due."""
        changed = {each.name for each in batch if each.is_changed}
        self._result.gone += len(batch) - len(rows)
        for name, row in rows:
            if name in changed and row["codes"] == _UNREADABLE:
                self._result.unread += 1  # what may be read again tomorrow takes no row away, and stays due
                continue
            (self._changed if name in changed else self._new).append(row)
            _count(self._result, row)
        waiting = len(self._new) + len(self._changed)
        if waiting >= self._rows_a_commit or (waiting and time.monotonic() - self._since >= COMMIT_AFTER_S):
            self.commit()

    def commit(self) -> None:
        """Write what waits, in one commit for the new rows and one for the changed ones."""
        new, self._new = self._new, []
        changed, self._changed = self._changed, []
        if new:
            self._number += 1
            self._table.append_segments([Segment(self._name, self._number, to_arrow(new))])
            self._result.added += len(new)
        for at in range(0, len(changed), AT_ONCE):
            rows = changed[at : at + AT_ONCE]
            self._number += 1
            replace_rows(self._table, self._source, Segment(self._name, self._number, rows), self._storage_options)
            self._result.changed += len(rows)
        self._since = time.monotonic()


def _count(result: TreeResult, row: Row) -> None:
    result.bytes += row["size"]
    result.flagged += row["status"] == "flagged"
    result.quarantined += row["status"] == "quarantined"
    result.codes.update(row["codes"])


def _scan_all(stack: ExitStack, workers: int, scan: _Scan, batches: Iterator[list[Due]]) -> Iterator[tuple[list[Due], _Rows]]:
    """Scan in batches, a few ahead of what is consumed, so that memory stays bounded however many files there are."""
    first = list(islice(batches, 2))
    if workers == 1 or len(first) < 2:  # one batch is done before a second process has started
        for batch in chain(first, batches):
            yield batch, scan(_names(batch))
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("forkserver"), initializer=_ignore_interrupts)
    stack.callback(pool.shutdown, cancel_futures=True)
    running: dict[Future[_Rows], list[Due]] = {}
    for batch in chain(first, batches):
        running[pool.submit(scan, _names(batch))] = batch
        if len(running) >= 3 * workers:
            yield from _finished(running)
    while running:
        yield from _finished(running)


def _names(batch: list[Due]) -> list[bytes]:
    return [each.name for each in batch]


def _finished(running: dict[Future[_Rows], list[Due]]) -> Iterator[tuple[list[Due], _Rows]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; only the first one answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
