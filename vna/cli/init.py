"""``vna init``: create an archive and a commented vna.toml."""

from __future__ import annotations

import os
from pathlib import Path

import click

from vna.cli.options import dry_run_option, json_option
from vna.cli.output import emit
from vna.config import config_text, find_config, load_config
from vna.errors import ConfigError


@click.command("init")
@click.argument("url", default="archive")
@click.option("--endpoint-url", metavar="URL", default="", help="Where S3 answers, if it is not Amazon's.")
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, url: str, endpoint_url: str, dry_run: bool, as_json: bool) -> None:
    """Create an archive at URL and a commented vna.toml that names it.

    URL is a local folder (default: ./archive) or s3://bucket/prefix, in a bucket that exists. Safe to repeat: an archive and a
    configuration that exist already are left as they are.
    """
    path = find_config(ctx.obj)
    is_new = not path.exists()
    if is_new:
        written, ledger = _as_written(url, path)
        if not dry_run:
            _write_new(path, config_text(written, ledger, endpoint_url=endpoint_url))
    elif not dry_run and not _names(path, url):
        raise ConfigError(
            f"{path} exists and names another archive than {url!r}",
            hint="use `--config OTHER.toml` for a second archive, or edit the url in that file",
        )
    archive_id = "" if dry_run else _create(path)
    result = {"archive": url, "config": str(path), "config_written": is_new and not dry_run, "archive_id": archive_id}
    emit(result, as_json=as_json, title="would create" if dry_run else "archive ready")
    if not as_json:
        click.echo(f"next: describe your source and target in {path}, then `vna echo`")


def _as_written(url: str, path: Path) -> tuple[str, str]:
    """Give the archive's URL and the ledger's, as they belong in the file: relative to it where the archive is local."""
    if "://" in url:
        return url, "sqlite:///ledger.sqlite"
    relative = Path(os.path.relpath(url, path.parent)).as_posix() if not Path(url).is_absolute() else url
    return relative, f"sqlite:///{relative}/ledger.sqlite"


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc


def _names(path: Path, url: str) -> bool:
    configured = load_config(path).archive.url
    return configured == (url if "://" in url else str(Path(url).absolute()))


def _create(path: Path) -> str:
    from vna.archive import Archive

    config = load_config(path)
    return Archive.create(config.archive.url, config.archive.storage_options, spool=config.archive.spool).archive_id
