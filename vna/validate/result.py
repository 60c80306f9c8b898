"""What a run of validation found, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vna.model import Finding, Severity
from vna.validate.across import ArchiveFinding
from vna.validate.registry import CODES

SEVERITY_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
MAX_ACROSS = 10_000
"""Findings across instances that a result holds one by one; beyond that they are only counted."""


@dataclass(frozen=True, slots=True)
class FindingCount:
    """How often a code was found: in how many instances, or (across instances) at how many studies, series or UIDs."""

    code: str
    severity: Severity
    count: int


@dataclass(frozen=True, slots=True)
class Place:
    """What findings are broken down by. Values are the index's, empty where it has none; ``year`` is that of Study Date."""

    modality: str = ""
    station: str = ""
    year: str = ""


@dataclass(frozen=True, slots=True)
class ValidateResult:
    """The standing findings of everything that was selected, whether this run checked it or an earlier one.

    ``validated`` counts what this run checked, ``unchanged`` what was known before, ``unread`` what could not be read (and is
    tried again), ``clean`` what has no finding at all.
    """

    instances: int
    validated: int
    unchanged: int
    unread: int
    clean: int
    findings: tuple[FindingCount, ...]
    across: tuple[ArchiveFinding, ...]
    breakdown: Mapping[tuple[str, Place], int]
    instances_by_place: Mapping[Place, int]
    seconds: float

    @property
    def has_errors(self) -> bool:
        """Say whether anything waits for a person."""
        return any(found.severity is Severity.ERROR for found in self.findings)

    def by(self, dimension: str) -> list[dict[str, Any]]:
        """Break the findings in instances down by ``modality``, ``station`` or ``year``, the largest group first.

        Each entry has ``value``, ``instances`` and ``findings`` (code -> instances, the most frequent first).
        """
        totals: Counter[str] = Counter()
        for place, count in self.instances_by_place.items():
            totals[getattr(place, dimension)] += count
        found: dict[str, Counter[str]] = {value: Counter() for value in totals}
        for (code, place), count in self.breakdown.items():
            found.setdefault(getattr(place, dimension), Counter())[code] += count
        return [
            {"value": value, "instances": total, "findings": dict(found[value].most_common())}
            for value, total in totals.most_common()
        ]

    def as_json(self) -> dict[str, Any]:
        """Give what ``vna validate --json`` prints."""
        return {
            "instances": self.instances,
            "validated": self.validated,
            "unchanged": self.unchanged,
            "unread": self.unread,
            "clean": self.clean,
            "findings": [{"code": found.code, "severity": found.severity.value, "count": found.count} for found in self.findings],
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class Tally:
    """Adds findings up while a run goes on."""

    instances: int = 0
    validated: int = 0
    unchanged: int = 0
    unread: int = 0
    clean: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    breakdown: Counter[tuple[str, Place]] = field(default_factory=Counter)
    places: Counter[Place] = field(default_factory=Counter)
    across: list[ArchiveFinding] = field(default_factory=list)

    def add(self, place: Place, findings: Iterable[Finding]) -> None:
        """Count one instance and its findings; a code counts once an instance."""
        self.instances += 1
        self.places[place] += 1
        codes = {finding.code for finding in findings}
        self.clean += not codes
        for code in codes:
            self.counts[code] += 1
            self.breakdown[code, place] += 1

    def add_opinion(self, place: Place, findings: Iterable[Finding]) -> None:
        """Count what another program says of an instance that is counted already."""
        for code in {finding.code for finding in findings}:
            self.counts[code] += 1
            self.breakdown[code, place] += 1

    def add_across(self, found: ArchiveFinding) -> None:
        """Count one finding across instances."""
        self.counts[found.code] += 1
        if len(self.across) < MAX_ACROSS:
            self.across.append(found)

    def result(self, seconds: float) -> ValidateResult:
        """Close the books: the severest first, then the most frequent."""
        counts = [FindingCount(code, severity_of(code), count) for code, count in self.counts.items()]
        counts.sort(key=lambda found: (SEVERITY_ORDER[found.severity], -found.count, found.code))
        return ValidateResult(
            instances=self.instances,
            validated=self.validated,
            unchanged=self.unchanged,
            unread=self.unread,
            clean=self.clean,
            findings=tuple(counts),
            across=tuple(self.across),
            breakdown=dict(self.breakdown),
            instances_by_place=dict(self.places),
            seconds=seconds,
        )


def severity_of(code: str) -> Severity:
    """Look up a code's severity; a code of a newer version, kept in the ledger, counts as a warning."""
    entry = CODES.get(code)
    return entry.severity if entry is not None else Severity.WARNING
