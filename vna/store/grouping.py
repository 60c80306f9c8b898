"""Group commit: one slow, durable action on behalf of everybody who asked before it began."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from vna.errors import StoreError


@dataclass(slots=True)
class _Failure:
    first: int
    last: int
    error: Exception
    waiting: int


class GroupCommit:
    """Run ``action`` once for all threads that wait for it.

    :meth:`wait` returns when a run of the action that *began* after the call has succeeded, so whatever the caller did before is
    covered by it. When the action raises, everybody whom that run stood for gets the same error: a failed fsync is never repeated
    in the hope that it works the second time. Thread-safe.
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._counting = threading.Lock()
        self._running = threading.Lock()
        self._asked = 0
        self._done = 0
        self._failures: list[_Failure] = []

    def wait(self) -> None:
        """Wait until the action has run for this caller. Raises what the action raised."""
        with self._counting:
            self._asked += 1
            ticket = self._asked
        with self._running:
            if self._done < ticket:
                self._run()
                return
            self._raise_failure(ticket)

    def _run(self) -> None:
        with self._counting:
            first, last = self._done + 1, self._asked
        succeeded = False
        try:
            self._action()
            succeeded = True
        finally:
            self._done = last
            if not succeeded and last > first:
                cause = sys.exception()
                error = cause if isinstance(cause, Exception) else StoreError("a write on behalf of several was interrupted")
                self._failures.append(_Failure(first, last, error, last - first))

    def _raise_failure(self, ticket: int) -> None:
        """Give each of those whom a failed run stood for its error, exactly once."""
        for failure in self._failures:
            if failure.first <= ticket <= failure.last:
                failure.waiting -= 1
                if not failure.waiting:
                    self._failures.remove(failure)
                raise failure.error
