"""Spread the checking over workers: batches in, findings out, in any order; one object can kill a worker and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from vna.archive.address import Address
from vna.errors import StoreError
from vna.executors import Once, Workplace, spread
from vna.model import Finding
from vna.store import Store
from vna.validate import rules  # noqa: F401 - registers every rule
from vna.validate.check import CHECK_CRASHED, OBJECT_UNREADABLE, Checked, Work, check_object
from vna.validate.iods import Requirements, use_tables

BATCH = 64
"""Objects a task: some tenths of a second of work."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a worker needs to begin: the archive's address, the IOD tables, and the time an object may take."""

    archive: Address
    tables: Mapping[str, Requirements]
    seconds: float

    def begin(self) -> Worker:
        """Prepare this process for checking. Raises StoreError where it does not find the archive."""
        use_tables(self.tables)
        return Worker(self.archive, self.archive.open(), self.seconds)


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that is prepared for checking."""

    archive: Address
    store: Store
    seconds: float

    def check(self, work: Work) -> Checked:
        """Check one object."""
        try:
            with self.store.open(work.path) as file:
                return check_object(work, file, seconds=self.seconds)
        except StoreError as exc:
            self.archive.confirm(self.store)
            finding = Finding(OBJECT_UNREADABLE.code, OBJECT_UNREADABLE.severity, values=(type(exc).__name__,))
            return Checked(work.sha256, (finding,), is_done=False)


Check = Callable[[Callable[[], Worker], Sequence[Work]], list[Checked]]


def check_batch(worker: Callable[[], Worker], batch: Sequence[Work]) -> list[Checked]:
    """Check some objects in whatever process this is."""
    here = worker()
    return [here.check(work) for work in batch]


def check_all(
    batches: Iterable[Sequence[Work]], setting: Setting, place: Workplace, *, check: Check = check_batch
) -> Iterator[list[Checked]]:
    """Check every batch and yield the results as they come; holds a few batches a worker at a time.

    An object of which a worker dies is reported as ``CHECK_CRASHED``. Raises StoreError where a worker does not find the archive,
    ClusterError where no cluster answers.
    """
    return spread(partial(check, Once(setting.begin)), batches, place, _crashed)


def _crashed(work: Work) -> list[Checked]:
    return [Checked(work.sha256, (Finding(CHECK_CRASHED.code, CHECK_CRASHED.severity),))]


def default_workers() -> int:
    """Say how many processes are used when nobody says: the cores this process may run on."""
    return len(os.sched_getaffinity(0))
