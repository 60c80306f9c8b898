"""Put rows in the place of others, in one commit: nobody sees the table without either, or with both."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from indexer.columns import to_arrow
from indexer.errors import IndexerError, TableConflictError
from indexer.s3 import delta_options
from indexer.table import Segment, Table

AT_ONCE = 1_000
"""The most rows that one commit should replace, since it names them."""

_ATTEMPTS = 12


def replace_rows(table: Table, source: str, segment: Segment, storage_options: Mapping[str, Any] | None = None) -> None:
    """Write the rows of a segment in the place of all that the table holds of ``source`` under the same paths.

    Made only if the table has not seen the segment's number of this writer, and tried again where others get in between. Raises
    TableConflictError when that goes on, IndexerError when the table cannot be written.
    """
    paths = ", ".join(_quoted(str(row["path"])) for row in segment.rows)
    predicate = f"source = {_quoted(source)} AND path IN ({paths})"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            delta = DeltaTable(table.url, storage_options=delta_options(table.url, storage_options))
            if (delta.transaction_version(segment.writer) or 0) >= segment.number:
                return  # the commit before was made after all
            write_deltalake(
                delta,
                to_arrow(segment.rows),
                mode="overwrite",
                predicate=predicate,
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(segment.writer, segment.number)], max_commit_retries=0
                ),
            )
        except CommitFailedError:
            time.sleep(random.uniform(0.5, 1.5) * min(1.0, 0.02 * 2**attempt))  # noqa: S311 - jitter
        except (DeltaError, OSError) as exc:
            raise IndexerError(f"cannot write the table at {table.url}: {type(exc).__name__}") from exc
        else:
            return
    raise TableConflictError(f"{_ATTEMPTS} commits to the table at {table.url} were overtaken by other writers")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
