"""A Dask cluster of two worker processes does what processes of this machine do, with the same results."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clusters import dask_cluster, squares
from tests.support.instances import make_instance, write_instance
from tests.support.objects import send, wire_object
from tests.support.s3 import S3Service
from tests.unit.deid.deadly import WRITING, DeadlySource
from tests.unit.deid.folder import FileSource
from tests.unit.deid.test_run import options as deid_options
from tests.unit.deid.test_run import tree
from tests.unit.scrub.rot import content, copied, cut_off, filled, flip_bit, objects, overwrite, swap
from vna import executors
from vna.archive import Archive
from vna.cli import run as vna
from vna.deid.run import run as deid
from vna.deid.source import ArchiveSource
from vna.deid.values import Key
from vna.errors import ClusterError, StoreError
from vna.executors import Workplace, spread
from vna.ledger import Ledger
from vna.scrub import ScrubOptions, ScrubResult
from vna.scrub import run as scrub
from vna.store import open_store
from vna.validate import ValidateOptions
from vna.validate import run as validate

KEY = Key(b"a key for tests, 32 bytes long..")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with dask_cluster() as address:
        yield address


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return filled(tmp_path / "archive", studies=4, instances=20)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as opened_ledger:
        yield opened_ledger


def test_an_item_that_kills_its_worker_is_told_and_every_other_is_done(cluster: str) -> None:
    batches = [[1, 2], [3, -4, 5], [6]]
    found = spread(squares, batches, Workplace(cluster=cluster), lambda item: [item])
    assert sorted(value for values in found for value in values) == [-4, 1, 4, 9, 25, 36]


def test_equal_batches_are_done_each(cluster: str) -> None:
    found = list(spread(squares, [[2], [2], [2]], Workplace(cluster=cluster), lambda item: []))
    assert found == [[4], [4], [4]]


def test_validation_finds_the_same(cluster: str, archive: Archive, tmp_path: Path) -> None:
    def findings(name: str, **options: object) -> object:
        with Ledger.open(f"sqlite:///{tmp_path}/{name}.sqlite") as ledger:
            result = validate(archive, ledger, ValidateOptions(pixels=True, **options))  # type: ignore[arg-type]
            return {**result.as_json(), "seconds": 0}

    objects(archive.root)[5].unlink()
    assert findings("cluster", cluster=cluster) == findings("here", workers=1)


def test_a_scrub_reports_and_repairs_the_same(cluster: str, archive: Archive, tmp_path: Path) -> None:
    copy, dice = copied(archive, tmp_path / "copy"), random.Random(4)
    good = content(archive.root)
    injured = dice.sample(objects(archive.root), 12)
    for path in injured[:4]:
        flip_bit(path, dice)
    for path in injured[4:7]:
        cut_off(path, dice)
    injured[7].unlink()
    swap(injured[8], injured[9])
    overwrite(injured[10], b"")

    def report(result: ScrubResult) -> object:
        return {**result.as_json(), "seconds": 0}

    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        here = scrub(archive, ledger, ScrubOptions(workers=2))
        there = scrub(archive, ledger, ScrubOptions(cluster=cluster))
        limited = scrub(archive, ledger, ScrubOptions(cluster=cluster, rate_limit_mbit=1000))
        assert report(here) == report(there) == report(limited)
        assert len(here.corrupt) == 11
        repaired = scrub(archive, ledger, ScrubOptions(cluster=cluster), copy=open_store(str(copy)))
    assert repaired.repaired == 11
    assert content(archive.root).items() >= good.items()


def test_a_rebuild_makes_the_same_index(cluster: str, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vna.archive.rebuild._FILES_PER_TASK", 16)
    before = archive.select()
    assert archive.rebuild_index(cluster=cluster) == len(before)
    assert archive.select() == before
    assert archive.rebuild_index(workers=2) == len(before)
    assert archive.select() == before


def test_workers_reach_an_archive_in_a_bucket(cluster: str, moto: S3Service, tmp_path: Path) -> None:
    archive = Archive.create(moto.url(), moto.storage_options(), spool=str(tmp_path / "spool"))
    with archive.sink() as sink:
        for number in range(1, 5):
            send(sink, wire_object(InstanceNumber=number))
    archive.sync_index()
    before = archive.select()
    assert archive.rebuild_index(cluster=cluster) == 4
    assert archive.select() == before
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        found = scrub(archive, ledger, ScrubOptions(cluster=cluster))
        assert (found.objects, found.findings) == (4, ())
        assert validate(archive, ledger, ValidateOptions(cluster=cluster)).validated == 4


def test_a_cohort_has_the_same_bytes_and_an_object_that_kills_its_worker_is_held(cluster: str, tmp_path: Path) -> None:
    paths = tuple(
        str(write_instance(tmp_path / "in" / f"{number}.dcm", make_instance(InstanceNumber=number))) for number in range(1, 41)
    )
    there = tmp_path / "there"
    deid(FileSource(paths), deid_options(KEY, tmp_path / "here"))
    deadly = DeadlySource(paths, paths[20], WRITING, there, os.getpid())
    result = deid(deadly, deid_options(KEY, there, cluster=cluster))
    assert (result.written, result.held) == (39, {"CRASHED": 1})
    assert tree(there).keys() < tree(tmp_path / "here").keys()
    assert deid(FileSource(paths), deid_options(KEY, there, cluster=cluster)).resumed == 39
    assert tree(there) == tree(tmp_path / "here")


def test_a_worker_that_does_not_find_the_archive_is_told_rather_than_believed(
    cluster: str, archive: Archive, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vna.archive.rebuild._FILES_PER_TASK", 16)
    source = ArchiveSource(archive.url)
    assert source.rows()
    (archive.root / "vna-archive.json").rename(archive.root / "elsewhere.json")
    with pytest.raises(StoreError, match="finds no archive"):
        scrub(archive, ledger, ScrubOptions(cluster=cluster))
    with pytest.raises(StoreError, match="finds no archive"):
        archive.rebuild_index(cluster=cluster)
    with pytest.raises(StoreError, match="finds no archive"):
        validate(archive, ledger, ValidateOptions(cluster=cluster))
    with pytest.raises(StoreError, match="finds no archive"):
        deid(source, deid_options(KEY, archive.root.parent / "cohort", cluster=cluster))


def test_a_cluster_without_workers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_ANSWER_S", 2.0)
    with dask_cluster(workers=0) as address, pytest.raises(ClusterError, match="has no workers"):
        list(spread(squares, [[1]], Workplace(cluster=address), lambda item: []))


def test_commands_take_the_cluster(
    cluster: str, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vna.toml").write_text(f'[archive]\nurl = "{archive.url}"\n')
    assert vna(["scrub", "--cluster", cluster, "--json"]) == 0
    assert '"objects": 82' in capsys.readouterr().out
    assert vna(["scrub", "--cluster", "tcp://127.0.0.1:9", "--json"]) == 10
    assert "no Dask scheduler answers" in capsys.readouterr().err
