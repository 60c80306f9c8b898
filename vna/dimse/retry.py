"""The one retry layer round a peer: what failed for the moment is tried again, later and later, by all workers alike.

A busy source refuses everybody, so the wait belongs to the node and not to the study that met it: one :class:`Patience` is
shared by all threads that talk to a node.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from vna.errors import UnreachableError, VnaError

ATTEMPTS = 4
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Patience:
    """Calls what may fail for the moment. Thread-safe; :meth:`stop` ends all waits at once."""

    def __init__(
        self,
        *,
        attempts: int = ATTEMPTS,
        first_wait_s: float = FIRST_WAIT_S,
        longest_wait_s: float = LONGEST_WAIT_S,
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_trouble = on_trouble
        self._attempts = attempts
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        self._lock = threading.Lock()
        self._failures = 0
        self._has_succeeded = False
        self._resume_at = 0.0
        self._stopped = threading.Event()

    @property
    def is_stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Let nobody wait any more: what fails from now on is raised at once."""
        self._stopped.set()

    def call(self, function: Callable[[], _T]) -> _T:
        """Call ``function`` until it succeeds; raise its error when that is not transient, or after the last attempt.

        A peer that cannot be reached the first time has a wrong address more likely than a bad moment: that is raised at once.
        """
        for attempt in range(1, self._attempts + 1):
            self._stopped.wait(max(self._resume_at - time.monotonic(), 0))
            try:
                result = function()
            except VnaError as exc:
                is_first = isinstance(exc, UnreachableError) and not self._has_succeeded
                if is_first or not exc.transient or attempt == self._attempts or self.is_stopped:
                    raise
                wait_s = self.postpone()
                _log.info("trying again in %.1f s: %s", wait_s, type(exc).__name__)
            else:
                with self._lock:
                    self._failures, self._has_succeeded = 0, True
                return result
        raise AssertionError("the last attempt either returns or raises")

    def postpone(self) -> float:
        """Make everybody wait before the next call, and say for how long.

        Twice as long after each failure in a row, with jitter so that workers do not return together. ``on_trouble`` is told.
        """
        self._on_trouble()
        with self._lock:
            self._failures += 1
            longest = min(self._first_wait_s * 2 ** (self._failures - 1), self._longest_wait_s)
            wait_s: float = longest * random.uniform(0.5, 1.0)  # noqa: S311
            self._resume_at = max(self._resume_at, time.monotonic() + wait_s)
            return wait_s
