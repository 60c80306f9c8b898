"""Where bulk work is done: in this process, in processes of this machine, or on a Dask cluster; always by ``concurrent.futures``.

Nouns: workplace (which of them), pool (an open workplace), batch (the items that one task works on), once (what all tasks of a
run share).

Workers never write to the archive: they find it by its URL, and what they find out comes back as their results. A task may run
twice, since a worker may die of it, or be lost; one that writes files elsewhere must do the same then.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import platform
import signal
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any, Generic, TypeVar

from vna.errors import ClusterError, ConfigError

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Item = TypeVar("_Item")

_ANSWER_S = 10.0
_WITHOUT_WORKERS_S = 60.0
_KEPT = 4


@dataclass(frozen=True, slots=True)
class Workplace:
    """``workers`` at once on this machine, or the Dask cluster whose scheduler listens at ``cluster`` (``tcp://host:port``).

    ``threads`` asks for threads rather than processes here: for work that waits, or leaves the interpreter to others.
    """

    workers: int = 1
    cluster: str = ""
    threads: bool = False


class Pool:
    """An open workplace: an executor, and how many tasks it does at once.

    ``deaths`` are what a task raises whose worker died; ``watch`` is asked when nothing was done for some time, and raises
    ClusterError when nothing will be.
    """

    def __init__(
        self,
        executor: Executor,
        size: int,
        deaths: tuple[type[BaseException], ...] = (),
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self.executor = executor
        self.size = size
        self.deaths = deaths
        self._watch = watch

    def run(
        self, function: Callable[[_Item], _T], items: Iterable[_Item], *, ahead: int = 2, in_order: bool = False
    ) -> Iterator[tuple[_Item, Future[_T]]]:
        """Call ``function`` with every item, and yield item and future as they are done; ``ahead`` tasks a worker wait or run.

        Of those done at the same time the failed come last, unless all come ``in_order``. Ends early when the executor is broken,
        with futures that say so: what it did not take is still in ``items``. Raises ClusterError when the cluster was lost.
        """
        running: dict[Future[_T], _Item] = {}
        for item in items:
            try:
                running[self.executor.submit(function, item)] = item
            except BrokenExecutor as exc:
                broken: Future[_T] = Future()
                broken.set_exception(exc)
                running[broken] = item
                break
            if len(running) >= ahead * self.size:
                yield from self._done(running, in_order)
        while running:
            yield from self._done(running, in_order)

    def _done(self, running: dict[Future[_T], _Item], in_order: bool) -> Iterator[tuple[_Item, Future[_T]]]:
        awaited = [next(iter(running))] if in_order else running
        done: set[Future[_T]] = set()
        while not done:
            done, _ = wait(awaited, timeout=_ANSWER_S, return_when=FIRST_COMPLETED)
            if not done:
                self._watch()
        for future in sorted(done, key=_has_failed):
            if future.cancelled():
                raise ClusterError("the Dask cluster was lost", hint="start it again, and repeat the command")
            yield running.pop(future), future


def _has_failed(future: Future[Any]) -> bool:
    return future.cancelled() or future.exception() is not None


def spread(
    function: Callable[[Sequence[_Item]], _T],
    batches: Iterable[Sequence[_Item]],
    place: Workplace,
    died: Callable[[_Item], _T],
    *,
    pool: Pool | None = None,
) -> Iterator[_T]:
    """Call ``function`` with every batch and yield the results as they come; a few batches a worker are in flight.

    When a worker dies, each batch that it may have died of is done again item by item at the end; ``died`` gives the result for
    an item of which a worker dies alone too. One worker without a cluster is this process. ``pool`` is where to begin if that
    place is open already. Raises ClusterError where no cluster answers, or it is lost.
    """
    if not place.cluster and place.workers <= 1:
        yield from map(function, batches)
        return
    suspects: list[Sequence[_Item]] = []
    rest, is_broken = iter(batches), True
    while is_broken:
        is_broken = False
        with opened(place) if pool is None else nullcontext(pool) as workers:
            for batch, future in workers.run(function, rest):
                failure = future.exception()
                if isinstance(failure, workers.deaths):
                    suspects.append(batch)
                    is_broken = is_broken or isinstance(failure, BrokenExecutor)
                else:
                    yield future.result()
        pool = None
    yield from _one_by_one(function, iter([[item] for batch in suspects for item in batch]), place, died)


def _one_by_one(
    function: Callable[[Sequence[_Item]], _T], items: Iterator[Sequence[_Item]], place: Workplace, died: Callable[[_Item], _T]
) -> Iterator[_T]:
    for first in items:
        again: Sequence[_Item] | None = first
        with opened(place) if place.cluster else _processes(1) as pool:
            while again is not None:
                ((_, future),) = pool.run(function, [again], ahead=1)
                if isinstance(future.exception(), pool.deaths):
                    log.error("a worker process died of one item, twice")
                    yield died(again[0])
                    break
                yield future.result()
                again = next(items, None)


@contextmanager
def opened(place: Workplace) -> Iterator[Pool]:
    """Open a workplace; at the end, or after an error, what has not begun is dropped.

    Raises ConfigError when the package ``distributed`` is not installed, ClusterError when no cluster answers.
    """
    if place.cluster:
        with _cluster(place.cluster) as pool:
            yield pool
    elif place.workers <= 1:
        yield Pool(_InThisProcess(), 1)
    elif place.threads:
        executor = ThreadPoolExecutor(place.workers)
        try:
            yield Pool(executor, place.workers)
        finally:
            executor.shutdown(cancel_futures=True)
    else:
        with _processes(place.workers) as pool:
            yield pool


class _InThisProcess(Executor):
    """Do what is submitted at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Make the call and give its finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as exc:  # noqa: BLE001 - a future carries whatever was raised to whoever asks for its result
            future.set_exception(exc)
        return future


@contextmanager
def _processes(workers: int) -> Iterator[Pool]:
    """Start processes afresh (``spawn``): the libraries of the index run threads, which a forked child would inherit broken."""
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    try:
        yield Pool(executor, workers, (BrokenExecutor,))
    finally:
        executor.shutdown(cancel_futures=True)


def _begin() -> None:
    """Prepare a worker process: the coordinator alone answers Ctrl-C, and a worker ends with it, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# -- Dask


@contextmanager
def _cluster(address: str) -> Iterator[Pool]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise ConfigError("a Dask cluster needs the package distributed", hint='install it: pip install "vna[cluster]"') from None
    with ExitStack() as stack:
        try:
            client = stack.enter_context(distributed.Client(address, timeout=_ANSWER_S, set_as_default=False))
        except ValueError as exc:
            raise ConfigError(f"{address} is no address of a Dask scheduler", hint="such as tcp://scheduler:8786") from exc
        except OSError as exc:
            raise ClusterError(f"no Dask scheduler answers at {address}", hint="start one: dask scheduler") from exc
        try:
            client.wait_for_workers(1, timeout=_ANSWER_S)
        except TimeoutError as exc:
            raise ClusterError(
                f"the Dask cluster at {address} has no workers", hint=f"start some: dask worker {address}"
            ) from exc
        _compare(client.run(_versions, on_error="return"))
        size = sum(client.nthreads().values())
        yield Pool(client.get_executor(pure=False), size, (distributed.scheduler.KilledWorker,), _Watch(client))


def _versions() -> dict[str, str]:
    """Tell what a worker runs."""
    return {"vna": version("vna"), "Python": platform.python_version()}


def _compare(told: dict[str, Any]) -> None:
    """Refuse workers that cannot do the work, and warn of those that may do it otherwise than this process would."""
    for address, found in sorted(told.items()):
        if isinstance(found, BaseException):
            raise ClusterError(
                f"the Dask worker at {address} cannot run vna: {type(found).__name__}",
                hint="install the same release of vna there",
            )
        for name, here in _versions().items():
            if found.get(name) != here:
                log.warning("the Dask worker at %s has %s %s, not %s", address, name, found.get(name), here)


class _Watch:
    """Notices that a cluster will do nothing any more: its scheduler is gone, or it has been without workers for a minute."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._had_workers_at = time.monotonic()

    def __call__(self) -> None:
        try:
            has_workers = bool(self._client.nthreads())
        except OSError as exc:
            raise ClusterError("the Dask scheduler is gone", hint="start it again, and repeat the command") from exc
        now = time.monotonic()
        if has_workers:
            self._had_workers_at = now
        elif now - self._had_workers_at >= _WITHOUT_WORKERS_S:
            raise ClusterError("the Dask cluster has no workers any more", hint="start some, and repeat the command")


# -- what tasks share


class Once(Generic[_T]):
    """Something that all tasks of a run share, such as an open store: made once in each process, however many tasks bring it.

    ``make`` is called for it, and is pickled, with whatever it holds, for other processes. Thread-safe.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._key = uuid.uuid4().hex
        self._make: Callable[[], _T] | None = make
        self._packed = b""

    def __getstate__(self) -> tuple[str, bytes]:
        if not self._packed:
            self._packed = zlib.compress(pickle.dumps(self._make), 1)
        return self._key, self._packed

    def __setstate__(self, state: tuple[str, bytes]) -> None:
        self._key, self._packed = state
        self._make = None

    def __call__(self) -> _T:
        """Give it, made in this process at the first call."""
        with _making:
            if self._key not in _made:
                while len(_made) >= _KEPT:
                    del _made[next(iter(_made))]
                make = self._make or pickle.loads(zlib.decompress(self._packed))  # noqa: S301 - made by our own coordinator
                _made[self._key] = make()
            made: _T = _made[self._key]
        return made


_made: dict[str, Any] = {}
_making = threading.Lock()
