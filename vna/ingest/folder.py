"""The folder adapter: every file of a tree, whatever it is called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vna.errors import ConfigError, RefusedError

DICOMDIR = "DICOMDIR"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One entry of the tree. ``skip`` says why it is not looked into, ``failure`` why it could not be; one of them or neither."""

    path: Path
    skip: str = ""
    failure: str = ""


def find_files(source: Path, archive_root: Path) -> Iterator[FoundFile]:
    """Walk a tree, or name a single file, in the order of names; nothing is followed out of it.

    Raises ConfigError when there is no such folder, RefusedError when it lies within the archive itself.
    """
    root = source.absolute()
    if not root.exists():
        raise ConfigError(f"{source} does not exist", hint="name a folder, or one file")
    resolved = root.resolve()
    own = archive_root.resolve()
    if resolved == own or own in resolved.parents:
        raise RefusedError(f"{source} is part of the archive itself", hint="'vna index rebuild' reads an archive's own objects")
    if not resolved.is_dir():
        yield FoundFile(root)
        return
    yield from _walk(root, own)


def _walk(root: Path, own: Path) -> Iterator[FoundFile]:
    stack = [root]
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as exc:
            yield FoundFile(folder, failure=os.strerror(exc.errno or 0))
            continue
        folders = []
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink():
                yield FoundFile(path, skip="SYMLINK")
            elif entry.is_dir():
                if path.resolve() == own:
                    yield FoundFile(path, skip="OWN_ARCHIVE")
                else:
                    folders.append(path)
            elif not entry.is_file():
                yield FoundFile(path, skip="SPECIAL_FILE")
            elif entry.name.upper() == DICOMDIR:
                yield FoundFile(path, skip="DICOMDIR")
            else:
                yield FoundFile(path)
        stack.extend(reversed(folders))
