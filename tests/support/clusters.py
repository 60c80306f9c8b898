"""A Dask cluster on this machine, with worker processes that can be lost, and what they may be asked to do in tests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def dask_cluster(workers: int = 2) -> Iterator[str]:
    """Start a scheduler and worker processes of one thread each on loopback; gives the scheduler's address."""
    import dask
    import distributed

    with (
        # A task of which a worker dies is given up at once, rather than after three more workers.
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1", protocol="tcp"
        ) as cluster,
    ):
        yield cluster.scheduler_address


def squares(batch: Sequence[int]) -> list[int]:
    """Square some numbers; a negative one is deadly."""
    if any(number < 0 for number in batch):
        os._exit(9)
    return [number * number for number in batch]


def squares_or_die_once(mark: Path, batch: Sequence[int]) -> list[int]:
    """Square some numbers; the first process that meets a negative one dies of it, and leaves ``mark``."""
    if any(number < 0 for number in batch) and not mark.exists():
        mark.touch()
        os._exit(9)
    return [number * number for number in batch]


def process_of(make: object, batch: Sequence[int]) -> tuple[int, object]:
    """Tell which process this is, and what the tasks share here."""
    return os.getpid(), make()  # type: ignore[operator]


def fail(batch: Sequence[int]) -> list[int]:
    """Raise an error of the work itself."""
    raise ValueError("the work failed")
