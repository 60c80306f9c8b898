"""What the processes at one port grant together is what one process would grant."""

from __future__ import annotations

import pytest

from vna.dimse.limits import ASSOCIATE_BYTES, ScpLimits

TOTALS = ("associations", "associations_per_address", "waiting", "waiting_per_address", "waiting_bytes")


def test_a_process_alone_grants_the_whole() -> None:
    assert ScpLimits().share(1) == ScpLimits()


@pytest.mark.parametrize("processes", [2, 3, 4, 7, 8])
@pytest.mark.parametrize("total", TOTALS)
def test_several_processes_grant_together_what_one_would(processes: int, total: str) -> None:
    whole, part = getattr(ScpLimits(), total), getattr(ScpLimits().share(processes), total)
    assert whole <= part * processes < whole + processes


def test_what_is_granted_to_each_association_is_no_total() -> None:
    whole, part = ScpLimits(), ScpLimits().share(4)
    assert {name for name in ScpLimits.__slots__ if getattr(whole, name) != getattr(part, name)} == set(TOTALS)


def test_many_processes_hinder_no_honest_peer() -> None:
    part = ScpLimits().share(256)
    assert part.associations == 1
    assert (part.associations_per_address, part.waiting, part.waiting_per_address) == (8, 8, 8)
    assert part.waiting_bytes == 2 * ASSOCIATE_BYTES


def test_no_part_is_more_than_the_whole() -> None:
    assert ScpLimits(waiting=3, waiting_bytes=100).share(256).waiting == 3
    assert ScpLimits(waiting=3, waiting_bytes=100).share(256).waiting_bytes == 100
