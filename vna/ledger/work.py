"""Work on many studies at once: each under its lease, a few ahead, in threads, until it is done or given up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from vna.errors import LockedError
from vna.ledger.leases import Lease, Leases

_AHEAD = 2
_POLL_S = 0.1
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Worked(Generic[_T]):
    """What became of one study. ``result`` is None where it was not done: another run has it (``is_locked``), or we gave up."""

    study_instance_uid: str
    result: _T | None
    is_locked: bool = False


class Work(Generic[_T]):
    """One stage's work at one node.

    ``task`` does one study under its lease, in a thread of its own. ``on_done`` is told each result in the calling thread and
    returns whether to go on. ``give_up`` makes the tasks under way end soon; it is called once, when ``on_done`` says no or
    anything is raised, KeyboardInterrupt included.
    """

    def __init__(
        self,
        leases: Leases,
        stage: str,
        node: str,
        task: Callable[[Lease], _T],
        on_done: Callable[[Worked[_T]], bool],
        give_up: Callable[[], None],
    ) -> None:
        self._leases = leases
        self._stage = stage
        self._node = node
        self._task = task
        self._on_done = on_done
        self._give_up = give_up
        self._given_up = threading.Event()

    def run(self, studies: Iterable[str], workers: int, wanted: Callable[[], int] | None = None) -> None:
        """Work through the studies in their order, ``workers`` at once, and return when every task has ended.

        ``wanted`` says how many may be under way at the moment where that changes, up to ``workers``; it is asked repeatedly.
        Raises what a task or ``on_done`` raised.
        """
        waiting: dict[Future[Worked[_T]], None] = {}

        def ahead() -> int:
            return _AHEAD * workers if wanted is None else min(max(wanted(), 1), workers) - 1

        with ThreadPoolExecutor(workers, thread_name_prefix=self._stage) as pool:
            try:
                for uid in studies:
                    waiting[pool.submit(self._one, uid)] = None
                    self._collect(waiting, ahead)
                    if self._given_up.is_set():
                        break
                self._collect(waiting, lambda: 0)
            except BaseException:
                self._stop()
                raise

    def _collect(self, waiting: dict[Future[Worked[_T]], None], at_most: Callable[[], int]) -> None:
        """Take results until at most so many studies are under way or queued."""
        while len(waiting) > at_most():
            done, _ = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                del waiting[future]
                if not self._on_done(future.result()):
                    self._stop()

    def _stop(self) -> None:
        if not self._given_up.is_set():
            self._given_up.set()
            self._give_up()

    def _one(self, study_instance_uid: str) -> Worked[_T]:
        if self._given_up.is_set():
            return Worked(study_instance_uid, None)
        try:
            with self._leases.held(self._stage, self._node, study_instance_uid) as lease:
                return Worked(study_instance_uid, self._task(lease))
        except LockedError:
            return Worked(study_instance_uid, None, is_locked=True)
