"""``vna scrub``: read every object again, compare digests, repair from a good copy."""

from __future__ import annotations

import click

from vna.cli.options import cluster_option, dry_run_option, json_option, study_option, where_option, workers_option
from vna.cli.output import emit, progress, some_failed, table
from vna.cli.session import configuration, open_archive, open_ledger


@click.command("scrub")
@click.option("--repair-from", "copy_url", metavar="URL", help="A good copy of the archive; it is only read, never changed.")
@click.option("--rate-limit-mbit", type=click.FloatRange(0), default=0.0, metavar="N", help="Read at most N Mbit/s; 0: no limit.")
@click.option("--restart", is_flag=True, help="Begin anew rather than go on where an unfinished pass stopped.")
@study_option
@where_option
@workers_option
@cluster_option
@dry_run_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    copy_url: str | None,
    rate_limit_mbit: float,
    restart: bool,
    studies: tuple[str, ...],
    where: str | None,
    workers: int,
    cluster: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Read every stored object again, variants and quarantine included, and compare it with the digest that was recorded.

    Goes on where an unfinished pass stopped. A damaged object is replaced only by bytes that have the recorded digest, and the
    damaged bytes are kept in quarantine first. On S3, objects that no record knows are passed over for twelve hours: another
    machine's journal may follow. Exit code 3 says that something damaged stays.
    """
    from vna.scrub import ScrubOptions, run
    from vna.store import open_store

    config = configuration(ctx)
    archive = open_archive(config)
    options = ScrubOptions(studies, where or "", workers, rate_limit_mbit, restart, dry_run, cluster)
    copy = open_store(copy_url, config.archive.storage_options, writing=False) if copy_url else None
    with open_ledger(config) as ledger, progress("scrub", quiet=as_json) as report:
        result = run(archive, ledger, options, report, copy=copy)
    shown = result.as_json()
    if as_json:
        emit(shown, as_json=True)
    else:
        found = [row for name in ("corrupt", "unrecorded", "records") for row in shown.pop(name)]
        emit({**shown, "corrupt": len(result.corrupt)}, as_json=False, title="would scrub" if dry_run else "scrubbed")
        if found:
            table(found)
    return some_failed(result.waits)
