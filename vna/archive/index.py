"""The index: a Delta table made from the journal, and DuckDB over it. The only module here that needs pyarrow and the like.

It is a cache. Segments go in exactly once (application transactions), in batches, and a crash at any moment is made good by the
next :meth:`Index.sync`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer import query
from indexer.columns import to_arrow
from indexer.errors import IndexerError, UsageError
from indexer.table import Segment as TableSegment
from indexer.table import Table
from vna.archive.journal import Segment, read_segment, segments, writers
from vna.archive.layout import INDEX_INSTANCES, INDEX_OVERLAYS, JOURNAL, SPOOL
from vna.archive.manifests import write_manifests
from vna.archive.overlays import sync_overlays
from vna.archive.rows import JournalRow
from vna.errors import ConfigError, StoreError, VnaError
from vna.model import Report
from vna.store import LocalStore
from vna.store.operations import APPEND_MODE, FOLDER_MODE, store_errors

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ROWS_PER_COMMIT = 20_000
_ATTEMPTS = 10
_SUMMARY = """
SELECT count(*) AS instances, count(DISTINCT StudyInstanceUID) AS studies, coalesce(sum(size), 0)::BIGINT AS bytes FROM instances
"""


class Index:
    """The index of one archive in a local folder."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._journal = store.root / JOURNAL
        self._folder = store.root / INDEX_INSTANCES
        self._overlays = store.root / INDEX_OVERLAYS

    def sync(self) -> int:
        """Commit the sealed segments that the table does not have; see :meth:`vna.archive.Archive.sync_index`."""
        added = 0
        with self.maintaining(), index_errors():
            table = Table.create(self._folder)
            for batch in _batches(self._due(table)):
                rows = [list(read_segment(segment)) for segment in batch]
                write_manifests(self._store, chain.from_iterable(rows))
                added += table.append_segments(
                    [
                        TableSegment(segment.writer, segment.n, [index_columns(row) for row in each])
                        for segment, each in zip(batch, rows, strict=True)
                    ]
                )
            self._manifests_of_open_segments()
        return added

    def sync_revisions(self) -> int:
        """Take revisions into the table of overlays; see :meth:`vna.archive.Archive.sync_revisions`."""
        with self.maintaining(), index_errors():
            return sync_overlays(self._store, self._overlays, self._objects_of)

    def _objects_of(self, study_instance_uid: str) -> dict[str, tuple[str, str]]:
        rows = self.select(None, [study_instance_uid], ("sha256", "path", "received_status"))
        return {row["sha256"]: (row["path"], row["received_status"]) for row in rows}

    def connect(self) -> DuckDBPyConnection:
        """Open the view ``instances``; see :meth:`vna.archive.Archive.connect`."""
        with index_errors():
            for _ in range(_ATTEMPTS):
                table = self._table()
                overlays = self._overlays if self._overlays.exists() else None
                extra_rows = to_arrow(map(index_columns, self._uncommitted(table)))
                con = query.connect(self._folder, extra_rows=extra_rows, overlays_url=overlays)
                before = table.version()
                table.refresh()
                if table.version() == before:
                    return con
                # A commit came in between: its rows would show twice, once from the table and once from the journal.
                con.close()
        raise StoreError("the index is being written too busily to be read", hint="try again")

    def query(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Run SQL over the view; see :meth:`vna.archive.Archive.query`."""
        con = self.connect()
        try:
            with index_errors():
                return [{name: _readable(value) for name, value in row.items()} for row in query.query(con, sql, params)]
        finally:
            con.close()

    def select(self, where: str | None, studies: Sequence[str], columns: Sequence[str] = ()) -> list[dict[str, Any]]:
        """List rows of the view; see :meth:`vna.archive.Archive.select`."""
        conditions = []
        params: list[object] = []
        if where:
            # The line break ends a comment that the condition may end with.
            conditions.append(f"({where}\n)")
        if studies:
            conditions.append("list_contains(?, received_StudyInstanceUID)")
            params.append(list(studies))
        names = ", ".join(f'"{name}"' for name in columns) or "*"
        sql = f"SELECT {names} FROM instances"
        if conditions:
            sql += " WHERE " + " AND ".join(conditions)
        return self.query(f"{sql} ORDER BY study_hash, received_SeriesInstanceUID, received_SOPInstanceUID, sha256", params)

    def info(self) -> dict[str, Any]:
        """Tell how much there is; see :meth:`vna.archive.Archive.index_info`."""
        with index_errors():
            version = self._table().version()
        return {**self.query(_SUMMARY)[0], "version": version}

    def rebuild(self, report: Report, workers: int) -> int:
        """Make the table anew; see :meth:`vna.archive.Archive.rebuild_index`."""
        from vna.archive.rebuild import rebuild

        with self.maintaining(), index_errors(), store_errors("the index could not be rebuilt"):
            beside = self._beside("rebuild")
            shutil.rmtree(beside, ignore_errors=True)
            count = rebuild(self._store, beside, report, workers)
            self._swap(beside)
            shutil.rmtree(self._overlays, ignore_errors=True)
            sync_overlays(self._store, self._overlays, self._objects_of)
        return count

    def write_manifests(self) -> int:
        """Bring all manifests up to date; see :meth:`vna.archive.Archive.write_manifests`."""
        changed = 0
        with self.maintaining():
            for writer in writers(self._journal):
                for segment in segments(self._journal, writer):
                    changed += write_manifests(self._store, read_segment(segment, tolerant=True))
        return changed

    @contextmanager
    def maintaining(self) -> Iterator[None]:
        """Hold the lock of the one process that maintains the index and the manifests; waited for."""
        path = self._store.root / SPOOL / "index.lock"
        with store_errors("the index could not be locked"):
            path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, APPEND_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with store_errors("the index could not be put in order"):
                self._put_in_order()
            yield
        finally:
            os.close(descriptor)

    # -- the journal's side

    def _due(self, table: Table) -> Iterator[Segment]:
        for writer in writers(self._journal):
            held = table.transaction(writer) or 0
            for segment in segments(self._journal, writer):
                if segment.n > held and not segment.is_open:
                    yield segment

    def _uncommitted(self, table: Table) -> Iterator[JournalRow]:
        for writer in writers(self._journal):
            held = table.transaction(writer) or 0
            for segment in segments(self._journal, writer):
                if segment.n > held:
                    yield from read_segment(segment)

    def _manifests_of_open_segments(self) -> None:
        for writer in writers(self._journal):
            for segment in segments(self._journal, writer):
                if segment.is_open:
                    write_manifests(self._store, read_segment(segment))

    # -- the table's side

    def _table(self) -> Table:
        if not (self._folder / "_delta_log").is_dir():
            with self.maintaining():
                return Table.create(self._folder)
        return Table.open(self._folder)

    def _beside(self, suffix: str) -> Path:
        return self._folder.with_name(f"{self._folder.name}.{suffix}")

    def _swap(self, fresh: Path) -> None:
        """Put a new table in the place of the old one; a crash in between is made good by :meth:`_put_in_order`."""
        replaced = self._beside("replaced")
        if self._folder.exists():
            self._folder.rename(replaced)
        fresh.rename(self._folder)
        shutil.rmtree(replaced, ignore_errors=True)

    def _put_in_order(self) -> None:
        replaced = self._beside("replaced")
        if not replaced.exists():
            return
        if self._folder.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            replaced.rename(self._folder)


def index_columns(row: JournalRow) -> dict[str, object]:
    """Make the index row of a journal row: the columns read from the object, and ours."""
    return {
        **row.row,
        "path": row.path,
        "size": row.size,
        "sha256": row.sha256,
        "source": row.source or None,
        "received_at": row.received_at or None,
        "status": row.state,
        "codes": row.codes,
    }


@contextmanager
def index_errors() -> Iterator[None]:
    """Turn the indexer's errors into this package's: the user's SQL is a ConfigError, everything else a StoreError."""
    try:
        yield
    except VnaError:
        raise
    except UsageError as exc:
        raise ConfigError(str(exc), hint=exc.hint) from exc
    except IndexerError as exc:
        raise StoreError(str(exc), hint=exc.hint or "'vna index rebuild' makes the index anew from the objects") from exc


def _batches(due: Iterator[Segment]) -> Iterator[list[Segment]]:
    """Group segments into commits of a bounded number of rows, without reading them: a segment's size tells enough."""
    batch: list[Segment] = []
    size = 0
    for segment in due:
        batch.append(segment)
        size += segment.path.stat().st_size
        if size >= _ROWS_PER_COMMIT * 1000:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _readable(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
