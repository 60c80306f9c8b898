"""A Delta Lake table of rows: append once, list the current files, tell its state.

An append is one commit that carries an application transaction (writer, number). It is made only if the table has not seen that
number of that writer yet, so that repeating an append whose outcome is unknown never adds a row twice (Delta protocol,
"transaction identifiers"). Any number of writers may append at the same time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
from deltalake import (
    BloomFilterProperties,
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from indexer.columns import INSTANCES, Row, to_arrow
from indexer.errors import IndexerError, TableConflictError, UsageError
from indexer.schema import BLOOM_COLUMNS, CLUSTER_COLUMN, SCHEMA_VERSION

_ATTEMPTS = 12
_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 1.0
_ROW_GROUP = 131_072
_SHARED_VALUES = 16_384
"""How many patients, studies and series a row group of instances is expected to have; more only weaken its bloom filters."""

_LEAST, _GREATEST = -(2**63), 2**63 - 1
_KEEPS_ROWS = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES"})

_S3_OPTIONS = {
    "key": "AWS_ACCESS_KEY_ID",
    "secret": "AWS_SECRET_ACCESS_KEY",
    "token": "AWS_SESSION_TOKEN",
    "endpoint_url": "AWS_ENDPOINT_URL",
}


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


@dataclass(frozen=True, slots=True)
class FileRange:
    """A current file of a table, and the least and greatest ``study_hash`` of its rows."""

    file: str
    least: int
    greatest: int


def delta_options(url: str, storage_options: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Translate s3fs's storage options, which the configuration uses, to those of the Delta library; None for local tables."""
    if not url.startswith(("s3://", "s3a://")):
        return None
    given = dict(storage_options or {})
    options = {"AWS_REGION": "us-east-1", "aws_conditional_put": "etag"}
    for source in (given, given.get("client_kwargs") or {}):
        options.update({name: str(source[key]) for key, name in _S3_OPTIONS.items() if source.get(key)})
        if source.get("region_name"):
            options["AWS_REGION"] = str(source["region_name"])
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return options


def _writer_properties(names: Iterable[str]) -> WriterProperties:
    """Say how files are written: row groups small enough to be decoded in milliseconds, bloom filters of the size they need."""
    present = set(names)
    values = {name: _SHARED_VALUES if {name, "SOPInstanceUID"} <= present else _ROW_GROUP for name in BLOOM_COLUMNS}
    values["SOPInstanceUID"] = _ROW_GROUP
    columns = {
        name: ColumnProperties(bloom_filter_properties=BloomFilterProperties(True, 0.01, count))
        for name, count in values.items()
        if name in present
    }
    return WriterProperties(compression="ZSTD", max_row_group_size=_ROW_GROUP, column_properties=columns)


def _keeps_rows(commit: Mapping[str, Any]) -> bool:
    """Tell whether a commit of the history only added rows, or arranged them anew."""
    if commit.get("operation") == "WRITE":
        return (commit.get("operationParameters") or {}).get("mode") == "Append"
    return commit.get("operation") in _KEEPS_ROWS


