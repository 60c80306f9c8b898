"""One correction of an archive at a time: what is planned by the revisions that stand must not be overtaken by others.

What a rule selects, it selects by the index. So the index shows every revision before anything is selected, also those of a run
that was killed, and an object that it shows by another revision than stands is left alone: what was asked for about one patient
must not be written onto another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from vna.archive import Archive
from vna.archive.layout import SPOOL
from vna.errors import LockedError
from vna.store.locks import hold, release
from vna.store.operations import APPEND_MODE, FOLDER_MODE, store_errors

_NAME = "correct.lock"


@contextmanager
def correcting(archive: Archive, *, dry_run: bool = False) -> Iterator[None]:
    """Keep other corrections of this machine away while the block runs, and let the index show those that were made before.

    The lock goes away with the process, however that ends. Raises LockedError where another process holds it. A ``dry_run``
    needs no lock.
    """
    with nullcontext() if dry_run else _exclusively(archive):
        archive.sync_revisions()
        yield


@contextmanager
def _exclusively(archive: Archive) -> Iterator[None]:
    path = archive.workspace / SPOOL / _NAME
    with store_errors("the corrections could not be locked"):
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, APPEND_MODE)
    try:
        hold(descriptor)
    except BlockingIOError:
        os.close(descriptor)
        raise LockedError(
            "another `vna correct` of this archive is at work", hint="run it again when that has ended; nothing was written"
        ) from None
    try:
        yield
    finally:
        release(descriptor)
