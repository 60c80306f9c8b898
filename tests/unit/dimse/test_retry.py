"""What failed for the moment is tried again, by all workers alike."""

from __future__ import annotations

import threading
import time

import pytest

from vna.dimse.retry import Patience
from vna.errors import AssociationAbortedError, ConfigError, UnreachableError


class Failing:
    """Fails so many times, then answers."""

    def __init__(self, failures: int, error: type[Exception] = AssociationAbortedError) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error("no")
        return "yes"


def patience(**options: float) -> Patience:
    return Patience(**{"attempts": 4, "first_wait_s": 0.001, **options})  # type: ignore[arg-type]


def test_a_transient_failure_is_tried_again() -> None:
    function = Failing(3)
    assert patience().call(function) == "yes"
    assert function.calls == 4


def test_the_last_attempt_raises_its_error() -> None:
    function = Failing(9)
    with pytest.raises(AssociationAbortedError):
        patience().call(function)
    assert function.calls == 4


def test_what_is_not_transient_is_raised_at_once() -> None:
    function = Failing(1, ConfigError)
    with pytest.raises(ConfigError):
        patience().call(function)
    assert function.calls == 1


def test_a_peer_that_was_never_reached_is_not_waited_for() -> None:
    function, waits = Failing(1, UnreachableError), patience()
    with pytest.raises(UnreachableError):
        waits.call(function)
    waits.call(Failing(0))
    assert waits.call(Failing(1, UnreachableError)) == "yes"


def test_everybody_waits_after_one_failed() -> None:
    waits = patience(first_wait_s=0.4)
    other = threading.Thread(target=waits.call, args=(Failing(1),))
    other.start()
    time.sleep(0.05)
    started = time.monotonic()
    assert waits.call(Failing(0)) == "yes"
    assert time.monotonic() - started > 0.1
    other.join()


def test_stopping_ends_a_wait() -> None:
    waits = patience(first_wait_s=60)
    threading.Timer(0.1, waits.stop).start()
    started = time.monotonic()
    with pytest.raises(AssociationAbortedError):
        waits.call(Failing(9))
    assert time.monotonic() - started < 10
