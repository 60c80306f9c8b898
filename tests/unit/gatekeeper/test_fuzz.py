"""A bounded part of ``scripts/bench fuzz``: nothing is raised, nothing takes long, every case has a verdict."""

from __future__ import annotations

from benchmarks.fuzz import mutate, run

CASES = 3_000


def test_mutated_files_never_trouble_gatekeeper_scanner_or_editor() -> None:
    tally, _ = run(CASES, first=10_000_000, workers=1)
    assert tally.failures == []
    assert tally.cases == CASES
    assert min(tally.states[state] for state in ("stored", "flagged", "quarantined")) > 100
    assert len(tally.codes) > 15
    assert tally.corrected > 30


def test_a_case_is_a_function_of_its_number() -> None:
    assert mutate(4711)[:2] == mutate(4711)[:2]
    assert mutate(4711)[1] != mutate(4712)[1]
