"""Where findings are kept: one record an object, with the set of rules that made it: a second run has only the new to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from vna.model import Finding, Severity
from vna.validate.check import Checked


class FindingLog(Protocol):
    """What validation asks of the place where findings are kept: the ledger, by :class:`vna.validate.ledger_log.LedgerLog`."""

    def known(self, digests: Sequence[str], ruleset: str) -> Mapping[str, tuple[Finding, ...]]:
        """Give the findings of those objects that were validated under this set of rules; one without any has ``()``."""

    def record(self, checked: Sequence[Checked], ruleset: str) -> None:
        """Keep the findings of these objects in place of earlier ones; durable when it returns."""


def encode(findings: Sequence[Finding]) -> str:
    """Write findings as JSON: a list of [code, severity, where, [value, ...]]."""
    rows = [[finding.code, finding.severity.value, finding.where, list(finding.values)] for finding in findings]
    return json.dumps(rows, ensure_ascii=True, separators=(",", ":"))


def decode(text: str) -> tuple[Finding, ...]:
    """Read what :func:`encode` wrote."""
    return tuple(
        Finding(code, Severity(severity), where, tuple(values)) for code, severity, where, values in json.loads(text or "[]")
    )
