"""SQL with DuckDB over the current files of an index table: the view ``instances``.

DuckDB reads the Parquet files themselves; its Delta extension, which it would download, is not used. Files that are not local
are read through fsspec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import fsspec
import pyarrow as pa

from indexer.columns import INSTANCES, OVERLAYS, REVISION, STATUS
from indexer.errors import IndexerError, UsageError
from indexer.schema import COLUMNS, DICOM_COLUMNS
from indexer.table import Table


def connect(instances: Table, *, overlays: Table | None = None, extra_rows: Any = None) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB connection with the view ``instances`` over the state of the table that was read last.

    The view has the received values overlaid by each object's highest revision in the table ``overlays``, and beside every DICOM
    column ``received_<Keyword>``. ``extra_rows``, an Arrow table of the schema INSTANCES, is united with the table: rows that
    this very state lacks, so that none shows twice whatever is committed meanwhile. The caller closes the connection.
    """
    con = duckdb.connect(":memory:")
    con.execute("SET TimeZone='UTC'")
    received = _relation(con, instances, INSTANCES)
    if extra_rows is not None and extra_rows.num_rows:
        con.register("extra_rows", extra_rows.select(INSTANCES.names))
        received = f"{received} UNION ALL SELECT {column_names(INSTANCES)} FROM extra_rows"
    con.execute(f"CREATE VIEW received AS {received}")
    revised = _relation(con, overlays, OVERLAYS) if overlays is not None and overlays.files() else None
    con.execute(f"CREATE VIEW instances AS {effective('received', revised)}")
    return con


def column_names(schema: Any) -> str:
    """Give the columns of a schema as SQL lists them."""
    return ", ".join(f'"{name}"' for name in schema.names)


def _relation(con: duckdb.DuckDBPyConnection, table: Table, schema: Any) -> str:
    files = table.files()
    if not files:
        con.register("no_rows", schema.empty_table())
        return f"SELECT {column_names(schema)} FROM no_rows"
    return read_parquet(con, files, schema, table.storage_options)


def read_parquet(
    con: duckdb.DuckDBPyConnection, files: Sequence[str], schema: Any, storage_options: Mapping[str, Any] | None = None
) -> str:
    """Give the SELECT that reads these Parquet files, whose file system is made known to the connection when it is not local."""
    protocol = files[0].partition("://")[0] if "://" in files[0] else "file"
    if protocol != "file" and not con.list_filesystems():
        con.register_filesystem(fsspec.filesystem(protocol, **dict(storage_options or {})))
    listed = ", ".join("'" + file.removeprefix("file://").replace("'", "''") + "'" for file in files)
    return f"SELECT {column_names(schema)} FROM read_parquet([{listed}], union_by_name = true)"


def effective(received: str, overlays: str | None) -> str:
    """Give the SELECT of the effective rows: a relation of received rows overlaid by each object's highest revision.

    ``overlays`` is a SELECT over rows of the table ``overlays``, None where nothing was revised.
    """
    dicom = [column.name for column in DICOM_COLUMNS]
    as_received = ", ".join(f'r."{name}" AS "received_{name}"' for name in (*dicom, STATUS))
    if overlays is None:
        return f"SELECT r.*, {as_received}, NULL::BIGINT AS {REVISION} FROM {received} r"
    active = f"(SELECT * FROM ({overlays}) QUALIFY row_number() OVER (PARTITION BY sha256 ORDER BY {REVISION} DESC) = 1)"
    overlaid = ", ".join(
        f'CASE WHEN o.{REVISION} IS NULL THEN r."{column.name}" ELSE o."{column.name}" END AS "{column.name}"'
        if column.is_dicom
        else f"coalesce(o.{STATUS}, r.{STATUS}) AS {STATUS}"
        if column.name == STATUS
        else f'r."{column.name}"'
        for column in COLUMNS
    )
    return f"SELECT {overlaid}, {as_received}, o.{REVISION} FROM {received} r LEFT JOIN {active} o ON o.sha256 = r.sha256"


def query(con: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Run one SQL statement and give its rows. Raises UsageError when the statement is wrong, IndexerError when reading fails."""
    try:
        relation = con.sql(sql, params=list(parameters) or None)
        table: Any = relation.to_arrow_table() if relation is not None else pa.table({})
        return [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.InvalidInputException) as exc:
        raise UsageError(f"the query cannot be run: {exc}") from exc
    except duckdb.ConversionException as exc:
        raise UsageError("the query cannot be run: a value cannot be converted to the type asked for") from exc
    except duckdb.Error as exc:
        raise IndexerError(f"the query failed: {exc}") from exc


def _plain(value: Any) -> Any:
    """DuckDB sums integers to 128 bits, which Arrow has as decimals."""
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value
