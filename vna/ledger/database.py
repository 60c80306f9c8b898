"""One database under the ledger: its engine, its transactions, and the little SQL that differs between dialects."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table, create_engine, event, func, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError, OperationalError

from vna.errors import ConfigError, LockedError, RefusedError, StoreError, StoreFullError, VnaError
from vna.ledger.tables import SCHEMA_VERSION, about, metadata

log = logging.getLogger(__name__)

_T = TypeVar("_T")

BUSY_TIMEOUT_S = 60
ATTEMPTS = 10
"""How often a transaction is begun that the server breaks off; the pauses between add up to some ten seconds."""

_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 3.0
_PASSING = frozenset({"40P01", "40001", "57P01", "57P02", "57P03"})
"""deadlock_detected, serialization_failure, admin_shutdown, crash_shutdown, cannot_connect_now."""

_OWN_NUMBER = text("SELECT CAST(pg_current_xact_id_if_assigned() AS text)")
_STATE_OF = text("SELECT pg_xact_status(CAST(:number AS xid8))")
_SQLITE_WRITE = "vna_write"
_CREATING = 0x766E61
"""Number of the lock under which the tables are made in PostgreSQL."""


def now() -> str:
    """Say what time it is, as the ledger writes it: ISO 8601, UTC, whole milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Database:
    """An open database. Thread-safe: each transaction has a connection of its own, and writers queue within the process."""

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._writing = threading.RLock()
        self.dialect = self._engine.dialect.name
        if not self._has_schema():
            self.write(self._create_schema)

    def _create_schema(self, conn: Connection) -> None:
        if self.dialect == "postgresql":
            conn.execute(select(func.pg_advisory_xact_lock(_CREATING)))  # or two that open it first collide
        metadata.create_all(conn)
        self.insert_new(conn, about, [{"name": "schema", "value": str(SCHEMA_VERSION)}])

    def _has_schema(self) -> bool:
        """Say whether the tables are there. Raises RefusedError where a newer version made them."""
        with self.read() as conn:
            if not inspect(conn).has_table(about.name):
                return False
            found = conn.execute(select(about.c.value).where(about.c.name == "schema")).scalar()
        if found is not None and int(found) > SCHEMA_VERSION:
            raise RefusedError(f"the ledger has schema {found}, this version knows {SCHEMA_VERSION}", hint="use a newer vna")
        return found is not None

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def copy_to(self, path: Path) -> None:
        """Write a copy of an SQLite database, as it stands in one moment, to a new file."""
        connection = self._engine.raw_connection()
        try:
            driver: Any = connection.driver_connection
            driver.execute("VACUUM INTO ?", (str(path),))
        except sqlite3.Error as exc:
            raise StoreError(f"the ledger could not be copied: {exc}", hint="is there room for it?") from exc
        finally:
            connection.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database."""
        with _translated(), self._engine.connect() as conn, conn.begin():
            yield conn

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Run ``work`` in a transaction that is durable when this returns, and rolled back when it raises.

        Where the server breaks it off (deadlock, serialization, a connection that drops), it is begun again, so ``work`` may be
        run several times and must change nothing but the database. Of a commit that fails so, the server is asked first whether
        it was made. SQLite takes its only write lock at the beginning, so that a transaction that has read can go on to write.
        """
        with _translated():
            for attempt in range(1, ATTEMPTS):
                try:
                    return self._once(work)
                except DBAPIError as exc:
                    if not self._is_passing(exc):
                        raise
                    log.debug("the ledger's transaction was broken off (%s), attempt %d", type(exc.orig).__name__, attempt)
                time.sleep(random.uniform(0.5, 1) * min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt))  # noqa: S311 - jitter
            return self._once(work)

    def _once(self, work: Callable[[Connection], _T]) -> _T:
        number = None
        with self._writing:
            try:
                with self._engine.connect() as plain:
                    conn = plain.execution_options(**{_SQLITE_WRITE: True})
                    with conn.begin():
                        result = work(conn)
                        if self.dialect == "postgresql":
                            number = conn.execute(_OWN_NUMBER).scalar()
            except DBAPIError as exc:
                # Whoever passes on what the server said, such as a pooler, may report its end for a commit that it made.
                if number is None or not self._is_passing(exc) or not self._was_committed(number):
                    raise
        return result

    def _was_committed(self, number: str) -> bool:
        """Ask the server whether a transaction was committed whose commit did not succeed for us."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self.read() as conn:
                    state = conn.execute(_STATE_OF, {"number": number}).scalar()
            except StoreError:  # it may be starting again
                state = None
                if attempt == ATTEMPTS:
                    raise
            if state in ("committed", "aborted"):
                return bool(state == "committed")
            time.sleep(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt))
        raise StoreError("the ledger's database does not say whether a transaction was committed", hint="run the command again")

    def _is_passing(self, exc: DBAPIError) -> bool:
        """Tell whether the same transaction may succeed when it is begun again; what failed was rolled back."""
        if self.dialect != "postgresql":
            return False
        state = getattr(exc.orig, "sqlstate", None)
        return exc.connection_invalidated or state in _PASSING or (state is None and isinstance(exc, OperationalError))

    def insert_new(self, conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
        """Insert rows whose primary key is not there yet, leave the others as they are, and say how many were new."""
        if not rows:
            return 0
        return conn.execute(_insert_new(self.dialect, table), _in_order(table, rows)).rowcount

    def upsert(
        self, conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], changes: Callable[[Any], Mapping[str, Any]]
    ) -> None:
        """Insert rows; where the primary key is there, make ``changes`` instead, which sees the columns of the new row."""
        if rows:
            conn.execute(_upsert(self.dialect, table, changes), _in_order(table, rows))


@lru_cache(maxsize=32)
def _insert_new(dialect: str, table: Table) -> Any:
    return _insert(dialect, table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


@lru_cache(maxsize=32)
def _upsert(dialect: str, table: Table, changes: Callable[[Any], Mapping[str, Any]]) -> Any:
    statement = _insert(dialect, table)
    keys = list(table.primary_key.columns)
    return statement.on_conflict_do_update(index_elements=keys, set_=dict(changes(statement.excluded)))


def _insert(dialect: str, table: Table) -> Any:
    """Build an INSERT that knows ON CONFLICT: the one construct for which SQLAlchemy asks for the dialect.

    The dialect that is not the ledger's own would only take long to import.
    """
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def _in_order(table: Table, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Sort rows by their primary key: two transactions that lock the same rows in different orders would wait for each other."""
    keys = [column.name for column in table.primary_key.columns if column.name in rows[0]]  # all rows have the same columns
    return sorted(rows, key=itemgetter(*keys)) if keys else rows


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise ConfigError(f"a ledger cannot stand on {backend}", hint="use sqlite:///FILE or postgresql+psycopg://...")
        if backend == "postgresql":
            return create_engine(parsed, pool_pre_ping=True, isolation_level="READ COMMITTED")
        if not parsed.database or parsed.database == ":memory:":
            raise ConfigError("a ledger needs a file", hint="use sqlite:///FILE")
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})
    except (ArgumentError, NoSuchModuleError) as exc:
        raise ConfigError("the ledger's URL cannot be understood", hint="use sqlite:///FILE or postgresql+psycopg://...") from exc
    except ModuleNotFoundError as exc:
        raise ConfigError(f"the ledger's database needs {exc.name}", hint="install the extra: vna[postgres]") from exc
    except OSError as exc:
        raise StoreError(f"the ledger's folder cannot be made: {exc.strerror}") from exc
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    """Make a commit durable and foreign keys binding; transactions are begun by us, not by the driver."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", f"busy_timeout = {BUSY_TIMEOUT_S * 1000}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(conn: Connection) -> None:
    conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get(_SQLITE_WRITE) else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the database raises into our errors; messages name no statement and no parameter."""
    try:
        yield
    except VnaError:
        raise
    except OperationalError as exc:
        said = str(exc.orig).lower()
        if "locked" in said or "busy" in said:
            raise LockedError("another process keeps the ledger's write lock", hint="try again when it has ended") from exc
        if "full" in said or "no space" in said:
            raise StoreFullError("no room is left for the ledger", hint="free some space; nothing was lost") from exc
        raise StoreError(f"the ledger's database does not answer: {exc.orig}") from exc
    except DatabaseError as exc:
        raise StoreError(f"the ledger's database refuses a statement: {type(exc.orig).__name__}") from exc
