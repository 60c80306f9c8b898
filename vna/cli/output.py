"""What a command shows: one JSON object or a table on stdout, progress with rate and time left on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from vna.model import Progress, Report, silent

SOME_FAILED = 3
"""Exit code: done, but some studies failed or wait for a person."""


def emit(result: Mapping[str, Any], *, as_json: bool, title: str = "") -> None:
    """Print a result: as one JSON object, or as two columns."""
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False, default=str))
        return
    if title:
        click.secho(title, bold=True)
    width = max((len(key) for key in result), default=0)
    for key, value in result.items():
        click.echo(f"  {key.ljust(width)}  {_text(value)}")


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under their column names."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        click.echo("(no rows)")
        return
    shown = Table(*map(str, rows[0]))
    for row in rows:
        shown.add_row(*(_text(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 200).print(shown, markup=False)


def some_failed(count: int | bool) -> int:
    """Give the exit code of a run that ended: 0, or 3 when something failed or waits for a person."""
    return SOME_FAILED if count else 0


def owed_text(owed: Mapping[str, Any]) -> str:
    """Say how much an archive on S3 is owed, and since when."""
    return f"{owed['objects']:,} objects, {owed['bytes']:,} bytes, the oldest since {owed['since']}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return "" if value is None else str(value)


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Report]:
    """Draw a stage's progress on a terminal, with rate and time left; stay silent elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task(title, total=None, rate="", note="")

        def draw(step: Progress) -> None:
            elapsed = bar.tasks[task].elapsed or 0
            rate = f"{step.done / elapsed:,.1f} {step.unit}/s" if elapsed > 0.5 else step.unit
            if step.bytes and elapsed > 0.5:
                rate += f", {step.bytes / elapsed / 2**20:,.1f} MiB/s"
            bar.update(
                task, description=step.stage or title, completed=step.done, total=step.total or None, rate=rate, note=step.note
            )

        yield draw
