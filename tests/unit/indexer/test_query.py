"""The view shows received values overlaid by revisions, from the table's current files and rows not committed yet."""

from pathlib import Path

import duckdb
import fsspec
import pyarrow.parquet as pq
import pytest

from indexer.columns import INSTANCES, OVERLAYS, to_arrow
from indexer.errors import UsageError
from indexer.query import connect, query, read_parquet
from indexer.schema import DICOM_COLUMNS
from indexer.table import Table


def row(number: int, **values: object) -> dict[str, object]:
    made = {
        "path": f"p{number}",
        "size": 10,
        "sha256": f"{number:064x}",
        "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.1.1",
    }
    return {**made, "SOPInstanceUID": f"1.2.1.1.{number}", "Modality": "CT", "PatientID": "P1", **values}


@pytest.fixture
def url(tmp_path: Path) -> str:
    Table.create(tmp_path / "instances").append([row(1), row(2, Modality="MR", StudyInstanceUID="1.2.2")], "w", 0)
    return str(tmp_path / "instances")


def test_an_empty_table_can_be_asked(tmp_path: Path) -> None:
    empty = Table.create(tmp_path / "t")
    assert query(connect(empty), "SELECT count(*) AS n FROM instances") == [{"n": 0}]
    extra = to_arrow([row(1)])
    assert query(connect(empty, extra_rows=extra), "SELECT path FROM instances") == [{"path": "p1"}]


def test_rows_not_committed_yet_are_united_with_the_table(url: str) -> None:
    con = connect(Table.open(url), extra_rows=to_arrow([row(3)]))
    assert [found["path"] for found in query(con, "SELECT path FROM instances ORDER BY path")] == ["p1", "p2", "p3"]


def test_parameters_are_bound_and_sums_are_integers(url: str) -> None:
    sql = "SELECT sum(size) AS size, max(received_at) AS at FROM instances WHERE Modality = ?"
    found = query(connect(Table.open(url)), sql, ["CT"])
    assert found == [{"size": 10, "at": None}]


def test_the_view_has_received_values_beside_every_dicom_column(url: str) -> None:
    con = connect(Table.open(url))
    names = [column[0] for column in con.execute("SELECT * FROM instances").description or ()]
    assert names == [*INSTANCES.names, *(f"received_{column.name}" for column in DICOM_COLUMNS), "received_status", "revision"]


def test_the_highest_revision_of_an_object_overlays_it(url: str, tmp_path: Path) -> None:
    overlays = Table.create(tmp_path / "overlays", OVERLAYS)
    plain = query(connect(Table.open(url), overlays=overlays), "SELECT PatientID, revision FROM instances")
    assert plain == [{"PatientID": "P1", "revision": None}] * 2
    overlays.append([row(1, revision=1, PatientID="P2"), row(1, revision=2, PatientID="P3", Modality=None)], "c", 1)
    con = connect(Table.open(url), overlays=overlays)
    sql = "SELECT path, PatientID, received_PatientID, Modality, received_Modality, revision FROM instances ORDER BY path"
    names = ("path", "PatientID", "received_PatientID", "Modality", "received_Modality", "revision")
    assert [tuple(found[name] for name in names) for found in query(con, sql)] == [
        ("p1", "P3", "P1", None, "CT", 2),
        ("p2", "P1", "P1", "MR", "MR", None),
    ]


def test_only_current_files_count(url: str) -> None:
    table = Table.open(url)
    table.overwrite(to_arrow([row(9)]))
    assert len(list(Path(url).glob("*.parquet"))) > 1
    assert query(connect(Table.open(url)), "SELECT path FROM instances") == [{"path": "p9"}]


def test_files_elsewhere_are_read_through_fsspec(tmp_path: Path) -> None:
    with fsspec.filesystem("memory").open("/index/part.parquet", "wb") as file:
        pq.write_table(to_arrow([row(7)]), file)
    con = duckdb.connect()
    select = read_parquet(con, ["memory:///index/part.parquet"], INSTANCES)
    assert query(con, f"SELECT path FROM ({select})") == [{"path": "p7"}]


@pytest.mark.parametrize("sql", ["SELECTED 1", "SELECT nothing FROM instances", "SELECT * FROM nowhere", "SELECT 'x'::INT"])
def test_a_wrong_statement_is_a_usage_error(sql: str, url: str) -> None:
    with pytest.raises(UsageError):
        query(connect(Table.open(url)), sql)
