"""``vna index``: build, rebuild, optimise, inspect and query the index."""

from __future__ import annotations

import json
import time

import click

from vna.cli.options import cluster_option, dry_run_option, json_option, workers_option
from vna.cli.output import emit, progress, some_failed, table
from vna.cli.session import configuration, open_archive


@click.group("index")
def command() -> None:
    """Build, rebuild, optimise, inspect and query the index.

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
@click.option("--digests", is_flag=True, help="Also read every object to its end, and compare its digest with the journal's.")
@click.option("--accept-missing", is_flag=True, help="Leave out what is gone, however many objects that are.")
@workers_option
@cluster_option
@dry_run_option
@json_option
@click.pass_context
def rebuild(
    ctx: click.Context, digests: bool, accept_missing: bool, workers: int, cluster: str, dry_run: bool, as_json: bool
) -> int:
    """Make the index anew from the stored objects and the journal, and put it in the old one's place.

    Manifests are given back what they lack. On S3, objects that no record knows are left out for twelve hours: another machine's
    journal may follow.
    Exit code 3 says that --digests found objects that are not what was recorded, or that recorded objects are missing;
    `vna scrub` names and repairs them. Where more than a handful are missing (1 % and ten), or all that is filed, it is refused
    with exit code 21: most likely a disk is not mounted.
    """
    archive = open_archive(configuration(ctx))
    started = time.monotonic()
    if dry_run:
        emit({"would_scan": sum(1 for _ in archive.store.list("instances"))}, as_json=as_json)
        return 0
    differing: list[str] = []
    missing: list[int] = []
    with progress("rebuild", quiet=as_json) as report:
        rows = archive.rebuild_index(
            report,
            workers=workers,
            cluster=cluster,
            on_differing=differing.append if digests else None,
            on_missing=missing.append,
            accept_missing=accept_missing,
        )
    seconds = round(time.monotonic() - started, 3)
    shown = {"rows": rows, "missing": sum(missing), **archive.index_info(), "seconds": seconds}
    emit(shown | ({"differing": differing if as_json else len(differing)} if digests else {}), as_json=as_json)
    if differing and not as_json:
        table([{"path": path} for path in differing])
    return some_failed(bool(differing or missing))


@command.command("optimize")
@click.option(
    "--keep-hours",
    type=click.IntRange(1, 168),
    default=168,
    metavar="N",
    help="Keep replaced files N hours for readers, 1 to 168.  [default: 168]",
)
@dry_run_option
@json_option
@click.pass_context
def optimize(ctx: click.Context, keep_hours: int, dry_run: bool, as_json: bool) -> None:
    """Cluster the index by study, write the table of studies, expire logs, and remove files that were replaced.

    One process at a time: exit code 11 says that another one is at it. Everybody may read and write meanwhile. It may be ended at
    any moment; the next run goes on.
    """
    archive = open_archive(configuration(ctx))
    started = time.monotonic()
    with progress("optimize", quiet=as_json) as report:
        done = archive.optimize_index(report, keep_hours=keep_hours, dry_run=dry_run)
    title = "would optimise" if dry_run else "optimised"
    emit({**done, "seconds": round(time.monotonic() - started, 3)}, as_json=as_json, title=title)


@command.command("info")
@json_option
@click.pass_context
def info(ctx: click.Context, as_json: bool) -> None:
    """Tell how much the archive holds, how large and how old the index's tables are, and what they lack."""
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
