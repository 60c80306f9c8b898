"""The result of matching, before it becomes a decision file.

Nouns: :class:`Link` (one row of the PACS list with one of the RIS list, or one row alone), :class:`Matching` (all of them).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vna.reconcile.rules import MatchLevel, Outcome


@dataclass(frozen=True, slots=True)
class Link:
    """``left`` is a row of the PACS list, ``right`` one of the RIS list; None where there is none."""

    outcome: Outcome
    rule: str
    score: float
    left: int | None
    right: int | None
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Matching:
    """All links; ``skipped`` counts pairs behind too common keys, ``compared`` the pairs that were looked at."""

    level: MatchLevel
    links: Sequence[Link]
    skipped: Mapping[str, int] = field(default_factory=dict)
    compared: int = 0
    ids_shared: bool = True


def groups(links: Sequence[Link]) -> list[tuple[int, str]]:
    """Number the groups that links make, and tell their shape: ``1:1``, ``1:N`` (one study, several orders), ``N:1``, ``N:M``.

    A row alone is ``1:0`` or ``0:1``. The shape counts automatic links where a group has any, else all of them.
    """
    parent: dict[tuple[str, int], tuple[str, int]] = {}

    def root(node: tuple[str, int]) -> tuple[str, int]:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for link in links:
        if link.left is not None and link.right is not None:
            parent[root(("p", link.left))] = root(("r", link.right))
    numbers: dict[object, int] = {}
    members: dict[int, list[Link]] = {}
    found = []
    for link in links:
        node = ("p", link.left) if link.left is not None else ("r", link.right or 0)
        number = numbers.setdefault(root(node), len(numbers) + 1)
        members.setdefault(number, []).append(link)
        found.append(number)
    shapes = {number: _shape(of) for number, of in members.items()}
    return [(number, shapes[number]) for number in found]


def _shape(links: Sequence[Link]) -> str:
    sure = [link for link in links if link.outcome is Outcome.AUTO] or links
    left = {link.left for link in sure if link.left is not None}
    right = {link.right for link in sure if link.right is not None}
    if not left or not right:
        return "1:0" if left else "0:1"
    if len(left) == 1:
        return "1:1" if len(right) == 1 else "1:N"
    return "N:1" if len(right) == 1 else "N:M"


def tally(links: Sequence[Link]) -> Counter[Outcome]:
    """Count PACS rows (for orphans of the RIS: RIS rows) by outcome; a row with several links counts once, by its best."""
    order = (Outcome.AUTO, Outcome.REVIEW, Outcome.CONFLICT, Outcome.JUNK, Outcome.ORPHAN_PACS)
    best: dict[int, Outcome] = {}
    counts: Counter[Outcome] = Counter()
    for link in links:
        if link.left is None:
            counts[link.outcome] += 1
        elif link.left not in best or order.index(link.outcome) < order.index(best[link.left]):
            best[link.left] = link.outcome
    counts.update(best.values())
    return counts
