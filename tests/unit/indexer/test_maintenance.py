"""A table is clustered step by step; whoever reads, writes or dies meanwhile, no row is lost and no needed file removed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.columns import INSTANCES
from indexer.errors import LeaseHeldError, UsageError
from indexer.lease import Maintainer, locked
from indexer.maintenance import optimize
from indexer.studies import STUDIES
from indexer.table import Table

DAY_S = 86_400
COMMITS = 12
ROWS = 20

OPTIMIZE = """
import sys
from indexer.lease import Maintainer
from indexer.maintenance import optimize
commit = Maintainer.commit
def told(self, actions):
    print("written", flush=True)
    commit(self, actions)
    print("committed", flush=True)
Maintainer.commit = told
optimize(sys.argv[1], rows_a_file=16)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    table = Table.create(tmp_path / "t")
    for number in range(COMMITS):
        table.append([row(number, at) for at in range(ROWS)], "w", number)
    return str(tmp_path / "t")


def row(number: int, at: int) -> dict[str, object]:
    path = f"{number}-{at}"
    return {
        "path": path,
        "sha256": hashlib.sha256(path.encode()).digest(),
        "size": at,
        "StudyInstanceUID": f"1.2.{number}.{at // 2}",
    }


def rows(url: str) -> list[dict[str, object]]:
    return sorted(
        (found for file in Table.open(url).files() for found in pq.read_table(file).to_pylist()), key=lambda found: found["path"]
    )


def age(folder: str, days: int, pattern: str = "*.parquet") -> None:
    """Let files look as if they had been written so many days ago."""
    for path in Path(folder).glob(pattern):
        os.utime(path, (time.time() - days * DAY_S,) * 2)


def test_small_files_become_one_and_no_row_changes(url: str) -> None:
    before = rows(url)
    done = optimize(url)
    assert (done.steps, done.rows, done.added, done.removed) == (1, COMMITS * ROWS, 1, COMMITS)
    assert rows(url) == before
    (file,) = Table.open(url).files()
    hashes = pq.read_table(file).column("study_hash").to_pylist()
    assert hashes == sorted(hashes)
    assert optimize(url).steps == 0


def test_rows_of_a_study_come_to_stand_in_few_files_of_a_bounded_size(url: str) -> None:
    before = rows(url)
    done = optimize(url, rows_a_file=32)
    assert done.steps > 1
    files = Table.open(url).data_files()
    assert max(file.rows for file in files) <= 32
    for found in before:
        assert sum(file.low <= found["study_hash"] <= file.high for file in files) <= 4  # type: ignore[operator]
    assert rows(url) == before
    assert optimize(url, rows_a_file=32).steps == 0


def test_a_file_with_more_rows_than_one_should_have_is_read_piece_by_piece(tmp_path: Path) -> None:
    table = Table.create(tmp_path / "t")
    table.append([row(1, at) for at in range(500)], "w", 1)
    before = rows(str(tmp_path / "t"))
    optimize(tmp_path / "t", rows_a_file=100)
    assert max(file.rows for file in Table.open(tmp_path / "t").data_files()) <= 100
    assert rows(str(tmp_path / "t")) == before


@pytest.mark.parametrize("schema", [INSTANCES, STUDIES], ids=["instances", "studies"])
@pytest.mark.parametrize("is_created_by_newer", [False, True])
def test_a_column_that_a_newer_release_added_is_kept_by_this_one(tmp_path: Path, schema: Any, is_created_by_newer: bool) -> None:
    url = str(tmp_path / "t")
    newer = schema.append(pa.field("Added", pa.string()))
    Table.create(url, newer if is_created_by_newer else schema)
    uids = [f"1.2.{number}" for number in range(12)]
    for number in range(0, 12, 4):
        old, new = ([{"StudyInstanceUID": uid, "Added": f"of {uid}"} for uid in uids[at : at + 2]] for at in (number, number + 2))
        Table.open(url, schema).append(old, "w", number + 1)
        Table.open(url, newer).append(new, "w", number + 2)
    assert optimize(url, schema, rows_a_file=4).steps > 1
    optimize(url, schema)
    (file,) = Table.open(url, schema).files()
    found = pq.read_table(file)
    assert found.column_names == newer.names
    kept = {row["StudyInstanceUID"]: row["Added"] for row in found.to_pylist()}
    assert kept == {uid: f"of {uid}" if at % 4 >= 2 else None for at, uid in enumerate(uids)}


def test_what_a_writer_has_appended_is_still_known(url: str) -> None:
    optimize(url)
    table = Table.open(url)
    assert table.transaction("w") == COMMITS - 1
    assert table.append([row(0, 0)], "w", COMMITS - 1) == 0


def test_files_that_a_reader_opened_stay_for_as_long_as_was_said(url: str) -> None:
    age(url, days=30)
    reader = Table.open(url).files()
    optimize(url, keep_hours=1)
    assert len(rows(url)) == COMMITS * ROWS
    assert all(Path(file).exists() for file in reader), "replaced just now, however long ago they were written"
    with pytest.raises(UsageError, match="an hour at least"):
        optimize(url, keep_hours=0)


