"""The database under the ledger: durable, shared, and clear about what is wrong."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from vna.errors import ConfigError, RefusedError, StoreError
from vna.ledger import accounts
from vna.ledger.database import Database
from vna.ledger.tables import counters, metadata


def test_commits_are_durable_and_foreign_keys_bind(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ledger.sqlite")
    with database.read() as conn:
        settings = {
            name: conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    database.close()
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/ledger.sqlite")

    def fail(conn: Connection) -> None:
        conn.execute(counters.insert().values(name="n", value=1))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(fail)
    with database.read() as conn:
        assert conn.execute(select(func.count()).select_from(counters)).scalar_one() == 0
    database.close()


def test_many_threads_and_two_connections_write_without_losing_an_update(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    databases = [Database(url), Database(url)]

    def add(conn: Connection) -> None:
        databases[0].insert_new(conn, counters, [{"name": "n", "value": 0}])
        value = conn.execute(select(counters.c.value)).scalar_one()
        conn.execute(counters.update().values(value=value + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: databases[n % 2].write(add), range(60)))
    with databases[0].read() as conn:
        assert conn.execute(select(counters.c.value)).scalar_one() == 60
    for database in databases:
        database.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/x", "sqlite://", "sqlite:///:memory:", "postgresql+psycopg2x://h/x"])
def test_a_url_that_cannot_be_used_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        Database(url)
    assert error.value.hint


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Database(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE about SET value = '99' WHERE name = 'schema'")
    connection.close()
    with pytest.raises(RefusedError, match="schema 99"):
        Database(f"sqlite:///{path}")


def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError):
        Database(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"not a database")


def test_tables_and_sums_are_sql_that_postgresql_takes() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect)).strip().startswith("CREATE TABLE")
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect)).startswith("CREATE INDEX")
    units = accounts._units("target")
    assert "UNION ALL" in str(select(units.c.state, func.count()).group_by(units.c.state).compile(dialect=dialect))
