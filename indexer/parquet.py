"""Parquet files of a table: written whole under a name of their own, with the statistics that the log keeps of them.

A file counts from the moment when a commit names it; until then nobody sees it. One is built in memory and written in one go,
so that its rows should be bounded (:data:`ROWS_A_FILE`).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from indexer.schema import BLOOM_COLUMNS

ROWS_A_FILE = 524_288
"""How many rows a file should have at most; memory in use is about 1 KiB for each."""

_ROW_GROUP = 131_072
"""Row groups are small enough to be decoded in milliseconds."""

_STUDIES_ROW_GROUP = 8_192
"""Smaller ones where a look-up is for one row, which the bloom filters tell from all others."""

_SHARED_VALUES = 16_384
"""How many patients, studies and series a row group of instances is expected to have; more only weaken its bloom filters."""

_FALSE_POSITIVES = 0.01
_HARDLY_REPEATED = {
    "sha256": "PLAIN",
    "SOPInstanceUID": "DELTA_BYTE_ARRAY",
    "path": "DELTA_BYTE_ARRAY",
    "size": "DELTA_BINARY_PACKED",
    "received_at": "DELTA_BINARY_PACKED",
}
"""Columns of instances that a dictionary only costs time: the encodings that keep what a value adds to the one before."""

_INDEXED_COLUMNS = 32
_LONGEST_BOUND = 256


class ParquetFiles:
    """The Parquet files of one table, wherever it is. Not for two threads at once."""

    def __init__(self, url: str, schema: Any, storage_options: Mapping[str, Any] | None = None) -> None:
        self._schema = schema
        self._fs, self._root = fsspec.core.url_to_fs(url, **dict(storage_options or {}))
        self._row_group = _ROW_GROUP if "SOPInstanceUID" in schema.names else _STUDIES_ROW_GROUP
        self._blooms = _bloom_options(schema.names)
        self._encodings = {name: encoding for name, encoding in _HARDLY_REPEATED.items() if name in schema.names}

    def write(self, parts: Iterable[pa.Table], *, data_change: bool = True) -> AddAction:
        """Write one file of some tables, in their order; give the action that adds it to the table.

        Columns that this release does not know are kept; all parts must have the same ones.
        """
        fitted = map(self._fit, parts)
        first = next(fitted, self._schema.empty_table())
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(
            sink,
            first.schema,
            compression="zstd",
            store_schema=False,
            use_dictionary=[name for name in first.column_names if name not in self._encodings],
            column_encoding=self._encodings or None,
            bloom_filter_options=self._blooms,
        ) as writer:
            for part in chain((first,), fitted):
                writer.write_table(part, row_group_size=self._row_group)
        content = sink.getvalue()
        metadata = pq.read_metadata(pa.BufferReader(content))
        path = f"part-{uuid.uuid4()}.zstd.parquet"
        self._fs.pipe_file(f"{self._root}/{path}", content.to_pybytes())
        stats = json.dumps(_statistics(metadata), ensure_ascii=False)
        return AddAction(path, content.size, {}, int(time.time() * 1000), data_change, stats)

    def read(self, path: str, rows: int) -> Iterator[pa.Table]:
        """Read one file, some row groups at a time that have up to so many rows; columns that it lacks are NULL.

        Columns that this release does not know come behind those of the schema.
        """
        file = pq.ParquetFile(pa.BufferReader(self._fs.cat_file(f"{self._root}/{path}")))
        groups: list[int] = []
        held = 0
        for number in range(file.num_row_groups):
            count = file.metadata.row_group(number).num_rows
            if groups and held + count > rows:
                yield self._fit(file.read_row_groups(groups))
                groups, held = [], 0
            groups.append(number)
            held += count
        if groups:
            yield self._fit(file.read_row_groups(groups))

    def read_columns(self, path: str, names: Sequence[str]) -> pa.Table:
        """Read some columns of one file, and of the rest nothing."""
        with self._fs.open(f"{self._root}/{path}", "rb", cache_type="none") as file:
            return pq.read_table(file, columns=list(names))

    def _fit(self, table: pa.Table) -> pa.Table:
        if table.schema.equals(self._schema):
            return table
        added = [field for field in table.schema if field.name not in self._schema.names]  # by a newer release
        schema = pa.schema([*self._schema, *added])
        missing = [name for name in self._schema.names if name not in table.column_names]
        for name in missing:
            table = table.append_column(name, pa.nulls(table.num_rows, self._schema.field(name).type))
        return table.select(schema.names).cast(schema)


def _bloom_options(names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Size the bloom filters: many rows of instances share their patient, study and series."""
    present = set(names)
    shared = _SHARED_VALUES if "SOPInstanceUID" in present else _STUDIES_ROW_GROUP
    values = {**dict.fromkeys(BLOOM_COLUMNS, shared), "SOPInstanceUID": _ROW_GROUP}
    return {name: {"ndv": count, "fpp": _FALSE_POSITIVES} for name, count in values.items() if name in present}


def _statistics(metadata: Any) -> dict[str, Any]:
    """Give what the log keeps of a file (Delta protocol, "per-file statistics"), from what its row groups say."""
    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for index in range(min(metadata.num_columns, _INDEXED_COLUMNS)):
        chunks = [metadata.row_group(number).column(index) for number in range(metadata.num_row_groups)]
        known = [chunk.statistics for chunk in chunks]
        if not known or any(each is None or not each.has_null_count for each in known):
            continue
        name = chunks[0].path_in_schema
        nulls[name] = sum(each.null_count for each in known)
        ranges = [(each.min, each.max) for each in known if each.has_min_max]
        bounded = all(each.has_min_max or each.null_count == chunk.num_values for each, chunk in zip(known, chunks, strict=True))
        if ranges and bounded and all(map(_is_bound, ranges)):
            least[name] = _json_value(min(low for low, _ in ranges))
            greatest[name] = _json_value(max(high for _, high in ranges))
    return {"numRecords": metadata.num_rows, "minValues": least, "maxValues": greatest, "nullCount": nulls}


def _is_bound(bounds: tuple[Any, Any]) -> bool:
    return all(not isinstance(value, bytes) and (not isinstance(value, str) or len(value) <= _LONGEST_BOUND) for value in bounds)


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value
