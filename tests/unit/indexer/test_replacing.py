"""Rows take the place of others in one commit, in files like all others, whoever else writes meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from indexer.parquet import ParquetFiles
from indexer.replacing import replace_rows
from indexer.table import Segment, Table

HERE, OTHER = "it's \\ here", "other"


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """A table of two files: of one place, and of that one and another."""
    table = Table.create(tmp_path / "t")
    table.append([row(number) for number in range(4)], "w", 1)
    table.append([row(4), *(row(number, source=OTHER) for number in range(3))], "w", 2)
    return table


def row(number: int, size: int = 1, source: str = HERE) -> dict[str, object]:
    return {"path": f"p{number}", "source": source, "size": size, "StudyInstanceUID": f"1.2.{number}"}


def rows(table: Table) -> list[tuple[Any, ...]]:
    found = duckdb.execute("SELECT source, path, size FROM read_parquet(?) ORDER BY ALL", [Table.open(table.url).files()])
    return found.fetchall()


def expected(sizes: dict[int, int]) -> list[tuple[Any, ...]]:
    return sorted([(HERE, f"p{n}", sizes.get(n, 1)) for n in range(5)] + [(OTHER, f"p{n}", 1) for n in range(3)])


def test_rows_of_one_place_are_replaced_and_no_other_row_is_touched(table: Table) -> None:
    before = set(table.files())
    replace_rows(table, HERE, Segment("scan", 1, [row(1, 7), row(3, 8)]))
    assert rows(table) == expected({1: 7, 3: 8})
    assert len(before & set(Table.open(table.url).files())) == 1, "a file without any of them stays"
    replace_rows(table, HERE, Segment("scan", 1, [row(1, 9)]))
    assert rows(table) == expected({1: 7, 3: 8}), "the table has seen this number"
    replace_rows(table, HERE, Segment("scan", 2, [row(number, 2) for number in range(5)]))
    assert rows(table) == expected(dict.fromkeys(range(5), 2))


def test_the_files_written_are_like_all_others(table: Table) -> None:
    replace_rows(table, HERE, Segment("scan", 1, [row(4, 7)]))
    sql = (
        "SELECT count(*), count(bloom_filter_offset), count(DISTINCT file_name) FROM parquet_metadata(?) WHERE path_in_schema = ?"
    )
    for column in ("StudyInstanceUID", "SOPInstanceUID"):
        assert duckdb.execute(sql, [table.files(), column]).fetchone() == (3, 3, 3)


def test_whoever_goes_by_what_was_appended_is_told_that_rows_were_taken_out(table: Table) -> None:
    version = table.version()
    assert table.appended_since(version - 1) is not None
    replace_rows(table, HERE, Segment("scan", 1, [row(1, 7)]))
    assert table.appended_since(version - 1) is None


def test_a_row_that_comes_meanwhile_is_replaced_too_and_no_file_is_written_twice(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = ParquetFiles.write
    written: list[int] = []

    def overtaken(self: ParquetFiles, *arguments: Any, **options: Any) -> Any:
        action = genuine(self, *arguments, **options)
        written.append(json.loads(action.stats)["numRecords"])
        if len(written) == 2:
            monkeypatch.setattr(ParquetFiles, "write", genuine)
            Table.open(table.url).append([row(1), row(9)], "v", 1)
            monkeypatch.setattr(ParquetFiles, "write", overtaken)
        return action

    monkeypatch.setattr(ParquetFiles, "write", overtaken)
    replace_rows(table, HERE, Segment("scan", 1, [row(1, 7)]))
    assert rows(table) == sorted([*expected({1: 7}), (HERE, "p9", 1)])
    assert written == [1, 3, 1], "the new row, what is left of the first file, and of the one that came in between"
