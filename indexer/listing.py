"""What a place holds, and what of that a table does not hold yet.

A listing may have many millions of entries. It is kept in a file of DuckDB's, which also compares it with the table, so that the
memory it takes is bounded and an interrupted scan goes on with what is missing, in whatever order a service lists.

Nouns: worklist (what of a listing is to be scanned), due (one entry of it).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from indexer.found import Found, path_of
from indexer.query import connect
from indexer.table import Table

_ROWS_A_CHUNK = 20_000
_MEMORY_LIMIT = "1GB"
_SCHEMA = pa.schema(
    [("name", pa.binary()), ("path", pa.string()), ("size", pa.int64()), ("modified", pa.timestamp("us", tz="UTC"))]
)

_COMPARE = """
CREATE TABLE listing.due AS
SELECT found.name, held.path IS NOT NULL AS is_changed
FROM listing.found LEFT JOIN (
    SELECT received.path AS path, count(*) AS rows, any_value(received.size) AS size, any_value(received.received_at) AS modified,
           bool_and(received.sha256 IS NOT NULL) AS has_digest
    FROM received WHERE received.source = ? GROUP BY received.path
) held ON held.path = found.path
WHERE held.path IS NULL OR held.rows > 1 OR held.size IS DISTINCT FROM found.size
   OR held.modified IS DISTINCT FROM found.modified OR (? AND NOT held.has_digest)
ORDER BY found.path
"""


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be scanned. ``is_changed``: the table has a row of an earlier version."""

    name: bytes
    is_changed: bool


class Worklist:
    """The part of a listing that a table does not hold. A context manager; it owns a temporary folder."""

    def __init__(self, table_url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.found = 0
        self.due = 0
        self._folder = tempfile.TemporaryDirectory(prefix="indexer-")
        self._con = connect(Table.open(table_url, storage_options=storage_options))
        folder = Path(self._folder.name)
        self._con.execute(f"SET memory_limit = '{_MEMORY_LIMIT}'")
        self._con.execute(f"SET temp_directory = {_quoted(str(folder / 'spilled'))}")
        self._con.execute(f"ATTACH {_quoted(str(folder / 'listing.duckdb'))} AS listing")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._con.close()
        self._folder.cleanup()

    def fill(self, listed: Iterable[Found], report: Callable[[int], None]) -> None:
        """Take a whole listing; ``report`` is told how many entries there are so far."""
        self._con.execute("CREATE TABLE listing.found (name BLOB, path VARCHAR, size BIGINT, modified TIMESTAMPTZ)")
        entries = iter(listed)
        while chunk := list(islice(entries, _ROWS_A_CHUNK)):
            columns = [
                [found.name for found in chunk],
                [path_of(found.name) for found in chunk],
                [found.size for found in chunk],
                [found.modified for found in chunk],
            ]
            self._con.register("chunk", pa.table(columns, schema=_SCHEMA))
            self._con.execute("INSERT INTO listing.found SELECT * FROM chunk")
            self._con.unregister("chunk")
            self.found += len(chunk)
            report(self.found)

    def compare(self, source: str, *, with_digest: bool) -> None:
        """Find out what is due: what the table lacks of ``source``, has of another version, twice, or without a digest."""
        self._con.execute(_COMPARE, [source, with_digest])
        counted = self._con.execute("SELECT count(*) FROM listing.due").fetchone()
        self.due = int(counted[0]) if counted else 0

    def batches(self, size: int) -> Iterator[list[Due]]:
        """Give what is due, in the order of the paths, so many at a time."""
        for at in range(0, self.due, size):
            rows = self._con.execute(
                "SELECT name, is_changed FROM listing.due WHERE rowid >= ? AND rowid < ? ORDER BY rowid", [at, at + size]
            ).fetchall()
            yield [Due(bytes(name), bool(is_changed)) for name, is_changed in rows]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
