"""A Delta Lake table of rows: append once, list the current files, tell its state.

An append is one commit that carries an application transaction (writer, number). It is made only if the table has not seen that
number of that writer yet, so that repeating an append whose outcome is unknown never adds a row twice (Delta protocol,
"transaction identifiers"). Any number of writers may append at the same time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from indexer.clustering import DataFile
from indexer.columns import INSTANCES, Row, merged, to_arrow
from indexer.errors import IndexerError, TableConflictError, UsageError
from indexer.parquet import ROWS_A_FILE, ParquetFiles
from indexer.s3 import delta_options, is_remote, require_conditional_writes
from indexer.schema import CLUSTER_COLUMN, SCHEMA_VERSION

MAINTAINER = "maintainer"
"""The application transaction that every commit carries that takes files out of the table; see :mod:`indexer.lease`."""

_ATTEMPTS = 12
_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 1.0
_OVERTAKEN = 200
"""How often the Delta library puts a commit behind those of others, which costs a request each, before it gives up."""

_CONFIGURATION = {
    "vna.schemaVersion": str(SCHEMA_VERSION),
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 1 days",
}
_EXCHANGE = "error"
"""What the log is told of a commit that takes rows out and says of which files: "overwrite" would take out all of them, and
"append" says that none was; see :func:`_keeps_rows`."""

_T = TypeVar("_T")
_KEEPS_ROWS = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES"})


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows that one writer numbered ``number``; a writer's numbers ascend. Rows are mappings, or an Arrow table of the schema."""

    writer: str
    number: int
    rows: Sequence[Row] | pa.Table


@dataclass(frozen=True, slots=True)
class TableInfo:
    """The state of a table: commits so far, rows, files and their bytes."""

    url: str
    version: int
    rows: int
    files: int
    bytes: int


