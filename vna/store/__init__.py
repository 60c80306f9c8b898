"""Where objects are kept: one small interface over local disk, S3, and any fsspec file system.

Nouns: store (objects under relative paths, written once), spool (temporary names of one writer), publish (give a spool file its
final name, durably), operations (the seam to the operating system that tests record and break).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vna.store.local import LocalStore
from vna.store.operations import SYSTEM, Operations, SystemOperations
from vna.store.port import Readable, Store
from vna.store.spool import Spool, SpoolFile

__all__ = [
    "SYSTEM",
    "LocalStore",
    "Operations",
    "Readable",
    "Spool",
    "SpoolFile",
    "Store",
    "SystemOperations",
    "is_local",
    "is_s3",
    "local_path",
    "open_store",
]


def is_local(url: str) -> bool:
    """Tell whether a URL names a folder of this machine."""
    return "://" not in url or url.startswith("file://")


def is_s3(url: str) -> bool:
    """Tell whether a URL names a bucket of S3, or of a service that speaks its protocol."""
    return url.startswith(("s3://", "s3a://"))


def local_path(url: str) -> str:
    """Return the path that a local URL names."""
    return url.removeprefix("file://")


def open_store(
    url: str, storage_options: Mapping[str, Any] | None = None, operations: Operations = SYSTEM, *, writing: bool = True
) -> Store:
    """Open the store under a URL: a local folder (path or ``file://``), ``s3://``, or anything that fsspec knows.

    ``storage_options`` are the fsspec file system's own, and of no use to a local folder. A service is tried out before anything
    is written there, now if ``writing``: raises RefusedError, naming what it does, where it cannot be trusted.
    """
    if is_local(url):
        return LocalStore(local_path(url), operations)
    if is_s3(url):
        from vna.store.s3 import open_s3

        return open_s3(url, storage_options, writing=writing)
    from vna.store.remote import FsspecStore

    return FsspecStore(url, storage_options)
