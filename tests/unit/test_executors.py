"""Work spread over processes and threads, whatever becomes of them."""

from __future__ import annotations

import os
import pickle
from functools import partial
from pathlib import Path

import pytest

from tests.support.clusters import fail, process_of, squares, squares_or_die_once
from vna import executors
from vna.errors import ClusterError, ConfigError
from vna.executors import Once, Workplace, opened, spread

BATCHES = [[1, 2], [3], [4, 5, 6]]
HERE, THREADS, PROCESSES = Workplace(), Workplace(3, threads=True), Workplace(2)


def spread_out(place: Workplace, batches: list[list[int]]) -> list[int]:
    return sorted(value for values in spread(squares, batches, place, lambda item: [1000 + item]) for value in values)


@pytest.mark.parametrize("place", [HERE, THREADS, PROCESSES])
def test_every_batch_is_done_wherever_the_work_is(place: Workplace) -> None:
    assert spread_out(place, BATCHES) == [1, 4, 9, 16, 25, 36]
    assert spread_out(place, []) == []


@pytest.mark.parametrize("place", [HERE, THREADS, PROCESSES])
def test_an_error_of_the_work_is_raised(place: Workplace) -> None:
    with pytest.raises(ValueError, match="the work failed"):
        list(spread(fail, BATCHES, place, lambda item: []))


def test_an_item_that_kills_its_worker_is_told_and_every_other_is_done() -> None:
    batches = [[number] for number in range(20)]
    batches[3] = [3, -1, 100]
    batches[17] = [17, -2]
    assert spread_out(PROCESSES, batches) == sorted([*(number * number for number in (*range(20), 100)), 999, 998])


def test_work_begins_in_an_open_pool_and_goes_on_without_it() -> None:
    with opened(PROCESSES) as pool:
        assert [future.result() for _, future in pool.run(squares, [[7], [8]], in_order=True)] == [[49], [64]]
        batches = [[number] for number in (*range(10), -2, *range(10, 20))]
        found = list(spread(squares, batches, PROCESSES, lambda item: [item], pool=pool))
    assert sorted(value for values in found for value in values) == [-2, *(number * number for number in range(20))]


def test_a_worker_that_dies_by_chance_costs_nothing(tmp_path: Path) -> None:
    work = partial(squares_or_die_once, tmp_path / "mark")
    found = spread(work, [[1], [-2], [3]], PROCESSES, lambda item: [1000])
    assert sorted(value for values in found for value in values) == [1, 4, 9]


def test_results_come_in_order_when_asked_for_it() -> None:
    with opened(THREADS) as pool:
        items = [[number] for number in range(50)]
        done = list(pool.run(squares, items, in_order=True))
    assert [item for item, _ in done] == items
    assert [future.result() for _, future in done] == [[number * number] for number in range(50)]


def test_no_more_is_taken_than_the_workers_need() -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield [taken]

    with opened(THREADS) as pool:
        results = pool.run(squares, endless(), ahead=2)  # type: ignore[arg-type]
        for _ in range(10):
            next(results)
    assert taken <= 10 + 2 * 3


def test_what_tasks_share_is_made_once_in_each_process() -> None:
    shared = Once(object)
    assert shared() is shared()
    results = list(spread(partial(process_of, Once(os.getpid)), [[i] for i in range(40)], PROCESSES, lambda item: (0, 0)))
    assert all(process == made for process, made in results)
    assert os.getpid() not in {process for process, _ in results}
    twin, other = pickle.loads(pickle.dumps(shared)), Once(object)
    assert twin() is shared()
    assert other() is not shared()


def test_a_cluster_needs_its_package_an_address_and_a_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_ANSWER_S", 0.5)
    with pytest.raises(ClusterError, match="no Dask scheduler answers") as caught:
        spread_out(Workplace(cluster="tcp://127.0.0.1:9"), BATCHES)
    assert caught.value.exit_code == 10
    with pytest.raises(ConfigError, match="is no address"):
        spread_out(Workplace(cluster="gopher://127.0.0.1:9"), BATCHES)
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ConfigError, match="needs the package distributed"):
        spread_out(Workplace(cluster="tcp://127.0.0.1:9"), BATCHES)
