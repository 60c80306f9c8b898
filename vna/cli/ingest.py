"""``vna ingest``: take a tree of DICOM files into the archive."""

from __future__ import annotations

import click

from vna.cli.options import dry_run_option, json_option, workers_option
from vna.cli.output import emit, progress, some_failed
from vna.cli.session import configuration, open_archive


@click.command("ingest")
@click.argument("url")
@click.option(
    "--adapter", type=click.Choice(["folder"]), default="folder", show_default=True, help="How the source keeps its files."
)
@click.option("--source", default="", metavar="NAME", help="What the index calls the source; default: the adapter's name.")
@workers_option
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, url: str, adapter: str, source: str, workers: int, dry_run: bool, as_json: bool) -> int:
    """Take every file below URL into the archive, whatever its name, with or without a preamble.

    The data sets are kept bit for bit. A file that is broken, or no DICOM at all, goes to quarantine with its reason; what the
    archive holds already is recognised and not written again.
    """
    from vna.ingest import IngestOptions, run

    archive = open_archive(configuration(ctx))
    options = IngestOptions(adapter=adapter, source=source or adapter, workers=workers, dry_run=dry_run)
    with progress("ingest", quiet=as_json) as report:
        result = run(archive, url, options, report)
    emit(result.as_json(), as_json=as_json, title="would ingest" if dry_run else "ingested")
    if not as_json and not result.stored + result.variants + result.quarantined:
        click.echo("nothing new: the archive holds all of it already" if result.duplicates else "nothing was found to take in")
    return some_failed(result.failed + result.quarantined + result.variants)
