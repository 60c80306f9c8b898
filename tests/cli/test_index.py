"""``vna index`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from indexer.lease import locked
from tests.support.objects import send, wire_object
from vna.archive import Archive
from vna.cli import run


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "archive"]) == 0
    archive = Archive.open("archive")
    for number in range(3):
        with archive.sink() as sink:
            send(sink, wire_object(StudyInstanceUID=f"1.2.{number}", SOPInstanceUID=f"1.2.{number}.1"))
        archive.sync_index()
    return archive


def index(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["index", *arguments, "--json"])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else {}


def test_optimising_says_what_was_done_and_is_safe_to_repeat(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    code, planned = index(capsys, "optimize", "--dry-run")
    assert (code, planned["steps"], planned["rows"], planned["removed"]) == (0, 1, 3, 3)
    code, done = index(capsys, "optimize")
    assert (code, done["steps"], done["rows"], done["added"], done["removed"], done["studies"]) == (0, 1, 3, 1, 3, 3)
    assert set(done["tables"]) == {"instances", "studies"}
    code, again = index(capsys, "optimize", "--keep-hours", "1")
    assert (code, again["steps"], again["studies"]) == (0, 0, 0)


def test_replaced_files_cannot_be_kept_for_longer_than_the_log_tells_of_them(archive: Archive) -> None:
    assert run(["index", "optimize", "--keep-hours", "168"]) == 0
    assert run(["index", "optimize", "--keep-hours", "169"]) == 2


def test_a_rebuild_gives_manifests_back_what_they_lack(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    gone, short, whole = sorted(archive.root.glob("manifests/*/*.sha256"))
    before = {path: path.read_bytes() for path in (gone, short, whole)}
    gone.unlink()
    short.write_bytes(b"")
    assert index(capsys, "rebuild")[0] == 0
    assert {path: path.read_bytes() for path in before} == before


def test_a_rebuild_tells_how_many_objects_are_missing_and_refuses_when_all_are(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = index(capsys, "rebuild")
    assert (code, told["rows"], told["missing"]) == (0, 3, 0)
    first, *others = sorted(archive.root.glob("instances/**/*.dcm"))
    first.unlink()
    code, told = index(capsys, "rebuild")
    assert (code, told["rows"], told["missing"]) == (3, 2, 1)
    for path in others[:1]:
        path.unlink()
    others[1].rename(archive.root / "quarantine.dcm")
    with archive.sink() as sink:
        assert send(sink, wire_object(StudyInstanceUID=None)).state == "quarantined"
    assert index(capsys, "rebuild") == (21, {})
    code, told = index(capsys, "rebuild", "--accept-missing")
    assert (code, told["rows"], told["missing"]) == (3, 1, 3)


def test_exit_code_11_says_that_another_process_optimises(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(f"{archive.url}/index/instances"):
        assert index(capsys, "optimize") == (11, {})
    assert index(capsys, "optimize")[0] == 0


def test_info_tells_sizes_files_versions_and_freshness(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    code, info = index(capsys, "info")
    assert code == 0
    assert (info["instances"], info["studies"], info["version"], info["files"], info["uncommitted"]) == (3, 3, 3, 3, 0)
    assert info["index_bytes"] == info["tables"]["instances"]["bytes"] > 0
    assert run(["index", "info"]) == 0
    assert "uncommitted  0" in capsys.readouterr().out
