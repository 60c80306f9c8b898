"""What a demo, or any migration told in the same way, came to: values that the HTML page and the terminal show alike.

Nothing here identifies a patient: UIDs, modalities, codes and counts only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STATES = ("expected", "stored", "verified", "quarantined", "refused", "missing", "pending")
"""The figures of the ledger, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage that ran: what it came to in a sentence, and how long it took."""

    stage: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ModalityLine:
    """What the archive holds of one modality, and how much of it was verified at the target."""

    modality: str
    studies: int
    instances: int
    bytes: int
    verified: int


@dataclass(frozen=True, slots=True)
class FindingLine:
    """One finding code, and in how many instances it was found."""

    code: str
    severity: str
    text: str
    count: int


@dataclass(frozen=True, slots=True)
class UnmigratedLine:
    """One instance that did not arrive at the target, and why."""

    state: str
    code: str
    text: str
    node: str
    modality: str
    what: str
    study_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The whole of it. ``commands`` are what the reader may type next, each with what it shows."""

    source: str
    target: str
    folder: str
    report: str
    instances: Mapping[str, int]
    closed: bool
    seconds: float
    stages: tuple[StageLine, ...] = ()
    modalities: tuple[ModalityLine, ...] = ()
    findings: tuple[FindingLine, ...] = ()
    unmigrated: tuple[UnmigratedLine, ...] = ()
    commands: tuple[tuple[str, str], ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Give the keys that ``vna demo --json`` promises, and some more."""
        return {
            "instances": {state: self.instances[state] for state in STATES},
            "closed": self.closed,
            "seconds": round(self.seconds, 3),
            "report": self.report,
            "archive": self.folder,
            "stages": [{"stage": line.stage, "text": line.text, "seconds": round(line.seconds, 3)} for line in self.stages],
            "findings": [{"code": line.code, "severity": line.severity, "count": line.count} for line in self.findings],
            "unmigrated": [
                {
                    "state": line.state,
                    "code": line.code,
                    "node": line.node,
                    "study_instance_uid": line.study_instance_uid,
                    "sop_instance_uid": line.sop_instance_uid,
                }
                for line in self.unmigrated
            ],
        }


def verdict(result: DemoResult) -> str:
    """Say in one sentence what came of it."""
    expected = result.instances["expected"]
    if not result.closed:
        return f"The ledger is open: {result.instances['pending']:,} of {expected:,} instances are pending."
    kinds = ("verified", "quarantined", "refused", "missing")
    parts = [f"{result.instances[state]:,} {state}" for state in kinds if result.instances[state] or state == "verified"]
    return f"The ledger is closed: every one of {expected:,} instances is accounted for ({', '.join(parts)})."
