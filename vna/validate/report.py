"""The validation report: one HTML file that needs nothing else, with counts only and no value of any patient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from vna.validate.registry import CODES
from vna.validate.result import ValidateResult, severity_of

_ROWS = 50
_ACROSS = 500

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --error: #c62828; --warning: #b26a00; --info: #456; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.2rem; font-size: 1.2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } code { font-size: .9em; overflow-wrap: anywhere; }
.error { color: var(--error); font-weight: 600; } .warning { color: var(--warning); } .info { color: var(--info); }
.sum { display: flex; gap: 2rem; flex-wrap: wrap; } .sum b { display: block; font-size: 1.5rem; } .more { opacity: .7; }
"""


def write_report(result: ValidateResult, path: Path, *, title: str = "Validation") -> Path:
    """Write the report to ``path``, whose folder is made, and return ``path``.

    It names codes, modalities, stations, years and UIDs; names, IDs and values stay in the ledger.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(result, title=title), "utf-8")
    return path


def render(result: ValidateResult, *, title: str = "Validation") -> str:
    """Render the report as one HTML page; everything that came from a data set is escaped."""
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {result.seconds:.1f} s</p>",
        _summary(result),
        "<h2>By code</h2>",
        _codes(result),
        *(_breakdown(result, dimension) for dimension in _DIMENSIONS),
        _across(result),
    ]
    head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{escape(title)}</title>"
    return f"<!doctype html><html lang='en'><head>{head}<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"


_DIMENSIONS = ("modality", "station", "year")


def _summary(result: ValidateResult) -> str:
    numbers = (
        ("instances", result.instances),
        ("without a finding", result.clean),
        ("checked now", result.validated),
        ("known before", result.unchanged),
        ("not readable", result.unread),
    )
    return "<div class='sum'>" + "".join(f"<div><b>{count:,}</b>{name}</div>" for name, count in numbers) + "</div>"


def _codes(result: ValidateResult) -> str:
    rows = []
    for found in result.findings:
        entry = CODES.get(found.code)
        rows.append(
            (
                f"<code>{escape(found.code)}</code>",
                f"<span class='{found.severity.value}'>{found.severity.value}</span>",
                f"{found.count:,}",
                escape(entry.text if entry else ""),
                escape(entry.reference if entry else ""),
            )
        )
    return _table(("Code", "Severity", "Count", "What it says", "Reference"), rows, numbers={2})


def _breakdown(result: ValidateResult, dimension: str) -> str:
    groups = result.by(dimension)
    rows = []
    for group in groups[:_ROWS]:
        codes = group["findings"].items()
        text = ", ".join(f"<span class='{severity_of(code).value}'>{escape(code)}</span> {count:,}" for code, count in codes)
        rows.append((escape(group["value"]) or "<i>none</i>", f"{group['instances']:,}", text))
    more = f"<p class='more'>and {len(groups) - _ROWS:,} more</p>" if len(groups) > _ROWS else ""
    return f"<h2>By {dimension}</h2>" + _table((dimension.capitalize(), "Instances", "Findings"), rows, numbers={1}) + more


def _across(result: ValidateResult) -> str:
    if not result.across:
        return ""
    rows = [
        (
            f"<code class='{found.severity.value}'>{escape(found.code)}</code>",
            f"<code>{escape(found.study_instance_uid)}</code>",
            f"<code>{escape(found.series_instance_uid or found.sop_instance_uid)}</code>",
            escape(found.note),
        )
        for found in result.across[:_ACROSS]
    ]
    more = len(result.across) - len(rows)
    note = f"<p class='more'>and {more:,} more</p>" if more > 0 else ""
    return "<h2>Across instances</h2>" + _table(("Code", "Study", "Series or instance", "Note"), rows) + note


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int] | set[int] = frozenset()) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return (
            "<tr>"
            + "".join(f"<{tag}{' class=n' if i in numbers else ''}>{cell}</{tag}>" for i, cell in enumerate(cells))
            + "</tr>"
        )

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table><thead>{row(heads, 'th')}</thead><tbody>{body}</tbody></table>"
