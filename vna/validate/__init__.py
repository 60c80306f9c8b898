"""Validate: is each stored object what it says it is, and do they fit together?

Nouns: rule (a small function that finds one code), finding (a code at a place), code (stable, registered, with severity and
reference), set of rules (what an object was validated under), log (where findings are kept: the ledger), result (what stands).

:func:`plan` and :func:`run` are the stage; :func:`codes` lists the registry; :func:`write_report` makes the HTML report.
"""

from __future__ import annotations

from vna.validate import rules  # noqa: F401 - registers every rule
from vna.validate.across import ArchiveFinding
from vna.validate.registry import CODES
from vna.validate.report import write_report
from vna.validate.result import FindingCount, Place, ValidateResult
from vna.validate.selection import ValidateOptions
from vna.validate.stage import Plan, plan, run

__all__ = [
    "ArchiveFinding",
    "FindingCount",
    "Place",
    "Plan",
    "ValidateOptions",
    "ValidateResult",
    "codes",
    "plan",
    "run",
    "write_report",
]


def codes() -> list[dict[str, str]]:
    """List every finding code, as ``vna validate --codes`` prints it: code, severity, scope, text and reference."""
    return [
        {
            "code": entry.code,
            "severity": entry.severity.value,
            "scope": entry.scope.value,
            "text": entry.text,
            "reference": entry.reference,
        }
        for entry in CODES.values()
    ]
