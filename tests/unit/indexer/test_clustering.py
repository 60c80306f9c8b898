"""A plan brings the rows of a study together, a bounded number of rows at a time, and comes to an end."""

from __future__ import annotations

import random
from collections import Counter
from itertools import count

import pytest

from indexer.clustering import DataFile, Step, plan

NAMES = count()
LOW, HIGH = -(2**63), 2**63 - 1
TARGET = 1_000


def wide(number: int, rows: int) -> DataFile:
    return DataFile(f"wide{number}", rows, rows * 100, LOW + number, HIGH - number)


def carry_out(files: list[DataFile], step: Step) -> list[DataFile]:
    """Do to descriptions of files, whose hashes are spread evenly, what a rewrite does to files."""
    left = [file for file in files if file not in step.files]
    low, high = min(file.low for file in step.files), max(file.high for file in step.files)
    name = str(next(NAMES))
    if not step.bits:
        return [*left, DataFile(name, step.rows, 0, low, high)]
    width = 2 ** (64 - step.bits)
    cells = range((low - LOW) // width, (high - LOW) // width + 1)
    rows = Counter(cells[at * len(cells) // step.rows] for at in range(step.rows))
    return [
        *left,
        *(
            DataFile(f"{name}.{cell}", held, 0, max(low, LOW + cell * width), min(high, LOW + (cell + 1) * width - 1))
            for cell, held in rows.items()
        ),
    ]


def settle(files: list[DataFile]) -> tuple[list[DataFile], int]:
    """Carry out plans to the end; gives the files and how many rows were rewritten."""
    rewritten = 0
    for _ in range(50):
        steps = plan(files, TARGET)
        if not steps:
            return files, rewritten
        taken = [file.path for step in steps for file in step.files]
        assert len(taken) == len(set(taken)), "a file is in one step only"
        for step in steps:
            assert step.rows <= TARGET or len(step.files) == 1
            files = carry_out(files, step)
            rewritten += step.rows
    raise AssertionError("there is no end to it")


def deepest_overlap(files: list[DataFile]) -> int:
    """Tell how many files a look-up by one hash may have to open."""
    points = [LOW + at * (2**64 // 997) for at in range(997)]
    return max(sum(file.low <= point <= file.high for file in files) for point in points)


def test_nothing_is_planned_where_nothing_is_to_be_gained() -> None:
    assert plan([], TARGET) == []
    assert plan([wide(1, 500)], TARGET) == []


def test_small_files_become_one() -> None:
    (step,) = plan([wide(number, 5) for number in range(9)], TARGET)
    assert (len(step.files), step.bits, step.rows) == (9, 0, 45)


def test_a_large_file_is_not_rewritten_for_a_few_rows() -> None:
    assert plan([wide(1, 800), wide(2, 10)], TARGET) == []
    (step,) = plan([wide(1, 800), wide(2, 10), wide(3, 20)], TARGET)
    assert step.rows == 30
    (step,) = plan([wide(1, 800), wide(2, 110)], TARGET)
    assert step.rows == 910


def test_files_that_lie_side_by_side_are_left_alone() -> None:
    """As after a bulk append in the order of the hash, whose files meet the cells' edges nowhere."""
    width = 2**64 // 59
    files = [DataFile(f"f{at}", TARGET - 40, 0, LOW + at * width, LOW + (at + 1) * width - 1) for at in range(59)]
    assert plan(files, TARGET) == []


@pytest.mark.parametrize("commits", [3, 40, 300])
def test_a_look_up_opens_few_files_however_many_were_appended(commits: int) -> None:
    files, rewritten = settle([wide(number, 250) for number in range(commits)])
    rows = 250 * commits
    assert sum(file.rows for file in files) == rows
    assert deepest_overlap(files) <= 6
    assert rewritten <= 4 * rows
    assert len(files) <= 8 * rows / TARGET + 8


def test_a_table_that_grows_bit_by_bit_stays_clustered_at_a_bounded_cost() -> None:
    files: list[DataFile] = []
    rewritten = 0
    for number in range(400):
        files, more = settle([*files, wide(number, 100)])
        rewritten += more
    assert deepest_overlap(files) <= 12
    assert rewritten <= 12 * 40_000


def test_rows_of_one_study_that_no_cut_divides_are_left_together() -> None:
    files = [DataFile(f"f{at}", TARGET - 1, 0, 5, 5) for at in range(3)]
    assert plan(files, TARGET) == []


def test_any_files_come_to_rest() -> None:
    rng = random.Random(1)
    for _ in range(10):
        files = []
        for number in range(rng.randrange(1, 60)):
            low, high = sorted(rng.randrange(LOW, HIGH) for _ in range(2))
            if rng.random() < 0.3:
                high = min(HIGH, low + rng.randrange(2**40))
            files.append(DataFile(f"f{number}", rng.randrange(1, 3 * TARGET), 0, low, high))
        settled, _ = settle(files)
        assert sum(file.rows for file in settled) == sum(file.rows for file in files)
