"""What every command opens first: the configuration, the archive and the ledger that it names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from vna.config import Config, find_config, load_config

if TYPE_CHECKING:
    from vna.archive import Archive
    from vna.ledger import Ledger


def configuration(ctx: click.Context) -> Config:
    """Load the configuration that ``--config``, the environment or the current folder names."""
    return load_config(find_config(ctx.obj))


def open_archive(config: Config) -> Archive:
    """Open the archive that the configuration names."""
    from vna.archive import Archive

    return Archive.open(config.archive.url, config.archive.storage_options, spool=config.archive.spool)


@contextmanager
def open_ledger(config: Config) -> Iterator[Ledger]:
    """Open the ledger that the configuration names, and close it at the end."""
    from vna.ledger import Ledger

    url = config.archive.ledger
    with Ledger.open(url, folder=None if url.startswith("sqlite") else config.path.absolute().parent) as ledger:
        yield ledger
