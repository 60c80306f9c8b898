"""An index held open for look-ups: the view ``instances`` by study, and a table of all studies that is never out of date.

The table ``studies`` is rewritten now and then. A catalogue knows of which state of the index it was made, makes the studies anew
that have changed since (appended files, rows that are not committed yet, revisions), and unites both. Reading the rows of a study
opens only the files whose statistics allow its hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from indexer.clustering import DataFile
from indexer.columns import INSTANCES, OVERLAYS
from indexer.errors import IndexerError, UsageError
from indexer.query import column_names, effective, query, read_parquet
from indexer.studies import STUDIES, roll_up
from indexer.table import Table

Uncommitted = Callable[[Table], Any]
"""Given the table ``instances`` in the state that is read: an Arrow table of the rows that this state lacks, or None."""

_ROWS_AT_ONCE = 2_000_000
_STUDIES_AT_ONCE = 20_000
_HASHES_INLINE = 200
_LEAST, _END = -(2**63), 2**63


class Catalogue:
    """The index in one state; :meth:`refresh` moves it to the newest. Close it at the end. Not for two threads at once.

    Its DuckDB connection has the view ``studies``: one row a study that can be answered with, by its Study Instance UID of now.
    Its column ``study_hashes`` tells under which hashes the instances are found; :meth:`instances` gives those.
    """

    def __init__(
        self,
        instances_url: str | Path,
        *,
        overlays_url: str | Path | None = None,
        studies_url: str | Path | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._instances_url = instances_url
        self._overlays_url = overlays_url
        self._studies_url = studies_url
        self._options = storage_options
        self._instances = Table.open(instances_url, INSTANCES, storage_options)
        self._overlays: Table | None = None
        self._studies: Table | None = None
        self._files: list[DataFile] = []
        self._overlay_files: list[str] = []
        self._has_extra = False
        self._stale: int | None = 0
        self._state: tuple[object, ...] | None = None
        self._con = duckdb.connect(":memory:")
        self._con.execute("SET TimeZone='UTC'")
        self._con.execute("SET parquet_metadata_cache=true")  # a file of a Delta table is never changed

    @classmethod
    def open(
        cls,
        instances_url: str | Path,
        *,
        overlays_url: str | Path | None = None,
        studies_url: str | Path | None = None,
        uncommitted: Uncommitted | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Catalogue:
        """Open the index in its newest state. Raises UsageError when there is no table of instances."""
        catalogue = cls(instances_url, overlays_url=overlays_url, studies_url=studies_url, storage_options=storage_options)
        try:
            catalogue.refresh(uncommitted)
        except BaseException:
            catalogue.close()
            raise
        return catalogue

    def close(self) -> None:
        """Close the connection."""
        self._con.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    @property
    def stale_studies(self) -> int | None:
        """Tell how many studies had to be made anew when this state was read; None where it was all of them."""
        return self._stale

    def refresh(self, uncommitted: Uncommitted | None = None) -> None:
        """Move to the newest state; costs little where nothing has changed.

        Raises IndexerError when the index cannot be read, as while a rebuild exchanges it; the next call makes that good.
        """
        # In this order, nothing that is read was made of a later state of what is read after it. Each is opened anew, since
        # another table may have been put in its place, whose commits are no continuation of those that were read.
        self._studies = _opened(self._studies_url, STUDIES, self._options)
        self._overlays = _opened(self._overlays_url, OVERLAYS, self._options)
        self._instances = Table.open(self._instances_url, INSTANCES, self._options)
        self._take(uncommitted(self._instances) if uncommitted else None)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one SQL statement and give its rows; see :func:`indexer.query.query`."""
        return query(self._con, sql, parameters)

    # -- rows

    def instances(self, hashes: Sequence[int] | None) -> str:
        """Give the SELECT of the effective rows received under these hashes, or of all rows; good until the next call."""
        if hashes is None:
            return self._effective([file.uri for file in self._files], "true")
        files = [file.uri for file in self._files if any(file.low <= value <= file.high for value in hashes)]
        if len(hashes) <= _HASHES_INLINE:
            return self._effective(files, f"study_hash IN ({', '.join(map(str, map(int, hashes))) or 'NULL'})")
        self._con.register("wanted", pa.table({"study_hash": pa.array(hashes, pa.int64())}))
        return self._effective(files, "study_hash IN (SELECT study_hash FROM wanted)")

    def hashes_holding(self, column: str, values: Sequence[str]) -> list[int]:
        """List the hashes under which an object has one of these values, received or revised, in a column of the index."""
        marks = ", ".join("?" * len(values))
        sources = [self._received([file.uri for file in self._files])]
        sources += [self._read(self._overlay_files, OVERLAYS)] if self._overlay_files else []
        selects = [f'SELECT study_hash FROM ({source}) WHERE "{column}" IN ({marks})' for source in sources]
        found = self.query(" UNION ".join(selects), [*values] * len(sources))
        return [row["study_hash"] for row in found]

    def _effective(self, files: Sequence[str], condition: str) -> str:
        overlays = None
        if self._overlay_files:
            overlays = f"SELECT * FROM ({self._read(self._overlay_files, OVERLAYS)}) WHERE {condition}"
        return effective(f"(SELECT * FROM ({self._received(files)}) WHERE {condition})", overlays)

    def _read(self, files: Sequence[str], schema: Any) -> str:
        return read_parquet(self._con, files, schema, self._options)

    def _received(self, files: Sequence[str]) -> str:
        sources = [self._read(files, INSTANCES)] if files else []
        if self._has_extra or not sources:
            sources.append(f"SELECT {column_names(INSTANCES)} FROM extra_rows")
        return " UNION ALL ".join(sources)

    # -- studies

    def _take(self, extra: Any) -> None:
        rows = extra if extra is not None else INSTANCES.empty_table()
        tables = (self._instances, self._overlays, self._studies)
        state = (*(table and (table.identity(), table.version()) for table in tables), rows.num_rows)
        if state == self._state and not rows.num_rows:
            return
        self._state = None  # until all of it is read
        self._files = self._instances.data_files()
        self._overlay_files = self._overlays.files() if self._overlays else []
        self._has_extra = rows.num_rows > 0
        self._con.register("extra_rows", rows.select(INSTANCES.names))
        try:
            self._make_studies()
        except (duckdb.Error, OSError) as exc:
            raise IndexerError(f"the files of the table at {self._instances_url} cannot be read: {type(exc).__name__}") from exc
        self._state = state

    def _make_studies(self) -> None:
        stale = self._stale_hashes()
        self._stale = None if stale is None else len(stale)
        self._con.execute("DROP VIEW IF EXISTS studies")
        self._con.execute("DROP VIEW IF EXISTS parts")
        self._con.execute("DROP TABLE IF EXISTS fresh")
        self._con.register("no_parts", STUDIES.empty_table())
        self._con.execute("CREATE TEMP TABLE fresh AS SELECT * FROM no_parts")
        for rows in self._changed_rows(stale):
            self._con.execute(f"INSERT INTO fresh {roll_up(rows)}")
        parts = "SELECT * FROM fresh"
        kept = self._studies.files() if self._studies and stale is not None else []
        if kept:
            known = self._read(kept, STUDIES)
            without = "WHERE study_hash NOT IN (SELECT study_hash FROM stale)" if stale else ""
            parts = f"SELECT * FROM ({known}) {without}" + (f" UNION ALL {parts}" if stale else "")
        self._con.execute(f"CREATE TEMP VIEW parts AS {parts}")
        self._con.execute(f"CREATE TEMP VIEW studies AS {self._whole_studies()}")

    def _whole_studies(self) -> str:
        """Give the SELECT of the studies: the parts, but one row for those studies that consist of several."""
        every_part = "SELECT *, [study_hash] AS study_hashes FROM parts"
        if not self._overlay_files:
            return every_part
        moved = "SELECT StudyInstanceUID FROM parts WHERE moved"
        self._con.execute(
            "CREATE OR REPLACE TEMP TABLE split AS SELECT StudyInstanceUID FROM parts "
            f"WHERE StudyInstanceUID IN ({moved}) GROUP BY 1 HAVING count(*) > 1"
        )
        hashes = self.query("SELECT DISTINCT study_hash FROM parts WHERE StudyInstanceUID IN (SELECT * FROM split)")
        if not hashes:
            return every_part
        in_split = "StudyInstanceUID IN (SELECT StudyInstanceUID FROM split)"
        rows = f"SELECT * FROM ({self.instances([row['study_hash'] for row in hashes])}) WHERE {in_split}"
        self._con.execute(f"CREATE OR REPLACE TEMP TABLE united AS {roll_up(rows, whole=True)}")
        return f"{every_part} WHERE NOT {in_split} UNION ALL SELECT * FROM united"

    def _stale_hashes(self) -> list[int] | None:
        """List the hashes of the studies that the table ``studies`` does not tell as they are now; None for all of them."""
        if self._studies is None:
            return None
        made_of = self._studies.transaction(source_of(self._instances))
        changed = self._instances.appended_since(made_of) if made_of is not None else None
        revised: list[str] | None = []
        if self._overlays is not None:
            made_of = self._studies.transaction(source_of(self._overlays))
            revised = self._overlays.appended_since(made_of) if made_of is not None else self._overlay_files
        if changed is None or revised is None:
            return None
        sources = [self._read(changed, INSTANCES)] if changed else []
        sources += [self._read(revised, OVERLAYS)] if revised else []
        sources += ["SELECT study_hash FROM extra_rows"] if self._has_extra else []
        if not sources:
            return []
        union = " UNION ".join(f"SELECT study_hash FROM ({source})" for source in sources)
        return [row["study_hash"] for row in self.query(union)]

    def _changed_rows(self, stale: Sequence[int] | None) -> Iterator[str]:
        """Yield SELECTs that together give all rows of the stale studies, a bounded number of rows at once."""
        if stale is None:
            share = max(1, -(-self._instances.info().rows // _ROWS_AT_ONCE))
            step = -(-(_END - _LEAST) // share)
            for least in range(_LEAST, _END, step):
                greatest = min(least + step, _END) - 1
                files = [file.uri for file in self._files if file.low <= greatest and least <= file.high]
                yield self._effective(files, f"study_hash BETWEEN ({least}) AND ({greatest})")
            return
        self._con.register("stale", pa.table({"study_hash": pa.array(stale, pa.int64())}))
        ordered = sorted(stale)
        for at in range(0, len(ordered), _STUDIES_AT_ONCE):
            yield self.instances(ordered[at : at + _STUDIES_AT_ONCE])

    def rewrite_studies(self) -> int:
        """Write the table ``studies`` as this state has it; gives its number of parts. For the one leased maintainer.

        Raises UsageError when rows that are not committed yet are part of this state.
        """
        if self._has_extra or self._studies_url is None:
            raise UsageError("the studies are written of what is committed, at a place that was named")
        ordered = f"SELECT {column_names(STUDIES)} FROM parts ORDER BY study_hash, StudyInstanceUID"
        parts: Any = self._con.sql(ordered).to_arrow_table()
        table = Table.create(self._studies_url, STUDIES, self._options)
        made_of = [source for source in (self._instances, self._overlays) if source is not None]
        table.overwrite(parts.cast(STUDIES), {source_of(source): source.version() for source in made_of})
        return int(parts.num_rows)


def source_of(table: Table) -> str:
    """Name a table as the transactions of the table ``studies`` do, whose number is the version that it was made of."""
    return f"made-of:{table.identity()}"


def _opened(url: str | Path | None, schema: Any, options: Mapping[str, Any] | None) -> Table | None:
    """Open a table; None where there is none."""
    if url is None:
        return None
    try:
        return Table.open(url, schema, options)
    except UsageError:
        return None
