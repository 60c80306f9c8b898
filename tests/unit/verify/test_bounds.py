"""What a sample proves, and that the same sample is drawn again."""

from __future__ import annotations

import pytest

from vna.verify.bounds import sample_of, upper_bound


@pytest.mark.parametrize(
    ("compared", "different", "expected", "bound"),
    [
        (100, 0, 1000, 0.03),
        (300, 0, 1000, 0.01),
        (1, 0, 1000, 1.0),
        (0, 0, 1000, 1.0),
        (1000, 0, 1000, 0.0),
        (1000, 10, 1000, 0.01),
        (100, 1, 1000, 0.0466),
        (100, 5, 1000, 0.1023),
        (10, 10, 1000, 1.0),
        (0, 0, 0, 1.0),
    ],
)
def test_the_bound_is_that_of_the_textbook(compared: int, different: int, expected: int, bound: float) -> None:
    assert upper_bound(compared, different, expected) == pytest.approx(bound, abs=5e-4)


def test_a_sample_is_the_same_for_the_same_seed_and_does_not_depend_on_order() -> None:
    digests = [f"{n:064x}" for n in range(200)]
    sample = sample_of(digests, 20, "archive target")
    assert len(sample) == 20
    assert sample == sample_of(reversed(digests), 20, "archive target")
    assert sample != sample_of(digests, 20, "archive other")
    assert sample_of(digests, 500, "x") == frozenset(digests)
    assert sample_of(digests, 0, "x") == frozenset()
