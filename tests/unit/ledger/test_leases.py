"""Who may claim what, when a holder lives, sleeps or is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vna.errors import LockedError
from vna.ledger.database import Database
from vna.ledger.leases import Leases, check, is_dead, process_identity


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield database
    database.close()


def test_a_lease_that_was_not_renewed_can_be_taken_over_and_fences_its_holder(database: Database) -> None:
    clock = Clock()
    sleeper, other = Leases(database, clock=clock, owner="elsewhere:1:1"), Leases(database, clock=clock)
    lost = sleeper.claim("pull", "legacy", "1.1")
    clock.now += 59
    with pytest.raises(LockedError):
        other.claim("pull", "legacy", "1.1")
    clock.now += 2
    taken = other.claim("pull", "legacy", "1.1")
    assert taken.token > lost.token
    database.write(lambda conn: check(conn, taken))
    with pytest.raises(LockedError):
        database.write(lambda conn: check(conn, lost))
    sleeper.renew()
    sleeper.release(lost)
    database.write(lambda conn: check(conn, taken))


def test_renewing_keeps_a_lease(database: Database) -> None:
    clock = Clock()
    holder, other = Leases(database, clock=clock, owner="elsewhere:1:1"), Leases(database, clock=clock)
    holder.claim("pull", "legacy", "1.1")
    clock.now += 50
    holder.renew()
    clock.now += 50
    with pytest.raises(LockedError):
        other.claim("pull", "legacy", "1.1")


def test_the_thread_renews_what_is_held(database: Database) -> None:
    holder, other = Leases(database, lease_s=0.3, owner="elsewhere:1:1"), Leases(database)
    with holder.held("pull", "legacy", "1.1"):
        for _ in range(20):
            with pytest.raises(LockedError):
                other.claim("pull", "legacy", "1.1")
            other_process = subprocess.run([sys.executable, "-c", "import time; time.sleep(0.03)"], check=True)
            assert other_process.returncode == 0
    holder.close()


def test_the_lease_of_a_dead_process_can_be_taken_at_once(database: Database) -> None:
    code = "from vna.ledger.leases import process_identity; print(process_identity())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert is_dead(dead)
    Leases(database, owner=dead).claim("pull", "legacy", "1.1")
    assert Leases(database).claim("pull", "legacy", "1.1").token == 2


def test_a_living_process_and_one_on_another_host_are_not_dead() -> None:
    host = process_identity().split(":")[0]
    assert not is_dead(process_identity())
    assert not is_dead("another-host/boot/4026531836:1:1")
    assert not is_dead(f"{host}:{os.getpid()}:")
    assert is_dead(f"{host}:{os.getpid()}:1")


def test_closing_gives_everything_back(database: Database) -> None:
    holder = Leases(database)
    holder.claim("pull", "legacy", "1.1")
    holder.claim("pull", "legacy", "1.2")
    holder.close()
    Leases(database).claim("pull", "legacy", "1.1")
    Leases(database).claim("pull", "legacy", "1.2")


def test_the_message_names_stage_node_and_study(database: Database) -> None:
    Leases(database).claim("inventory", "legacy")
    with pytest.raises(LockedError, match="inventory of everything at legacy") as error:
        Leases(database).claim("inventory", "legacy")
    assert error.value.hint
