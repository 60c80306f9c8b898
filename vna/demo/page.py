"""The report as one HTML page that needs nothing else: to read, to print, and to sign."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from vna import __version__
from vna.demo.result import STATES, DemoResult, verdict

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --good: #2e7d32; --bad: #c62828; --warn: #b26a00; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 74rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.verdict { border-left: .4rem solid var(--bad); background: var(--soft); padding: .7rem 1rem; font-weight: 600; }
.verdict.closed { border-color: var(--good); }
.figures { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; padding: 0; list-style: none; }
.figures li { flex: 1 1 7rem; background: var(--soft); border-radius: .4rem; padding: .5rem .8rem; }
.figures b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; } .scroll { overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .9em; overflow-wrap: anywhere; }
.error, .refused, .missing, .pending { color: var(--bad); } .warning, .quarantined { color: var(--warn); }
.note { opacity: .75; }
.sign { display: grid; grid-template-columns: repeat(3, 1fr); gap: 2.5rem 1.5rem; margin-top: 1.2rem; }
.sign div { border-top: 1px solid currentColor; padding-top: .3rem; margin-top: 2.5rem; }
@media print { body { font-size: 11px; max-width: none; margin: 0; } h2 { break-after: avoid; }
  tr, .sign, .verdict { break-inside: avoid; } thead { display: table-header-group; } .screen { display: none; } }
"""

_MEANING = {
    "expected": "what the source lists, or the archive holds",
    "stored": "in the archive",
    "verified": "read back at the target",
    "quarantined": "waits for a person",
    "refused": "the target does not take it",
    "missing": "the source lists it and sends nothing",
    "pending": "not done yet",
}


def write_page(result: DemoResult, path: Path) -> Path:
    """Write the page to ``path``, whose folder is made, and return ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(result), "utf-8")
    return path


def render(result: DemoResult) -> str:
    """Render the page; everything that came from outside is escaped."""
    title = "Migration report"
    body = [
        f"<h1>{title}</h1>",
        f"<p class='note'>{escape(result.source)} to {escape(result.target)}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, "
        f"{result.seconds:.1f} s, vna {escape(__version__)}. UIDs and codes only: no patient is named.</p>",
        f"<p class='verdict{' closed' if result.closed else ''}'>{escape(verdict(result))}</p>",
        _figures(result),
        "<h2>Stages</h2>",
        _table(("stage", "what it came to", "#seconds"), ((s.stage, s.text, f"{s.seconds:.1f}") for s in result.stages)),
        "<h2>By modality</h2>",
        _modalities(result),
        "<h2>Not migrated, and why</h2>",
        _unmigrated(result),
        "<h2>Findings of validation</h2>",
        _findings(result),
        _commands(result),
        _signatures(),
    ]
    head = (
        "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{_STYLE}</style>"
    )
    return f"<!doctype html>\n<html lang='en'><head>{head}</head><body>\n{''.join(body)}\n</body></html>\n"


def _figures(result: DemoResult) -> str:
    items = (
        f"<li><b>{result.instances[state]:,}</b>{state}<br><span class='note'>{_MEANING[state]}</span></li>" for state in STATES
    )
    return f"<ul class='figures'>{''.join(items)}</ul>"


def _modalities(result: DemoResult) -> str:
    rows = [
        (
            line.modality or "none",
            f"{line.studies:,}",
            f"{line.instances:,}",
            f"{line.verified:,}",
            f"{line.instances - line.verified:,}",
            f"{line.bytes / 2**20:,.1f}",
        )
        for line in result.modalities
    ]
    return _table(("modality", "#studies", "#instances", "#verified", "#not migrated", "#MiB"), rows)


def _unmigrated(result: DemoResult) -> str:
    if not result.unmigrated:
        return "<p>Everything was verified at the target.</p>"
    head = ("state", "reason", "", "at", "modality", "what", "study", "instance")
    rows = []
    for line in result.unmigrated:
        cells = (line.text, line.node, line.modality, line.what)
        uids = (line.study_instance_uid, line.sop_instance_uid)
        rows.append(
            f"<tr><td class='{escape(line.state)}'>{escape(line.state)}</td><td><code>{escape(line.code)}</code></td>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            + "".join(f"<td><code>{escape(uid)}</code></td>" for uid in uids)
            + "</tr>"
        )
    return _frame(head, rows)


def _findings(result: DemoResult) -> str:
    if not result.findings:
        return "<p>Nothing was found.</p>"
    rows = (
        f"<tr><td><code>{escape(line.code)}</code></td><td class='{escape(line.severity)}'>{escape(line.severity)}</td>"
        f"<td>{escape(line.text)}</td><td class='n'>{line.count:,}</td></tr>"
        for line in result.findings
    )
    return _frame(("code", "severity", "what it says", "#instances"), rows)


def _commands(result: DemoResult) -> str:
    if not result.commands:
        return ""
    items = "".join(
        f"<li><code>{escape(command)}</code> <span class='note'>{escape(what)}</span></li>" for command, what in result.commands
    )
    return f"<section class='screen'><h2>Look for yourself</h2><ul>{items}</ul></section>"


def _signatures() -> str:
    roles = ("Project manager", "PACS administration", "Radiology")
    fields = "".join(f"<div>{role}: name, date, signature</div>" for role in roles)
    return (
        "<h2>Acceptance</h2><p>The undersigned have seen the figures and the list of instances that were not migrated, and "
        f"accept the migration with these exceptions.</p><div class='sign'>{fields}</div>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay rows out under their heads; a head that begins with # stands over numbers."""
    marked = [" class='n'" if name.startswith("#") else "" for name in head]
    lines = (
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for mark, cell in zip(marked, row, strict=True)) + "</tr>"
        for row in rows
    )
    return _frame(head, lines)


def _frame(head: Sequence[str], rows: Iterable[str]) -> str:
    cells = "".join(f"<th{' class=n' if name.startswith('#') else ''}>{escape(name.lstrip('#'))}</th>" for name in head)
    return f"<div class='scroll'><table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
