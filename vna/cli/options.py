"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout instead of a table.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
workers_option = click.option(
    "--workers", type=click.IntRange(1), default=os.cpu_count() or 1, metavar="N", help="How many at once; default: the cores."
)
cluster_option = click.option(
    "--cluster", default="", metavar="ADDRESS", help="Work on the Dask cluster with this scheduler, such as tcp://scheduler:8786."
)
associations_option = click.option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="At most N associations at once; default: as many as the peer takes well, up to 16.",
)
study_option = click.option(
    "--study", "studies", multiple=True, metavar="UID", help="Only this Study Instance UID; may be repeated."
)
where_option = click.option("--where", metavar="SQL", help="A condition over the view `instances`, in DuckDB's SQL.")
limit_option = click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N studies.")


def selection_options(function: _F) -> _F:
    """Add ``--study``, ``--where`` and ``--limit``."""
    return study_option(where_option(limit_option(function)))
