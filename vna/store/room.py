"""Room on the disk: saying no while there is some left, so that nobody finds out in the middle of a journal row.

The reserve is what everything else on the disk needs to end in order: the journal, the index, the ledger.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vna.errors import StoreFullError
from vna.store.operations import store_errors

_GOOD_FOR_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Reserve:
    """What stays free: so many bytes and files (inodes), but never more than ``share`` of the file system."""

    bytes: int = 1 << 30
    files: int = 10_000
    share: float = 0.01


class Room:
    """Watches the file system of a folder. :meth:`check` costs next to nothing: an answer is good for a quarter of a second."""

    def __init__(self, folder: Path, reserve: Reserve | None = None) -> None:
        self._folder = folder
        self._reserve = reserve or Reserve()
        self._good_until = 0.0

    def check(self) -> None:
        """Raise StoreFullError when no more than the reserve is free; when there is room again, it says so by itself."""
        now = time.monotonic()
        if now < self._good_until:
            return
        with store_errors("the file system could not be examined"):
            found = os.statvfs(self._folder)
        reserve = self._reserve
        free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if free <= min(reserve.bytes, reserve.share * whole):
            raise StoreFullError(
                f"{free >> 20} MiB are free on the archive's disk", hint="free some space there; what was refused is sent again"
            )
        if found.f_files and found.f_favail <= min(reserve.files, reserve.share * found.f_files):  # 0: it has no limit of files
            raise StoreFullError(
                f"{found.f_favail} inodes are free on the archive's disk",
                hint="remove files there; what was refused is sent again",
            )
        self._good_until = now + _GOOD_FOR_S
