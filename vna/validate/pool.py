"""Spread the checking over processes: batches in, findings out, in any order; one object can kill a worker and nothing else.

Workers open the store by its URL and read nothing else. They are started fresh (``spawn``), since the parent may run DuckDB's
threads.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from vna.errors import StoreError
from vna.model import Finding
from vna.store import Store, open_store
from vna.validate import rules  # noqa: F401 - registers every rule
from vna.validate.check import CHECK_CRASHED, OBJECT_UNREADABLE, Checked, Work, check_object
from vna.validate.iods import Requirements, use_tables

BATCH = 64
"""Objects a task: some tenths of a second of work."""

_store: Store | None = None
_seconds: float = 0


@dataclass(frozen=True)
class Setting:
    """What a worker needs to begin: the store's address, the IOD tables, and the time an object may take."""

    url: str
    storage_options: Mapping[str, Any]
    tables: Mapping[str, Requirements]
    seconds: float


def start(setting: Setting) -> None:
    """Prepare this process for checking: what a pool's workers run first."""
    global _store, _seconds
    _store = open_store(setting.url, setting.storage_options, writing=False)
    _seconds = setting.seconds
    use_tables(setting.tables)


def check_batch(batch: Sequence[Work]) -> list[Checked]:
    """Check some objects in this process, which :func:`start` has prepared."""
    return [_check(work) for work in batch]


def _check(work: Work) -> Checked:
    if _store is None:
        raise RuntimeError("the worker was not started")
    try:
        with _store.open(work.path) as file:
            return check_object(work, file, seconds=_seconds)
    except StoreError as exc:
        finding = Finding(OBJECT_UNREADABLE.code, OBJECT_UNREADABLE.severity, values=(type(exc).__name__,))
        return Checked(work.sha256, (finding,), is_done=False)


Check = Callable[[Sequence[Work]], list[Checked]]


def check_all(
    batches: Iterable[list[Work]], setting: Setting, workers: int, *, check: Check = check_batch
) -> Iterator[list[Checked]]:
    """Check every batch and yield the results as they come; holds a few batches a worker at a time.

    With one worker everything happens in this process. An object of which a worker dies is found by trying the batch one by one,
    and reported as ``CHECK_CRASHED``.
    """
    if workers <= 1:
        start(setting)
        for batch in batches:
            yield check(batch)
        return
    # What is wrong with the store is to be said here, not by a dying worker.
    open_store(setting.url, setting.storage_options, writing=False)
    broken: list[list[Work]] = []
    remaining = iter(batches)
    while True:
        with _pool(setting, workers) as pool:
            try:
                yield from _windowed(pool, remaining, 2 * workers, broken, check)
                break
            except BrokenProcessPool:
                continue  # the batches in flight are in `broken`; go on with a fresh pool
    for batch in broken:
        yield [_check_alone(work, setting, check) for work in batch]


def _pool(setting: Setting, workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start, (setting,))


def _windowed(
    pool: Executor, batches: Iterator[list[Work]], window: int, broken: list[list[Work]], check: Check
) -> Iterator[list[Checked]]:
    """Keep ``window`` batches in flight. When the pool breaks, those that have no result go to ``broken``."""
    running: dict[Future[list[Checked]], list[Work]] = {}
    waiting: list[Work] = []
    try:
        for waiting in batches:
            running[pool.submit(check, waiting)] = waiting
            waiting = []
            if len(running) >= window:
                yield from _finished(running)
        while running:
            yield from _finished(running)
    except BrokenProcessPool:
        broken += [*running.values(), *([waiting] if waiting else [])]
        raise


def _finished(running: dict[Future[list[Checked]], list[Work]]) -> Iterator[list[Checked]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        result = future.result()
        del running[future]
        yield result


def _check_alone(work: Work, setting: Setting, check: Check) -> Checked:
    with _pool(setting, 1) as pool:
        try:
            return pool.submit(check, [work]).result()[0]
        except BrokenProcessPool:
            return Checked(work.sha256, (Finding(CHECK_CRASHED.code, CHECK_CRASHED.severity),))


def default_workers() -> int:
    """Say how many processes are used when nobody says: the cores this process may run on."""
    return len(os.sched_getaffinity(0))
