"""Every bad input gets exactly its code, in bounded time and memory, by file and by C-STORE; the next good object is taken."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from indexer.problems import PROBLEMS, Disposition
from tests.support.corpus import Fixture, fixtures

ROOT = Path(__file__).parents[3]
SECONDS, MIB = 2.0, 256
STATES = {Disposition.ACCEPT: "stored", Disposition.WARN: "flagged", Disposition.QUARANTINE: "quarantined"}


@cache
def answers(way: str) -> dict[str, dict[str, object]]:
    """Run the corpus one way, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.gatekeeper.gate", way],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {answer["name"]: answer for answer in map(json.loads, done.stdout.splitlines())}


def expected_state(fixture: Fixture) -> str:
    if fixture.code == "UID_CONFLICT":
        return "variant"
    if not fixture.code or (fixture.data_set is None and PROBLEMS[fixture.code].disposition is Disposition.WARN):
        return "stored"  # what was odd about a file's own framing is told, and gone from the stored object
    return STATES[PROBLEMS[fixture.code].disposition]


def wrong(way: str, corpus: list[Fixture]) -> list[str]:
    """Name the fixtures that fared otherwise than they must."""
    found = []
    for fixture in corpus:
        answer = answers(way)[fixture.name]
        codes = [fixture.code] if fixture.code else []
        if (answer["codes"], answer["state"]) != (codes, expected_state(fixture)):
            found.append(f"{fixture.name}: {answer['state']} {answer['codes']}")
    return found


def test_the_corpus_is_large_and_each_file_is_named_by_its_code() -> None:
    names = [fixture.name for fixture in fixtures()]
    assert len(names) == len(set(names))
    assert sum(bool(fixture.code) for fixture in fixtures()) >= 150
    missing = PROBLEMS.keys() - {fixture.code for fixture in fixtures()}
    assert missing == {"UNREADABLE", "MEDIA_DIRECTORY"}, "codes without a fixture: the one has no content, the other is no object"


@pytest.mark.parametrize("way", ["files", "network"])
def test_every_bad_input_gets_exactly_its_code(way: str) -> None:
    corpus = [fixture for fixture in fixtures() if way == "files" or fixture.can_travel]
    assert wrong(way, corpus) == []
    assert len(corpus) >= (150 if way == "files" else 90)


@pytest.mark.parametrize("way", ["files", "network"])
def test_time_and_memory_are_bounded(way: str) -> None:
    slow = {name: answer["seconds"] for name, answer in answers(way).items() if float(str(answer["seconds"])) > SECONDS}
    assert slow == {}
    assert max(float(str(answer["grown_mib"])) for answer in answers(way).values()) <= MIB


@pytest.mark.parametrize("way", ["files", "network"])
def test_the_bytes_are_kept_and_the_next_good_object_is_taken(way: str) -> None:
    assert [name for name, answer in answers(way).items() if not answer["kept"]] == []
    assert [name for name, answer in answers(way).items() if answer["then"] != "stored"] == []


def test_what_is_in_quarantine_was_acknowledged_all_the_same() -> None:
    assert {answer["status"] for answer in answers("network").values()} == {0}
