"""How fast a pass may read."""

from __future__ import annotations

from vna.scrub.pace import Pace


def test_reading_is_spread_over_time_and_idle_time_is_not_saved_for_a_burst() -> None:
    now = 0.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    pace = Pace(100, clock=lambda: now, sleep=sleep)
    for _ in range(4):
        pace.take(50)
    assert slept == [0.5, 0.5, 0.5]
    now = 100.0
    pace.take(50)
    pace.take(50)
    assert slept == [0.5, 0.5, 0.5, 0.5]


def test_no_limit_never_waits() -> None:
    Pace(0, sleep=lambda seconds: 1 / 0 and None).take(1 << 40)
