"""Pacing against simulated peers, on a simulated clock: it finds what a peer takes well, and lets go when that is too much."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vna.schedule import Pace, PaceLimits

SIZE = 20_000


class Simulation:
    """A peer for whom ``seconds(n)`` is what one object takes while ``n`` associations are busy; it grants ``grants`` at once."""

    def __init__(self, pace: Pace, seconds: Callable[[int], float], grants: int = 1000) -> None:
        self.pace = pace
        self.seconds = seconds
        self.grants = grants
        self.now = 0.0
        self.settled = 0
        self.targets: list[int] = []

    def run(self, until_s: float) -> Simulation:
        """Send until then; every association is busy all the time."""
        while self.now < until_s:
            active = min(self.pace.target, self.grants)
            if self.pace.target > self.grants:
                self.pace.refused(self.now)
            seconds = self.seconds(active)
            self.now += seconds
            for _ in range(active):
                self.pace.settled(self.now, SIZE, seconds, active)
            self.settled += active
            self.targets.append(self.pace.target)
        return self


def far(_: int) -> float:
    """30 ms away, and as many at once as one likes."""
    return 0.030


def with_cores(cores: int) -> Callable[[int], float]:
    """A near peer that works on so many objects at once; the rest wait for each other."""
    return lambda active: 0.002 * max(active / cores, 1)


def test_it_begins_with_one() -> None:
    assert Pace().target == 1


def test_far_away_it_soon_uses_all_that_it_may() -> None:
    one = Simulation(Pace(PaceLimits(most=1)), far).run(30)
    many = Simulation(Pace(), far).run(30)
    assert many.pace.target == 16
    assert Simulation(Pace(), far).run(2).pace.target == 16
    assert many.settled > 14 * one.settled


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_near_by_it_finds_how_many_bring_something(cores: int) -> None:
    simulation = Simulation(Pace(), with_cores(cores)).run(60)
    assert cores <= simulation.pace.target <= 2 * cores
    tail = simulation.targets[len(simulation.targets) // 2 :]
    assert sum(target <= cores for target in tail) / len(tail) > 0.8  # it tries more now and then, and seldom


@pytest.mark.parametrize("most", [1, 3, 16])
def test_the_limit_is_never_exceeded(most: int) -> None:
    assert max(Simulation(Pace(PaceLimits(most=most)), far).run(10).targets) == most


def test_a_peer_that_grants_few_is_not_asked_for_more_all_the_time() -> None:
    simulation = Simulation(Pace(), far, grants=5).run(600)
    tail = simulation.targets[len(simulation.targets) // 2 :]
    assert sum(target > 5 for target in tail) < 10
    assert sum(tail) / len(tail) > 2


def test_a_complaint_halves_the_number_and_a_burst_of_them_counts_once() -> None:
    pace = Pace()
    simulation = Simulation(pace, far).run(2)
    for _ in range(10):
        pace.refused(simulation.now)
    assert pace.target == 8
    pace.refused(simulation.now + 2)
    assert pace.target == 4


def test_after_a_complaint_it_grows_again_slowly() -> None:
    pace = Pace()
    simulation = Simulation(pace, far).run(2)
    pace.refused(simulation.now)
    assert max(simulation.run(simulation.now + 4).targets[-100:]) == 8
    later = simulation.run(simulation.now + 60)
    assert pace.target == 16
    assert all(new - old <= max(old // 4, 1) for old, new in zip(later.targets[-1000:], later.targets[-999:], strict=False))


def test_a_peer_that_slows_down_is_relieved() -> None:
    simulation = Simulation(Pace(), far).run(5)
    assert simulation.pace.target == 16
    simulation.seconds = lambda active: 0.030 * active
    assert simulation.run(simulation.now + 30).pace.target < 16


def test_complaints_never_lead_below_one() -> None:
    pace = Pace()
    for at in range(100):
        pace.refused(float(at * 10))
    assert pace.target == 1


def test_what_fewer_associations_than_wanted_do_decides_nothing() -> None:
    pace = Pace()
    Simulation(pace, far).run(0.5)
    wanted = pace.target
    assert wanted > 1
    for number in range(1000):
        pace.settled(number * 0.03, SIZE, 0.03, 1)
    assert pace.target == wanted


def test_objects_of_all_sizes_are_measured_alike() -> None:
    pace = Pace()
    now = 0.0
    for number in range(400):
        size = (100 << 20) if number % 50 == 0 else SIZE
        seconds = 0.030 + size / (100 << 20)
        active = pace.target
        now += seconds / active
        pace.settled(now, size, seconds, active)
    assert pace.target > 4
