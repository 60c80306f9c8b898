"""What a sample says about the whole: the largest share of differing instances that it leaves plausible."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable

CONFIDENCE = 0.95


def upper_bound(compared: int, different: int, expected: int) -> float:
    """Bound the share of differing instances at 95 % confidence from one side.

    All compared: the share itself. None different among n compared: 3/n, the rule of three (Hanley 1983). Else the exact bound of
    Clopper and Pearson. Nothing compared: 1, since nothing is known.
    """
    if expected and compared >= expected:
        return different / compared
    if not compared:
        return 1.0
    if not different:
        return min(1.0, 3 / compared)
    low, high = different / compared, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(different, compared, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _at_most(different: int, compared: int, share: float) -> float:
    """Give the probability of at most so many successes in a binomial experiment."""
    if share >= 1:
        return 1.0 if different >= compared else 0.0
    logs = [
        math.lgamma(compared + 1)
        - math.lgamma(k + 1)
        - math.lgamma(compared - k + 1)
        + k * math.log(share)
        + (compared - k) * math.log1p(-share)
        for k in range(different + 1)
    ]
    return math.fsum(math.exp(value) for value in logs)


def sample_of(digests: Iterable[str], size: int, seed: str) -> frozenset[str]:
    """Choose ``size`` digests at random, the same ones for the same seed and set."""
    return frozenset(heapq.nsmallest(size, digests, key=lambda digest: hashlib.sha256(f"{seed}\n{digest}".encode()).digest()))
