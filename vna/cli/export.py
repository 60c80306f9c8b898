"""``vna export``: copy instances out as Part 10 files."""

from __future__ import annotations

import click

from vna.cli.options import dry_run_option, json_option, study_option, where_option, workers_option
from vna.cli.output import emit, progress, some_failed
from vna.cli.session import configuration, open_archive


@click.command("export")
@click.option("--to", required=True, metavar="DIR|URL", help="Where the files go.")
@study_option
@where_option
@click.option("--received", is_flag=True, help="The bytes as received, without corrections.")
@click.option("--variants", is_flag=True, help="Also objects of which another one came first under the same UIDs.")
@workers_option
@dry_run_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    to: str,
    studies: tuple[str, ...],
    where: str | None,
    received: bool,
    variants: bool,
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Copy instances to a folder or URL as Part 10 files, by study and series, and prove each copy by its digest.

    Safe to repeat: what is there already is compared, nothing is overwritten.
    """
    from vna.export import ExportOptions, run

    archive = open_archive(configuration(ctx))
    options = ExportOptions(where, studies, received=received, variants=variants, workers=workers, dry_run=dry_run)
    with progress("export", quiet=as_json) as report:
        result = run(archive, to, options, report)
    emit(result.as_json(), as_json=as_json, title="would export" if dry_run else "exported")
    if not as_json and not result.instances:
        click.echo("nothing to do: all of it is there already" if result.present else "nothing was selected")
    return some_failed(result.failed)
