"""The report as what a terminal shows; the command line prints it."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vna.demo.result import STATES, DemoResult, verdict

_SHOWN = 12
_STYLES = {"error": "red", "warning": "yellow", "refused": "red", "missing": "red", "pending": "red", "quarantined": "yellow"}


def render(result: DemoResult) -> RenderableType:
    """Make the tables and the verdict; printing them is the caller's. The HTML page holds what is cut off here."""
    parts: list[RenderableType] = [_stages(result), _figures(result), _modalities(result)]
    if result.findings:
        parts.append(_findings(result))
    if result.unmigrated:
        parts.append(_unmigrated(result))
    parts.append(Panel(Text(verdict(result), style="bold"), border_style="green" if result.closed else "red"))
    parts.append(_next(result))
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    """Make a table; a column whose name begins with # holds numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", expand=False)
    for column in columns:
        table.add_column(Text(column.lstrip("#")), justify="right" if column.startswith("#") else "left", overflow="fold")
    return table


def _stages(result: DemoResult) -> Table:
    table = _table(f"{result.source} → {result.target}", "stage", "what it came to", "#seconds")
    for line in result.stages:
        table.add_row(Text(line.stage), Text(line.text), f"{line.seconds:.1f}")
    return table


def _figures(result: DemoResult) -> Table:
    table = _table("instances", *(f"#{state}" for state in STATES))
    table.add_row(*(f"{result.instances[state]:,}" for state in STATES))
    return table


def _modalities(result: DemoResult) -> Table:
    table = _table("by modality", "modality", "#studies", "#instances", "#verified", "#not migrated")
    for line in result.modalities:
        missing = line.instances - line.verified
        table.add_row(
            Text(line.modality or "none"), f"{line.studies:,}", f"{line.instances:,}", f"{line.verified:,}", f"{missing:,}"
        )
    return table


def _findings(result: DemoResult) -> Table:
    table = _table("findings of validation", "code", "severity", "what it says", "#instances")
    for line in result.findings[:_SHOWN]:
        table.add_row(
            Text(line.code), Text(line.severity, style=_STYLES.get(line.severity, "")), Text(line.text), f"{line.count:,}"
        )
    if len(result.findings) > _SHOWN:
        table.add_row(Text(f"and {len(result.findings) - _SHOWN} more", style="dim"))
    return table


def _unmigrated(result: DemoResult) -> Table:
    table = _table("not migrated, and why", "state", "reason", "what it says", "at", "#instances")
    reasons = Counter((line.state, line.code, line.text, line.node) for line in result.unmigrated)
    for (state, code, text, node), count in reasons.most_common(_SHOWN):
        table.add_row(Text(state, style=_STYLES.get(state, "")), Text(code), Text(text), Text(node), f"{count:,}")
    return table


def _next(result: DemoResult) -> Text:
    lines = [f"report   {result.report}", f"archive  {result.folder}", "", "look for yourself:"]
    for command, what in result.commands:
        lines.append(f"  {command}   # {what}")
    return Text("\n".join(lines), overflow="fold", no_wrap=False)
