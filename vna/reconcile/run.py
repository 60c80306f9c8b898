"""One match from the lists to the decision file, with the guards that stop a wrong list before it does harm."""

from __future__ import annotations

import gc
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from vna.errors import RefusedError
from vna.model import Progress, Report, silent
from vna.reconcile.decisions import DecisionFile, make_decisions
from vna.reconcile.links import Matching, tally
from vna.reconcile.lists import ReadList, Row, from_rows
from vna.reconcile.merges import NO_MERGES, Merges
from vna.reconcile.patients import match_patients
from vna.reconcile.records import people
from vna.reconcile.rules import MatchLevel, Outcome, SiteRules

_SMALL = 5
"""Lists shorter than this may match nothing without being suspect."""

ARCHIVE_SQL = """
SELECT StudyInstanceUID, min(PatientID) AS PatientID, min(IssuerOfPatientID) AS IssuerOfPatientID, min(PatientName) AS
PatientName,     min(PatientBirthDate) AS PatientBirthDate, min(PatientSex) AS PatientSex, min(StudyDate) AS StudyDate,
min(StudyTime) AS StudyTime,     min(AccessionNumber) AS AccessionNumber, min(StudyDescription) AS StudyDescription,
min(StationName) AS StationName,     min(InstitutionName) AS InstitutionName, string_agg(DISTINCT Modality, '\\' ORDER BY
Modality) AS ModalitiesInStudy,     count(*)::VARCHAR AS NumberOfStudyRelatedInstances FROM instances WHERE status <>
'quarantined' GROUP BY StudyInstanceUID ORDER BY StudyInstanceUID
"""
"""The archive's studies, as the other side of a match; the key of each is its Study Instance UID."""


@dataclass(frozen=True, slots=True)
class MatchResult:
    """What a match found. ``studies`` counts the rows of the PACS side."""

    studies: int
    auto: int
    review: int
    conflict: int
    orphan: int
    junk: int
    orphan_ris: int
    decisions: str
    seconds: float
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give the contract's object."""
        names = ("studies", "auto", "review", "conflict", "orphan", "junk", "orphan_ris", "decisions")
        return {**{name: getattr(self, name) for name in names}, "seconds": round(self.seconds, 3), "notes": list(self.notes)}


def archive_list(query: Callable[[str], Sequence[Mapping[str, Any]]], level: MatchLevel) -> ReadList:
    """Read the archive's studies through a query of its index (``Archive.query``). Raises RefusedError when there are none."""
    found = query(ARCHIVE_SQL)
    header = list(found[0]) if found else ["StudyInstanceUID", "PatientID", "PatientName"]
    raw = [["" if value is None else str(value) for value in row.values()] for row in found]
    digest = hashlib.sha256(json.dumps(raw).encode()).hexdigest()
    return from_rows(header, raw, "the archive's index", level, digest, {})


def match(
    ris: ReadList,
    pacs: ReadList,
    level: MatchLevel,
    rules: SiteRules,
    merges: Merges = NO_MERGES,
    *,
    accept_no_match: bool = False,
    report: Report = silent,
) -> tuple[Matching, DecisionFile]:
    """Match two lists and make the decisions.

    Raises RefusedError when next to nothing of two real lists matches: one is of another hospital, or a column is wrong.
    """
    report(Progress("matching", 0, len(pacs.rows), "rows"))
    with _without_collector():
        found = _match(ris.rows, pacs.rows, pacs.columns, level, rules, merges)
    if not accept_no_match:
        _guard(found, pacs.rows, ris.rows)
    report(Progress("matching", len(pacs.rows), len(pacs.rows), "rows"))
    inputs = hashlib.sha256(f"{level}:{pacs.digest}:{ris.digest}:{sorted(merges.surviving)}".encode()).hexdigest()
    return found, make_decisions(found, pacs, ris, rules.digest(), inputs)


def _match(
    ris: Sequence[Row], pacs: Sequence[Row], columns: Sequence[str], level: MatchLevel, rules: SiteRules, merges: Merges
) -> Matching:
    if level is MatchLevel.EXAM:
        from vna.reconcile.exams import match_exams

        return match_exams(pacs, ris, rules, merges)
    with duckdb.connect() as connection:
        connection.execute("SET memory_limit = '700MB'")
        studies = "StudyInstanceUID" in columns or "AccessionNumber" in columns
        return match_patients(people(pacs, rules, merges), people(ris, rules, merges), rules, connection, study_rows=studies)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the cyclic garbage collector: matching makes millions of small values, no cycles; sweeps take a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _guard(matching: Matching, pacs: Sequence[Row], ris: Sequence[Row]) -> None:
    counts = tally(matching.links)
    junk = counts[Outcome.JUNK]
    smaller = min(len(pacs), len(ris)) - junk
    hits = counts[Outcome.AUTO] + counts[Outcome.REVIEW]
    if smaller >= _SMALL and counts[Outcome.AUTO] < 0.01 * smaller and hits < max(1, 0.02 * smaller):
        raise RefusedError(
            f"next to nothing matches: {hits} of {len(pacs)} rows have a candidate in a list of {len(ris)}",
            hint="the list of another hospital, or a wrong column (--columns)? --accept-no-match goes on; nothing was written",
        )


def result_of(matching: Matching, decisions: Path | str, studies: int, started: float, notes: Sequence[str] = ()) -> MatchResult:
    """Count a match."""
    counts = tally(matching.links)
    both_junk = sum(link.outcome is Outcome.JUNK and link.left is not None for link in matching.links)
    more = list(notes)
    if not matching.ids_shared:
        more.append("the lists number their patients differently: patient IDs were not compared")
    if matching.skipped:
        more.append(f"{sum(matching.skipped.values()):,} pairs behind too common keys were left to the more precise keys")
    return MatchResult(
        studies,
        counts[Outcome.AUTO],
        counts[Outcome.REVIEW],
        counts[Outcome.CONFLICT],
        counts[Outcome.ORPHAN_PACS],
        both_junk,
        counts[Outcome.ORPHAN_RIS],
        str(decisions),
        time.monotonic() - started,
        tuple(more),
    )
