"""The commands index a tree once, answer, and fail tidily."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from indexer import cli
from indexer.columns import INSTANCES
from indexer.query import connect
from indexer.schema import study_hash
from indexer.table import Segment, Table
from tests.unit.indexer.corpus import good


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.dcm").write_bytes(good())
    (folder / "2").write_bytes(good() + b"\0" * 8)
    (folder / "notes.txt").write_text("nothing")
    (folder / "a" / "link").symlink_to(folder / "2")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_a_tree_is_scanned_once(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t"
    code, out, _ = run(capsys, "scan", tree, "--to", table, "--json", "--workers", 2)
    first = json.loads(out)
    assert code == 0
    assert (first["found"], first["added"], first["changed"], first["known"]) == (3, 3, 0, 0)
    assert (first["flagged"], first["quarantined"]) == (1, 1)
    assert first["codes"] == {"NOT_DICOM": 1, "TRAILING_PADDING": 1}
    code, out, _ = run(capsys, "scan", tree, "--to", table)
    assert code == 0
    assert "0 added, 0 changed, 3 known" in out
    assert "Nothing to do" in out
    (tree / "new.dcm").write_bytes(good())
    assert json.loads(run(capsys, "scan", tree, "--to", table, "--json")[1])["added"] == 1


def test_a_table_inside_the_tree_is_not_scanned(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for added in (3, 0):
        found = json.loads(run(capsys, "scan", tree, "--to", tree / "index", "--json")[1])
        assert (found["found"], found["added"]) == (3, added)


def test_a_changed_file_gets_a_new_row_in_the_place_of_the_old_one(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t"
    run(capsys, "scan", tree, "--to", table)
    (tree / "a" / "1.dcm").write_bytes(good() + b"\0" * 4)
    same_size = tree / "notes.txt"
    same_size.write_text("NOTHING")
    os.utime(same_size, ns=(0, 1_234_567_000))
    (tree / "it's \\ new_%").write_bytes(good())
    again = json.loads(run(capsys, "scan", tree, "--to", table, "--json")[1])
    assert (again["found"], again["added"], again["changed"], again["known"]) == (4, 1, 2, 1)
    sql = "SELECT path, size, received_at FROM instances ORDER BY path"
    rows = json.loads(run(capsys, "query", table, sql, "--json")[1])
    assert [row["path"] for row in rows] == ["2", "a/1.dcm", "it's \\ new_%", "notes.txt"]
    assert (rows[1]["size"], rows[3]["received_at"]) == (len(good()) + 4, "1970-01-01 00:00:01.234567+00:00")
    (tree / "it's \\ new_%").write_bytes(b"")
    assert json.loads(run(capsys, "scan", tree, "--to", table, "--json")[1])["changed"] == 1
    assert json.loads(run(capsys, "scan", tree, "--to", table, "--json")[1])["known"] == 4


def test_rows_that_two_scans_at_once_wrote_twice_are_put_right_by_the_next(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t"
    run(capsys, "scan", tree, "--to", table)
    con = connect(Table.open(table))
    twice = con.sql("SELECT * FROM received WHERE path = '2'").to_arrow_table()
    con.close()
    Table.open(table).append_segments([Segment("another scan", 1, twice.cast(INSTANCES))])
    assert json.loads(run(capsys, "scan", tree, "--to", table, "--json")[1])["changed"] == 1
    rows = json.loads(run(capsys, "query", table, "SELECT path FROM instances ORDER BY path", "--json")[1])
    assert [row["path"] for row in rows] == ["2", "a/1.dcm", "notes.txt"]


def test_a_file_that_the_table_holds_without_a_digest_is_read_again_for_one(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t"
    run(capsys, "scan", tree, "--to", table)
    assert json.loads(run(capsys, "scan", tree, "--to", table, "--digest", "--json")[1])["changed"] == 3
    assert json.loads(run(capsys, "scan", tree, "--to", table, "--digest", "--json")[1])["known"] == 3
    rows = json.loads(run(capsys, "query", table, "SELECT sha256 FROM instances WHERE path = 'a/1.dcm'", "--json")[1])
    assert rows == [{"sha256": hashlib.sha256(good()).hexdigest()}]


def test_two_trees_in_one_table_and_names_that_are_no_text(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, other = tmp_path / "t", tmp_path / "other"
    other.mkdir()
    Path(os.fsdecode(os.fsencode(other) + b"/\xff.dcm")).write_bytes(good())
    run(capsys, "scan", tree, "--to", table)
    for added in (1, 0):
        assert json.loads(run(capsys, "scan", other, "--to", table, "--json")[1])["added"] == added
    rows = json.loads(run(capsys, "query", table, f"SELECT path, status FROM instances WHERE source = '{other}'", "--json")[1])
    assert rows == [{"path": "\\xff.dcm", "status": "stored"}]
    assert json.loads(run(capsys, "scan", tree / "2", "--to", table, "--json")[1])["added"] == 1


def test_a_byte_and_the_escape_that_it_stands_under_are_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree, table = tmp_path / "tree", tmp_path / "t"
    tree.mkdir()
    Path(os.fsdecode(os.fsencode(tree) + b"/\xff")).write_bytes(good())
    (tree / r"\xff").write_bytes(good() + bytes(8))
    assert json.loads(run(capsys, "scan", tree, "--to", table, "--json")[1])["added"] == 2
    assert json.loads(run(capsys, "scan", tree, "--to", table, "--json")[1])["known"] == 2
    rows = json.loads(run(capsys, "query", table, "SELECT path FROM instances ORDER BY size", "--json")[1])
    assert rows == [{"path": r"\xff"}, {"path": r"\x5cxff"}]


def test_many_files_go_through_several_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "0").write_bytes(good())
    for number in range(1, 1_100):
        shutil.copy(folder / "0", folder / str(number))
    found = json.loads(run(capsys, "scan", folder, "--to", tmp_path / "t", "--workers", 2, "--json")[1])
    assert (found["added"], found["quarantined"]) == (1_100, 0)
    assert json.loads(run(capsys, "info", tmp_path / "t", "--json")[1])["instances"] == 1_100


def test_a_table_is_asked_and_described(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t"
    run(capsys, "scan", tree, "--to", table, "--digest")
    sql = "SELECT path, source, status, codes, PatientName, study_hash, sha256, size FROM instances ORDER BY path"
    rows = json.loads(run(capsys, "query", table, sql, "--json")[1])
    assert [(row["path"], row["status"], row["codes"]) for row in rows] == [
        ("2", "flagged", "TRAILING_PADDING"),
        ("a/1.dcm", "stored", None),
        ("notes.txt", "quarantined", "NOT_DICOM"),
    ]
    assert (rows[1]["PatientName"], rows[1]["study_hash"], rows[1]["source"]) == ("Doe^Jane", study_hash("1.2.3"), str(tree))
    assert len(rows[1]["sha256"]) == 64
    _, out, _ = run(capsys, "query", table, "SELECT PatientID, 'a\nb' AS text FROM instances WHERE path = 'a/1.dcm'")
    assert out == "PatientID\ttext\nP1\ta�b\n"
    info = json.loads(run(capsys, "info", table, "--json")[1])
    assert {name: info[name] for name in ("instances", "studies", "series", "files", "version", "quarantined")} == {
        "instances": 3,
        "studies": 1,
        "series": 1,
        "files": 1,
        "version": 1,
        "quarantined": 1,
    }
    assert "instances" in run(capsys, "info", table)[1]


def test_mistakes_end_with_code_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ("info", tmp_path / "none"),
        ("query", tmp_path / "none", "SELECT 1"),
        ("scan", tmp_path / "none", "--to", tmp_path / "t"),
        ("scan",),
        ("nonsense",),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert "Traceback" not in err and err


def test_a_table_that_cannot_be_written_is_a_failure(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "scan", tree, "--to", tree / "2" / "t")
    assert code == 1
    assert err.startswith("Error: ")


def test_help_is_quick_and_names_every_command() -> None:
    script = "import sys; from indexer.cli import cli; cli(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in out for name in ("scan", "query", "info"))
    assert not any(f"'{name}'" in out for name in ("pyarrow", "deltalake", "duckdb", "pydicom"))
