"""Whoever appends to a table, maintains it, or dies in between, wherever it is: every row is there exactly once."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from indexer import lease
from indexer import s3 as s3_module
from indexer.clustering import plan
from indexer.columns import INSTANCES
from indexer.errors import LeaseHeldError, TableConflictError, UntrustedServiceError
from indexer.lease import maintaining
from indexer.maintenance import Rewrite, optimize
from indexer.parquet import ParquetFiles
from indexer.query import connect, query
from indexer.replacing import replace_rows
from indexer.table import Segment, Table
from tests.support.index_writers import Job, run_writers
from tests.support.s3 import S3Service
from tests.support.s3_proxy import Fault, Request, s3_proxy

PLACES = ["local", "moto", "seaweedfs"]


class Place:
    """Where a table is, and what reaches it."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.url = url
        self.options = options

    def create(self) -> Table:
        return Table.create(self.url, storage_options=self.options)

    def optimize(self, rows_a_file: int) -> int:
        return optimize(self.url, storage_options=self.options, rows_a_file=rows_a_file).steps

    def paths(self) -> list[str]:
        con = connect(Table.open(self.url, storage_options=self.options))
        try:
            return sorted(row["path"] for row in query(con, "SELECT path FROM received"))
        finally:
            con.close()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place(str(tmp_path / "t"), {})
    service = request.getfixturevalue(request.param)
    return Place(service.url(), service.storage_options())


def rows(prefix: str, count: int = 6) -> list[dict[str, object]]:
    return [{"path": f"{prefix}{number}", "StudyInstanceUID": f"1.2.{prefix}{number}"} for number in range(count)]


def filled(place: Place, commits: int = 4) -> list[str]:
    table = place.create()
    for number in range(1, commits + 1):
        table.append(rows(f"{number}-"), "w", number)
    return sorted(f"{number}-{at}" for number in range(1, commits + 1) for at in range(6))


