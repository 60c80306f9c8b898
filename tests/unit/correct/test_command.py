"""The command line of corrections, end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from tests.support.folders import quick_folder
from tests.support.instances import make_instance, write_instance
from vna.cli import run


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with quick_folder() as folder:
        monkeypatch.chdir(folder)
        monkeypatch.delenv("VNA_CONFIG", raising=False)
        for number in (1, 2):
            write_instance(folder / "in" / f"{number}.dcm", make_instance(InstanceNumber=number))
        assert run(["init", "archive"]) == 0
        assert run(["ingest", "in", "--adapter", "folder"]) == 0
        yield folder


def answer(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, object]:
    """Run a command with ``--json`` and give what it printed."""
    capsys.readouterr()
    assert run([*words, "--json"]) == code
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


def exported_patients(folder: Path, name: str) -> set[str]:
    assert run(["export", "--to", name]) == 0
    return {pydicom.dcmread(path).PatientID for path in (folder / name).rglob("*.dcm")}


def test_a_correction_is_planned_applied_exported_and_taken_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setting = ("--set", "PatientID=NEW")
    expected = {"studies": 1, "instances": 2, "changes": 2, "revisions": 1, "refused": 0}
    for words in (("plan",), ("apply", "--dry-run"), ("apply",)):
        told = answer(capsys, "correct", *words, *setting)
        assert {key: told[key] for key in expected} == expected
    assert answer(capsys, "correct", "apply", *setting)["changes"] == 0
    assert exported_patients(folder, "corrected") == {"NEW"}
    assert answer(capsys, "correct", "materialise")["instances"] == 2
    assert answer(capsys, "correct", "revert")["revisions"] == 1
    assert exported_patients(folder, "received") == {"P1"}


def test_a_dry_run_leaves_no_trace(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path for path in (folder / "archive").rglob("*") if "spool" not in path.parts)
    answer(capsys, "correct", "apply", "--set", "PatientID=NEW", "--dry-run")
    answer(capsys, "correct", "revert", "--dry-run")
    answer(capsys, "correct", "variants", "--dry-run")
    assert sorted(path for path in (folder / "archive").rglob("*") if "spool" not in path.parts) == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("apply",), 2, "nothing to correct is named"),
        (("apply", "--set", "PatientIDD=1"), 2, "did you mean 'PatientID'"),
        (("plan", "--set", "StudyInstanceUID=1.2.3"), 21, "--uids new"),
        (("plan", "--set", "PatientID=1", "--where", "nonsense ="), 2, "error"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_way_out(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, said: str
) -> None:
    assert run(["correct", *words]) == code
    assert said in capsys.readouterr().err
