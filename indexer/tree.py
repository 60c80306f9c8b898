"""Index a tree of files: walk it, scan in several processes, append to a table what that does not hold yet.

Nouns: tree (a folder, or one file), batch (some files that one process scans at a time).
"""

from __future__ import annotations

import logging
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexer.batch import scan_batch
from indexer.columns import to_arrow
from indexer.errors import UsageError
from indexer.query import connect, query
from indexer.table import Segment, Table

log = logging.getLogger(__name__)

_BATCH = 500
_ROWS_A_COMMIT = 20_000

_Row = dict[str, Any]
Report = Callable[[int, int], None]
"""Called with files done and bytes done."""


@dataclass(slots=True)
class TreeResult:
    """What indexing a tree came to; ``known`` files were in the table already."""

    table: str
    found: int = 0
    added: int = 0
    known: int = 0
    flagged: int = 0
    quarantined: int = 0
    bytes: int = 0
    seconds: float = 0.0
    codes: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Give the object that ``--json`` prints."""
        made = {name: getattr(self, name) for name in ("table", "found", "added", "known", "flagged", "quarantined", "bytes")}
        return {**made, "seconds": round(self.seconds, 3), "codes": dict(sorted(self.codes.items()))}


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    size: int


def index_tree(
    root: Path, table_url: str, *, workers: int = 1, with_digest: bool = False, report: Report = lambda done, size: None
) -> TreeResult:
    """Scan every file below ``root`` and append a row for each to the table, which is made when it is not there.

    Rows have the path relative to ``root``, and ``root`` itself as their source. A file that the table holds already, with the
    same path and size (and SHA-256, ``with_digest``), adds nothing, so that an interrupted run is simply repeated. Symbolic links
    are not followed. Raises UsageError when ``root`` does not exist, or when digests are asked for and the table has rows of this
    tree without.
    """
    if not root.exists():
        raise UsageError(f"there is no {root}")
    started, root = time.monotonic(), root.resolve()
    table = Table.create(table_url)
    result = TreeResult(table_url)
    known = _known(table_url, str(root), with_digest)
    writer, number = f"scan-{uuid.uuid4()}", 0
    pending: list[Any] = []
    folder = str(root if root.is_dir() else root.parent)
    scan = partial(scan_batch, folder, str(root), with_digest=with_digest)
    with ExitStack() as stack:
        for rows in _scan_all(stack, workers, scan, _new_files(root, Path(table_url), known, result, with_digest)):
            kept = [row for row in rows if not with_digest or (row["path"], row["sha256"]) not in known]
            _count(result, rows, kept)
            report(result.known + result.added, result.bytes)
            if kept:
                pending.append(to_arrow(kept))
            if sum(part.num_rows for part in pending) >= _ROWS_A_COMMIT:
                number = _commit(table, pending, writer, number)
        _commit(table, pending, writer, number)
    result.seconds = time.monotonic() - started
    return result


def _commit(table: Table, pending: list[Any], writer: str, number: int) -> int:
    if pending:
        table.append_segments([Segment(writer, number, pa.concat_tables(pending))])
        pending.clear()
        return number + 1
    return number


def _known(table_url: str, source: str, with_digest: bool) -> set[tuple[str, object]]:
    """What the table holds of this tree: (path, size), or (path, hexadecimal SHA-256)."""
    con = connect(table_url)
    try:
        column = "lower(hex(sha256))" if with_digest else "size"
        if with_digest and query(con, "SELECT 1 FROM received WHERE source = ? AND sha256 IS NULL LIMIT 1", [source]):
            raise UsageError(f"{table_url} has this tree without digests", hint="scan into a new table, or without --digest")
        rows = query(con, f'SELECT received.path AS path, {column} AS "key" FROM received WHERE source = ?', [source])
    finally:
        con.close()
    return {(row["path"], row["key"]) for row in rows}


def _new_files(
    root: Path, table: Path, known: set[tuple[str, object]], result: TreeResult, with_digest: bool
) -> Iterator[_Found]:
    for found in walk(root, table):
        result.found += 1
        if not with_digest and (found.path, found.size) in known:
            result.known += 1
        else:
            yield found


def walk(root: Path, table: Path) -> Iterator[_Found]:
    """List the regular files below ``root`` in a stable order, paths relative to it; a table that lies inside is left out."""
    if root.is_file():
        yield _Found(root.name, root.stat().st_size)
        return
    excluded = str(table.resolve())
    folders = [str(root)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as exc:
            log.warning("cannot list %s: %s", folder, exc.strerror)
            continue
        below = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.path != excluded:
                    below.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield _Found(os.path.relpath(entry.path, root), _size(entry))
        folders.extend(reversed(below))


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0  # gone since; its scan will say so


def _scan_all(
    stack: ExitStack, workers: int, scan: Callable[[list[str]], list[_Row]], files: Iterator[_Found]
) -> Iterator[list[_Row]]:
    """Scan in batches, a few ahead of what is consumed, so that memory stays bounded however many files there are."""
    batches: Iterator[list[str]] = iter(lambda: [found.path for found in islice(files, _BATCH)], [])
    first = list(islice(batches, 2))
    if workers == 1 or len(first) < 2:  # one batch is done before a second process has started
        yield from map(scan, chain(first, batches))
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("forkserver"), initializer=_ignore_interrupts)
    stack.callback(pool.shutdown, cancel_futures=True)
    running: set[Future[list[_Row]]] = set()
    for batch in chain(first, batches):
        running.add(pool.submit(scan, batch))
        if len(running) >= 3 * workers:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of the terminal; only the first one answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _count(result: TreeResult, rows: list[_Row], kept: list[_Row]) -> None:
    result.known += len(rows) - len(kept)
    result.added += len(kept)
    for row in kept:
        result.bytes += row["size"]
        result.flagged += row["status"] == "flagged"
        result.quarantined += row["status"] == "quarantined"
        result.codes.update(row["codes"])
