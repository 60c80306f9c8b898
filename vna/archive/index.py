"""The index: a Delta table made from the journal, and DuckDB over it. The only module here that needs pyarrow and the like.

It is a cache. Segments go in exactly once (application transactions), in batches, and a crash at any moment is made good by the
next :meth:`Index.sync`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.columns import INSTANCES, OVERLAYS, to_arrow
from indexer.errors import IndexerError, LeaseHeldError, UntrustedServiceError, UsageError
from indexer.lease import locked
from indexer.schema import study_hash
from indexer.table import Segment as TableSegment
from indexer.table import Table
from vna.archive.address import Address
from vna.archive.journal import Journal, Segment, read_segment
from vna.archive.layout import INDEX_INSTANCES, INDEX_OVERLAYS, INDEX_STUDIES, SPOOL
from vna.archive.manifests import write_manifests
from vna.archive.placing import exchange_folder, put_in_order, replace_table
from vna.archive.revision_files import revised_studies
from vna.archive.rows import JournalRow, index_columns
from vna.errors import ConfigError, LockedError, RefusedError, StoreError, VnaError
from vna.model import Report
from vna.store import LocalStore, Store, locks
from vna.store.operations import FOLDER_MODE, store_errors

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from indexer.catalogue import Catalogue
    from vna.archive.rebuild import Missing
    from vna.executors import Workplace

log = logging.getLogger(__name__)

_ROWS_PER_COMMIT = 20_000
_SUMMARY = """
SELECT count(*) AS instances, count(DISTINCT StudyInstanceUID) AS studies, coalesce(sum(size), 0)::BIGINT AS bytes FROM instances
"""


class Index:
    """The index of one archive: tables beside its objects. What is scratch stands in ``workspace``, on the local disk."""

    def __init__(self, store: Store, workspace: Path, journal: Journal, storage_options: Mapping[str, Any] | None = None) -> None:
        self._store = store
        self._workspace = workspace
        self._journal = journal
        self._options = storage_options
        self._instances = f"{store.url}/{INDEX_INSTANCES}"
        self._overlays = f"{store.url}/{INDEX_OVERLAYS}"
        self._studies = f"{store.url}/{INDEX_STUDIES}"

    def sync(self) -> int:
        """Commit the sealed segments that the table does not have; see :meth:`vna.archive.Archive.sync_index`."""
        added = 0
        with self.maintaining(), index_errors():
            table = Table.create(self._instances, storage_options=self._options)
            for batch in _batches(self._due(table)):
                write_manifests(self._store, chain.from_iterable(rows for _, rows in batch))
                added += table.append_segments(
                    [TableSegment(segment.writer, segment.n, [index_columns(row) for row in rows]) for segment, rows in batch]
                )
            if isinstance(self._store, LocalStore):  # elsewhere each costs requests, and the next sync writes them anyway
                self._manifests_of_open_segments()
            self._make_revisions_good()
        return added

    def sync_revisions(self) -> int:
        """Take revisions into the table of overlays; see :meth:`vna.archive.Archive.sync_revisions`."""
        with index_errors():
            self._table()  # made now, since who looks for objects would wait for the lock that is held then
        with self.maintaining(), index_errors():
            return self._take_revisions(self._overlays)

    def _take_revisions(self, overlays: str) -> int:
        from vna.archive.overlays import sync_overlays  # it reads data elements, which takes long to import

        return sync_overlays(self._store, overlays, self._objects_of, self._options)

    def _make_revisions_good(self) -> None:
        """Take revisions into the table of overlays whose writer died before it did so, or is on another machine."""
        try:
            with index_errors():
                if self._lacks_revisions():
                    self._take_revisions(self._overlays)
        except StoreError as exc:  # they stay due, and what was received is in the index all the same
            log.warning("revisions are not in the index yet: %s", exc)

    def _lacks_revisions(self) -> bool:
        """Tell, by the names of their files alone, whether there are revisions that the table of overlays does not have."""
        overlays: Table | None = None
        for folder, numbers in revised_studies(self._store):
            try:
                overlays = overlays or Table.open(self._overlays, OVERLAYS, self._options)
            except UsageError:
                return True
            if numbers[-1] > (overlays.transaction(folder) or 0):
                return True
        return False

    def _objects_of(self, study_instance_uid: str) -> dict[str, tuple[str, str]]:
        from indexer import query

        of_study = "WHERE study_hash = ? AND StudyInstanceUID = ? AND sha256 IS NOT NULL"
        with closing(self.connect(as_received=True)) as con:
            rows = query.query(
                con, f"SELECT sha256, path, status FROM received {of_study}", (study_hash(study_instance_uid), study_instance_uid)
            )
        return {row["sha256"].hex(): (row["path"], row["status"]) for row in rows}

    def connect(self, *, as_received: bool = False) -> DuckDBPyConnection:
        """Open the view ``instances``; see :meth:`vna.archive.Archive.connect`."""
        from indexer import query  # not before somebody asks: who only commits needs no DuckDB

        with index_errors():
            has_overlays = not as_received and self._has_overlays()
            overlays = Table.open(self._overlays, OVERLAYS, self._options) if has_overlays else None
            table = self._table()
            return query.connect(table, overlays=overlays, extra_rows=self._rows_beside(table))

    def query(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Run SQL over the view; see :meth:`vna.archive.Archive.query`."""
        from indexer import query

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

    @contextmanager
    def catalogue(self, *, committed_only: bool = False) -> Iterator[Catalogue]:
        """Hold the index open for look-ups; see :meth:`vna.archive.Archive.catalogue`."""
        from indexer.catalogue import Catalogue

        with index_errors():
            self._table()
            with Catalogue.open(
                self._instances,
                overlays_url=self._overlays,
                studies_url=self._studies,
                uncommitted=None if committed_only else self._rows_beside,
                storage_options=self._options,
            ) as catalogue:
                yield catalogue

    def roll_up_studies(self) -> int:
        """Write the table of studies; see :meth:`vna.archive.Archive.roll_up_studies`."""
        with self.maintaining(), self.catalogue(committed_only=True) as catalogue:
            return 0 if catalogue.stale_studies == 0 else catalogue.rewrite_studies()

    def info(self) -> dict[str, Any]:
        """Tell how much there is; see :meth:`vna.archive.Archive.index_info`."""
        from vna.archive.maintenance import seconds_since, state

        with index_errors():
            table = self._table()
            waiting = [row.received_at for row in self._uncommitted(table)]
            tables = state(self._tables(), self._options)
        return {
            **self.query(_SUMMARY)[0],
            "version": table.version(),
            "files": sum(each["files"] for each in tables.values()),
            "index_bytes": sum(each["bytes"] for each in tables.values()),
            "uncommitted": len(waiting),
            "behind_s": seconds_since(waiting),
            "tables": tables,
        }

    def _tables(self) -> dict[str, tuple[str, Any]]:
        from indexer.studies import STUDIES

        return {
            "instances": (self._instances, INSTANCES),
            "overlays": (self._overlays, OVERLAYS),
            "studies": (self._studies, STUDIES),
        }

    def optimize(self, report: Report, keep_hours: int, dry_run: bool) -> dict[str, Any]:
        """Maintain the tables; see :meth:`vna.archive.Archive.optimize_index`."""
        from vna.archive.maintenance import optimize_table, summary

        done = {}
        studies = 0
        for name, (url, schema) in self._tables().items():
            if name == "studies" and not dry_run:
                studies = self.roll_up_studies()
            with index_errors():
                done[name] = optimize_table(url, schema, self._options, keep_hours=keep_hours, dry_run=dry_run, report=report)
        return {**summary(done), "studies": studies}

    def rebuild(
        self, address: Address, place: Workplace, report: Report, on_differing: Callable[[str], None] | None, missing: Missing
    ) -> int:
        """Make the table anew; see :meth:`vna.archive.Archive.rebuild_index`."""
        from vna.archive.rebuild import Rebuild

        # Held to the end: who optimises the table that is replaced would go on in the new one's log.
        with (
            index_errors(),
            locked(self._instances),
            locked(self._overlays),
            self.maintaining(),
            store_errors("the index could not be rebuilt"),
        ):
            with self._beside(INDEX_INSTANCES) as beside:
                rebuild = Rebuild(address, self._store, self._workspace, self._journal, place, report, on_differing, missing)
                held = self._held()
                count, accounted = rebuild.run(beside)
                if not missing.known:  # nor can the journal tell what should be there
                    self._refuse_loss(held, count, missing)
                self._put_in_place(beside, accounted)
            with self._beside(INDEX_OVERLAYS) as beside:
                self._rebuild_overlays(beside)
        return count

    @contextmanager
    def _beside(self, name: str) -> Iterator[Path]:
        """Have a place on the local disk for a table that is made anew; what is left there goes away."""
        beside = self._workspace / f"{name}.rebuild"
        shutil.rmtree(beside, ignore_errors=True)
        try:
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _rebuild_overlays(self, beside: Path) -> None:
        """Make the overlays anew, and put them in the old ones' place in one commit, so that none is ever missed.

        Where the store shows no revision at all, what is there stays: revisions do not go away.
        """
        if next(revised_studies(self._store), None) is None:
            return
        self._take_revisions(str(beside))
        if beside.exists():
            fresh = Table.open(beside, OVERLAYS)

            def held() -> dict[str, int]:  # a revision that came meanwhile is due once more
                return {folder: fresh.transaction(folder) or 0 for folder, _ in revised_studies(self._store)}

            replace_table(self._store, INDEX_OVERLAYS, OVERLAYS, fresh, held, self._options)

    def _held(self) -> int:
        """Tell how many objects the index holds that is there; 0 for none, and for one that cannot be read."""
        try:
            return Table.open(self._instances, storage_options=self._options).info().rows
        except (IndexerError, UsageError):
            return 0

    def _refuse_loss(self, held: int, count: int, missing: Missing) -> None:
        """Raise RefusedError if an index with much less would take the place of the one that is there."""
        missing.known, missing.count = held, max(0, held - count)
        if count and missing.is_too_much:
            raise missing.refusal(f"{held - count:,} of {held:,} objects that the index holds")
        if held and not count:
            raise RefusedError(
                f"the store shows no object at all, and the index holds {held:,}",
                hint="see that the disk is mounted, or the bucket is the right one; if all is gone indeed, remove index/ first",
            )

    @contextmanager
    def maintaining(self) -> Iterator[None]:
        """Hold the lock of the one process that maintains the index and the manifests; waited for."""
        path = self._workspace / SPOOL / "index.lock"
        with ExitStack() as held:
            with store_errors("the index could not be locked"):
                path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
                held.enter_context(locks.locked(path))
            if isinstance(self._store, LocalStore):
                with store_errors("the index could not be put in order"):
                    put_in_order(Path(self._instances))
            yield

    # -- the journal's side

    def _due(self, table: Table) -> Iterator[Segment]:
        for writer, found in self._journal.by_writer():
            held = table.transaction(writer) or 0
            for segment in found:
                if segment.n > held and not segment.is_open:
                    yield segment

    def _uncommitted(self, table: Table) -> Iterator[JournalRow]:
        for writer, found in self._journal.by_writer():
            held = table.transaction(writer) or 0
            for segment in found:
                if segment.n > held:
                    yield from read_segment(segment)

    def _rows_beside(self, table: Table) -> Any:
        """Give the rows that this state of the table lacks; whatever is committed meanwhile, the journal keeps them."""
        return to_arrow(map(index_columns, self._uncommitted(table)))

    def _manifests_of_open_segments(self) -> None:
        for _, found in self._journal.by_writer():
            for segment in found:
                if segment.is_open:
                    write_manifests(self._store, read_segment(segment))

    # -- the table's side

    def _table(self) -> Table:
        try:
            return Table.open(self._instances, storage_options=self._options)
        except UsageError:  # there is none yet
            with self.maintaining():
                return Table.create(self._instances, storage_options=self._options)

    def _has_overlays(self) -> bool:
        log = f"{INDEX_OVERLAYS}/_delta_log"
        return any(self._store.exists(f"{log}/{name}") for name in ("00000000000000000000.json", "_last_checkpoint"))

    def _put_in_place(self, fresh: Path, accounted: Mapping[str, int]) -> None:
        """Put a new table of instances in the place of the old one: by one commit where nothing can be renamed."""
        if isinstance(self._store, LocalStore):
            exchange_folder(fresh, Path(self._instances))
            return
        # Segments that others committed meanwhile, and that are not in the new rows, are due once more.
        replace_table(
            self._store,
            INDEX_INSTANCES,
            INSTANCES,
            Table.open(fresh),
            lambda: {writer: accounted.get(writer, 0) for writer, _ in self._journal.by_writer()},
            self._options,
        )


@contextmanager
def index_errors() -> Iterator[None]:
    """Turn the indexer's errors into this package's: the user's SQL is a ConfigError, everything else a StoreError."""
    try:
        yield
    except VnaError:
        raise
    except UsageError as exc:
        raise ConfigError(str(exc), hint=exc.hint) from exc
    except LeaseHeldError as exc:
        raise LockedError(str(exc), hint=exc.hint) from exc
    except UntrustedServiceError as exc:
        raise RefusedError(str(exc), hint=exc.hint) from exc
    except IndexerError as exc:
        raise StoreError(str(exc), hint=exc.hint or "'vna index rebuild' makes the index anew from the objects") from exc


def _batches(due: Iterator[Segment]) -> Iterator[list[tuple[Segment, list[JournalRow]]]]:
    """Read segments, and group them into commits of a bounded number of rows."""
    batch: list[tuple[Segment, list[JournalRow]]] = []
    count = 0
    for segment in due:
        rows = list(read_segment(segment))
        batch.append((segment, rows))
        count += len(rows)
        if count >= _ROWS_PER_COMMIT:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _readable(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
