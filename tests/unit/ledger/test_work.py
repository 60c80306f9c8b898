"""Studies are worked on under leases, in threads, and a run can be given up at any moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vna.ledger import Lease, Ledger, Work, Worked


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as opened:
        yield opened


def test_every_study_is_done_once_under_its_lease(ledger: Ledger) -> None:
    done: list[Worked[str]] = []

    def take(worked: Worked[str]) -> bool:
        done.append(worked)
        return True

    work = Work(ledger.leases, "pull", "legacy", lambda lease: lease.study_instance_uid * 2, take, lambda: None)
    work.run((str(n) for n in range(20)), 3)
    assert sorted((one.study_instance_uid, one.result) for one in done) == sorted((str(n), str(n) * 2) for n in range(20))
    ledger.leases.claim("pull", "legacy", "7")


def test_a_study_of_another_run_is_left_to_it(ledger: Ledger) -> None:
    done: list[Worked[int]] = []
    ledger.leases.claim("pull", "legacy", "1")
    Work(ledger.leases, "pull", "legacy", lambda _lease: 1, lambda one: not done.append(one), lambda: None).run(["1", "2"], 1)
    assert {one.study_instance_uid: (one.result, one.is_locked) for one in done} == {"1": (None, True), "2": (1, False)}


def test_no_more_is_begun_when_the_caller_says_so(ledger: Ledger) -> None:
    begun: list[str] = []
    given_up: list[bool] = []

    def task(lease: Lease) -> None:
        begun.append(lease.study_instance_uid)

    work = Work(ledger.leases, "pull", "legacy", task, lambda _one: False, lambda: given_up.append(True))
    work.run((str(n) for n in range(100)), 2)
    assert len(begun) < 20
    assert given_up == [True]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_ends_the_tasks_and_gives_leases_back(ledger: Ledger, error: type[BaseException]) -> None:
    ending = threading.Event()

    def task(lease: Lease) -> None:
        if lease.study_instance_uid != "0":
            ending.wait(30)

    def take(_worked: Worked[None]) -> bool:
        raise error

    started = time.monotonic()
    with pytest.raises(error):
        Work(ledger.leases, "pull", "legacy", task, take, ending.set).run((str(n) for n in range(10)), 2)
    assert time.monotonic() - started < 20
    ledger.leases.claim("pull", "legacy", "1")
