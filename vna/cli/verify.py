"""``vna verify``: prove that a target holds what was forwarded, and write the certificate."""

from __future__ import annotations

import click

from vna.cli.options import dry_run_option, json_option, selection_options, workers_option
from vna.cli.output import emit, progress, some_failed, table
from vna.cli.session import configuration, open_archive, open_ledger


@click.command("verify")
@click.argument("node")
@selection_options
@click.option("--sample", type=click.IntRange(0), metavar="N", help="Compare N data sets, chosen at random; default: all.")
@workers_option
@dry_run_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    node: str,
    studies: tuple[str, ...],
    where: str | None,
    limit: int | None,
    sample: int | None,
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Ask NODE for every instance that was forwarded, compare the sets of UIDs, retrieve the data sets and compare those.

    What the target does not hold is due to be forwarded again. The certificate says what was proved, how, and what was not;
    where only a sample was compared it states the bound that the sample buys.
    """
    from vna.verify import VerifyOptions, plan, run

    config = configuration(ctx)
    peer = config.node(node)
    archive = open_archive(config)
    options = VerifyOptions(studies=studies, where=where or "", limit=limit or 0, sample=sample, workers=workers)
    with open_ledger(config) as ledger:
        if dry_run:
            planned = plan(archive, ledger, peer, options).as_json()
            listed = planned["plan"] if as_json else planned.pop("plan")
            emit(planned, as_json=as_json, title="would verify")
            if not as_json:
                table(listed)
            return 0
        with progress("verify", quiet=as_json) as report:
            result = run(archive, ledger, peer, config.local, options, report)
    emit(result.as_json(), as_json=as_json, title=f"verified at {node}")
    if not as_json and not result.changes:
        click.echo("nothing new: the ledger knew all of it, and the certificate stands")
    return some_failed(result.missing + result.different + result.unverified + result.failed + result.locked)
