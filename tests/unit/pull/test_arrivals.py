"""How many retrieves there are at once is up to the pace; jobs may be more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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


def test_waiting_for_a_place_is_not_the_sources_slowness() -> None:
    arrivals = Arrivals(Pace())
    job = arrivals.open("1.1", ())
    opened_at = job.began_at
    with arrivals.asking(job):
        assert job.began_at >= opened_at
        arrivals.add(receipt(job, 1))
        assert job.times[-1] >= job.began_at
