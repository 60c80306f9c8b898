"""``vna scrub`` on the command line."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.unit.scrub.rot import copied, filled, flip_bit
from vna.archive import Archive
from vna.cli import run


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "archive"]) == 0
    return filled(tmp_path / "archive")


def scrub(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = run(["scrub", "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def test_exit_code_3_says_that_something_damaged_stays(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = scrub(capsys)
    assert (code, told["objects"], told["corrupt"], told["repaired"]) == (0, 14, [], 0)
    copy = copied(archive, tmp_path / "copy")
    path = next(archive.root.glob("instances/**/*.dcm"))
    flip_bit(path, random.Random(1))
    code, told = scrub(capsys)
    assert (code, [each["path"] for each in told["corrupt"]]) == (3, [str(path.relative_to(archive.root))])  # type: ignore[attr-defined]
    code, told = scrub(capsys, "--repair-from", str(copy))
    assert (code, told["repaired"]) == (0, 1)
    code, told = scrub(capsys)
    assert (code, told["corrupt"]) == (0, [])


def test_a_table_names_what_was_found(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(archive.root.glob("instances/**/*.dcm"))
    path.unlink()
    assert run(["scrub"]) == 3
    assert "MISSING" in capsys.readouterr().out
