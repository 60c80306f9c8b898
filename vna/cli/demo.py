"""``vna demo``: the whole pipeline on loopback with real test images, then the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from vna.cli.options import json_option
from vna.cli.output import progress, some_failed


@click.command("demo")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("vna-demo"),
    show_default=True,
    help="Folder.",
)
@click.option(
    "--legacy", type=click.Choice(["embedded", "dcmqrscp"]), default="embedded", show_default=True, help="The old PACS."
)
@click.option("--keep", is_flag=True, help="Go on with an earlier demo in that folder instead of replacing it.")
@json_option
def command(directory: Path, legacy: str, keep: bool, as_json: bool) -> int:
    """Inventory, pull, validate, forward and verify on loopback, with the real images that pydicom ships.

    A small legacy PACS and a target run in this process. The archive, its configuration and a report in HTML stay in the
    folder, to look into.
    """
    from vna.demo.run import run
    from vna.demo.terminal import render

    with progress("demo", quiet=as_json) as report:
        result = run(directory, legacy=legacy, keep=keep, report=report)
    if as_json:
        click.echo(json.dumps(result.as_json()))
        return some_failed(not result.closed)
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(render(result))
    return some_failed(not result.closed)
