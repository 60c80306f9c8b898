"""The command line: ``indexer scan``, ``indexer query``, ``indexer info``.

stdout is data, stderr is progress and messages. Exit codes: 0 done, 1 failed, 2 usage, 21 untrusted service, 130 interrupted.
What costs time to import is imported inside the commands.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from indexer.errors import IndexerError, UsageError

if TYPE_CHECKING:
    from indexer.table import Table
    from indexer.tree import Progress, Report

log = logging.getLogger(__name__)

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


_endpoint = click.option(
    "--endpoint-url",
    envvar=["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
    metavar="URL",
    help="The S3 service, where it is not AWS. [default: AWS_ENDPOINT_URL]",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """What is in these DICOM files? Index any tree of Part 10 files into a Delta Lake table, and ask it.

    Exit codes: 0 done, 1 failed, 2 usage, 21 the S3 service of a table cannot be trusted with it, 130 interrupted.
    """


@cli.command()
@click.argument("path")
@click.option("--to", "table", required=True, metavar="TABLE", help="Folder or s3:// URL of the table; made if it is not there.")
@click.option("--workers", type=click.IntRange(1), default=None, help="Processes to scan with. [default: one a core]")
@click.option("--digest", is_flag=True, help="Read every file whole and keep its SHA-256.")
@_endpoint
@_json
def scan(path: str, table: str, workers: int | None, digest: bool, endpoint_url: str | None, as_json: bool) -> None:
    """Scan every file below PATH, a folder or s3://bucket/prefix, and write a row for each to TABLE.

    Whatever a file is, it gets a row: what is wrong with it stands in the columns status and codes. Safe to stop and repeat:
    files that the table holds with their size and time of modification are left alone, changed ones get a new row in the place
    of the old one. Of an object in a bucket only the first bytes are read, mostly. Credentials come from the environment.
    """
    from indexer.tree import index_tree

    result = index_tree(
        path,
        table,
        workers=workers or os.cpu_count() or 1,
        with_digest=digest,
        report=_progress(sys.stderr.isatty()),
        storage_options=_options(endpoint_url),
    )
    if as_json:
        click.echo(json.dumps(result.as_json()))
        return
    click.echo(
        f"{result.found} files found, {result.added} added, {result.changed} changed, {result.known} known already; of those "
        f"added and changed {result.flagged} flagged, {result.quarantined} quarantined ({result.seconds:.1f} s)"
    )
    if result.gone:
        click.echo(f"{result.gone} files were gone before they could be scanned.")
    if result.unread:
        click.echo(f"{result.unread} files have changed and could not be read; the table keeps their earlier rows.")
    if not (result.added or result.changed or result.unread):
        click.echo("Nothing to do: the table holds all of them.")
    for code, count in result.codes.most_common():
        click.echo(f"  {code:<24}{count:>8}")


@cli.command()
@click.argument("table")
@click.argument("sql")
@_endpoint
@_json
def query(table: str, sql: str, endpoint_url: str | None, as_json: bool) -> None:
    """Run one SELECT over TABLE: the view `instances` has the columns that docs/index-schema.md lists.

    Example: indexer query TABLE "SELECT Modality, count(*) AS n FROM instances GROUP BY 1 ORDER BY n DESC"
    """
    from indexer.query import connect
    from indexer.query import query as run
    from indexer.table import Table

    options = _options(endpoint_url)
    instances = Table.open(table, storage_options=options)
    con = connect(instances, overlays=_overlays(table, options))
    try:
        rows = run(con, sql)
    finally:
        con.close()
    if as_json:
        click.echo(json.dumps(rows, default=_text, ensure_ascii=False))
    else:
        _print_rows(rows)


@cli.command()
@click.argument("table")
@_endpoint
@_json
def info(table: str, endpoint_url: str | None, as_json: bool) -> None:
    """Tell what TABLE holds: instances, studies, bytes of its files, version."""
    from indexer.query import connect
    from indexer.query import query as run
    from indexer.table import Table

    instances = Table.open(table, storage_options=_options(endpoint_url))
    state = instances.info()
    con = connect(instances)
    try:
        counts = run(
            con,
            "SELECT count(*) AS rows, count(DISTINCT StudyInstanceUID) AS studies, count(DISTINCT SeriesInstanceUID) AS series, "
            "count(*) FILTER (status = 'flagged') AS flagged, count(*) FILTER (status = 'quarantined') AS quarantined "
            "FROM received",
        )[0]
    finally:
        con.close()
    made = {"table": table, "instances": counts.pop("rows"), **counts, "files": state.files, "bytes": state.bytes}
    made["version"] = state.version
    if as_json:
        click.echo(json.dumps(made))
    else:
        _print_rows([made])


def _overlays(table: str, options: Mapping[str, Any]) -> Table | None:
    """Open the table of revisions that lies beside an archive's table of instances, so that corrected values are seen."""
    from indexer.columns import OVERLAYS
    from indexer.table import Table

    place = table.rstrip("/") if "://" in table else str(Path(table))
    if place.rpartition("/")[2] == "instances":
        with suppress(UsageError):  # nothing was corrected yet, or it is no archive's
            return Table.open(f"{place.removesuffix('instances')}overlays", OVERLAYS, options)
    return None


def _options(endpoint_url: str | None) -> dict[str, Any]:
    """Make the storage options of what is not a secret; credentials the libraries find themselves."""
    options: dict[str, Any] = {"endpoint_url": endpoint_url} if endpoint_url else {}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return {**options, "client_kwargs": {"region_name": region}} if region else options


def _progress(is_terminal: bool) -> Report:
    last, begun = 0.0, 0.0

    def report(progress: Progress) -> None:
        nonlocal last, begun
        now = time.monotonic()
        if progress.due is not None and not begun:
            begun = now
        if now - last >= (0.2 if is_terminal else 10):
            last = now
            click.echo(f"\r{_how_far(progress, now - begun)}", err=True, nl=not is_terminal)

    return report


def _how_far(progress: Progress, seconds: float) -> str:
    if progress.due is None:
        return f"{progress.listed} files listed"
    rate = progress.done / max(seconds, 0.001)
    left = (progress.due - progress.done) / rate / 60 if rate else 0.0
    return f"{progress.done} of {progress.due} files, {rate:.0f}/s, {left:.0f} min left, {progress.bytes / 2**20:.0f} MiB  "


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows separated by tabs, with their names first; NULL is empty."""
    for number, row in enumerate(rows):
        if not number:
            click.echo("\t".join(row))
        click.echo("\t".join("" if value is None else _one_line(_text(value)) for value in row.values()))


def _one_line(text: str) -> str:
    """Keep control characters of a file's values from acting on the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        cli.main(args=arguments, prog_name="indexer", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except IndexerError as exc:
        click.echo(f"Error: {exc}", err=True)
        if exc.hint:
            click.echo(f"Hint: {exc.hint}", err=True)
        sys.exit(exc.exit_code)
    except Exception as exc:  # the last boundary: one line for the user, the traceback for the log
        log.debug("unexpected", exc_info=True)
        click.echo(f"Error: unexpected {type(exc).__name__}", err=True)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
