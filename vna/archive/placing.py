"""Put a table that was made anew in the place of the old one, so that readers have either, and a crash leaves either."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from indexer.errors import IndexerError
from indexer.table import Table
from vna.store import LocalStore, Store

_COMMIT = ".json"
_CHECKPOINT = ".checkpoint"


def replace_table(
    store: Store,
    name: str,
    schema: Any,
    fresh: Table,
    numbers: Callable[[], Mapping[str, int]],
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Put the rows of ``fresh`` in the place of those of the table ``name``, in one commit; see :meth:`Table.replace_by`.

    A table that is damaged is removed first. Raises IndexerError where it cannot be opened and is not known to be damaged.
    """
    location = f"{store.url}/{name}"
    try:
        table = Table.create(location, schema, storage_options)
    except IndexerError:
        if not is_damaged(store, name):
            raise
        _remove(store, location, storage_options)
        table = Table.create(location, schema, storage_options)
    table.replace_by(fresh, numbers)


def is_damaged(store: Store, name: str) -> bool:
    """Tell whether a table's log is none: it was listed and read, and holds what cannot be parsed, or has gaps.

    A service that does not answer, refused credentials or a newer release's table say nothing of the kind. Raises StoreError
    where the log cannot be listed or read.
    """
    commits, checkpoints = set(), {-1}
    for path in store.list(f"{name}/_delta_log"):
        number, _, kind = path.rpartition("/")[2].partition(".")
        if not number.isdecimal():
            continue
        if f".{kind}" == _COMMIT:
            if not _is_commit(store.read_bytes(path)):
                return True
            commits.add(int(number))
        elif f".{kind}".startswith(_CHECKPOINT) and kind.endswith("parquet"):
            if not _is_parquet(store.read_bytes(path)):
                return True
            checkpoints.add(int(number))
    last = max(checkpoints)
    return any(number not in commits for number in range(last + 1, max(commits, default=last) + 1))


def exchange_folder(fresh: Path, folder: Path) -> None:
    """Put a folder in the place of another on a local disk; a crash in between is made good by :func:`put_in_order`."""
    replaced = _replaced(folder)
    if folder.exists():
        folder.rename(replaced)
    fresh.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def put_in_order(folder: Path) -> None:
    """Finish or undo what a crash left of :func:`exchange_folder`."""
    replaced = _replaced(folder)
    if not replaced.exists():
        return
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        replaced.rename(folder)


def _replaced(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.replaced")


def _is_commit(data: bytes) -> bool:
    try:
        return all(isinstance(json.loads(line), dict) for line in data.splitlines()) and bool(data.strip())
    except ValueError:
        return False


def _is_parquet(data: bytes) -> bool:
    try:
        pq.read_metadata(BytesIO(data))
    except (pa.ArrowException, OSError):
        return False
    return True


def _remove(store: Store, location: str, storage_options: Mapping[str, Any] | None) -> None:
    if isinstance(store, LocalStore):
        shutil.rmtree(location, ignore_errors=True)
        return
    fs, path = fsspec.core.url_to_fs(location, **dict(storage_options or {}), use_listings_cache=False)
    with suppress(FileNotFoundError):
        fs.rm(path, recursive=True)
