"""How many retrieves there are at once is up to the pace; jobs may be more. Silence is measured by what came before it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from vna.model import Receipt
from vna.pull.arrivals import Arrivals, Job
from vna.schedule import Pace, PaceLimits


def receipt(job: Job, number: int) -> Receipt:
    uid = f"{job.study_instance_uid}.{number}"
    return Receipt("stored", f"{number:064x}", uid, 1000, uid, study_instance_uid=job.study_instance_uid)


def retrieve(arrivals: Arrivals, job: Job, begun: threading.Event, until: Callable[[], object]) -> None:
    with arrivals.asking(job):
        begun.set()
        until()


def test_a_retrieve_waits_for_its_place() -> None:
    arrivals = Arrivals(Pace(PaceLimits(most=1)))
    jobs = [arrivals.open(uid, ()) for uid in ("1.1", "1.2")]
    begun, over = [threading.Event(), threading.Event()], threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(retrieve, arrivals, jobs[0], begun[0], over.wait)
        assert begun[0].wait(30)
        second = pool.submit(retrieve, arrivals, jobs[1], begun[1], lambda: None)
        assert not begun[1].wait(0.3)
        over.set()
        first.result(30)
        second.result(30)
    assert begun[1].is_set()


def test_where_throughput_grows_another_has_a_place() -> None:
    pace = Pace(PaceLimits(most=2, window_s=0, window_objects=1))
    arrivals = Arrivals(pace)
    jobs = [arrivals.open(uid, ()) for uid in ("1.1", "1.2")]
    begun, over = [threading.Event(), threading.Event()], threading.Event()
    with ThreadPoolExecutor(2) as pool:
        pool.submit(retrieve, arrivals, jobs[0], begun[0], over.wait)
        assert begun[0].wait(30)
        pool.submit(retrieve, arrivals, jobs[1], begun[1], over.wait)
        for number in range(4):
            arrivals.add(receipt(jobs[0], number))
        assert pace.target == 2
        assert begun[1].wait(30)
        over.set()


def test_when_all_ends_nobody_waits_for_a_place() -> None:
    arrivals = Arrivals(Pace(PaceLimits(most=1)))
    jobs = [arrivals.open(uid, ()) for uid in ("1.1", "1.2")]
    begun = threading.Event()
    with arrivals.asking(jobs[0]), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(retrieve, arrivals, jobs[1], begun, lambda: None)
        arrivals.end()
        waiting.result(30)
    assert begun.is_set()


class Paced(Pace):
    """Notes how long each object took, as the pace is told."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def settled(self, now: float, size: int, seconds: float, active: int) -> None:
        self.seconds.append(seconds)
        super().settled(now, size, seconds, active)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The moment that the arrivals take for now, to be set."""
    now = [100.0]
    monkeypatch.setattr("vna.pull.arrivals.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_waiting_for_a_place_is_not_the_sources_slowness(now: list[float]) -> None:
    pace = Paced()
    arrivals = Arrivals(pace)
    job = arrivals.open("1.1", ())
    now[0] = 150.0
    with arrivals.asking(job):
        assert job.began_at == 150.0
        for moment in (151.0, 153.0):
            now[0] = moment
            arrivals.add(receipt(job, int(moment)))
    assert pace.seconds == [1.0, 2.0]
    assert list(job.times) == [151.0, 153.0]


def test_the_time_between_two_retrieves_of_a_study_is_not_the_sources_slowness(now: list[float]) -> None:
    pace = Paced()
    arrivals = Arrivals(pace)
    job = arrivals.open("1.1", ())
    for began, came in ((100.0, 101.0), (160.0, 160.5)):
        now[0] = began
        with arrivals.asking(job):
            now[0] = came
            arrivals.add(receipt(job, int(began)))
    now[0] = 163.0  # what comes after the answer has taken since the last
    arrivals.add(receipt(job, 3))
    assert pace.seconds == [1.0, 0.5, 2.5]


@pytest.mark.parametrize(
    ("intervals", "quiet_s"),
    [
        ([], 0.4),
        ([9.0], 0.4),
        ([9.0, 9.0], 36.0),
        ([1.0] * 5, 4.0),
        ([0.1] * 5, 0.4),
        ([0.05] * 5, 0.4),
        ([0.2] * 5, 0.8),
        ([1.0, 1.0, 60.0, 1.0, 1.0], 4.0),
        ([60.0] * 20 + [1.0] * 20, 4.0),
        ([60.0] * 11 + [1.0] * 9, 240.0),
    ],
    ids=[
        "nothing came",
        "one interval says nothing",
        "two",
        "steady",
        "quick, just",
        "quicker",
        "slow",
        "one long pause is not usual",
        "long ago",
        "the more, of late",
    ],
)
def test_silence_means_the_end_once_it_is_longer_than_usual(intervals: list[float], quiet_s: float) -> None:
    job = Arrivals().open("1.1", ())
    moment = 100.0
    if intervals:
        job.times.append(moment)
    for interval in intervals:
        moment += interval
        job.times.append(moment)
    assert job.quiet_s(0.4) == pytest.approx(quiet_s)