class Table:
    """One Delta table. Open it with :meth:`create` or :meth:`open`; nothing needs to be closed. Not for two threads at once."""

    def __init__(self, delta: DeltaTable, url: str, schema: Any, options: dict[str, str] | None = None) -> None:
        self.url = url
        self._options = options
        self._delta = delta
        self._schema = schema
        self._properties = _writer_properties(schema.names)

    @classmethod
    def create(cls, url: str | Path, schema: Any = INSTANCES, storage_options: Mapping[str, Any] | None = None) -> Table:
        """Create the table, empty, or open it when it is there already. Raises IndexerError when neither works."""
        location = str(url)
        configuration = {"vna.schemaVersion": str(SCHEMA_VERSION)}
        try:
            if "://" not in location:
                Path(location).mkdir(parents=True, exist_ok=True)
            options = delta_options(location, storage_options)
            if not DeltaTable.is_deltatable(location, options):
                DeltaTable.create(
                    location,
                    schema,
                    mode="ignore",
                    configuration=configuration,
                    storage_options=options,
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
        options = delta_options(location, storage_options)
        try:
            delta = DeltaTable(location, storage_options=options)
        except TableNotFoundError as exc:
            raise UsageError(f"there is no table at {location}", hint="indexer scan PATH --to TABLE makes one") from exc
        except (DeltaError, OSError) as exc:
            raise IndexerError(f"cannot open the table at {location}: {exc}") from exc
        newest = int(delta.metadata().configuration.get("vna.schemaVersion") or SCHEMA_VERSION)
        if newest > SCHEMA_VERSION:
            raise IndexerError(f"the table at {location} has schema version {newest}; this software knows {SCHEMA_VERSION}")
        return cls(delta, location, schema, options)

    def refresh(self) -> None:
        """Read the newest state of the table."""
        self._delta.update_incremental()

    def version(self) -> int:
        """Tell the number of the last commit read; the first is 0."""
        return self._delta.version()

    def files(self) -> list[str]:
        """List the Parquet files that make up the table now, as absolute paths or URIs."""
        return list(self._delta.file_uris())

    def identity(self) -> str:
        """Tell the table's own identifier, which one made anew at the same place does not share."""
        return str(self._delta.metadata().id)

    def clustered_files(self) -> list[FileRange]:
        """List the current files with the least and greatest hash of a study in each, from the transaction log alone."""
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        least, greatest = f"min.{CLUSTER_COLUMN}", f"max.{CLUSTER_COLUMN}"
        names = actions.column_names
        if least not in names or greatest not in names:  # a table without rows, or files without statistics
            return [FileRange(file, _LEAST, _GREATEST) for file in self.files()]
        by_name = {file.rpartition("/")[2]: file for file in self.files()}
        columns = (actions.column(name).to_pylist() for name in ("path", least, greatest))
        return [
            FileRange(by_name[path.rpartition("/")[2]], _LEAST if low is None else low, _GREATEST if high is None else high)
            for path, low, high in zip(*columns, strict=True)
        ]

    def appended_since(self, version: int) -> list[str] | None:
        """List the current files that an earlier version did not have: every row that came since is in one of them.

        None where that cannot be told: rows may have been removed meanwhile, or the log no longer goes back so far.
        """
        now = self.version()
        if version == now:
            return []
        try:
            commits = self._delta.history(now - version) if version < now else []
            known = set(DeltaTable(self.url, version=version, storage_options=self._options).file_uris())
        except (DeltaError, OSError):
            return None
        if len(commits) < now - version or not all(map(_keeps_rows, commits)):
            return None
        return [file for file in self.files() if file not in known]

    def transaction(self, writer: str) -> int | None:
        """Tell the highest number of this writer that the table holds; None when it holds none."""
        return self._delta.transaction_version(writer)

    def info(self) -> TableInfo:
        """Tell rows, files and bytes, from the transaction log alone."""
        actions = pa.table(self._delta.get_add_actions(flatten=True))
        counts, sizes = (actions.column(name).to_pylist() for name in ("num_records", "size_bytes"))
        return TableInfo(self.url, self.version(), sum(count or 0 for count in counts), len(sizes), sum(sizes))

    def append(self, rows: Sequence[Row], writer: str, number: int) -> int:
        """Append rows in one commit, unless this number of this writer is there already; gives how many rows were added."""
        return self.append_segments([Segment(writer, number, rows)])

    def append_segments(self, segments: Sequence[Segment]) -> int:
        """Append what the table does not hold yet of several segments, in one commit; gives how many rows were added.

        Retries with jitter when other writers get in between. Raises TableConflictError when that goes on, IndexerError when
        the table cannot be written; either way nothing was added, or it will be recognised when tried again.
        """
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0.5, 1.5) * min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt))  # noqa: S311 - jitter
            try:
                self.refresh()
                due = [segment for segment in segments if self._is_due(segment)]
                parts = [self._to_arrow(segment.rows) for segment in due if len(segment.rows)]
                if parts:
                    self._commit(pa.concat_tables(parts), due)
                return sum(part.num_rows for part in parts)
            except CommitFailedError:
                continue
            except (DeltaError, OSError) as exc:
                raise IndexerError(f"cannot write the table at {self.url}: {exc}") from exc
        raise TableConflictError(f"{_ATTEMPTS} commits to the table at {self.url} were overtaken by other writers")

    def _is_due(self, segment: Segment) -> bool:
        held = self.transaction(segment.writer)
        return held is None or held < segment.number

    def _to_arrow(self, rows: Sequence[Row] | pa.Table) -> pa.Table:
        return rows if isinstance(rows, pa.Table) else to_arrow(rows, self._schema)

    def _commit(self, table: pa.Table, due: Sequence[Segment]) -> None:
        highest: dict[str, int] = {}
        for segment in due:
            highest[segment.writer] = max(segment.number, highest.get(segment.writer, -1))
        transactions = [Transaction(writer, number) for writer, number in sorted(highest.items())]
        write_deltalake(
            self._delta,
            table,
            mode="append",
            writer_properties=self._properties,
            commit_properties=CommitProperties(app_transactions=transactions, max_commit_retries=0),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False),
        )

    def overwrite(self, table: Any, numbers: Mapping[str, int] = MappingProxyType({})) -> None:
        """Replace all rows by those of an Arrow table with the same schema, in one commit.

        ``numbers`` are kept as application transactions: which number of each writer the rows account for.
        """
        transactions = [Transaction(writer, number) for writer, number in sorted(numbers.items())]
        try:
            self.refresh()
            write_deltalake(
                self._delta,
                table,
                mode="overwrite",
                writer_properties=self._properties,
                commit_properties=CommitProperties(app_transactions=transactions),
            )
        except CommitFailedError as exc:
            raise TableConflictError(f"the table at {self.url} was written by somebody else meanwhile") from exc
        except (DeltaError, OSError) as exc:
            raise IndexerError(f"cannot write the table at {self.url}: {exc}") from exc

    def optimize(self, keep_hours: int = 168) -> dict[str, int]:
        """Cluster all rows by study into few files, write a checkpoint, and remove files and log entries that are no longer used.

        For the one leased maintainer: it conflicts with no append, but with another maintainer. ``keep_hours`` is how long files
        that were replaced stay for readers that still use them. Gives how many files were added and removed from the table.
        """
        try:
            self.refresh()
            done = self._delta.optimize.z_order([CLUSTER_COLUMN], writer_properties=self._properties)
            self._delta.create_checkpoint()
            self._delta.cleanup_metadata()
            self._delta.vacuum(keep_hours, dry_run=False, enforce_retention_duration=False)
        except CommitFailedError as exc:
            raise TableConflictError(f"the table at {self.url} was rewritten by somebody else meanwhile") from exc
        except (DeltaError, OSError) as exc:
            raise IndexerError(f"cannot optimise the table at {self.url}: {exc}") from exc
        return {"added": int(done["numFilesAdded"]), "removed": int(done["numFilesRemoved"])}
