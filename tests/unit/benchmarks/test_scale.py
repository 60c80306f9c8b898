"""The comparison at scale asks of every system what it holds: the same build and the same look-ups, small."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.national import instance_rows, small_shape
from benchmarks.scale_build import build
from benchmarks.scale_lookups import LOOKUPS, answer, opened, sample, warm
from benchmarks.scale_sqlite import Loaded
from benchmarks.scale_sqlite import answer as sqlite_answer
from indexer.columns import INSTANCES
from indexer.table import Table

SHAPE = small_shape(40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("scale")
    build(made / "instances", SHAPE, 300)
    with opened(made) as catalogue:
        catalogue.rewrite_studies()
    return made


def test_the_rows_are_whole_series_in_the_order_of_the_hash() -> None:
    batches = list(instance_rows(SHAPE, 300))
    assert len(batches) > 1
    assert all(batch.schema.equals(INSTANCES) for batch in batches)
    assert sum(batch.num_rows for batch in batches) == SHAPE.instances
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [row["study_hash"] for row in rows] == sorted(row["study_hash"] for row in rows)
    assert len({row["SOPInstanceUID"] for row in rows}) == len({row["sha256"] for row in rows}) == len(rows)


def test_the_first_instances_are_those_of_whole_studies() -> None:
    part = SHAPE.first(100)
    assert 100 <= part.instances < SHAPE.instances
    kept = set(part.series.column("StudyInstanceUID").to_pylist())
    assert kept.isdisjoint(SHAPE.series.slice(part.series.num_rows).column("StudyInstanceUID").to_pylist())


def test_a_build_appends_every_instance_once(folder: Path) -> None:
    assert Table.open(folder / "instances").info().rows == SHAPE.instances


def test_every_look_up_finds_what_it_looks_for_and_sqlite_finds_as_much(folder: Path, tmp_path: Path) -> None:
    loaded = Loaded(tmp_path / "archive.sqlite", time.monotonic() + 600)
    assert loaded.fill(instance_rows(SHAPE, 300))
    with opened(folder) as catalogue:
        for study in sample(catalogue, 10):
            for name, keys in LOOKUPS.items():
                found = answer(catalogue, keys(study))
                assert found > 0
                if name != "name wildcard":  # SQLite tells accents apart
                    assert (name, sqlite_answer(loaded.connection, keys(study))) == (name, found)
        assert warm(folder, sample(catalogue, 2), rounds=1).keys() == LOOKUPS.keys()
    loaded.connection.close()


def test_sqlite_gives_up_when_its_time_is_over(tmp_path: Path) -> None:
    loaded = Loaded(tmp_path / "archive.sqlite", time.monotonic() - 1)
    assert not loaded.fill(instance_rows(SHAPE, 300))
    loaded.connection.close()
