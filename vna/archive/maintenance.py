"""The index's maintenance: cluster its tables, expire their logs, remove files nobody needs, and say in what state they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from indexer.errors import UsageError
from indexer.maintenance import Maintained, optimize
from indexer.table import Table
from vna.model import Progress, Report

_COUNTS = ("steps", "rows", "added", "removed", "vacuumed")


def optimize_table(
    url: str, schema: Any, storage_options: Mapping[str, Any] | None, *, keep_hours: int, dry_run: bool, report: Report
) -> Maintained | None:
    """Maintain one table; None where there is none. Raises what :func:`indexer.maintenance.optimize` raises."""
    name = url.rpartition("/")[2]
    try:
        Table.open(url, schema, storage_options)
    except UsageError:
        return None
    return optimize(
        url,
        schema,
        storage_options,
        keep_hours=keep_hours,
        dry_run=dry_run,
        report=lambda done, total: report(Progress(f"index optimize: {name}", done, total, unit="rows")),
    )


def summary(tables: Mapping[str, Maintained | None]) -> dict[str, Any]:
    """Add up what was done to several tables, and list it a table."""
    done = {name: asdict(each) for name, each in tables.items() if each is not None}
    return {**{key: sum(each[key] for each in done.values()) for key in _COUNTS}, "tables": done}


def state(tables: Mapping[str, tuple[str, Any]], storage_options: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Tell of each table that is there its version, when that was committed, rows, files and bytes; from the logs alone."""
    found = {}
    for name, (url, schema) in tables.items():
        try:
            table = Table.open(url, schema, storage_options)
        except UsageError:
            continue
        info = table.info()
        found[name] = {
            "version": info.version,
            "committed_at": table.committed_at().isoformat(timespec="seconds"),
            "rows": info.rows,
            "files": info.files,
            "bytes": info.bytes,
        }
    return found


def seconds_since(moments: list[str]) -> float:
    """Tell how many seconds ago the earliest of some moments was (ISO 8601, UTC); 0 if there is none."""
    earliest = min((moment for moment in moments if moment), default="")
    if not earliest:
        return 0.0
    moment = datetime.fromisoformat(earliest)
    return max(0.0, round(time.time() - (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), 3))
