"""Scan some files of a tree and make whole rows of them: what a worker process does, with nothing else to import."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from typing import Any

from indexer.problems import Disposition
from indexer.scan import scan_file

_HASH_BYTES = 1 << 20
STATUS = {Disposition.ACCEPT: "stored", Disposition.WARN: "flagged", Disposition.QUARANTINE: "quarantined"}
"""What the column ``status`` says of an object, by what follows from its problems."""


def scan_batch(folder: str, source: str, paths: list[str], *, with_digest: bool) -> list[dict[str, Any]]:
    """Scan files of one folder tree; gives whole rows. Runs in a worker process; never raises on bad files."""
    rows = []
    for path in paths:
        name = os.path.join(folder, path)  # noqa: PTH118 - bytes that are no UTF-8 survive as they are
        scan = scan_file(name)
        row: dict[str, Any] = scan.row()
        row["path"], row["size"], row["source"] = path.encode("utf-8", "backslashreplace").decode(), scan.size, source
        row["sha256"] = _digest(name) if with_digest else None
        row["received_at"] = datetime.now(UTC)
        row["codes"] = scan.codes
        row["status"] = STATUS[scan.disposition]
        rows.append(row)
    return rows


def _digest(path: str) -> str | None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - see scan_batch
            digest, buffer = hashlib.sha256(), bytearray(_HASH_BYTES)
            view = memoryview(buffer)
            while count := file.readinto(buffer):
                digest.update(view[:count])
            return digest.hexdigest()
    except OSError:
        return None
