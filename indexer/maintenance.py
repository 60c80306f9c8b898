"""Keep a table quick and small: cluster its rows by study, write a checkpoint, expire the log, remove files nobody needs.

Any number of writers may append meanwhile. It may be ended at any moment and begun again: each rewrite is a commit of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake.transaction import AddAction, RemoveAction

from indexer.clustering import DataFile, Step, plan
from indexer.columns import INSTANCES, by_study
from indexer.errors import UsageError
from indexer.lease import Maintainer, maintaining
from indexer.parquet import ROWS_A_FILE, ParquetFiles
from indexer.schema import CLUSTER_COLUMN
from indexer.table import Table

KEEP_HOURS = 168
"""How long replaced files stay, for readers that opened the table before; and at most: the log then forgets when that was."""

ABANDONED_HOURS = 24
"""How old a file that no commit names has to be at least: a writer may be about to commit it."""

_ROWS_AT_ONCE = 131_072

Report = Callable[[int, int], None]
"""Called with rows rewritten and rows to rewrite, as far as known."""


@dataclass(frozen=True, slots=True)
class Maintained:
    """What came of it: rows rewritten, files added and removed by that, and files deleted for good; what would, in a dry run."""

    steps: int = 0
    rows: int = 0
    added: int = 0
    removed: int = 0
    vacuumed: int = 0
    version: int = 0


def optimize(
    url: str | Path,
    schema: Any = INSTANCES,
    storage_options: Mapping[str, Any] | None = None,
    *,
    keep_hours: int = KEEP_HOURS,
    rows_a_file: int = ROWS_A_FILE,
    dry_run: bool = False,
    report: Report = lambda done, total: None,
) -> Maintained:
    """Maintain a table. Memory is bounded by ``rows_a_file`` (about 1 KiB a row), whatever the size of the table.

    ``keep_hours``, 1 to 168, is how long files that were replaced stay for readers that still use them; files that no commit ever
    named are kept for a day at least. Raises LeaseHeldError at once while another process maintains the table, UsageError when
    there is no table, TableConflictError when another maintainer took over.
    """
    location = str(url)
    if not 1 <= keep_hours <= KEEP_HOURS:
        raise UsageError(
            f"replaced files must stay for an hour at least: readers may use them; and they can stay for {KEEP_HOURS} at most"
        )
    if dry_run:
        return _foresee(Table.open(location, schema, storage_options), keep_hours, rows_a_file)
    with maintaining(location, schema, storage_options) as maintainer:
        rewrite = Rewrite(maintainer, ParquetFiles(location, schema, storage_options))
        steps, rows, added, removed = rewrite.run(rows_a_file, report)
        vacuumed = maintainer.table.tidy(_rounds(keep_hours))
        return Maintained(steps, rows, added, removed, vacuumed, maintainer.table.version())


def _rounds(keep_hours: int) -> list[tuple[int, bool]]:
    """Give the ages by which files go: replaced ones, and all that no commit names, which may be about to be committed."""
    if keep_hours >= ABANDONED_HOURS:
        return [(keep_hours, True)]
    return [(keep_hours, False), (ABANDONED_HOURS, True)]


def _foresee(table: Table, keep_hours: int, rows_a_file: int) -> Maintained:
    steps = plan(table.data_files(), rows_a_file)
    unneeded = {path for hours, everything in _rounds(keep_hours) for path in table.unneeded(hours, everything=everything)}
    removed = sum(len(step.files) for step in steps)
    return Maintained(len(steps), sum(step.rows for step in steps), 0, removed, len(unneeded), table.version())


class Rewrite:
    """Carries out plans for the holder of a lease, a commit a step."""

    def __init__(self, maintainer: Maintainer, files: ParquetFiles) -> None:
        self._maintainer = maintainer
        self._files = files

    def run(self, rows_a_file: int, report: Report) -> tuple[int, int, int, int]:
        """Go on until nothing is left to do; gives steps, rows, files added and files removed."""
        steps = rows = added = removed = 0
        while due := plan(self._maintainer.table.data_files(), rows_a_file):
            total = rows + sum(step.rows for step in due)
            for step in due:
                adds = self._write(step, rows_a_file)
                now = int(time.time() * 1000)
                removes = [RemoveAction(file.path, False, now, file.size) for file in step.files]
                self._maintainer.commit((*adds, *removes))
                steps, rows = steps + 1, rows + step.rows
                added, removed = added + len(adds), removed + len(removes)
                report(rows, total)
            self._maintainer.table.refresh()
        return steps, rows, added, removed

    def _write(self, step: Step, rows_a_file: int) -> list[AddAction]:
        adds = []
        for block in self._blocks(step.files, rows_a_file):
            order = by_study(block)
            hashes = block.column(CLUSTER_COLUMN).take(order).to_numpy()
            for start, end in _cuts(hashes, step.bits):
                parts = (block.take(order[at : min(at + _ROWS_AT_ONCE, end)]) for at in range(start, end, _ROWS_AT_ONCE))
                adds.append(self._files.write(parts, data_change=False))
        return adds

    def _blocks(self, files: Sequence[DataFile], rows: int) -> Iterator[pa.Table]:
        """Read files, so many rows at a time."""
        held: list[pa.Table] = []
        for file in files:
            for part in self._files.read(file.path, rows):
                if held and sum(each.num_rows for each in held) + part.num_rows > rows:
                    yield pa.concat_tables(held, promote_options="default")
                    held = []
                held.append(part)
        if held:
            yield pa.concat_tables(held, promote_options="default")


def _cuts(hashes: Any, bits: int) -> list[tuple[int, int]]:
    """Cut ascending hashes where their leading bits change."""
    if not len(hashes):
        return []
    cells = hashes >> np.int64(64 - bits) if bits else np.zeros(len(hashes), np.int64)
    edges = [0, *(np.flatnonzero(np.diff(cells)) + 1).tolist(), len(hashes)]
    return list(pairwise(edges))
