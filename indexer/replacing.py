"""Put rows in the place of others, in one commit: nobody sees the table without either, or with both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.transaction import AddAction, RemoveAction

from indexer.columns import INSTANCES, to_arrow
from indexer.errors import IndexerError
from indexer.parquet import ROWS_A_FILE, ParquetFiles
from indexer.table import Segment, Table

AT_ONCE = 1_000
"""The most rows that should be replaced at once, since they are held in memory while files are looked through."""

_KEYS = ("source", "path")


def replace_rows(table: Table, source: str, segment: Segment, storage_options: Mapping[str, Any] | None = None) -> None:
    """Write the rows of a segment in the place of all that the table holds of ``source`` under the same paths.

    Made only if the table has not seen the segment's number of this writer, and tried again where others get in between. A
    maintainer that is at work meanwhile loses its lease. Raises TableConflictError when others get in between again and again,
    IndexerError when the table cannot be written.
    """
    table.exchange(segment, _Replacement(table, source, segment, storage_options).actions)


class _Replacement:
    """The files that change places. What was written, and what is known of a file, is kept from attempt to attempt."""

    def __init__(self, table: Table, source: str, segment: Segment, storage_options: Mapping[str, Any] | None) -> None:
        self._table = table
        self._rows = segment.rows if isinstance(segment.rows, pa.Table) else to_arrow(segment.rows)
        self._sought = (pa.array([source]), self._rows.column("path").combine_chunks())
        self._files = ParquetFiles(table.url, INSTANCES, storage_options)
        self._new: list[AddAction] = []
        self._left: dict[str, list[AddAction] | None] = {}

    def actions(self) -> list[AddAction | RemoveAction]:
        """Give what changes in the table's state of now."""
        try:
            self._new = self._new or self._table.write(self._rows)
            actions: list[AddAction | RemoveAction] = list(self._new)
            now = int(time.time() * 1000)
            for file in self._table.actions().to_pylist():
                left = self._left_of(file)
                if left is not None:
                    actions += [*left, RemoveAction(file["path"], True, now, file["size_bytes"])]
            return actions
        except pa.ArrowException as exc:
            raise IndexerError(f"cannot read the table at {self._table.url}: {type(exc).__name__}") from exc

    def _left_of(self, file: Mapping[str, Any]) -> list[AddAction] | None:
        """Write what is left of a file without the rows that are replaced; None for one that has none of those."""
        path = file["path"]
        if path not in self._left:
            replaced, rows = self._count(path) if self._may_hold(file) else (0, 0)
            if not replaced:
                self._left[path] = None
            else:
                self._left[path] = [self._files.write(self._parts_left(path))] if replaced < rows else []
        return self._left[path]

    def _count(self, path: str) -> tuple[int, int]:
        """Count the rows of a file that are replaced, and all of them."""
        rows = self._files.read_columns(path, _KEYS)
        return pc.sum(self._is_replaced(rows)).as_py() or 0, rows.num_rows

    def _may_hold(self, file: Mapping[str, Any]) -> bool:
        """Tell from the log alone whether a file can have rows that are replaced."""
        for name, sought in zip(_KEYS, self._sought, strict=True):
            least, greatest = file.get(f"min.{name}"), file.get(f"max.{name}")
            wanted = pc.min_max(sought).as_py()
            if least is not None and greatest is not None and (wanted["max"] < least or greatest < wanted["min"]):
                return False
        return True

    def _is_replaced(self, rows: pa.Table) -> Any:
        """Tell of each row whether another one takes its place."""
        source, path = (pc.is_in(rows.column(name), value_set=sought) for name, sought in zip(_KEYS, self._sought, strict=True))
        return pc.and_(source, path)

    def _parts_left(self, path: str) -> Iterator[pa.Table]:
        for part in self._files.read(path, ROWS_A_FILE):
            yield part.filter(pc.invert(self._is_replaced(part)))
