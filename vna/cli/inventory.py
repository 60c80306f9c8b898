"""``vna inventory``: ask a source what it holds, and record it in the ledger."""

from __future__ import annotations

import click

from vna.cli.options import dry_run_option, json_option
from vna.cli.output import emit, progress, some_failed, table
from vna.cli.session import configuration, open_ledger


@click.command("inventory")
@click.argument("node")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="Studies asked for at once.")
@click.option("--accept-shrink", is_flag=True, help="Believe a source that lists far less than last time.")
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, node: str, workers: int, accept_shrink: bool, dry_run: bool, as_json: bool) -> int:
    """Ask NODE for every study, series and instance, and write them to the ledger.

    A window of dates whose answer may have been cut off is split and asked again; studies without a date are looked for apart.
    The evidence file tells how the source was covered. Exit code 3 says that something could not be proved.
    """
    from vna.inventory import InventoryOptions, plan, run

    config = configuration(ctx)
    peer = config.node(node)
    if dry_run:
        windows = [{"window": str(window)} for window in plan()]
        emit({"node": node, "windows": len(windows)}, as_json=as_json, title="would begin with")
        if not as_json:
            table(windows)
        return 0
    options = InventoryOptions(workers=workers, accept_shrink=accept_shrink)
    with open_ledger(config) as ledger, progress("inventory", quiet=as_json) as report:
        result = run(ledger, peer, config.local, options, report)
    emit(result.as_json(), as_json=as_json, title=f"{node} holds")
    if not as_json and not result.changes:
        click.echo("nothing new: the ledger had all of it")
    return some_failed(not result.complete)
