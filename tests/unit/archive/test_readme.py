"""README.txt: its recipe, run exactly as it stands there by a DuckDB that knows nothing of us."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.support.objects import send, send_all, wire_object
from vna.archive import Archive

RUN = """
import sys
import duckdb
con = duckdb.connect()
con.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
for modality, count in con.execute(sys.stdin.read()).fetchall():
    print(modality, count)
"""


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(str(tmp_path / "a"))


def ask(archive: Archive) -> dict[str, int]:
    """Cut the recipe out of the archive's README.txt and run it in the archive's folder, isolated from this package."""
    text = (archive.root / "README.txt").read_text(encoding="ascii")
    recipe = text[text.index("-- begin recipe") : text.index("-- end recipe")]
    command = [sys.executable, "-I", "-c", RUN]
    done = subprocess.run(command, input=recipe, cwd=archive.root, capture_output=True, text=True, check=True)
    return {modality: int(count) for modality, count in map(str.split, done.stdout.splitlines())}


def fill(archive: Archive, first: int, modality: str = "CT") -> None:
    with archive.sink() as sink:
        send_all(sink, [wire_object(InstanceNumber=number, Modality=modality) for number in (first, first + 1)])
    archive.sync_index()


def counted(archive: Archive) -> dict[str, int]:
    return Counter(str(row.row["Modality"]) for row in archive.journal_rows())


def test_the_recipe_counts_what_we_count_by_commits_alone(archive: Archive) -> None:
    fill(archive, 1)
    fill(archive, 3, "MR")
    assert ask(archive) == counted(archive) == {"CT": 2, "MR": 2}


def test_the_recipe_goes_by_checkpoints_and_does_not_count_replaced_files(archive: Archive) -> None:
    for first in (1, 3, 5):
        fill(archive, first)
    table = DeltaTable(archive.root / "index/instances")
    table.optimize.compact()
    assert len(list((archive.root / "index/instances").glob("*.parquet"))) == 4, "three replaced files and the one made of them"
    assert ask(archive) == {"CT": 6}
    table.create_checkpoint()
    assert ask(archive) == {"CT": 6}
    fill(archive, 7, "MR")
    assert ask(archive) == {"CT": 6, "MR": 2}
    for commit in (archive.root / "index/instances/_delta_log").glob("*.json"):
        if int(commit.stem) <= table.version():
            commit.unlink()  # as an expiring log does behind a checkpoint
    assert ask(archive) == {"CT": 6, "MR": 2}


def test_the_recipe_works_on_an_optimised_index(archive: Archive) -> None:
    for first in (1, 3, 5):
        fill(archive, first)
    assert archive.optimize_index()["removed"] == 3
    assert ask(archive) == {"CT": 6}
    fill(archive, 7, "MR")
    assert ask(archive) == {"CT": 6, "MR": 2}


def test_the_recipe_works_on_a_rebuilt_index(archive: Archive) -> None:
    fill(archive, 1)
    archive.rebuild_index()
    assert ask(archive) == {"CT": 2}


def test_the_text_is_plain_and_its_commands_name_what_is_there(archive: Archive) -> None:
    with archive.sink() as sink:
        send(sink, wire_object())
        send(sink, wire_object(StudyInstanceUID=None))
    archive.sync_index()
    text = (archive.root / "README.txt").read_bytes()
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 120
    for folder in ("instances", "manifests", "quarantine", "journal", "index", "spool"):
        assert f"{folder}/ ".encode() in text
        assert (archive.root / folder).is_dir()
    assert b"DO NOT read index/instances/*.parquet" in text
    done = subprocess.run("cat manifests/*/*.sha256 | sha256sum -c --quiet", shell=True, cwd=archive.root, check=False)
    assert b"cat manifests/*/*.sha256 | sha256sum -c --quiet" in text
    assert done.returncode == 0
