"""Scan some files of a folder tree and make whole rows of them: what a worker process does, with nothing else to import."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from typing import Any

from indexer.found import moment, path_of
from indexer.problems import Disposition
from indexer.scan import Scan, scan_file

Row = dict[str, Any]
"""One file's columns by name."""

_HASH_BYTES = 1 << 20
STATUS = {Disposition.ACCEPT: "stored", Disposition.WARN: "flagged", Disposition.QUARANTINE: "quarantined"}
"""What the column ``status`` says of an object, by what follows from its problems."""


def scan_batch(folder: str, source: str, names: list[bytes], *, with_digest: bool) -> list[tuple[bytes, Row]]:
    """Scan files of one folder tree; gives their names and whole rows, none of files that are gone. Never raises on bad files."""
    rows, start = [], os.fsencode(folder)
    for name in names:
        path = os.path.join(start, name)  # noqa: PTH118 - names that are no UTF-8 stay as they are
        try:
            modified = os.stat(path).st_mtime_ns  # noqa: PTH116 - before the scan: what changes meanwhile is due again
        except FileNotFoundError:
            continue
        except OSError:
            modified = 0
        digest = _digest(path) if with_digest else None
        row = row_of(scan_file(os.fsdecode(path)), path_of(name), source, moment(modified // 1000), digest)
        rows.append((name, row))
    return rows


def row_of(scan: Scan, path: str, source: str, modified: datetime, sha256: str | None) -> Row:
    """Make the whole row of a scan; ``modified`` tells this version of the file from others."""
    row: Row = scan.row()
    row["path"], row["size"], row["source"] = path, scan.size, source
    row["sha256"], row["received_at"] = sha256, modified
    row["codes"], row["status"] = scan.codes, STATUS[scan.disposition]
    return row


def _digest(path: bytes) -> str | None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - see scan_batch
            digest, buffer = hashlib.sha256(), bytearray(_HASH_BYTES)
            view = memoryview(buffer)
            while count := file.readinto(buffer):
                digest.update(view[:count])
            return digest.hexdigest()
    except OSError:
        return None
