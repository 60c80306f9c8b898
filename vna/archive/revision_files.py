"""Which studies have revisions: told by the names of files alone, without what it takes to read or apply any."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from vna.store import Store

REVISIONS = "revisions"


def revised_studies(store: Store) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name the folder of every study that has revisions, with their numbers, without reading any."""
    for folder, paths in groupby(store.list(REVISIONS), key=lambda path: path.rpartition("/")[0]):
        names = [path.rpartition("/")[2].removesuffix(".json") for path in paths]
        numbers = tuple(sorted(int(name) for name in names if name.isdecimal()))
        if numbers:
            yield folder, numbers
