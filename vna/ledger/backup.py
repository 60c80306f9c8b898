"""A copy of the ledger: with ``revisions/`` the only thing that cannot be made again from the archive."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from vna.errors import ConfigError, StoreError
from vna.ledger.database import Database


def back_up(database: Database, folder: Path) -> Path:
    """See :meth:`vna.ledger.Ledger.back_up`."""
    if database.dialect != "sqlite":
        raise ConfigError(f"a ledger in {database.dialect} is backed up by its own tool", hint="pg_dump does it for PostgreSQL")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(f"{folder} cannot be made: {exc.strerror}") from exc
    path = folder / f"ledger-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.sqlite"
    database.copy_to(path)
    return path
