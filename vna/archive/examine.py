"""Decide what an object is and where it belongs, from its bytes alone.

The verdict is a function of the stored file: what announced the object stands in its canonical file meta, so that a rebuild of
the index comes to the same answer as the receiver did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from indexer.header import HeaderScanner
from indexer.layout import Layouts
from indexer.problems import Disposition, codes, disposition
from indexer.record import SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Header
from indexer.scan import check_tail, identity_problems, index_row
from vna.archive.layout import instance_path, quarantine_path, variant_path
from vna.archive.rows import JournalRow
from vna.errors import RefusedError
from vna.model import ObjectStatus, Provenance
from vna.part10 import file_meta

UID_CONFLICT = "UID_CONFLICT"

ReadAt = Callable[[int, int], bytes]
"""Read up to (second) bytes from (first) offset of the data set."""


class Announced(NamedTuple):
    """What announced an object - the C-STORE request and its context, or a file's meta information - without padding."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @classmethod
    def of(cls, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> Announced:
        """Take the UIDs as they came. Raises RefusedError without a transfer syntax, by which alone the bytes have a meaning."""
        found = cls(sop_class_uid.rstrip(" \0"), sop_instance_uid.rstrip(" \0"), transfer_syntax_uid.rstrip(" \0"))
        if not found.transfer_syntax_uid:
            raise RefusedError("an object without a transfer syntax cannot be taken")
        return found

    def file_meta(self) -> bytes:
        """Build the canonical file meta. Raises RefusedError for UIDs that it cannot hold."""
        try:
            return file_meta(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid)
        except ValueError as exc:
            raise RefusedError(str(exc)) from exc


class Verdict(NamedTuple):
    """What an object is: its status, the codes of what is wrong with it, its place, and its index columns."""

    state: ObjectStatus
    codes: tuple[str, ...]
    path: str
    row: dict[str, object]


def judge(header: Header, announced: Announced, sha256: str) -> Verdict:
    """Judge one object by its header, whose tail was checked, and by what announced it. Never raises for bad content.

    What cannot be filed under UIDs of its own, or must not be forwarded, goes to quarantine; what is merely irregular is flagged.
    """
    problems = [*header.problems, *identity_problems(header, announced.sop_class_uid, announced.sop_instance_uid)]
    row = index_row(header, problems)
    study, series, sop = header.uid(STUDY_INSTANCE_UID), header.uid(SERIES_INSTANCE_UID), header.uid(SOP_INSTANCE_UID)
    worst = disposition(problems)
    if worst is Disposition.QUARANTINE or not (study and series and sop):
        return Verdict(ObjectStatus.QUARANTINED, codes(problems), quarantine_path(sha256), row)
    state = ObjectStatus.FLAGGED if worst is Disposition.WARN else ObjectStatus.STORED
    return Verdict(state, codes(problems), instance_path(study, series, sop), row)


def places(row: JournalRow) -> Iterator[JournalRow]:
    """Yield where an object may go, best first: its own place, that of a variant, and quarantine if even that is taken.

    The last one needs two objects whose digests begin alike: rare by chance, cheap for an attacker.
    """
    yield row
    if row.state != ObjectStatus.QUARANTINED:
        codes = (UID_CONFLICT, *row.codes)
        yield row._replace(state=ObjectStatus.VARIANT.value, codes=codes, path=variant_path(row.path, row.sha256))
        yield row._replace(state=ObjectStatus.QUARANTINED.value, codes=codes, path=quarantine_path(row.sha256))


class _Memory(threading.local):
    """What a thread remembers of the objects before: it serves one association, or one folder, whose objects are alike."""

    def __init__(self) -> None:
        self.layouts = Layouts()


_memory = _Memory()


def scanner_of(announced: Announced) -> HeaderScanner:
    """Give a scanner for an object that was announced so: it knows the layout of the last one of its kind in this thread."""
    kind = (announced.sop_class_uid, announced.transfer_syntax_uid)
    return HeaderScanner(announced.transfer_syntax_uid, last=_memory.layouts.of(kind))


class Reading:
    """One data set that is scanned while it passes by; :meth:`verdict` ends it.

    Alone it reads an object without writing it anywhere: what it would be, for a dry run or a look at what is there already.
    """

    def __init__(self, announced: Announced) -> None:
        self.announced = announced
        self._scanner = scanner_of(announced)
        self._is_scanned = False
        self._length = 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the data set."""
        self._length += len(chunk)
        if not self._is_scanned:
            self._is_scanned = self._scanner.feed(chunk)

    def verdict(self, sha256: str, read_at: ReadAt) -> Verdict:
        """Judge what was read; ``sha256`` is that of the stored file, ``read_at`` reads the data set's bytes once more."""
        header = self._scanner.close()
        check_tail(header, self._length, read_at)
        return judge(header, self.announced, sha256)


def receipt_row(
    writer: str, announced: Announced, verdict: Verdict, sha256: str, size: int, received_at: str, provenance: Provenance
) -> JournalRow:
    """Put the journal row of an object together; the journal gives it its ``seq``."""
    return JournalRow(
        writer=writer,
        seq=0,
        state=verdict.state.value,
        path=verdict.path,
        sha256=sha256,
        size=size,
        received_at=received_at,
        codes=verdict.codes,
        sop_class_uid=announced.sop_class_uid,
        sop_instance_uid=announced.sop_instance_uid,
        transfer_syntax_uid=announced.transfer_syntax_uid,
        provenance=provenance,
        row=verdict.row,
    )


def raw_row(writer: str, codes: tuple[str, ...], sha256: str, size: int, received_at: str, provenance: Provenance) -> JournalRow:
    """Put the journal row of bytes together that are no DICOM object."""
    path = quarantine_path(sha256)
    return JournalRow(writer, 0, ObjectStatus.QUARANTINED.value, path, sha256, size, received_at, codes, provenance=provenance)
