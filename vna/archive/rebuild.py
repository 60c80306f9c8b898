"""Make the index anew from the objects themselves; the journal adds what no object knows: its source and when it came.

The work goes by ``hh``, one of 256 parts at a time, so that memory is bounded however large the archive is. Digests are taken
from the journal where it has them; comparing them with the bytes is the scrub's work.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

from indexer.table import Segment as TableSegment
from indexer.table import Table
from vna.archive.examine import UID_CONFLICT, raw_row
from vna.archive.index import index_columns
from vna.archive.journal import Segment, read_journal, read_segment, segments, writers
from vna.archive.layout import INSTANCES, JOURNAL, QUARANTINE, SPOOL, is_materialised, is_variant
from vna.archive.manifests import write_manifests
from vna.archive.recovery import read_row
from vna.archive.rows import JournalRow
from vna.model import ObjectStatus, Progress, Provenance, Report
from vna.store import LocalStore
from vna.store.spool import SUFFIX

log = logging.getLogger(__name__)

_PARTS = tuple(f"{i:02x}" for i in range(256))
_ROWS_PER_COMMIT = 20_000
_FILES_PER_TASK = 64
_WRITER = "rebuild"


@dataclass(frozen=True, slots=True)
class _Known:
    """What the journal knows of one object that the object does not."""

    sha256: str
    source: str
    received_at: str


def rebuild(store: LocalStore, table_folder: Path, report: Report, workers: int) -> int:
    """Fill a new table in ``table_folder`` with a row for every object that is not in flight; return how many.

    Objects may go on coming in meanwhile: those whose row stands in a segment that was not sealed when this began are left to the
    next sync of the index.
    """
    journal = store.root / JOURNAL
    sealed = [segment for writer in writers(journal) for segment in segments(journal, writer) if not segment.is_open]
    scratch = table_folder.with_name("journal.rebuild")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        _sort_journal(sealed, scratch)
        table = Table.create(table_folder)
        rows = _rows(store, scratch, _Latecomers(journal, sealed), workers)
        count = _write(store, table, rows, sealed, report)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return count


def _sort_journal(sealed: Iterable[Segment], scratch: Path) -> None:
    """Spread what the journal knows over one file for each part, in one pass."""
    for segment in sealed:
        lines: dict[str, list[str]] = {}
        for row in read_segment(segment, tolerant=True):
            line = json.dumps([row.path, row.sha256, row.source, row.received_at]) + "\n"
            lines.setdefault(_part(row.path), []).append(line)
        for part, found in lines.items():
            with (scratch / part).open("a", encoding="ascii") as file:
                file.writelines(found)


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

    def __init__(self, journal: Path, sealed: Sequence[Segment]) -> None:
        self._journal = journal
        self._positions: dict[str, int] = {}
        for segment in sealed:
            for row in read_segment(segment, tolerant=True):
                self._positions[segment.writer] = max(row.seq, self._positions.get(segment.writer, 0))
        self._paths: set[str] = set()

    def paths(self) -> set[str]:
        """Name the objects that came since, as of now."""
        for row in read_journal(self._journal, self._positions, tolerant=True):
            self._positions[row.writer] = row.seq
            self._paths.add(row.path)
        return self._paths


def _rows(store: LocalStore, scratch: Path, latecomers: _Latecomers, workers: int) -> Iterator[JournalRow]:
    # The index's libraries run threads of their own, which a forked child would inherit in an undefined state.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else None
    with pool or nullcontext():
        for part in _PARTS:
            known = _known(scratch, part)
            names = [
                name
                for name in chain(store.list(f"{INSTANCES}/{part}"), store.list(f"{QUARANTINE}/{part}"))
                if name.endswith(".dcm") and not is_materialised(name)
            ]
            # In this order: an object that has left the spool by now has its row in the journal by the time that is read.
            spooled = _spooled(store.root) if any(name not in known for name in names) else frozenset()
            late = latecomers.paths()
            work = [
                (name, known[name].sha256 if name in known else "")
                for name in names
                if name in known or (name not in late and _identity(store.root / name) not in spooled)
            ]
            for row in _read(store.root, work, pool):
                found = known.get(row.path)
                yield (
                    replace(row, provenance=Provenance(source=found.source), received_at=found.received_at)
                    if found
                    else replace(row, received_at="")
                )


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


def _read(root: Path, work: list[tuple[str, str]], pool: Executor | None) -> Iterator[JournalRow]:
    tasks = [work[i : i + _FILES_PER_TASK] for i in range(0, len(work), _FILES_PER_TASK)]
    return chain.from_iterable((pool.map if pool else map)(partial(_read_files, root), tasks))


def _read_files(root: Path, work: list[tuple[str, str]]) -> list[JournalRow]:
    return [stored_row(root, path, sha256) for path, sha256 in work]


def stored_row(root: Path, path: str, sha256: str = "") -> JournalRow:
    """Read the row of the object at ``path``, everything but its provenance and time of receipt.

    An object that cannot be read has a row that says so: it is never left out in silence.
    """
    try:
        row = read_row(root / path, sha256=sha256)
    except OSError:
        log.warning("%s cannot be read", path)
        row = raw_row("", ("UNREADABLE",), sha256, 0, "", Provenance(source=""))
    if path.startswith(f"{QUARANTINE}/"):
        codes = _reason_codes(root / path) or row.codes
        return replace(row, path=path, codes=codes, state=ObjectStatus.QUARANTINED.value)
    if is_variant(path) and row.state != ObjectStatus.QUARANTINED:
        return replace(row, path=path, codes=(UID_CONFLICT, *row.codes), state=ObjectStatus.VARIANT.value)
    return replace(row, path=path)


def _reason_codes(file: Path) -> tuple[str, ...]:
    try:
        return tuple(map(str, json.loads(file.with_suffix(".json").read_bytes())["codes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _write(store: LocalStore, table: Table, rows: Iterator[JournalRow], sealed: Sequence[Segment], report: Report) -> int:
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


def _columns(store: LocalStore, rows: Sequence[JournalRow]) -> list[dict[str, object]]:
    write_manifests(store, rows)
    return [index_columns(row) for row in rows]
