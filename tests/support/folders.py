"""Folders on a RAM disk where there is one: tests that count thousands of fsyncs need not wait for a real disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RAM_DISK = Path("/dev/shm")


@contextmanager
def quick_folder() -> Iterator[Path]:
    """Make a folder, on a RAM disk if possible, and remove it at the end."""
    parent = _RAM_DISK if _RAM_DISK.is_dir() and shutil.disk_usage(_RAM_DISK).free > 64 << 20 else None
    with tempfile.TemporaryDirectory(prefix="vna-test-", dir=parent) as folder:
        yield Path(folder)
