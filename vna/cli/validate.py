"""``vna validate``: check every stored instance and list the findings."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vna.cli.options import cluster_option, dry_run_option, json_option, study_option, where_option, workers_option
from vna.cli.output import emit, progress, some_failed, table
from vna.cli.session import configuration, open_archive, open_ledger


@click.command("validate")
@click.option("--codes", "list_codes", is_flag=True, help="List every finding code with its severity and reference, and stop.")
@study_option
@where_option
@click.option("--all", "everything", is_flag=True, help="Check again what was checked under the same rules.")
@click.option("--pixels", is_flag=True, help="Also compare the pixel data of all objects, which reads them.")
@click.option("--sample", type=click.IntRange(0), default=0, metavar="N", help="Show so many objects to dciodvfy too.")
@click.option(
    "--report", "report_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write HTML there."
)
@workers_option
@cluster_option
@dry_run_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    list_codes: bool,
    studies: tuple[str, ...],
    where: str | None,
    everything: bool,
    pixels: bool,
    sample: int,
    report_path: Path | None,
    workers: int,
    cluster: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Ask every rule about every stored instance that is new under these rules, and add up what stands.

    Findings are kept in the ledger. Exit code 3 says that there are errors, which wait for a person.
    """
    from vna.validate import ValidateOptions, codes, plan, run, write_report

    if list_codes:
        click.echo(json.dumps(codes())) if as_json else table(codes())
        return 0
    config = configuration(ctx)
    archive = open_archive(config)
    options = ValidateOptions(
        studies=studies,
        where=where or "",
        everything=everything,
        sample=sample,
        pixels=pixels,
        workers=workers,
        cluster=cluster,
    )
    with open_ledger(config) as ledger:
        if dry_run:
            emit(plan(archive, ledger, options).as_json(), as_json=as_json, title="would validate")
            return 0
        with progress("validate", quiet=as_json) as report:
            result = run(archive, ledger, options, report)
    shown = result.as_json()
    if report_path is not None:
        shown["report"] = str(write_report(result, report_path))
    if as_json:
        emit(shown | {"by": {name: result.by(name) for name in ("modality", "station", "year")}}, as_json=True)
    else:
        findings = shown.pop("findings")
        emit(shown, as_json=False, title="validated")
        table(findings)
        table(
            [
                {"modality": each["value"], "instances": each["instances"], "findings": each["findings"]}
                for each in result.by("modality")
            ]
        )
        if not result.validated:
            click.echo("nothing to do: every selected instance was validated under these rules")
    return some_failed(result.has_errors)
