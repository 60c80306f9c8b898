"""Which files of a table to rewrite so that the rows of a study stand together, a bounded number of rows at a time.

The hash of a study is spread evenly over 64 bits, so that its leading bits cut the rows into equal cells. A table of so many
rows needs so many bits (its depth) that a cell fills about a file. A file belongs to the node (level, cell) that its range of
hashes fits into: a file just appended to level 0, one whose rows are of one cell to the deepest. Where the files of a node have
more rows than one file should, they are cut into the nodes below, in batches; where they have fewer, small ones are merged. So a
row is rewritten a few times in its life, whatever the size of the table, each rewrite is a commit, and a look-up opens few files.
Files that lie side by side already, because they were appended in the order of the hash, are left alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_HASH_BITS = 64
_FAN_OUT_BITS = 4
_FULL = 0.75
"""How full a cell's file is expected to be, so that few cells overflow."""

_SLACK = 1.5
"""How many times as wide as its cell a file may be."""

_MERGE = 8
"""A file is merged with smaller ones that have at least this part of its rows together."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of the table: its path in the log, rows, bytes, least and greatest hash in it (else all there are), and its URI."""

    path: str
    rows: int
    size: int
    low: int = -(2**63)
    high: int = 2**63 - 1
    uri: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One rewrite: these files become one (``bits`` is 0), or a file for each value of the hash's leading bits."""

    files: tuple[DataFile, ...]
    bits: int

    @property
    def rows(self) -> int:
        """Tell how many rows are rewritten."""
        return sum(file.rows for file in self.files)


def plan(files: Sequence[DataFile], rows_a_file: int) -> list[Step]:
    """Decide what to rewrite next; nothing is left to do when the list is empty.

    Steps have no file in common. A step has at most ``rows_a_file`` rows, or one file.
    """
    depth = _depth(sum(file.rows for file in files), rows_a_file)
    nodes: dict[tuple[int, int], list[DataFile]] = defaultdict(list)
    for file in files:
        nodes[_node(file, depth)].append(file)
    steps = []
    for (level, _), own in sorted(nodes.items()):
        own.sort(key=lambda file: (file.rows, file.path))
        if level < depth and sum(file.rows for file in own) >= rows_a_file:
            bits = min(depth, level + _FAN_OUT_BITS)
            steps += [Step(batch, bits) for batch in _batches(own, rows_a_file)]
        else:
            merged = tuple(_merged(own, rows_a_file))
            steps += [Step(merged, 0)] if len(merged) > 1 else []
    return steps


def _depth(rows: int, rows_a_file: int) -> int:
    return max(0, math.ceil(math.log2(rows / (_FULL * rows_a_file)))) if rows > rows_a_file else 0


def _node(file: DataFile, depth: int) -> tuple[int, int]:
    width = (file.high - file.low) / 2**_HASH_BITS
    level = min(depth, max(0, math.floor(math.log2(_SLACK / width)))) if width > 0 else depth
    middle = (file.low + file.high) // 2 + 2 ** (_HASH_BITS - 1)
    return level, middle >> (_HASH_BITS - level)


def _batches(files: Iterable[DataFile], rows: int) -> Iterator[tuple[DataFile, ...]]:
    batch: list[DataFile] = []
    for file in files:
        if batch and sum(each.rows for each in batch) + file.rows > rows:
            yield tuple(batch)
            batch = []
        batch.append(file)
    if batch:
        yield tuple(batch)


def _merged(files: Iterable[DataFile], rows: int) -> Iterator[DataFile]:
    """Take the smallest files, each as long as those before it are worth rewriting it for."""
    held = 0
    for file in files:
        if held and (file.rows > _MERGE * held or held + file.rows > rows):
            return
        held += file.rows
        yield file