def _highest(segments: Sequence[Segment]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for segment in segments:
        numbers[segment.writer] = max(segment.number, numbers.get(segment.writer, segment.number))
    return numbers


def _keeps_rows(commit: Mapping[str, Any]) -> bool:
    """Tell whether a commit of the history only added rows, or arranged them anew."""
    if commit.get("operation") == "WRITE":
        return (commit.get("operationParameters") or {}).get("mode") == "Append"
    return commit.get("operation") in _KEEPS_ROWS


class Table:
    """One Delta table. Open it with :meth:`create` or :meth:`open`; nothing needs to be closed. Not for two threads at once."""

    def __init__(self, delta: DeltaTable, url: str, schema: Any, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self._delta = delta
        self._schema = schema
        self.storage_options = storage_options

    @classmethod
    def create(cls, url: str | Path, schema: Any = INSTANCES, storage_options: Mapping[str, Any] | None = None) -> Table:
        """Create the table, empty, or open it when it is there already. Raises IndexerError when neither works."""
        location = str(url)
        # DeltaTable.is_deltatable would hold the interpreter's lock until the service answers, and stop every other thread.
        with suppress(UsageError):
            return cls.open(location, schema, storage_options)
        try:
            if is_remote(location):
                require_conditional_writes(location, storage_options)
            elif "://" not in location:
                Path(location).mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                location,
                schema,
                mode="ignore",
                configuration=_CONFIGURATION,
                storage_options=delta_options(location, storage_options),
                commit_properties=CommitProperties(max_commit_retries=0),  # or the second of two would commit once more
                raise_if_key_not_exists=False,
            )
        except CommitFailedError:
            pass  # another process created it in the same moment
        except (DeltaError, OSError) as exc:
            raise IndexerError(f"cannot create a table at {location}: {exc}") from exc
        return cls.open(location, schema, storage_options)

    @classmethod
    def open(cls, url: str | Path, schema: Any = INSTANCES, storage_options: Mapping[str, Any] | None = None) -> Table:
        """Open an existing table. Raises UsageError when there is none, IndexerError when it cannot be read or is newer."""
        location = str(url)
        try:
            delta = DeltaTable(location, storage_options=delta_options(location, storage_options))
        except TableNotFoundError as exc:
            raise UsageError(f"there is no table at {location}", hint="indexer scan PATH --to TABLE makes one") from exc
        except (DeltaError, OSError) as exc:
            raise IndexerError(f"cannot open the table at {location}: {exc}") from exc
        newest = int(delta.metadata().configuration.get("vna.schemaVersion") or SCHEMA_VERSION)
        if newest > SCHEMA_VERSION:
            raise IndexerError(f"the table at {location} has schema version {newest}; this software knows {SCHEMA_VERSION}")
        return cls(delta, location, schema, storage_options)

    def refresh(self) -> None:
        """Read the newest state of the table. Raises IndexerError when it cannot be read."""
        try:
            self._delta.update_incremental()
        except (DeltaError, OSError) as exc:
            raise IndexerError(f"cannot read the table at {self.url}: {exc}") from exc

    def version(self) -> int:
        """Tell the number of the last commit read; the first is 0."""
        return self._delta.version()

    def committed_at(self) -> datetime:
        """Tell when the last commit read was made, by the clock of whoever made it."""
        return datetime.fromtimestamp(self._delta.history(1)[0]["timestamp"] / 1000, UTC)

    def files(self) -> list[str]:
        """List the Parquet files that make up the table now, as absolute paths or URIs."""
        return list(self._delta.file_uris())

    def identity(self) -> str:
        """Tell the table's own identifier, which one made anew at the same place does not share."""
        return str(self._delta.metadata().id)

    def data_files(self) -> list[DataFile]:
        """List the current files with their rows, bytes and hashes of studies, from the transaction log alone."""
        actions = self.actions()
        bounds = [f"{bound}.{CLUSTER_COLUMN}" for bound in ("min", "max")]
        known = all(name in actions.column_names for name in bounds)  # not without rows or statistics
        uris = {uri.rpartition("/")[2]: uri for uri in self.files()}
        made = []
        for row in actions.select(["path", "num_records", "size_bytes", *(bounds if known else ())]).to_pylist():
            low, high = (row.get(name) for name in bounds)
            ranged = {"low": low, "high": high} if low is not None and high is not None else {}
            uri = uris[row["path"].rpartition("/")[2]]
            made.append(DataFile(row["path"], row["num_records"] or 0, row["size_bytes"] or 0, uri=uri, **ranged))
        return made

    def appended_since(self, version: int) -> list[str] | None:
        """List the current files that an earlier version did not have: every row that came since is in one of them.

        None where that cannot be told: rows may have been removed meanwhile, or the log no longer goes back so far.
        """
        now = self.version()
        if version == now:
            return []
        if version > now:
            return None
        try:
            commits = self._delta.history(now - version)
            options = delta_options(self.url, self.storage_options)
            known = set(DeltaTable(self.url, version=version, storage_options=options).file_uris())
        except (DeltaError, OSError):
            return None
        if len(commits) < now - version or not all(map(_keeps_rows, commits)):
            return None
        return [file for file in self.files() if file not in known]

    def transaction(self, writer: str) -> int | None:
        """Tell the highest number of this writer that the table holds; None when it holds none."""
        return self._delta.transaction_version(writer)

    def actions(self) -> pa.Table:
        """Give what the transaction log says of each current file, a row each: path, size, rows, least and greatest values."""
        return pa.table(self._delta.get_add_actions(flatten=True))

    def info(self) -> TableInfo:
        """Tell rows, files and bytes, from the transaction log alone."""
        actions = self.actions()
        counts, sizes = (actions.column(name).to_pylist() for name in ("num_records", "size_bytes"))
        return TableInfo(self.url, self.version(), sum(count or 0 for count in counts), len(sizes), sum(sizes))

    def append(self, rows: Sequence[Row], writer: str, number: int) -> int:
        """Append rows in one commit, unless this number of this writer is there already; gives how many rows were added."""
        return self.append_segments([Segment(writer, number, rows)])

    def append_segments(self, segments: Sequence[Segment]) -> int:
        """Append what the table does not hold yet of several segments, in one commit; gives how many rows were added.

        Rows that are Arrow tables keep their order; others are sorted by study. Files of up to :data:`ROWS_A_FILE` rows are
        written once, however often the commit is overtaken by other writers. Raises TableConflictError when that goes on,
        IndexerError when the table cannot be written; either way nothing was added, or it will be recognised when tried again.
        """
        written: list[Segment] = []
        actions: list[AddAction] = []
        count = 0

        def attempt() -> int:
            nonlocal written, actions, count
            due = [segment for segment in segments if self._is_due(segment)]
            if due and [(each.writer, each.number) for each in due] != [(each.writer, each.number) for each in written]:
                table = self._rows_of(due)
                written, actions, count = due, self.write(table), table.num_rows
            if due:
                self._commit(actions, _highest(due))
            return count  # and if nothing is due any more, it was this commit after all

        return self._until_committed(attempt)

    def _is_due(self, segment: Segment) -> bool:
        held = self.transaction(segment.writer)
        return held is None or held < segment.number

    def _rows_of(self, segments: Sequence[Segment]) -> pa.Table:
        tables = [segment.rows for segment in segments if isinstance(segment.rows, pa.Table)]
        rows = [row for segment in segments if not isinstance(segment.rows, pa.Table) for row in segment.rows]
        tables += [to_arrow(rows, self._schema)] if rows else []
        if len(tables) < 2:
            return tables[0] if tables else self._schema.empty_table()
        return merged(tables)

    def write(self, table: pa.Table) -> list[AddAction]:
        """Write rows to files that no commit names yet, once it is known that the log can be relied on."""
        if is_remote(self.url):
            require_conditional_writes(self.url, self.storage_options)
        files = ParquetFiles(self.url, self._schema, self.storage_options)
        return [files.write([table.slice(at, ROWS_A_FILE)]) for at in range(0, table.num_rows, ROWS_A_FILE)]

    def overwrite(self, table: Any, numbers: Mapping[str, int] = MappingProxyType({})) -> None:
        """Replace all rows by those of an Arrow table with the same schema, in one commit.

        ``numbers`` are kept as application transactions: which number of each writer the rows account for.
        """
        self._replace(self.write(table), lambda: numbers)

    def replace_by(self, other: Table, numbers: Callable[[], Mapping[str, int]]) -> None:
        """Replace all rows by those of another table, in one commit that also says which number of each writer they account for.

        ``numbers`` is asked at each attempt. It must name every writer of this table, with 0 for one that the rows know nothing
        of, since what others append meanwhile is replaced too, and has to be appended once more.
        """
        held = ParquetFiles(other.url, self._schema, other.storage_options)
        actions = []
        for path in other.actions().column("path").to_pylist():
            for part in held.read(path, ROWS_A_FILE):
                actions += self.write(part)
        self._replace(actions, numbers)

    def _replace(self, actions: Sequence[AddAction], numbers: Callable[[], Mapping[str, int]]) -> None:
        def attempt() -> None:
            self._commit(actions, {**numbers(), **self._fence()}, mode="overwrite", overtaken=0)

        self._until_committed(attempt)

    def exchange(self, segment: Segment, actions: Callable[[], Sequence[AddAction | RemoveAction]]) -> None:
        """Add and remove files in one commit that counts as a segment, unless the table holds that segment already.

        ``actions`` is asked at each attempt, for the state just read; the commit follows that state or is tried again. Raises
        TableConflictError when that goes on, IndexerError when the table cannot be written.
        """

        def attempt() -> None:
            if self._is_due(segment):
                numbers = {segment.writer: segment.number, **self._fence()}
                self._commit(actions(), numbers, mode=_EXCHANGE, overtaken=0)

        self._until_committed(attempt)

    def _fence(self) -> dict[str, int]:
        """Give the application transaction of a commit that takes files out: a maintainer that is at work meanwhile fails."""
        return {MAINTAINER: (self.transaction(MAINTAINER) or 0) + 1}

    def _until_committed(self, attempt: Callable[[], _T]) -> _T:
        """Try with the newest state, again with jitter where a commit was refused.

        The Delta library itself puts a commit behind those of others that have nothing to do with it. What it refuses has an
        application transaction in common with another commit, so that what is due must be asked for anew.
        """
        for number in range(_ATTEMPTS):
            if number:
                time.sleep(random.uniform(0.5, 1.5) * min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**number))  # noqa: S311 - jitter
            try:
                self.refresh()
                return attempt()
            except CommitFailedError:
                continue
            except (DeltaError, OSError) as exc:
                raise IndexerError(f"cannot write the table at {self.url}: {exc}") from exc
        raise self._conflict()

    def _conflict(self) -> TableConflictError:
        return TableConflictError(f"{_ATTEMPTS} commits to the table at {self.url} were overtaken by other writers")

    def _commit(
        self,
        actions: Sequence[AddAction | RemoveAction],
        numbers: Mapping[str, int],
        mode: Any = "append",
        overtaken: int = _OVERTAKEN,
    ) -> None:
        self._delta.create_write_transaction(
            list(actions),
            mode,
            self._delta.schema(),
            commit_properties=CommitProperties(
                app_transactions=[Transaction(writer, number) for writer, number in sorted(numbers.items())],
                max_commit_retries=overtaken,
            ),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False),
        )
        self.refresh()

    # -- for the holder of the lease, see indexer.lease

    def commit(self, actions: Sequence[AddAction | RemoveAction], numbers: Mapping[str, int]) -> None:
        """Add and remove files in one commit. Raises TableConflictError when one of these writers committed since the refresh."""
        try:
            self._commit(actions, numbers)
        except CommitFailedError as exc:
            raise TableConflictError(f"the table at {self.url} was rewritten by somebody else meanwhile") from exc
        except (DeltaError, OSError) as exc:
            raise IndexerError(f"cannot write the table at {self.url}: {exc}") from exc

    def tidy(self, rounds: Sequence[tuple[int, bool]]) -> int:
        """Write a checkpoint, expire the log, and delete files by their age; gives how many files."""
        try:
            self.refresh()
            self._delta.create_checkpoint()
            self._delta.cleanup_metadata()
            return sum(len(self.unneeded(hours, everything=everything, delete=True)) for hours, everything in rounds)
        except CommitFailedError as exc:
            raise TableConflictError(f"the table at {self.url} is written too busily to be tidied") from exc
        except (DeltaError, OSError) as exc:
            raise IndexerError(f"cannot tidy the table at {self.url}: {exc}") from exc

    def unneeded(self, hours: int, *, everything: bool, delete: bool = False) -> list[str]:
        """List files that were replaced so long ago and (``everything``) such that no commit names; delete them if told to."""
        return self._delta.vacuum(
            hours,
            dry_run=not delete,
            enforce_retention_duration=False,
            full=everything,
            commit_properties=CommitProperties(max_commit_retries=_OVERTAKEN),
        )
