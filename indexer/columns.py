"""The index's columns as Arrow types, and rows as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from indexer.schema import CLUSTER_COLUMN, COLUMNS, DICOM_COLUMNS, Column, Kind, study_hash

Row = Mapping[str, object]
"""One object's columns by name; what is missing is NULL."""

_TYPES: dict[Kind, Any] = {
    Kind.HASH: pa.int64(),
    Kind.SIZE: pa.int64(),
    Kind.INTEGER: pa.int64(),
    Kind.SHORT: pa.int64(),
    Kind.DIGEST: pa.binary(),
    Kind.TIME: pa.timestamp("us", tz="UTC"),
}

REVISION = "revision"
APPLIED_AT = "applied_at"
STATUS = "status"


def arrow_type(column: Column) -> Any:
    """Give the Arrow type of a column."""
    return _TYPES.get(column.kind, pa.string())


def _fields(columns: Iterable[Column]) -> list[Any]:
    return [pa.field(column.name, arrow_type(column)) for column in columns]


INSTANCES = pa.schema(_fields(COLUMNS))
"""The table ``instances``: one row a stored object, received values."""

OVERLAYS = pa.schema(
    [
        pa.field("study_hash", pa.int64()),
        pa.field("sha256", pa.binary()),
        pa.field(REVISION, pa.int64()),
        pa.field(APPLIED_AT, pa.timestamp("us", tz="UTC")),
        pa.field(STATUS, pa.string()),
        *_fields(DICOM_COLUMNS),
    ]
)
"""The table ``overlays``: one row per (object, revision), with the effective value of ``status`` and of every DICOM column."""


_ORDER = (CLUSTER_COLUMN, "SeriesInstanceUID", "path", "sha256", REVISION)


def by_study(table: Any) -> Any:
    """Give the indices that sort a table of the index by study, and within one in a stable order."""
    return pc.sort_indices(table, [(name, "ascending") for name in _ORDER if name in table.column_names])


def to_arrow(rows: Iterable[Row], schema: Any = INSTANCES) -> Any:
    """Build an Arrow table from rows, sorted by study.

    ``sha256`` may be bytes or hexadecimal text, times aware datetimes or ISO 8601 text, ``codes`` a sequence or text;
    ``study_hash`` is computed where it is missing. Names that are not columns are ignored.
    """
    prepared = [_prepare(row) for row in rows]
    prepared.sort(key=lambda row: (row["study_hash"], str(row.get("SeriesInstanceUID") or ""), str(row.get("path") or "")))
    return pa.Table.from_pylist(prepared, schema=schema)


def merged(tables: Sequence[Any]) -> Any:
    """Make one Arrow table of several with the same columns, sorted by study."""
    table = pa.concat_tables(tables).combine_chunks()
    return table.take(by_study(table))


def _prepare(row: Row) -> dict[str, Any]:
    made: dict[str, Any] = dict(row)
    digest = made.get("sha256")
    if isinstance(digest, str):
        made["sha256"] = bytes.fromhex(digest) if digest else None
    for name in ("received_at", APPLIED_AT):
        moment = made.get(name)
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
        if isinstance(moment, datetime):
            made[name] = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    found = made.get("codes")
    if isinstance(found, Sequence) and not isinstance(found, str):
        made["codes"] = "\\".join(map(str, found))
    made["codes"] = made.get("codes") or None
    if made.get("study_hash") is None:
        made["study_hash"] = study_hash(made.get("StudyInstanceUID"))
    return made
