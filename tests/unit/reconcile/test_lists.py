"""Lists are read exactly, or refused in words that say what to do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vna.errors import ConfigError, RefusedError
from vna.reconcile.lists import load_column_map, read_list
from vna.reconcile.rules import MatchLevel, load_rules

TEXT = "key,PatientID,PatientName,PatientBirthDate\nr1,001,Müller^Jörg,19700203\nr2,002,Doe^Ann,\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marked_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "ris.csv"
    path.write_bytes(TEXT.encode(encoding))
    found = read_list(path, "ris", MatchLevel.PATIENT)
    assert found.rows[0] == {"key": "r1", "PatientID": "001", "PatientName": "Müller^Jörg", "PatientBirthDate": "19700203"}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le", "utf-16-be"])
def test_unmarked_encodings_are_refused_until_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "ris.csv"
    path.write_bytes(TEXT.encode(encoding))
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        read_list(path, "ris", MatchLevel.PATIENT)
    assert "--encoding" in caught.value.hint
    assert read_list(path, "ris", MatchLevel.PATIENT, encoding=encoding).rows[0]["PatientName"] == "Müller^Jörg"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_seen(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "ris.csv"
    path.write_text(TEXT.replace(",", delimiter), "utf-8")
    assert len(read_list(path, "ris", MatchLevel.PATIENT).rows) == 2


def test_parquet_and_csv_give_the_same_rows(tmp_path: Path) -> None:
    from datetime import date

    table = pa.table(
        {"key": ["r1"], "PatientID": [1], "PatientName": ["Doe^Ann"], "PatientBirthDate": [date(1970, 2, 3)], "more": [1.5]}
    )
    pq.write_table(table, tmp_path / "ris.parquet")
    found = read_list(tmp_path / "ris.parquet", "ris", MatchLevel.PATIENT)
    assert found.rows == [{"key": "r1", "PatientID": "1", "PatientName": "Doe^Ann", "PatientBirthDate": "19700203"}]
    assert found.ignored == ("more",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "none of the columns PatientID"),
        ("PatientId,PatientName\n1,2\n", "did you mean 'PatientID'"),
        ("PatientID,Patient Birth Date\n1,2\n", "did you mean 'PatientBirthDate'"),
        ("PatientID,PatientID\n1,2\n", "twice"),
        ("key,PatientID\na,1\na,2\n", "row 2 repeats the key of row 1"),
        ("key,PatientID\n,1\n", "row 1 has no key"),
        ("PatientID,PatientName\n1,Doe, Ann\n", "more cells than the header"),
    ],
)
def test_a_list_that_cannot_be_understood_names_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "ris.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=words):
        read_list(path, "ris", MatchLevel.PATIENT)


@pytest.mark.parametrize("text", ["", "\n \n", "PatientID,PatientName\n"])
def test_an_empty_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ris.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(RefusedError):
        read_list(path, "ris", MatchLevel.PATIENT)


@pytest.mark.parametrize(
    "toml", ['"MRN" = "PatientID"', 'PatientID = "MRN"', '[columns]\nMRN = "PatientID"', '[ris]\nMRN = "PatientID"']
)
def test_a_column_map_is_read_either_way_round(tmp_path: Path, toml: str) -> None:
    (tmp_path / "map.toml").write_text(toml, "utf-8")
    (tmp_path / "ris.csv").write_text("MRN,PatientName\n1,Doe^Ann\n", "utf-8")
    renames = load_column_map(tmp_path / "map.toml").of("ris")
    assert read_list(tmp_path / "ris.csv", "ris", MatchLevel.PATIENT, renames=renames).rows[0]["PatientID"] == "1"


def test_a_column_map_to_nowhere_suggests_the_nearest_keyword(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text('MRN = "PatientIdent"', "utf-8")
    with pytest.raises(ConfigError, match="did you mean 'PatientID'"):
        load_column_map(tmp_path / "map.toml")


def test_rules_list_everything_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        "[id]\n[thresholds]\nreveiw = 0.1\n"
        '[[rules]]\nname = "P1"\nlevel = "patient"\noutcome = "auto"\nwhen = {given = "exat"}\n',
        "utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load_rules(path)
    words = " ".join(caught.value.problems)
    assert all(part in words for part in ("'ids'", "'review'", "no built-in rule", "'exact'"))
