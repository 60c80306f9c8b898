"""Repair: put a good copy in the place of bytes that have rotted, and keep those in quarantine first.

It is the only code that exchanges what stands under ``instances/`` or ``quarantine/``, and it does so only for the bytes whose
digest was recorded, when what stands there has another one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from vna.archive.sink import ArchiveSink, digest
from vna.errors import DigestMismatchError
from vna.model import Provenance, Receipt
from vna.store import Store
from vna.store.operations import store_errors


def keep_damaged(sink: ArchiveSink, store: Store, path: str, damaged: str, code: str) -> Receipt:
    """Copy the damaged bytes under ``path`` into quarantine, durably and with a journal row, before they are replaced.

    Raises DigestMismatchError when what was kept is not what was found damaged, StoreError when it could not be kept.
    """
    with store.open(path) as file, store_errors("the damaged object could not be read"):
        receipt = sink.quarantine_bytes(file, code, Provenance("scrub", source_path=path))
    if receipt.sha256 != damaged:
        raise DigestMismatchError("the damaged object gives other bytes each time it is read", hint="examine the disk")
    return receipt


def put_right(store: Store, good: Path, path: str, *, sha256: str, damaged: str) -> None:
    """Store the file ``good``, whose digest must be ``sha256``, under ``path``, and read it back.

    ``damaged`` is the digest of what stands there, empty where it is missing or cannot be read. Raises
    DigestMismatchError when ``good`` is not good, when something else stands there by now, or when other bytes come back.
    """
    with store_errors("the copy could not be read"), good.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise DigestMismatchError("the copy is not the recorded object")
    if not store.exists(path):
        store.put_file(good, path)
    else:
        store.replace_damaged(good, path, damaged)
    if digest(store, path) != sha256:
        raise DigestMismatchError("the store gives other bytes than were put", hint="examine the disk or the service")
