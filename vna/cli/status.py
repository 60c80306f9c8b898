"""``vna status``: where every instance stands, and whether the ledger closes."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from pathlib import Path

import click

from vna.cli.options import json_option
from vna.cli.output import emit, owed_text, table
from vna.cli.session import configuration, open_archive, open_ledger
from vna.errors import StoreError

_SHOWN = 20


@click.command("status")
@click.option("--target", default="", metavar="NODE", help="Count as if this were the only target.")
@click.option("--unmigrated", is_flag=True, help="List every instance that is not verified, with its reason.")
@click.option("--backup", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Copy the ledger there first.")
@json_option
@click.pass_context
def command(ctx: click.Context, target: str, unmigrated: bool, backup: Path | None, as_json: bool) -> None:
    """Add up where every instance stands: verified, quarantined, refused, missing or pending.

    The ledger is closed when nothing is pending. Variants and quarantined objects wait for a person and say why. What this
    machine acknowledged and has not uploaded yet (see `vna receive`) is owed, and keeps the ledger open.
    """
    config = configuration(ctx)
    if target:
        config.node(target)
    try:
        archive = open_archive(config)
    except StoreError:
        _tell_owed(config.archive.spool)
        raise
    owed = archive.owed()
    with open_ledger(config) as ledger:
        ledger.catch_up(archive)
        result = {"archive": config.archive.url, **ledger.status(target).as_json(), "owed": asdict(owed)}
        result["closed"] = bool(result["closed"] and not (owed.objects or owed.damaged))
        if backup is not None:
            result["backup"] = str(ledger.back_up(backup))
        if as_json:
            if unmigrated:
                result["unmigrated"] = [_row(unit) for unit in ledger.unmigrated(target)]
            emit(result, as_json=True)
            return
        if not (owed.objects or owed.damaged):
            del result["owed"]
        emit(result, as_json=False, title="closed" if result["closed"] else "open")
        rows = [
            _row(unit) for unit in (ledger.unmigrated(target) if unmigrated else islice(ledger.unmigrated(target), _SHOWN + 1))
        ]
    if rows and (unmigrated or len(rows) <= _SHOWN):
        table(rows)
    elif rows:
        click.echo("`vna status --unmigrated` lists every instance that is not verified")


def _tell_owed(spool: str) -> None:
    """Say what this machine owes where the service does not answer, and so cannot say which archive it is."""
    from vna.archive.owed import Debts

    for workspace in sorted(Path(spool).glob("*/")) if spool else ():
        if (owed := Debts(workspace).summary()).objects:
            click.echo(f"owed to the archive {workspace.name}: {owed_text(asdict(owed))}", err=True)


def _row(unit: object) -> dict[str, object]:
    names = ("state", "code", "node", "study_instance_uid", "sop_instance_uid", "detail")
    return {name: getattr(unit, name) for name in names}
