"""``vna demo``: what a newcomer types first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.peers import require_peer

STATES = ["expected", "stored", "verified", "quarantined", "refused", "missing", "pending"]


def vna(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in ``folder``, as a user without a terminal does."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "vna", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("demo")
    done = vna(folder, "demo", "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return folder, result


def test_it_ends_with_a_closed_ledger_in_less_than_a_minute(demo: tuple[Path, dict[str, object]]) -> None:
    result = demo[1]
    figures = result["instances"]
    assert isinstance(figures, dict)
    assert list(figures) == STATES
    assert result["closed"] is True
    assert figures["expected"] > 100
    assert figures["expected"] == sum(figures[state] for state in STATES[2:])
    assert float(str(result["seconds"])) < 60


def test_it_leaves_a_report_that_stands_alone(demo: tuple[Path, dict[str, object]]) -> None:
    report = Path(demo[0], str(demo[1]["report"]))
    links: list[str] = []

    class _Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(str(value) for name, value in attrs if name in {"src", "href"})

    _Links().feed(report.read_text("utf-8"))
    assert links == []


def test_the_archive_that_it_leaves_answers_other_commands(demo: tuple[Path, dict[str, object]]) -> None:
    config = str(Path(str(demo[1]["report"])).parent / "vna.toml")
    status = json.loads(vna(demo[0], "--config", config, "status", "--json").stdout)
    assert status["instances"] == demo[1]["instances"]
    assert status["closed"] is True


def test_it_can_be_gone_on_with_and_read_by_people(demo: tuple[Path, dict[str, object]]) -> None:
    done = vna(demo[0], "demo", "--keep")
    assert done.returncode == 0, done.stderr
    for text in ("inventory", "nothing to do", "verify", "refused", "The ledger is closed", "status --unmigrated"):
        assert text in done.stdout


def test_the_legacy_pacs_may_be_dcmtk(tmp_path: Path) -> None:
    require_peer("dcmtk")
    done = vna(tmp_path, "demo", "--dir", "here", "--legacy", "dcmqrscp", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["closed"] is True
    assert result["instances"]["verified"] > 100


def test_a_folder_that_is_not_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    done = vna(tmp_path, "demo", "--dir", ".")
    assert done.returncode == 21
    assert "--dir" in done.stderr
    assert (tmp_path / "precious").exists()
