"""Make the index anew from the objects themselves; the journal adds what no object knows: its source and when it came.

The work goes by ``hh``, one of 256 parts at a time, so that memory is bounded however large the archive is. Digests are taken
from the journal where it has them; comparing them with the bytes is the scrub's work.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path

from indexer.table import Segment as TableSegment
from indexer.table import Table
from vna.archive.examine import UID_CONFLICT, raw_row
from vna.archive.index import index_columns
from vna.archive.journal import Journal, Segment, read_segment
from vna.archive.layout import INSTANCES, QUARANTINE, SPOOL, is_materialised, is_variant
from vna.archive.manifests import write_manifests
from vna.archive.recovery import read_open_row, read_row
from vna.archive.rows import JournalRow
from vna.archive.writers import intended_paths
from vna.errors import RefusedError, StoreError
from vna.model import ObjectStatus, Progress, Provenance, Report
from vna.store import LocalStore, Store
from vna.store.spool import SUFFIX

log = logging.getLogger(__name__)

_PARTS = tuple(f"{i:02x}" for i in range(256))
_ROWS_PER_COMMIT = 20_000
_FILES_PER_TASK = 64
_REQUESTS_AT_ONCE = 16
_LOOKED_FOR = 100
_WRITER = "rebuild"


@dataclass(frozen=True, slots=True)
class _Known:
    """What the journal knows of one object that the object does not."""

    sha256: str
    source: str
    received_at: str


def rebuild(
    store: Store, workspace: Path, journal: Journal, table_folder: Path, report: Report, workers: int
) -> tuple[int, dict[str, int]]:
    """Fill a new table in a local folder with a row for every object that is not in flight.

    Returns how many, and the last journal segment of each writer that they account for. Objects may go on coming in meanwhile:
    those whose row stands in a segment that was not sealed when this began are left to the next sync of the index. Raises
    RefusedError where the store does not show objects that are there.
    """
    sealed = [segment for _, found in journal.by_writer() for segment in found if not segment.is_open]
    scratch = table_folder.with_name("journal.rebuild")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        latecomers = _Latecomers(journal, _sort_journal(sealed, scratch))
        table = Table.create(table_folder)
        rows = _rows(store, workspace, scratch, latecomers, workers)
        count = _write(store, table, rows, sealed, report)
        if not count and latecomers.has_known:
            raise RefusedError(
                "the store shows no object at all, and the journal knows some",
                hint="see that the disk is mounted, or the bucket is the right one; if all is gone indeed, remove journal/ first",
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return count, {segment.writer: segment.n for segment in sealed}


def _sort_journal(sealed: Iterable[Segment], scratch: Path) -> dict[str, int]:
    """Spread what the journal knows over one file for each part, in one pass; return the last ``seq`` of each writer."""
    positions: dict[str, int] = {}
    for segment in sealed:
        lines: dict[str, list[str]] = {}
        for row in read_segment(segment, tolerant=True):
            positions[row.writer] = max(row.seq, positions.get(row.writer, 0))
            line = json.dumps([row.path, row.sha256, row.source, row.received_at]) + "\n"
            lines.setdefault(_part(row.path), []).append(line)
        for part, found in lines.items():
            with (scratch / part).open("a", encoding="ascii") as file:
                file.writelines(found)
    return positions


def _known(scratch: Path, part: str) -> dict[str, _Known]:
    path = scratch / part
    if not path.exists():
        return {}
    known: dict[str, _Known] = {}
    with path.open(encoding="ascii") as file:
        for line in file:
            name, *rest = json.loads(line)
            known.setdefault(name, _Known(*rest))
    return known


def _part(path: str) -> str:
    return path.split("/")[1]


class _Latecomers:
    """Objects whose journal rows are not in the segments that this rebuild accounts for, read on as they come."""

    def __init__(self, journal: Journal, positions: Mapping[str, int]) -> None:
        self._journal = journal
        self._positions = dict(positions)
        self._paths: set[str] = set()

    @property
    def has_known(self) -> bool:
        """Whether the journal tells of anything."""
        return bool(self._positions)

    def paths(self) -> set[str]:
        """Name the objects that came since, as of now."""
        for row in self._journal.read(self._positions, tolerant=True):
            self._positions[row.writer] = row.seq
            self._paths.add(row.path)
        return self._paths


def _rows(store: Store, workspace: Path, scratch: Path, latecomers: _Latecomers, workers: int) -> Iterator[JournalRow]:
    pool = _pool(store, workers)
    with pool or nullcontext():
        for part in _PARTS:
            known = _known(scratch, part)
            names = [
                name
                for name in chain(store.list(f"{INSTANCES}/{part}"), store.list(f"{QUARANTINE}/{part}"))
                if name.endswith(".dcm") and not is_materialised(name)
            ]
            _check_listing(store, part, known, names)
            # In this order: an object that has left the spool by now has its row in the journal by the time that is read.
            in_flight = _in_flight(store, workspace) if any(name not in known for name in names) else _nothing
            late = latecomers.paths()
            work = [
                (name, known[name].sha256 if name in known else "")
                for name in names
                if name in known or (name not in late and not in_flight(name))
            ]
            for row in _read(store, work, pool):
                found = known.get(row.path)
                yield (
                    row._replace(provenance=Provenance(source=found.source), received_at=found.received_at)
                    if found
                    else row._replace(received_at="")
                )


def _pool(store: Store, workers: int) -> Executor | None:
    if not isinstance(store, LocalStore):
        return ThreadPoolExecutor(max(workers, _REQUESTS_AT_ONCE))  # what takes time is waiting for answers
    # The index's libraries run threads of their own, which a forked child would inherit in an undefined state.
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else None


def _check_listing(store: Store, part: str, known: Mapping[str, _Known], names: Sequence[str]) -> None:
    """Raise RefusedError if an object that the journal knows stands in the store, and its list does not show it."""
    missing = known.keys() - set(names)
    for name in islice(sorted(missing), _LOOKED_FOR):
        if store.exists(name):
            raise RefusedError(
                f"the store's list of part {part} does not show objects that are there",
                hint="examine the service, then try again",
            )


def _nothing(path: str) -> bool:
    return False


def _in_flight(store: Store, workspace: Path) -> Callable[[str], bool]:
    """Give what tells of an object without a journal row whether a writer of this machine may be about to write that."""
    if not isinstance(store, LocalStore):
        return intended_paths(workspace).__contains__
    spooled = _spooled(store.root)
    return lambda path: _identity(store.root / path) in spooled


def _spooled(root: Path) -> frozenset[tuple[int, int]]:
    """Identify the files in flight: a writer keeps the spool name of an object until its journal row is durable."""
    found = set()
    for path in (root / SPOOL).glob(f"*/*{SUFFIX}"):
        with suppress(FileNotFoundError):
            found.add(_identity(path))
    return frozenset(found)


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino


def _read(store: Store, work: list[tuple[str, str]], pool: Executor | None) -> Iterator[JournalRow]:
    if not isinstance(store, LocalStore):
        assert pool is not None
        return pool.map(lambda each: stored_row(store, *each), work)
    tasks = [work[i : i + _FILES_PER_TASK] for i in range(0, len(work), _FILES_PER_TASK)]
    return chain.from_iterable((pool.map if pool else map)(partial(_read_files, store.root), tasks))


def _read_files(root: Path, work: list[tuple[str, str]]) -> list[JournalRow]:
    store = LocalStore(root)
    return [stored_row(store, path, sha256) for path, sha256 in work]


def stored_row(store: Store, path: str, sha256: str = "") -> JournalRow:
    """Read the row of the object at ``path``, everything but its provenance and time of receipt.

    An object that cannot be read has a row that says so: it is never left out in silence.
    """
    try:
        if isinstance(store, LocalStore):
            row = read_row(store.root / path, sha256=sha256)
        else:
            with store.open(path) as file:
                row = read_open_row(file, sha256=sha256)
    except (OSError, StoreError):
        log.warning("%s cannot be read", path)
        row = raw_row("", ("UNREADABLE",), sha256, 0, "", Provenance(source=""))
    if path.startswith(f"{QUARANTINE}/"):
        codes = _reason_codes(store, path) or row.codes
        return row._replace(path=path, codes=codes, state=ObjectStatus.QUARANTINED.value)
    if is_variant(path) and row.state != ObjectStatus.QUARANTINED:
        return row._replace(path=path, codes=(UID_CONFLICT, *row.codes), state=ObjectStatus.VARIANT.value)
    return row._replace(path=path)


def _reason_codes(store: Store, path: str) -> tuple[str, ...]:
    try:
        return tuple(map(str, json.loads(store.read_bytes(f"{path.removesuffix('.dcm')}.json"))["codes"]))
    except (StoreError, ValueError, KeyError, TypeError):
        return ()


def _write(store: Store, table: Table, rows: Iterator[JournalRow], sealed: Sequence[Segment], report: Report) -> int:
    """Write rows to the table and the manifests; the last commit tells which journal segments the table accounts for."""
    accounted = [TableSegment(segment.writer, segment.n, []) for segment in sealed]
    count = number = 0
    batch: list[JournalRow] = []
    for row in rows:
        if len(batch) >= _ROWS_PER_COMMIT:
            number += 1
            table.append(_columns(store, batch), _WRITER, number)
            batch = []
        batch.append(row)
        count += 1
        report(Progress("index rebuild", count, unit="instances", bytes=row.size))
    if batch:
        table.append_segments([TableSegment(_WRITER, number + 1, _columns(store, batch)), *accounted])
    return count


def _columns(store: Store, rows: Sequence[JournalRow]) -> list[dict[str, object]]:
    write_manifests(store, rows)
    return [index_columns(row) for row in rows]
