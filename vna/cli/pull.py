"""``vna pull``: retrieve what the inventory lists and the archive does not hold yet."""

from __future__ import annotations

import click

from vna.cli.options import associations_option, dry_run_option, json_option, selection_options
from vna.cli.output import emit, progress, some_failed, table
from vna.cli.session import configuration, open_archive, open_ledger


@click.command("pull")
@click.argument("node")
@selection_options
@click.option("--method", type=click.Choice(["move", "get"]), default="move", show_default=True, help="C-MOVE or C-GET.")
@click.option("--retry-missing", is_flag=True, help="Ask again for what earlier runs gave up.")
@associations_option
@dry_run_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    node: str,
    studies: tuple[str, ...],
    where: str | None,
    limit: int | None,
    method: str,
    retry_missing: bool,
    workers: int | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Bring what NODE lists and the archive lacks, study by study, and account for every instance that does not come.

    By C-MOVE the source sends to [local], where this command listens meanwhile. What was asked for and did not arrive is asked
    for again by series and by instance; what still does not come is recorded as missing, with the reason. --where speaks of what
    the inventory knows.
    """
    from vna.pull import Method, PullOptions, plan, run

    config = configuration(ctx)
    peer = config.node(node)
    archive = open_archive(config)
    options = PullOptions(
        studies=studies,
        where=where or "",
        limit=limit or 0,
        method=Method(method),
        workers=workers or 0,
        retry_missing=retry_missing,
    )
    with open_ledger(config) as ledger:
        if dry_run:
            planned = plan(archive, ledger, peer, options).as_json()
            studies_planned = planned["plan"] if as_json else planned.pop("plan")
            emit(planned, as_json=as_json, title="would pull")
            if not as_json:
                table(studies_planned)
            return 0
        with progress("pull", quiet=as_json) as report:
            result = run(archive, ledger, peer, config.local, options, report)
    emit(result.as_json(), as_json=as_json, title=f"pulled from {node}")
    if not as_json and not result.studies and not result.locked:
        click.echo("nothing to do: the archive holds all that the inventory lists, or it was given up with a reason")
    return some_failed(result.missing + result.failed + result.locked)
