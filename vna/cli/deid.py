"""``vna deid``: a de-identified cohort, reproducible byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

import click

from vna.cli.options import cluster_option, dry_run_option, json_option, selection_options, workers_option
from vna.cli.output import emit, progress, some_failed
from vna.cli.session import configuration
from vna.errors import ConfigError

KEY_VARIABLE = "VNA_DEID_KEY"


@click.command("deid")
@click.option("--recipe", required=True, metavar="R", help="basic, longitudinal, limited, or a recipe file.")
@click.option("--key-file", type=click.Path(path_type=Path), help=f"The site's secret key; default: the one in ${KEY_VARIABLE}.")
@click.option("--to", "target", required=True, metavar="DIR", help="The cohort's folder.")
@click.option("--crosswalk", type=click.Path(path_type=Path), metavar="DIR", help="Write old -> new identifiers here, apart.")
@click.option(
    "--catalogue", "catalogues", multiple=True, metavar="FILE", help="Where devices burn in text; `deid`: that package's."
)
@click.option(
    "--release", type=click.Path(path_type=Path), metavar="FILE", help="CSV of the UIDs (uid) whose pixels a person released."
)
@selection_options
@workers_option
@cluster_option
@dry_run_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    recipe: str,
    key_file: Path | None,
    target: str,
    crosswalk: Path | None,
    catalogues: tuple[str, ...],
    release: Path | None,
    cluster: str,
    studies: tuple[str, ...],
    where: str | None,
    limit: int | None,
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> int:
    """De-identify objects of the archive by PS3.15 Annex E into the folder DIR.

    What cannot be made safe, such as an image that may carry burned-in text, is held and listed with its reason (exit code 3).
    The same key, recipe and objects give the same bytes. An interrupted run is taken up where it stopped.
    """
    from vna.deid.catalogue import load_releases, pixel_rules
    from vna.deid.pixels import PixelPolicy
    from vna.deid.recipe import load_recipe
    from vna.deid.run import DeidOptions, run
    from vna.deid.source import ArchiveSource
    from vna.deid.values import Key, read_key

    if "://" in target:
        raise ConfigError("--to must be a local folder")
    loaded = load_recipe(recipe)
    if key_file is not None:
        key = read_key(key_file)
    elif os.environ.get(KEY_VARIABLE):
        key = Key(os.environ[KEY_VARIABLE].encode().strip())
    else:
        raise ConfigError(
            "a key is needed", hint=f"--key-file FILE, or {KEY_VARIABLE}; make one: head -c 32 /dev/urandom | base64"
        )
    policy = PixelPolicy(pixel_rules(loaded.pixel_rules, catalogues), load_releases(release) if release else frozenset())
    config = configuration(ctx)
    stored = config.archive
    source = ArchiveSource(stored.url, stored.storage_options, where, studies, limit, stored.spool)
    options = DeidOptions(loaded, key, Path(target).absolute(), policy, crosswalk, workers, dry_run, cluster)
    with progress("de-identify", quiet=as_json) as report:
        result = run(source, options, report)
    emit(result.as_json(), as_json=as_json, title="would de-identify" if dry_run else "de-identified")
    return some_failed(bool(result.held))
