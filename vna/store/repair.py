"""The one exception to create-only: a good copy takes the place of bytes that were found damaged.

:mod:`vna.archive.repair` alone calls this, after it has kept the damaged bytes elsewhere and proved the copy by its digest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

from vna.errors import DigestMismatchError, StoreError
from vna.store.local import LocalStore
from vna.store.operations import APPEND_MODE, FILE_MODE, SYSTEM, Operations, store_errors
from vna.store.port import Store, checked

_SCRATCH = "spool"
_LOCK = "scratch.lock"
_PREFIX = "put-"
_PIECE = 1 << 20


class Replacing(Protocol):
    """A store that has a way of its own to exchange damaged bytes."""

    def replace_damaged(self, local: Path, path: str, damaged: str) -> None:
        """See :func:`replace_damaged`."""


def replace_damaged(store: Store, local: Path, path: str, damaged: str, operations: Operations = SYSTEM) -> None:
    """Put ``local`` in the place of what stands under ``path``, atomically and durably.

    Only while the SHA-256 of what stands there is ``damaged``, or while it cannot be read if that is empty: raises
    DigestMismatchError otherwise, and StoreError when the store cannot do it. Whoever reads meanwhile has one or the other.
    """
    if isinstance(store, LocalStore):
        with store_errors("the damaged object could not be replaced"):
            _replace_local(store, local, store.root / checked(path), damaged, operations)
    elif hasattr(store, "replace_damaged"):
        cast(Replacing, store).replace_damaged(local, path, damaged)
    else:
        raise StoreError("this kind of store cannot exchange damaged bytes", hint="restore the object by hand")


def expect_damaged(found: str, damaged: str) -> None:
    """Raise DigestMismatchError unless what was found is what was to be replaced."""
    if found != damaged:
        raise DigestMismatchError("the object is not the damaged one any more", hint="scrub again")


def _replace_local(store: LocalStore, local: Path, target: Path, damaged: str, operations: Operations) -> None:
    scratch = store.root / _SCRATCH / f"{_PREFIX}{secrets.token_hex(8)}"
    with _locked(scratch.parent / _LOCK):
        descriptor = operations.create(scratch, FILE_MODE)
        try:
            try:
                with local.open("rb") as source:
                    while chunk := source.read(_PIECE):
                        operations.write(descriptor, chunk)
                operations.sync(descriptor)
            finally:
                os.close(descriptor)
            expect_damaged(_digest(target), damaged)
            operations.rename(scratch, target)
            operations.sync_folder(target.parent)
        finally:
            operations.unlink(scratch)


def _digest(path: Path) -> str:
    total = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_PIECE):
                total.update(chunk)
    except FileNotFoundError:
        raise
    except OSError:
        return ""
    return total.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold off those who sweep the scratch folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, APPEND_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
