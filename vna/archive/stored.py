"""Read stored objects again: the journal row of each from its bytes alone, and index rows of many, as a rebuild needs them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import FileIO, UnsupportedOperation
from typing import Any, BinaryIO, NamedTuple, cast

from indexer.record import Header
from indexer.scan import check_tail, scan_open
from vna.archive.address import Address
from vna.archive.examine import UID_CONFLICT, Announced, judge, raw_row, receipt_row, scanner_of
from vna.archive.layout import QUARANTINE, is_variant
from vna.archive.rows import JournalRow, index_columns
from vna.errors import StoreError
from vna.model import ObjectStatus, Provenance
from vna.part10 import PREAMBLE_AND_PREFIX, Head, head_of
from vna.store import LocalStore, Store

log = logging.getLogger(__name__)

UNREADABLE = "UNREADABLE"
"""The code of an object of which nothing could be read."""

_FIRST_READ = 8192
_LARGEST_META = 1 << 18
_LARGEST_READ = 1 << 20
_NOBODY = Provenance(source="")


class Known(NamedTuple):
    """What the journal knows of one object that the object does not; ``sha256`` saves reading it to its end. Empty: not known."""

    path: str
    sha256: str = ""
    source: str = ""
    received_at: str = ""


@dataclass(frozen=True, slots=True)
class IndexRows:
    """The index rows of some objects as an Arrow table, their size in all, and those whose digest is not the journal's."""

    table: Any
    bytes: int
    differing: tuple[str, ...] = ()


def read_row(file: BinaryIO, writer: str = "", received_at: str = "", *, sha256: str = "") -> JournalRow:
    """Read the row of one stored or spooled file, which is at its start: everything but its provenance.

    Bytes without canonical file meta cannot be filed, so their row is that of a quarantined object. ``sha256`` saves reading the
    file to its end where its digest is known; where it is not, what is read of it once serves both.
    """
    reader = _Reader(file, is_whole=not sha256)
    head = reader.head()
    if head is None:
        codes = scan_open(file).codes
        return raw_row(writer, codes, sha256 or reader.digest(), reader.size, received_at, _NOBODY)
    announced = Announced(head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid)
    header = reader.scan(announced, head.data_set_offset)
    sha256 = sha256 or reader.digest()
    return receipt_row(writer, announced, judge(header, announced, sha256), sha256, reader.size, received_at, _NOBODY)


class _Reader:
    """Reads one file, of which the beginning - all of it, if it ``is_whole`` and not large - is read at once and kept."""

    def __init__(self, file: BinaryIO, *, is_whole: bool) -> None:
        self._file = file
        self.size = _size(file)
        self._first = file.read(min(self.size, _LARGEST_READ) if is_whole else _FIRST_READ)

    def head(self) -> Head | None:
        """Read the canonical file meta; None where there is none."""
        try:
            return head_of(self._first)
        except ValueError:
            if not self._first.startswith(PREAMBLE_AND_PREFIX):
                return None
        try:
            return head_of(self._read_at(0, _LARGEST_META))  # with UIDs longer than what was read first
        except ValueError:
            return None

    def scan(self, announced: Announced, base: int) -> Header:
        """Scan the header of the data set that begins at ``base``, and check what follows it."""
        scanner = scanner_of(announced)
        at, length = max(base, min(len(self._first), _FIRST_READ)), _FIRST_READ
        is_over = scanner.feed(self._first[base:at])
        while not is_over and at < self.size:
            if jump := min(scanner.skippable, self.size - at):
                scanner.skip(jump)
                at, length = at + jump, _FIRST_READ
                continue
            chunk = self._read_at(at, length)
            is_over = not chunk or scanner.feed(chunk)
            at, length = at + len(chunk), min(2 * length, _LARGEST_READ)
        header = scanner.close()
        check_tail(header, self.size - base, lambda offset, count: self._read_at(base + offset, count))
        return header

    def digest(self) -> str:
        """Read the file to its end and tell its SHA-256."""
        total = hashlib.sha256(self._first)
        if self.size > len(self._first):
            self._file.seek(len(self._first))
            while chunk := self._file.read(_LARGEST_READ):
                total.update(chunk)
        return total.hexdigest()

    def _read_at(self, offset: int, length: int) -> bytes:
        if offset + length <= len(self._first) or len(self._first) == self.size:
            return self._first[offset : offset + length]
        self._file.seek(offset)
        return self._file.read(length)


def _size(file: BinaryIO) -> int:
    try:
        return os.fstat(file.fileno()).st_size
    except (UnsupportedOperation, OSError, AttributeError):
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return size


def stored_row(store: Store, path: str, sha256: str = "") -> JournalRow:
    """Read the row of the object at ``path``, everything but its provenance and time of receipt.

    An object that cannot be read has a row that says so: it is never left out in silence.
    """
    try:
        with _opened(store, path) as file:
            row = read_row(file, sha256=sha256)
    except (StoreError, OSError):
        return unreadable_row(path, sha256)
    if path.startswith(f"{QUARANTINE}/"):
        codes = _reason_codes(store, path) or row.codes
        return row._replace(path=path, codes=codes, state=ObjectStatus.QUARANTINED.value)
    if is_variant(path) and row.state != ObjectStatus.QUARANTINED:
        return row._replace(path=path, codes=(UID_CONFLICT, *row.codes), state=ObjectStatus.VARIANT.value)
    return row if row.path == path else row._replace(path=path)


def _opened(store: Store, path: str) -> BinaryIO:
    if isinstance(store, LocalStore):
        return cast("BinaryIO", FileIO(f"{store.url}/{path}"))  # a buffer would cost as much as opening does
    return store.open(path)


def unreadable_row(path: str, sha256: str = "") -> JournalRow:
    """Make the row of an object of which nothing could be read."""
    log.warning("%s cannot be read", path)
    return raw_row("", (UNREADABLE,), sha256, 0, "", _NOBODY)._replace(path=path)


def _reason_codes(store: Store, path: str) -> tuple[str, ...]:
    try:
        return tuple(map(str, json.loads(store.read_bytes(f"{path.removesuffix('.dcm')}.json"))["codes"]))
    except (StoreError, ValueError, KeyError, TypeError):
        return ()


def read_rows(archive: Address, store: Callable[[], Store], with_digest: bool, work: Sequence[Known]) -> IndexRows:
    """Read some objects and make their index rows; ``with_digest`` reads each to its end even where its digest is known.

    The digest that the journal knows stands: what differs from it is damaged, and is named. Raises StoreError when not an object
    is missing, but the whole archive.
    """
    here = store()
    rows = []
    differing = []
    for known in work:
        row = stored_row(here, known.path, "" if with_digest else known.sha256)
        if row.codes == (UNREADABLE,):
            archive.confirm(here)
        if known.sha256 and row.sha256 != known.sha256:
            differing.append(known.path)
            row = row._replace(sha256=known.sha256)
        rows.append(completed(row, known))
    return index_rows(rows, tuple(differing))


def completed(row: JournalRow, known: Known) -> dict[str, Any]:
    """Make an index row, with what the object cannot tell."""
    columns = index_columns(row)
    columns["source"], columns["received_at"] = known.source or None, known.received_at or None
    return columns


def index_rows(rows: Sequence[dict[str, Any]], differing: tuple[str, ...] = ()) -> IndexRows:
    """Put index rows into a table."""
    from indexer.columns import to_arrow  # with pyarrow, of which those who read a single row have no need

    return IndexRows(to_arrow(rows), sum(row["size"] for row in rows), differing)
