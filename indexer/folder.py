"""List the files of a folder tree."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from indexer.found import Found, moment

log = logging.getLogger(__name__)


def walk(root: Path, table: Path) -> Iterator[Found]:
    """List the regular files below ``root``, in no order, names relative to it; a table that lies inside is left out.

    Symbolic links are not followed. ``root`` may be a single file.
    """
    if root.is_file():
        status = root.stat()
        yield Found(os.fsencode(root.name), status.st_size, moment(status.st_mtime_ns // 1000))
        return
    excluded, start = os.fsencode(table.resolve()), os.fsencode(root)
    folders = [b""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(start, folder)) as listing:  # noqa: PTH118 - names that are no UTF-8 stay as they are
                for entry in listing:
                    name = os.path.join(folder, entry.name)  # noqa: PTH118
                    if entry.is_dir(follow_symlinks=False):
                        if entry.path != excluded:
                            folders.append(name)
                    elif entry.is_file(follow_symlinks=False):
                        yield _found(entry, name)
        except OSError as exc:
            log.warning("cannot list %s: %s", os.fsdecode(folder), exc.strerror)


def _found(entry: os.DirEntry[bytes], name: bytes) -> Found:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return Found(name, 0, moment(0))  # gone since; its scan will say so
    return Found(name, status.st_size, moment(status.st_mtime_ns // 1000))
