"""Read stored objects again: the journal row of each from its bytes alone, and index rows of many, as a rebuild needs them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO, UnsupportedOperation
from typing import Any, BinaryIO, NamedTuple

from indexer.header import HeaderScanner
from indexer.record import Header
from indexer.scan import check_tail, scan_open
from vna.archive.address import Address
from vna.archive.examine import UID_CONFLICT, Announced, judge, raw_row, receipt_row
from vna.archive.layout import QUARANTINE, is_variant
from vna.archive.rows import JournalRow, index_columns
from vna.errors import StoreError
from vna.model import ObjectStatus, Provenance
from vna.part10 import read_head
from vna.store import Store
from vna.store.operations import store_errors

log = logging.getLogger(__name__)

UNREADABLE = "UNREADABLE"
"""The code of an object of which nothing could be read."""

_FIRST_READ = 8192
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
    file to its end where its digest is known.
    """
    size = _size(file)
    first = file.read(_FIRST_READ)
    try:
        head = read_head(BytesIO(first))
    except ValueError:
        head = None
    if head is None and size > len(first):  # UIDs of some kilobytes: no object of ours, but for all we know
        file.seek(0)
        try:
            head = read_head(file)
        except ValueError:
            head = None
    header = _scan(file, first, head.data_set_offset, head.transfer_syntax_uid, size) if head is not None else None
    codes = scan_open(file).codes if header is None else ()
    sha256 = sha256 or _digest(file, first, size)
    if head is None or header is None:
        return raw_row(writer, codes, sha256, size, received_at, _NOBODY)
    announced = Announced(head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid)
    return receipt_row(writer, announced, judge(header, announced, sha256), sha256, size, received_at, _NOBODY)


def _size(file: BinaryIO) -> int:
    try:
        return os.fstat(file.fileno()).st_size
    except (UnsupportedOperation, OSError, AttributeError):
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        return size


def _scan(file: BinaryIO, first: bytes, base: int, transfer_syntax_uid: str, size: int) -> Header:
    def read_at(offset: int, length: int) -> bytes:
        file.seek(base + offset)
        return file.read(length)

    scanner = HeaderScanner(transfer_syntax_uid)
    if not scanner.feed(first[base:]):
        at, length = max(len(first), base), _FIRST_READ
        while at < size:
            if jump := min(scanner.skippable, size - at):
                scanner.skip(jump)
                at, length = at + jump, _FIRST_READ
                continue
            chunk = read_at(at - base, length)
            if not chunk or scanner.feed(chunk):
                break
            at, length = at + len(chunk), min(2 * length, _LARGEST_READ)
    header = scanner.close()
    check_tail(header, size - base, read_at)
    return header


def _digest(file: BinaryIO, first: bytes, size: int) -> str:
    total = hashlib.sha256(first)
    if size > len(first):
        file.seek(len(first))
        while chunk := file.read(_LARGEST_READ):
            total.update(chunk)
    return total.hexdigest()


def stored_row(store: Store, path: str, sha256: str = "") -> JournalRow:
    """Read the row of the object at ``path``, everything but its provenance and time of receipt.

    An object that cannot be read has a row that says so: it is never left out in silence.
    """
    try:
        with store.open(path) as file, store_errors("the object could not be read"):
            row = read_row(file, sha256=sha256)
    except StoreError:
        return unreadable_row(path, sha256)
    if path.startswith(f"{QUARANTINE}/"):
        codes = _reason_codes(store, path) or row.codes
        return row._replace(path=path, codes=codes, state=ObjectStatus.QUARANTINED.value)
    if is_variant(path) and row.state != ObjectStatus.QUARANTINED:
        return row._replace(path=path, codes=(UID_CONFLICT, *row.codes), state=ObjectStatus.VARIANT.value)
    return row if row.path == path else row._replace(path=path)


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
