"""``vna index``: build, rebuild, inspect and query the index."""

from __future__ import annotations

import json
import time

import click

from vna.cli.options import dry_run_option, json_option, workers_option
from vna.cli.output import emit, progress, table
from vna.cli.session import configuration, open_archive


@click.group("index")
def command() -> None:
    """Build, rebuild, inspect and query the index.

    The index is a cache: it can be deleted and made again from the objects and the journal.
    """


@command.command("build")
@dry_run_option
@json_option
@click.pass_context
def build(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Take everything that the journal tells into the index. Other commands do it by themselves; this one does it now."""
    archive = open_archive(configuration(ctx))
    started = time.monotonic()
    added = 0 if dry_run else archive.sync_index()
    emit({"added": added, **archive.index_info(), "seconds": round(time.monotonic() - started, 3)}, as_json=as_json)
    if not as_json and not added:
        click.echo("nothing to do: the index holds all that the journal tells")


@command.command("rebuild")
@workers_option
@dry_run_option
@json_option
@click.pass_context
def rebuild(ctx: click.Context, workers: int, dry_run: bool, as_json: bool) -> None:
    """Make the index anew from the stored objects and the journal, and put it in the old one's place."""
    archive = open_archive(configuration(ctx))
    started = time.monotonic()
    if dry_run:
        emit({"would_scan": sum(1 for _ in archive.store.list("instances"))}, as_json=as_json)
        return
    with progress("rebuild", quiet=as_json) as report:
        rows = archive.rebuild_index(report, workers=workers)
    emit({"rows": rows, **archive.index_info(), "seconds": round(time.monotonic() - started, 3)}, as_json=as_json)


@command.command("info")
@json_option
@click.pass_context
def info(ctx: click.Context, as_json: bool) -> None:
    """Tell how much the archive holds, and which version of the index says so."""
    emit(open_archive(configuration(ctx)).index_info(), as_json=as_json)


@command.command("sql")
@click.argument("query")
@json_option
@click.pass_context
def sql(ctx: click.Context, query: str, as_json: bool) -> None:
    """Run one SELECT over the view `instances` (DuckDB's SQL): effective values, with received_<Keyword> beside them."""
    rows = open_archive(configuration(ctx)).query(query)
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, default=str))
    else:
        table(rows)
