"""The table of finding codes for the documentation, made from the registry so that it cannot lag behind it."""

from __future__ import annotations

from pathlib import Path

from vna.validate import rules  # noqa: F401 - registers every rule
from vna.validate.across import ACROSS  # noqa: F401 - registers the codes across instances
from vna.validate.registry import CODES, Scope

BEGIN, END = "<!-- begin: made from the registry -->", "<!-- end -->"

_HEADINGS = {
    Scope.RECEIPT: "Found on receipt, and again whenever an object is validated",
    Scope.INSTANCE: "Found in one instance",
    Scope.ARCHIVE: "Found across instances",
}


def findings_table() -> str:
    """Write every code as Markdown, one table a scope."""
    parts = []
    for scope, heading in _HEADINGS.items():
        lines = [f"### {heading}", "", "| Code | Severity | What it says | Reference |", "|---|---|---|---|"]
        lines += [
            f"| `{entry.code}` | {entry.severity} | {entry.text} | {entry.reference} |"
            for entry in CODES.values()
            if entry.scope is scope
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def write_findings_page(page: Path) -> None:
    """Replace the tables of docs/findings.md, between its two marks, by those of the registry."""
    text = page.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{findings_table()}\n\n{END}{after}", "utf-8")
