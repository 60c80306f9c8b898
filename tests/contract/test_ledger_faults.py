"""What the ledger does when PostgreSQL breaks a transaction off, or drops a connection without an answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import Connection, func, select, update
from sqlalchemy.engine import make_url

from tests.support.peers import HOST
from tests.support.postgres import PostgresServer
from vna.ledger.database import Database
from vna.ledger.tables import counters

_WAIT_S = 60


_READY = b"Z\0\0\0\x05I"
"""ReadyForQuery, outside of a transaction: the end of an answer."""


class Relay:
    """Passes connections on to the server, and cuts the next one that commits: before the server hears of it, or after.

    Or it says after the commit, like a pooler whose connection to the server ends, that the server broke off, and stays open.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._upstream))
                instead: list[bytes] = []
                threading.Thread(target=self._requests, args=(client, server, instead), daemon=True).start()
                threading.Thread(target=self._answers, args=(client, server, instead), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, instead: list[bytes]) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if b"COMMIT\0" in data and self.cut:
                    when = self.cut.pop()
                    if when in ("before", "after"):
                        client.shutdown(socket.SHUT_RDWR)
                    if when == "before":
                        break
                    if when == "after":
                        server.sendall(data)
                        return  # the other thread waits for the answer, which nobody gets
                    instead.append(_broken_off(when))
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _answers(self, client: socket.socket, server: socket.socket, instead: list[bytes]) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if instead:
                    while not data.endswith(_READY):
                        data += server.recv(65536)
                    data = instead.pop()
                client.sendall(data)
        client.close()
        server.close()


def _broken_off(sqlstate: str) -> bytes:
    """Make an ErrorResponse of PostgreSQL's protocol, and what ends the answer."""
    fields = b"".join(kind + text.encode() + b"\0" for kind, text in ((b"S", "FATAL"), (b"C", sqlstate), (b"M", "broken off")))
    return b"E" + (len(fields) + 5).to_bytes(4, "big") + fields + b"\0" + _READY


@pytest.fixture
def relay(postgres_server: PostgresServer) -> Iterator[Relay]:
    relay = Relay(postgres_server.port)
    yield relay
    relay.close()


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.database()


def value(database: Database, name: str) -> int:
    with database.read() as conn:
        return conn.execute(select(counters.c.value).where(counters.c.name == name)).scalar_one()


def add_one(conn: Connection, name: str) -> None:
    conn.execute(update(counters).where(counters.c.name == name).values(value=counters.c.value + 1))


def with_counters(url: str, *names: str) -> Database:
    database = Database(url)
    rows = [{"name": name, "value": 0} for name in names]
    database.write(lambda conn: database.insert_new(conn, counters, rows))
    return database


def test_of_two_transactions_that_wait_for_each_other_both_are_made_in_the_end(url: str) -> None:
    databases = with_counters(url, "a", "b"), Database(url)
    both_hold_one, runs = threading.Barrier(2), [0, 0]

    def crosswise(n: int) -> Callable[[Connection], None]:
        def work(conn: Connection) -> None:
            runs[n] += 1
            first, second = ("a", "b") if n else ("b", "a")
            add_one(conn, first)
            if runs[n] == 1:
                both_hold_one.wait(_WAIT_S)
            add_one(conn, second)

        return work

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: databases[n].write(crosswise(n)), range(2)))
    assert sorted(runs) == [1, 2], "one was broken off by the server, and begun again"
    assert (value(databases[0], "a"), value(databases[0], "b")) == (2, 2)
    for database in databases:
        database.close()


def test_what_two_serializable_transactions_cannot_both_have_read_is_read_again(url: str) -> None:
    databases = with_counters(url, "a"), Database(url)
    both_have_read, runs = threading.Barrier(2), [0, 0]

    def read_and_add(n: int) -> Callable[[Connection], None]:
        def work(conn: Connection) -> None:
            runs[n] += 1
            conn.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            seen = conn.execute(select(counters.c.value)).scalar_one()
            if runs[n] == 1:
                both_have_read.wait(_WAIT_S)
            conn.execute(update(counters).values(value=seen + 1))

        return work

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: databases[n].write(read_and_add(n)), range(2)))
    assert sorted(runs) == [1, 2]
    assert value(databases[0], "a") == 2
    for database in databases:
        database.close()


def test_a_connection_that_drops_in_the_middle_of_a_transaction_costs_nothing(url: str, postgres_server: PostgresServer) -> None:
    database, runs = with_counters(url, "a"), 0

    def work(conn: Connection) -> None:
        nonlocal runs
        runs += 1
        add_one(conn, "a")
        if runs == 1:
            own = conn.execute(select(func.pg_backend_pid())).scalar_one()
            postgres_server.sql(f"SELECT pg_terminate_backend({own}, 10000)", database="postgres")
        add_one(conn, "a")

    database.write(work)
    assert (runs, value(database, "a")) == (2, 2)
    database.close()


@pytest.mark.parametrize(("when", "runs"), [("before", 2), ("after", 1), ("57P01", 1), ("57P02", 1), ("57P03", 1)])
def test_a_commit_without_its_answer_is_made_exactly_once(url: str, relay: Relay, when: str, runs: int) -> None:
    with_counters(url, "a").close()
    database, made = Database(make_url(url).set(port=relay.port).render_as_string(hide_password=False)), 0

    def work(conn: Connection) -> None:
        nonlocal made
        made += 1
        add_one(conn, "a")

    relay.cut.append(when)
    database.write(work)
    assert not relay.cut
    assert (made, value(database, "a")) == (runs, 1)
    database.close()
