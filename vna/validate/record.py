"""Findings as text, the way they are kept: JSON that any tool reads."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vna.model import Finding, Severity


def encode(findings: Sequence[Finding]) -> str:
    """Write findings as JSON: a list of [code, severity, where, [value, ...]]."""
    rows = [[finding.code, finding.severity.value, finding.where, list(finding.values)] for finding in findings]
    return json.dumps(rows, ensure_ascii=True, separators=(",", ":"))


def decode(text: str) -> tuple[Finding, ...]:
    """Read what :func:`encode` wrote."""
    return tuple(
        Finding(code, Severity(severity), where, tuple(values)) for code, severity, where, values in json.loads(text or "[]")
    )
