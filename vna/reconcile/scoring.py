"""Scores: a Fellegi-Sunter model whose weights are learned from the lists themselves, without examples.

Nouns: :class:`Comparison` (levels per field), :class:`Model` (weight per field and level, in bits), :class:`Scorer` (the
interface that another engine may fill). Chance agreement of names and birth dates is counted per value (term frequencies):
*Nguyen* weighs less than *Szczepaniak*.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, Protocol

from vna.reconcile.dates import DateLevel, compare_days
from vna.reconcile.identifiers import IdLevel, compare_all
from vna.reconcile.names import Level, NameComparison, compare_names
from vna.reconcile.records import Frequencies, People, Person


class Comparison(NamedTuple):
    """How two records agree, field by field."""

    patient_id: IdLevel
    qualified: bool
    family: Level
    given: Level
    crossed: bool
    birth_date: DateLevel
    sex: int  # 1 same, 0 different, -1 missing
    contact: int  # 1 same telephone or address, 0 not, -1 missing
    note: str = ""


_levels = itemgetter(0, 2, 3, 5, 6, 7)
"""The levels of a comparison in the order of the fields that are weighed."""


class Scorer(Protocol):
    """What a scoring engine must do."""

    def weights(self, comparison: Comparison, left: Person, right: Person) -> Mapping[str, float]:
        """Give the weight of each field in bits; positive speaks for one person."""

    def probability(self, bits: float) -> float:
        """Turn the sum of weights into the probability that both records are one person."""


_M: dict[str, dict[int, float]] = {
    "patient_id": {IdLevel.SAME: 0.90, IdLevel.TYPO: 0.03, IdLevel.DIFFERENT: 0.07},
    "family": {
        Level.EXACT: 0.86,
        Level.EQUIVALENT: 0.01,
        Level.PARTIAL: 0.04,
        Level.CLOSE: 0.045,
        Level.INITIAL: 0.001,
        Level.WEAK: 0.012,
        Level.DIFFERENT: 0.032,
    },
    "given": {
        Level.EXACT: 0.83,
        Level.EQUIVALENT: 0.04,
        Level.PARTIAL: 0.02,
        Level.CLOSE: 0.05,
        Level.INITIAL: 0.02,
        Level.WEAK: 0.02,
        Level.DIFFERENT: 0.02,
    },
    "birth_date": {
        DateLevel.EXACT: 0.93,
        DateLevel.SWAPPED: 0.012,
        DateLevel.TYPO: 0.025,
        DateLevel.PART: 0.018,
        DateLevel.DIFFERENT: 0.015,
    },
    "sex": {1: 0.985, 0: 0.015},
    "contact": {1: 0.6, 0: 0.4},
}
"""How often each level occurs among true pairs, before anything is learned (rates of clerical errors from the literature)."""

_U: dict[str, dict[int, float]] = {
    "patient_id": {IdLevel.SAME: 2e-5, IdLevel.TYPO: 4e-4, IdLevel.DIFFERENT: 1.0},
    "family": {
        Level.EXACT: 2e-3,
        Level.EQUIVALENT: 1e-3,
        Level.PARTIAL: 3e-3,
        Level.CLOSE: 2e-3,
        Level.INITIAL: 5e-4,
        Level.WEAK: 8e-3,
        Level.DIFFERENT: 0.98,
    },
    "given": {
        Level.EXACT: 8e-3,
        Level.EQUIVALENT: 5e-3,
        Level.PARTIAL: 4e-3,
        Level.CLOSE: 8e-3,
        Level.INITIAL: 0.02,
        Level.WEAK: 0.02,
        Level.DIFFERENT: 0.94,
    },
    "birth_date": {
        DateLevel.EXACT: 4e-5,
        DateLevel.SWAPPED: 2e-5,
        DateLevel.TYPO: 6e-4,
        DateLevel.PART: 4e-3,
        DateLevel.DIFFERENT: 0.995,
    },
    "sex": {1: 0.5, 0: 0.5},
    "contact": {1: 1e-3, 0: 1.0},
}
"""How often each level occurs among pairs of strangers; names and IDs are corrected by a random sample of the lists."""

_FIELDS = ("patient_id", "family", "given", "birth_date", "sex", "contact")
_COUNTED = frozenset(("family", "given", "birth_date"))
"""Fields whose values are counted (term frequencies), from level PARTIAL of names and EXACT of dates, both 4, upwards."""
_SAMPLE = 5_000
_CROSSED = -3.0


def compare(left: Person, right: Person, *, ids_count: bool = True) -> Comparison:
    """Compare two records in every field. With ``ids_count`` false, patient IDs of these lists are no common ground."""
    level, qualified = compare_all(left.ids, right.ids) if ids_count and left.ids and right.ids else (IdLevel.INCOMPARABLE, False)
    name = compare_names(left.name, right.name)
    if name.family < Level.CLOSE:
        name = _by_birth_name(left, right, name)
    sex = -1 if not left.sex or not right.sex else int(left.sex == right.sex)
    return Comparison(
        level,
        qualified,
        name.family,
        name.given,
        name.crossed,
        compare_days(left.birth_date, right.birth_date),
        sex,
        _contact(left, right),
        name.note,
    )


def _by_birth_name(left: Person, right: Person, name: NameComparison) -> NameComparison:
    for a, b in ((left.birth_name, right.name), (left.name, right.birth_name)):
        if a.family.words and b.family.words:
            other = (
                compare_names(type(a)(family=a.family, given=left.name.given if a is left.birth_name else a.given), b)
                if a is left.birth_name
                else (compare_names(a, type(b)(family=b.family, given=right.name.given)))
            )
            if other.family >= Level.CLOSE:
                return NameComparison(min(other.family, Level.PARTIAL), max(name.given, other.given), note="name at birth")
    return name


def _contact(left: Person, right: Person) -> int:
    if (left.phone and left.phone == right.phone) or (len(left.address) > 7 and left.address == right.address):
        return 1
    return 0 if (left.phone and right.phone) or (left.address and right.address) else -1


@dataclass(frozen=True, slots=True)
class Model:
    """The default :class:`Scorer`. ``prior`` is the logarithm (base 2) of the odds that a random pair is one person."""

    m: Mapping[str, Mapping[int, float]]
    u: Mapping[str, Mapping[int, float]]
    prior: float
    counts: Frequencies
    plain: Mapping[str, Mapping[int, float]]
    """The weight of each level where no value is counted."""

    def weights(self, comparison: Comparison, left: Person, right: Person) -> dict[str, float]:
        """Give the weight of each field in bits. A missing value weighs nothing."""
        found = {}
        for field, level, m in zip(_FIELDS, _levels(comparison), self.m.values(), strict=True):
            if level >= 0:
                found[field] = math.log2(m[level] / self._chance(field, level, comparison, left, right))
        if comparison.crossed:
            found["family"] = found.get("family", 0) + _CROSSED
        return found

    def bits(self, comparison: Comparison, left: Person, right: Person) -> float:
        """Give the sum of :meth:`weights`, quickly."""
        total = _CROSSED if comparison.crossed else 0.0
        for field, level in zip(_FIELDS, _levels(comparison), strict=True):
            if level < 0:
                continue
            if level >= Level.PARTIAL and field in _COUNTED:
                total += math.log2(self.m[field][level] / self._chance(field, level, comparison, left, right))
            else:
                total += self.plain[field][level]
        return total

    def _chance(self, field: str, level: int, comparison: Comparison, left: Person, right: Person) -> float:
        counts = self.counts
        if field == "birth_date" and level == DateLevel.EXACT and left.birth_date is not None:
            return counts.birth_share(left.birth_date)
        if field == "family" and level >= Level.PARTIAL and not comparison.crossed:
            share = max(counts.share(counts.family, left.name.family_key), counts.share(counts.family, right.name.family_key))
            return share if level == Level.EXACT else share + self.u[field][level] / 4
        if field == "given" and level >= Level.PARTIAL and not comparison.crossed:
            share = max(counts.share(counts.given, left.name.given_key), counts.share(counts.given, right.name.given_key))
            return share if level == Level.EXACT else share + self.u[field][level] / 4
        return self.u[field][level]

    def probability(self, bits: float) -> float:
        """Turn weights into a probability."""
        total = bits + self.prior
        return 1 / (1 + 2**-total) if total > -60 else 0.0


def train(
    pacs: People, ris: People, counts: Frequencies, compared: Sequence[Comparison], *, ids_count: bool = True, seed: int = 1
) -> Model:
    """Learn the weights: chance levels from random pairs, true levels by expectation-maximisation over the candidates.

    The defaults weigh as much as some dozens of pairs, so that short lists stay sensible. Same lists, same seed, same model.
    """
    u = {field: dict(levels) for field, levels in _U.items()}
    _learn_chance(u, pacs, ris, seed, ids_count=ids_count)
    smaller = max(min(len(pacs), len(ris)), 1)
    prior = math.log2(0.8 * smaller / (max(len(pacs), 1) * max(len(ris), 1)) + 1e-12)
    m = _learn_true(compared, u, prior)
    plain = {field: {level: math.log2(share / u[field][level]) for level, share in levels.items()} for field, levels in m.items()}
    return Model(m, u, prior, counts, plain)


def _learn_chance(u: dict[str, dict[int, float]], pacs: People, ris: People, seed: int, *, ids_count: bool) -> None:
    rng = random.Random(seed)  # noqa: S311 - a sample, no secret
    if not len(pacs) or not len(ris):
        return
    seen: dict[str, Counter[int]] = {field: Counter() for field in ("family", "given", "patient_id")}
    for _ in range(_SAMPLE):
        pair = compare(rng.choice(pacs.persons), rng.choice(ris.persons), ids_count=ids_count)
        for field, counter in seen.items():
            counter[int(getattr(pair, field))] += 1
    for field, counter in seen.items():
        total = sum(n for level, n in counter.items() if level >= 0)
        weight = 2_000
        for level, default in u[field].items():
            u[field][level] = (counter[level] + default * weight) / (total + weight)


def _learn_true(
    compared: Iterable[Comparison], u: Mapping[str, Mapping[int, float]], prior: float
) -> dict[str, dict[int, float]]:
    patterns = Counter(map(_levels, compared))
    m = {field: dict(levels) for field, levels in _M.items()}
    for _ in range(8):
        expected = {field: {level: 60 * share for level, share in levels.items()} for field, levels in _M.items()}
        for pattern, count in patterns.items():
            bits = prior + sum(
                math.log2(m[field][level] / u[field][level]) for field, level in zip(_FIELDS, pattern, strict=True) if level >= 0
            )
            if bits < -20:
                continue
            true = count / (1 + 2**-bits)
            for field, level in zip(_FIELDS, pattern, strict=True):
                if level >= 0:
                    expected[field][level] += true
        for field, counter in expected.items():
            total = sum(counter.values())
            m[field] = {level: max(n / total, 1e-5) for level, n in counter.items()}
    return m