def test_replaced_files_go_when_their_time_has_come(url: str) -> None:
    reader = Table.open(url).files()
    real = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: real() - 3 * 3600)
        optimize(url)
    assert all(Path(file).exists() for file in reader)
    assert optimize(url, keep_hours=4, dry_run=True).vacuumed == 0
    assert optimize(url, keep_hours=2, dry_run=True).vacuumed == COMMITS
    assert optimize(url, keep_hours=2).vacuumed == COMMITS
    assert not any(Path(file).exists() for file in reader)
    assert len(rows(url)) == COMMITS * ROWS


def test_the_longest_time_is_as_long_as_the_log_can_tell_when_files_were_replaced(url: str) -> None:
    age(url, days=30)
    reader = Table.open(url).files()
    real = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: real() - 167 * 3600)
        optimize(url)
    assert (optimize(url, keep_hours=168).vacuumed, all(Path(file).exists() for file in reader)) == (0, True)
    for dry_run in (False, True):
        with pytest.raises(UsageError, match="168 at most"):
            optimize(url, keep_hours=169, dry_run=dry_run)
    assert optimize(url, keep_hours=166).vacuumed == COMMITS


def test_a_file_that_may_be_about_to_be_committed_is_left_alone(url: str) -> None:
    fresh, abandoned = Path(url) / "part-fresh.parquet", Path(url) / "part-abandoned.parquet"
    for path in (fresh, abandoned):
        path.write_bytes(b"x")
    os.utime(fresh, (time.time() - 20 * 3600,) * 2)
    os.utime(abandoned, (time.time() - 2 * DAY_S,) * 2)
    assert optimize(url, keep_hours=1).vacuumed == 1
    assert fresh.exists() and not abandoned.exists()


def test_the_log_expires_and_whoever_had_read_it_goes_on(url: str) -> None:
    early = Table.open(url)
    for number in range(COMMITS, 60):
        Table.open(url).append([row(number, 0)], "w", number)
    age(f"{url}/_delta_log", days=2, pattern="*")
    optimize(url)
    assert not (Path(url) / "_delta_log" / f"{0:020d}.json").exists()
    assert early.append([row(60, 0)], "w", 60) == 1
    assert Table.open(url).transaction("w") == 60
    assert len(rows(url)) == COMMITS * ROWS + 60 - COMMITS + 1


def test_a_dry_run_changes_nothing(url: str) -> None:
    version = Table.open(url).version()
    planned = optimize(url, dry_run=True)
    assert (planned.steps, planned.rows, planned.removed) == (1, COMMITS * ROWS, COMMITS)
    assert Table.open(url).version() == version


def test_one_that_was_killed_is_simply_repeated(url: str) -> None:
    before = rows(url)
    for at, moment in enumerate(["written", "committed"]):
        process = subprocess.Popen([sys.executable, "-c", OPTIMIZE, url], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            seen += line.strip() == moment
            if seen > at:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert rows(url) == before
    optimize(url, rows_a_file=16)
    assert rows(url) == before
    assert optimize(url, rows_a_file=16).steps == 0


def test_while_one_maintains_a_table_another_does_not(url: str, tmp_path: Path) -> None:
    with locked(url), pytest.raises(LeaseHeldError):
        optimize(url)
    assert optimize(url).steps == 1
    with locked(str(tmp_path / "nothing")):
        assert not (tmp_path / "nothing").exists()
    with pytest.raises(UsageError, match="there is no table"):
        optimize(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_table_that_was_replaced_as_a_whole_is_not_given_old_rows(url: str) -> None:
    """As by a rebuild: the rows come anew, and who optimises what was there before must not bring that back."""
    maintainer = Maintainer(Table.open(url))
    fresh = Table.create(f"{url}.fresh")
    fresh.append([row(1, 1)], "rebuild", 1)
    Table.open(url).replace_by(fresh, lambda: {"w": 0})
    with pytest.raises(Exception, match="another maintainer"):
        maintainer.commit(())
    assert [found["path"] for found in rows(url)] == ["1-1"]
    assert Table.open(url).append([row(0, 0)], "w", 1) == 1, "its writer is told to append once more"


def test_statistics_in_the_log_bound_what_is_in_a_file(url: str) -> None:
    (action,) = Table.open(optimized(url)).actions().to_pylist()
    found = rows(url)
    assert action["num_records"] == len(found)
    for name in ("study_hash", "StudyInstanceUID", "size", "path"):
        values = [each[name] for each in found]
        assert (action[f"min.{name}"], action[f"max.{name}"]) == (min(values), max(values))  # type: ignore[type-var]
    assert action["null_count.PatientID"] == len(found)
    assert INSTANCES.names[31] == "size", "the last column with statistics"


def optimized(url: str) -> str:
    optimize(url)
    return url
