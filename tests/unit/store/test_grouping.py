"""Group commit: one action for all who wait, and one verdict for all of them."""

from __future__ import annotations

import threading
import time

import pytest

from vna.store.grouping import GroupCommit


def together(count: int, group: GroupCommit) -> list[Exception | None]:
    """Let threads wait for the group at the same time and give what each of them got."""
    results: list[Exception | None] = []
    barrier = threading.Barrier(count)

    def wait() -> None:
        barrier.wait()
        try:
            group.wait()
            results.append(None)
        except OSError as exc:
            results.append(exc)

    threads = [threading.Thread(target=wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_many_who_wait_share_few_runs() -> None:
    runs: list[float] = []

    def slow() -> None:
        runs.append(time.monotonic())
        time.sleep(0.05)

    assert together(20, GroupCommit(slow)) == [None] * 20
    assert 1 <= len(runs) <= 3


def test_whoever_asks_while_it_runs_waits_for_a_run_of_its_own() -> None:
    begun, go_on = threading.Event(), threading.Event()
    runs: list[int] = []

    def action() -> None:
        runs.append(1)
        begun.set()
        assert go_on.wait(5)

    group = GroupCommit(action)
    first, second = threading.Thread(target=group.wait), threading.Thread(target=group.wait)
    first.start()
    assert begun.wait(5)
    second.start()
    time.sleep(0.02)
    go_on.set()
    first.join()
    second.join()
    assert len(runs) == 2


def test_a_failed_run_fails_everybody_it_stood_for_and_is_not_repeated_for_them() -> None:
    attempts: list[int] = []

    def fail() -> None:
        attempts.append(1)
        time.sleep(0.05)
        raise OSError(5, "EIO")

    results = together(12, GroupCommit(fail))
    assert all(isinstance(result, OSError) for result in results)
    assert len(attempts) <= 3


def test_after_a_failure_a_later_caller_gets_a_run_of_its_own() -> None:
    outcomes = iter([OSError(5, "EIO"), None])

    def action() -> None:
        if error := next(outcomes):
            raise error

    group = GroupCommit(action)
    with pytest.raises(OSError, match="EIO"):
        group.wait()
    group.wait()
