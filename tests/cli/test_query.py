"""`vna query` asks the archive by keys and answers with a table or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT
from tests.support.folders import quick_folder
from tests.support.objects import send_all, wire_object
from vna.archive import Archive
from vna.cli import run
from vna.query import ATTRIBUTES, Level

ITEMS = [
    wire_object(
        InstanceNumber=1, PatientName="Müller^Ä", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.1.1", StudyDate="20240101"
    ),
    wire_object(
        InstanceNumber=2, PatientName="Müller^Ä", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.1.1", StudyDate="20240101"
    ),
    wire_object(
        InstanceNumber=1, PatientName="Smith^J", StudyInstanceUID="1.2.2", SeriesInstanceUID="1.2.2.1", StudyDate="20250101"
    ),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick_folder() as made:
        archive = Archive.create(str(made / "archive"))
        with archive.sink() as sink:
            send_all(sink, ITEMS[:2])
        archive.sync_index()
        archive.roll_up_studies()
        with archive.sink() as sink:
            send_all(sink, ITEMS[2:])  # the journal alone knows it
        (made / "vna.toml").write_text('[archive]\nurl = "archive"\nledger = "sqlite:///ledger.sqlite"\n[local]\n')
        yield made


def ask(folder: Path, capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["--config", str(folder / "vna.toml"), "query", *args, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_names_are_found_without_accents_and_what_is_in_the_journal_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(folder, capsys, "--key", "PatientName=MULLER^*")
    assert [answer["StudyInstanceUID"] for answer in found["answers"]] == ["1.2.1"]
    assert found["answers"][0]["NumberOfStudyRelatedInstances"] == 2
    assert [answer["StudyInstanceUID"] for answer in ask(folder, capsys)["answers"]] == ["1.2.2", "1.2.1"]


def test_pages_and_counts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(folder, capsys, "--level", "instance", "--limit", "1", "--offset", "1")
    assert (found["level"], found["count"], found["offset"], len(found["answers"])) == ("IMAGE", 3, 1, 1)
    assert ask(folder, capsys, "--level", "series", "--count") == {"level": "SERIES", "count": 2}


def test_a_key_that_is_repeated_is_a_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ask(folder, capsys, "--key", "StudyInstanceUID=1.2.1", "--key", "StudyInstanceUID=1.2.2", "--key", "StudyID")
    assert both["count"] == 2
    assert "StudyID" in both["answers"][0]


def test_a_table_shows_the_columns_that_have_values(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--config", str(folder / "vna.toml"), "query", "--level", "patient", "--key", "PatientName=smith*"]) == 0
    output = capsys.readouterr().out
    assert "Smith^J" in output
    assert "1 of 1" in output
    assert "IssuerOfPatientID" not in output


def test_only_a_terminal_gets_fewer_answers_than_there_are_and_is_told_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vna.cli.query._SHOWN", 2)
    asked = ["--config", str(folder / "vna.toml"), "query", "--level", "image", "--key", "SOPInstanceUID"]
    seen = {}
    for is_terminal in (False, True):
        monkeypatch.setattr(sys.stdout, "isatty", lambda is_terminal=is_terminal: is_terminal)
        assert run(asked) == 0
        seen[is_terminal] = capsys.readouterr().out
    assert "3 of 3" in seen[False]
    assert "--limit" not in seen[False]
    assert "2 of 3" in seen[True]
    assert "--limit" in seen[True]
    assert run([*asked, "--limit", "2"]) == 0
    assert "--limit" not in capsys.readouterr().out, "whoever asks for two knows it"


def test_a_wrong_key_is_a_usage_error_that_quotes_no_value(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--config", str(folder / "vna.toml"), "query", "--key", "StudyDate=secret"]) == 2
    error = capsys.readouterr().err
    assert "StudyDate" in error
    assert "secret" not in error


def test_the_page_lists_every_attribute() -> None:
    page = (ROOT / "docs" / "query.md").read_text()
    for level in Level:
        listed = next(line for line in page.splitlines() if line.startswith(f"| {level.lower()} |"))
        assert listed == f"| {level.lower()} | {', '.join(name for name, known in ATTRIBUTES.items() if known.level is level)} |"
