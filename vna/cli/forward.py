"""``vna forward``: send what is due to a target."""

from __future__ import annotations

import click

from vna.cli.options import associations_option, dry_run_option, json_option, selection_options
from vna.cli.output import emit, progress, some_failed, table
from vna.cli.session import configuration, open_archive, open_ledger


@click.command("forward")
@click.argument("node")
@selection_options
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
    workers: int | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Send NODE every stored instance that it has neither taken nor refused, in the encoding it is stored in.

    Quarantined objects and variants are never sent. What the target refuses is recorded with its DIMSE status or the rejected
    context; what failed for now is tried again by the next run.
    """
    from vna.forward import ForwardOptions, plan, run

    config = configuration(ctx)
    peer = config.node(node)
    archive = open_archive(config)
    options = ForwardOptions(studies=studies, where=where or "", limit=limit or 0, workers=workers or 0)
    with open_ledger(config) as ledger:
        if dry_run:
            planned = plan(archive, ledger, peer, options).as_json()
            listed = planned["plan"] if as_json else planned.pop("plan")
            emit(planned, as_json=as_json, title="would forward")
            if not as_json:
                table(listed)
            return 0
        with progress("forward", quiet=as_json) as report:
            result = run(archive, ledger, peer, config.local, options, report)
    emit(result.as_json(), as_json=as_json, title=f"forwarded to {node}")
    if not as_json and not result.studies and not result.locked:
        click.echo("nothing to do: nothing is due at this target")
    return some_failed(result.refused + result.failed + result.locked)