@pytest.mark.parametrize("kind", ["local", "seaweedfs"])
def test_eight_writers_at_once_two_of_them_killed_add_every_row_once(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    service = None if kind == "local" else request.getfixturevalue(kind)
    url, options = (service.url(), service.storage_options()) if service else (str(tmp_path / "t"), {})
    each = 1_000 if service else 5_000
    outcome = run_writers(Job(url, each, each // 10, options), 8, victims=2, maintain=True)
    assert outcome.rows == outcome.distinct == 8 * each
    assert outcome.writers == {f"w{number}": each for number in range(8)}
    assert outcome.killed, "they were all done before they could be killed"
    assert outcome.maintained


def test_writers_over_a_simulated_service_add_every_row_once(moto: S3Service) -> None:
    outcome = run_writers(Job(moto.url(), 60, 10, moto.storage_options()), 3)
    assert outcome.rows == outcome.distinct == 180


def test_a_rewrite_keeps_every_row_while_others_append(place: Place) -> None:
    expected = filled(place)
    early = Table.open(place.url, storage_options=place.options)
    assert place.optimize(rows_a_file=8)
    assert early.append(rows("5-"), "w", 5) == 6, "it had seen the table before the rewrite"
    assert early.append(rows("5-"), "w", 5) == 0
    assert place.paths() == sorted([*expected, *(f"5-{at}" for at in range(6))])
    place.optimize(rows_a_file=8)
    assert not place.optimize(rows_a_file=8), "there is an end to it"
    assert place.paths() == sorted([*expected, *(f"5-{at}" for at in range(6))])


def test_a_second_maintainer_is_told_so_and_appending_goes_on(place: Place) -> None:
    filled(place)
    with maintaining(place.url, INSTANCES, place.options):
        with pytest.raises(LeaseHeldError):
            place.optimize(rows_a_file=8)
        assert Table.open(place.url, storage_options=place.options).append(rows("5-"), "w", 5) == 6
    assert place.optimize(rows_a_file=8), "the lease was given back"


def test_a_maintainer_that_was_taken_for_dead_changes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = filled(place)
    monkeypatch.setattr(lease, "LEASE_S", -1.0)  # over at once
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # on a disk whose locks do not hold
    with maintaining(place.url, INSTANCES, place.options) as slow:
        files = ParquetFiles(place.url, INSTANCES, place.options)
        assert place.optimize(rows_a_file=8)
        slow.table.refresh()
        assert plan(slow.table.data_files(), 4)
        with pytest.raises(TableConflictError):
            Rewrite(slow, files).run(4, lambda done, total: None)
    assert place.paths() == expected


def test_two_rewrites_from_one_state_are_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = filled(place)
    monkeypatch.setattr(lease, "LEASE_S", -1.0)
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with maintaining(place.url, INSTANCES, place.options) as slow:
        real = slow.table.transaction

        def overtaken(writer: str) -> int | None:
            """Look who holds the lease, and be overtaken before the commit."""
            held = real(writer)
            monkeypatch.setattr(slow.table, "transaction", real)
            assert place.optimize(rows_a_file=8)
            return held

        monkeypatch.setattr(slow.table, "transaction", overtaken)
        with pytest.raises(TableConflictError):
            Rewrite(slow, ParquetFiles(place.url, INSTANCES, place.options)).run(8, lambda done, total: None)
    assert place.paths() == expected


def test_rows_that_are_replaced_while_their_file_is_rewritten_are_not_brought_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = filled(place)
    changed = {"path": "here", "source": "a bucket", "StudyInstanceUID": "1.2.3"}
    place.create().append([changed], "w", 5)
    with maintaining(place.url, INSTANCES, place.options) as maintainer:
        files = ParquetFiles(place.url, INSTANCES, place.options)
        genuine = files.write

        def overtaken(*arguments: Any, **options: Any) -> Any:
            """Write the file that is to take the place of others, one of whose rows is replaced before it is committed."""
            monkeypatch.setattr(files, "write", genuine)
            action = genuine(*arguments, **options)
            table = Table.open(place.url, storage_options=place.options)
            replace_rows(table, "a bucket", Segment("scan", 1, [changed]), place.options)
            return action

        monkeypatch.setattr(files, "write", overtaken)
        with pytest.raises(TableConflictError):
            Rewrite(maintainer, files).run(100, lambda done, total: None)
    assert place.paths() == [*expected, "here"]


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("_delta_log/", Fault.LOSE_ANSWER),
        ("_delta_log/", Fault.ERROR_AFTER),
        ("_delta_log/", Fault.SLOW_DOWN),
        ("part-", Fault.LOSE_ANSWER),
    ],
)
def test_a_commit_whose_answer_is_lost_is_made_once(s3: S3Service, what: str, fault: Fault) -> None:
    url = s3.url()
    Table.create(url, storage_options=s3.storage_options()).append(rows("0-"), "w", 0)
    with s3_proxy(s3.port) as proxy:
        left = [fault]

        def decide(request: Request) -> Fault:
            wanted = request.operation == "put" and what in request.path
            return left.pop() if left and wanted else Fault.NONE

        table = Table.open(url, storage_options=s3.storage_options(proxy.port))
        proxy.decide = decide
        assert table.append(rows("1-"), "w", 1) == 6
        assert proxy.faults[fault] == 1
    assert Table.open(url, storage_options=s3.storage_options()).info().rows == 12


def test_other_threads_go_on_while_a_table_is_created(s3: S3Service) -> None:
    with s3_proxy(s3.port) as proxy:  # its threads are this process's, and answer only if the table lets them
        table = Table.create(s3.url(), storage_options=s3.storage_options(proxy.port))
        assert (table.version(), proxy.requests["put"] > 0) == (0, True)


def test_a_service_that_ignores_conditions_is_refused(moto: S3Service, monkeypatch: pytest.MonkeyPatch) -> None:
    url = moto.url()
    Table.create(url, storage_options=moto.storage_options())
    monkeypatch.setattr(s3_module, "_TRUSTED", set())
    with s3_proxy(moto.port) as proxy:
        table = Table.open(url, storage_options=moto.storage_options(proxy.port))
        proxy.decide = lambda request: Fault.IGNORE_CONDITION if request.operation == "put" else Fault.NONE
        with pytest.raises(UntrustedServiceError, match="If-None-Match"):
            table.append(rows("a"), "w", 1)
    assert Table.open(url, storage_options=moto.storage_options()).version() == 0


def test_a_service_is_not_refused_because_answers_to_its_probe_are_lost(s3: S3Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_TRUSTED", set())
    with s3_proxy(s3.port) as proxy:
        dice = iter([Fault.LOSE_ANSWER] * 4)  # one of these four puts is the one that is applied
        proxy.decide = lambda request: next(dice, Fault.NONE) if "_probe-" in request.path else Fault.NONE
        url, options = s3.url(), s3.storage_options(proxy.port)
        Table.create(url, storage_options=options).append(rows("a"), "w", 1)
        assert proxy.faults[Fault.LOSE_ANSWER] == 4
    assert not [key for key in s3.keys(url) if "probe" in key]


def test_a_probed_service_keeps_nothing_of_it(s3: S3Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_TRUSTED", set())
    url = s3.url()
    Table.create(url, storage_options=s3.storage_options())
    assert not [key for key in s3.keys(url) if "probe" in key]
