"""What the archive recorded of its objects: the journal, the index and the manifests, each a witness of its own."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby

from vna.archive import Archive
from vna.archive.layout import INSTANCES, MANIFESTS, QUARANTINE, is_variant
from vna.archive.manifests import read_manifest
from vna.errors import StoreError, VnaError

log = logging.getLogger(__name__)

PARTS = tuple(f"{i:02x}" for i in range(256))
"""The first folders below ``instances/`` and ``quarantine/``, in the order of a pass."""

_ROWS_AT_ONCE = 20_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TABLE = "CREATE TABLE records (part TEXT, path TEXT, sha256 BLOB, size INTEGER)"
_BY_PATH = "CREATE INDEX by_path ON records (part, path)"
_BY_DIGEST = "CREATE INDEX by_digest ON records (sha256)"
_Row = tuple[str, str, bytes, int]


@dataclass(frozen=True, slots=True)
class Record:
    """What is recorded of one path: the distinct digests (the journal's first) and the size, -1 if unknown."""

    digests: tuple[str, ...]
    size: int


class Records:
    """Every record of an archive, sorted, in a temporary database on disk that goes away with this object. Not thread-safe."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._positions: dict[str, int] = {}
        self._database = sqlite3.connect("", isolation_level=None)  # the empty name: a file of SQLite's own, spilled as needed
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(_TABLE)
        self.refresh()
        self._insert(self._from_index())
        self._database.execute(_BY_PATH)
        self._database.execute(_BY_DIGEST)

    def refresh(self) -> None:
        """Read on what the journal got since it was last read. Damaged lines of it are passed over, with a warning."""
        self._insert(self._from_journal())

    def of_part(self, part: str) -> dict[str, Record]:
        """Give the records of one part, by path."""
        rows = self._database.execute(
            "SELECT path, sha256, size FROM records WHERE part = ? ORDER BY path, rowid", (part,)
        ).fetchall()
        return {path: _record(found) for path, found in groupby(rows, key=lambda row: str(row[0]))}

    def paths_of(self, sha256: str) -> list[str]:
        """Name the objects that are recorded with a digest."""
        rows = self._database.execute("SELECT DISTINCT path FROM records WHERE sha256 = ?", (bytes.fromhex(sha256),))
        return [str(row[0]) for row in rows]

    def of_path(self, path: str) -> Record | None:
        """Give the record of one path; None if there is none."""
        rows = self._database.execute(
            "SELECT path, sha256, size FROM records WHERE part = ? AND path = ? ORDER BY rowid", (part_of(path), path)
        ).fetchall()
        return _record(rows) if rows else None

    def close(self) -> None:
        """Drop the temporary database."""
        self._database.close()

    def _insert(self, rows: Iterable[_Row]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def _from_journal(self) -> Iterator[_Row]:
        for row in self._archive.journal.read(dict(self._positions), tolerant=True):
            self._positions[row.writer] = row.seq
            if is_object(row.path) and _DIGEST.fullmatch(row.sha256):
                yield part_of(row.path), row.path, bytes.fromhex(row.sha256), row.size
            else:
                log.warning("journal row %d of %s is damaged", row.seq, row.writer)

    def _from_index(self) -> Iterator[_Row]:
        """Read the index; one that cannot be read is no reason not to look at the objects."""
        import duckdb

        try:
            with closing(self._archive.connect()) as connection:
                cursor = connection.execute("SELECT path, sha256, size FROM instances WHERE sha256 IS NOT NULL")
                while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                    yield from ((part_of(path), path, bytes(sha256), size) for path, sha256, size in rows)
        except (VnaError, duckdb.Error) as exc:
            log.warning("the index cannot be read: %s; the other records count", type(exc).__name__)


def further_digests(archive: Archive, path: str) -> tuple[str, ...]:
    """Give what else tells of an object when its record is in doubt: its study's manifest, and its name in quarantine."""
    if path.startswith(f"{QUARANTINE}/"):
        name = path.rpartition("/")[2].removesuffix(".dcm")
        return (name,) if len(name) == 64 else ()
    _, part, study, *_ = path.split("/")
    try:
        listed = read_manifest(archive.store, f"{MANIFESTS}/{part}/{study}.sha256")
    except StoreError:
        return ()
    return (listed[path],) if path in listed else ()


def name_agrees(path: str, sha256: str) -> bool:
    """Tell whether the digits of the digest that a variant's name bears are those of ``sha256``; True where it bears none."""
    return not is_variant(path) or path.removesuffix(".dcm").rpartition("~")[2] == sha256[:12]


def part_of(path: str) -> str:
    """Return ``hh``, the first folder below ``instances/`` or ``quarantine/``."""
    return path.split("/")[1]


def is_object(path: str) -> bool:
    """Tell whether a path is one under which objects stand."""
    return path.startswith((f"{INSTANCES}/", f"{QUARANTINE}/")) and path.endswith(".dcm")


def _record(rows: Iterable[tuple[str, bytes, int]]) -> Record:
    found = list(rows)
    return Record(tuple(dict.fromkeys(sha256.hex() for _, sha256, _ in found)), int(found[0][2]))
