"""A segment is appended once, whatever is repeated and whoever else writes."""

from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.columns import INSTANCES, to_arrow
from indexer.errors import IndexerError, UsageError
from indexer.s3 import delta_options
from indexer.schema import COLUMNS, study_hash
from indexer.table import Segment, Table


def rows(count: int, prefix: str = "a") -> list[dict[str, object]]:
    return [{"path": f"{prefix}{number}", "size": number, "StudyInstanceUID": f"1.2.{number % 3}"} for number in range(count)]


def test_a_new_table_is_empty_and_creating_it_again_opens_it(tmp_path: Path) -> None:
    table = Table.create(tmp_path / "t")
    assert (table.version(), table.files(), table.info().rows) == (0, [], 0)
    table.append(rows(1), "w", 0)
    assert Table.create(tmp_path / "t").info().rows == 1


def test_repeating_a_segment_adds_nothing(tmp_path: Path) -> None:
    table = Table.create(tmp_path / "t")
    assert table.append(rows(3), "w", 0) == 3
    assert table.append(rows(3), "w", 0) == 0
    assert Table.open(tmp_path / "t").append(rows(3), "w", 0) == 0
    assert table.append(rows(2), "v", 0) == 2
    assert table.append(rows(1), "w", 1) == 1
    assert (table.transaction("w"), table.transaction("v"), table.transaction("x")) == (1, 0, None)
    assert table.info().rows == 6


def test_several_segments_are_one_commit_without_those_that_are_there(tmp_path: Path) -> None:
    table = Table.create(tmp_path / "t")
    table.append(rows(1), "w", 4)
    before = table.version()
    added = table.append_segments(
        [Segment("w", 4, rows(1)), Segment("w", 5, rows(2)), Segment("w", 6, rows(2)), Segment("v", 1, [])]
    )
    assert added == 4
    assert table.version() == before + 1
    assert table.transaction("w") == 6


def test_an_arrow_table_is_appended_as_it_is(tmp_path: Path) -> None:
    table = Table.create(tmp_path / "t")
    assert table.append_segments([Segment("w", 1, to_arrow(rows(2)))]) == 2


def _write(url: str, writer: str) -> int:
    table = Table.open(url)
    return sum(table.append(rows(2, writer), writer, number) for number in range(5)) + table.append(rows(2), writer, 4)


def test_writers_at_the_same_time_lose_and_double_nothing(tmp_path: Path) -> None:
    url = str(tmp_path / "t")
    Table.create(url)
    with ProcessPoolExecutor(4, mp_context=get_context("forkserver")) as pool:
        added = list(pool.map(_write, [url] * 4, "abcd"))
    table = Table.open(url)
    assert added == [10] * 4
    assert table.info().rows == 40
    assert [table.transaction(writer) for writer in "abcd"] == [4] * 4


def test_rows_become_columns_of_the_schema_sorted_by_study() -> None:
    moment = "2026-01-02T03:04:05.000006+00:00"
    table = to_arrow(
        [
            {"path": "x", "StudyInstanceUID": uid, "sha256": "00" * 32, "received_at": moment, "codes": ("A", "B"), "other": 1}
            for uid in ("1.2.1", "1.2.2", "1.2.3")
        ]
    )
    assert table.schema == INSTANCES
    assert table.column("study_hash").to_pylist() == sorted(study_hash(f"1.2.{number}") for number in (1, 2, 3))
    first = table.to_pylist()[0]
    assert first["received_at"] == datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert (first["sha256"], first["codes"]) == (bytes(32), "A\\B")
    assert first["PatientID"] is None


def test_files_carry_bloom_filters_on_uids_and_patient_id(tmp_path: Path) -> None:
    table = Table.create(tmp_path / "t")
    table.append(rows(5), "w", 0)
    (file,) = table.files()
    written = pq.ParquetFile(file)
    assert written.schema_arrow.names == [column.name for column in COLUMNS]
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"StudyInstanceUID": ["1"]}), plain)
    assert _has_bloom_filter(file, "StudyInstanceUID")
    assert _has_bloom_filter(file, "PatientID")
    assert not _has_bloom_filter(file, "StudyDescription")
    assert not _has_bloom_filter(str(plain), "StudyInstanceUID")


def _has_bloom_filter(file: str, column: str) -> bool:
    import duckdb

    sql = "SELECT bloom_filter_offset IS NOT NULL FROM parquet_metadata(?) WHERE path_in_schema = ?"
    (answer,) = duckdb.execute(sql, [file, column]).fetchone() or (False,)
    return bool(answer)


def test_a_missing_or_newer_table_is_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no table"):
        Table.open(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(IndexerError):
        Table.create(tmp_path / "file" / "t")
    Table.create(tmp_path / "t")._delta.alter.set_table_properties({"vna.schemaVersion": "99"}, raise_if_not_exists=False)
    with pytest.raises(IndexerError, match="schema version 99"):
        Table.open(tmp_path / "t")


def test_a_table_whose_log_is_damaged_meanwhile_says_so(tmp_path: Path) -> None:
    table = Table.create(tmp_path / "t")
    (tmp_path / "t" / "_delta_log" / f"{1:020d}.json").write_bytes(b"\0" * 100)
    with pytest.raises(IndexerError, match="cannot read the table"):
        table.refresh()


def test_storage_options_of_s3fs_are_translated() -> None:
    options = {"key": "ak", "secret": "sk", "endpoint_url": "http://127.0.0.1:9000", "client_kwargs": {"region_name": "eu-1"}}
    assert delta_options("/local/t", options) is None
    translated = delta_options("s3://bucket/t", options)
    assert translated == {
        "AWS_ACCESS_KEY_ID": "ak",
        "AWS_SECRET_ACCESS_KEY": "sk",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "eu-1",
        "aws_conditional_put": "etag",
    }


def _create(url: str) -> int:
    return Table.create(url).version()


def test_several_processes_may_create_one_table(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("forkserver")) as pool:
        assert list(pool.map(_create, [str(tmp_path / "t")] * 6)) == [0] * 6
