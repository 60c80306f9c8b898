"""Decide what an object is and where it belongs, from its bytes alone.

The verdict is a function of the stored file: what announced the object stands in its canonical file meta, so that a rebuild of
the index comes to the same answer as the receiver did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from indexer.scan import check_tail, identity_problems, index_row

from indexer.header import SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Header, HeaderScanner
from indexer.problems import Disposition, codes, disposition
from vna.archive.layout import instance_path, quarantine_path, variant_path
from vna.archive.rows import JournalRow
from vna.model import ObjectStatus
from vna.part10 import file_meta

UID_CONFLICT = "UID_CONFLICT"

ReadAt = Callable[[int, int], bytes]
"""Read up to (second) bytes from (first) offset of the data set."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an object is: its status, the codes of what is wrong with it, its place, and its index columns."""

    state: ObjectStatus
    codes: tuple[str, ...]
    path: str
    row: dict[str, object]


def examine(
    header: Header, sop_class_uid: str, sop_instance_uid: str, sha256: str, data_set_length: int, read_at: ReadAt
) -> Verdict:
    """Judge one object by its header, its tail, and what announced it. Never raises for bad content.

    What cannot be filed under UIDs of its own, or must not be forwarded, goes to quarantine; what is merely irregular is flagged.
    """
    row = index_row(header)
    problems = [
        *header.problems,
        *check_tail(header, data_set_length, read_at),
        *identity_problems(header, sop_class_uid, sop_instance_uid),
    ]
    study, series, sop = (header.uid(tag) for tag in (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID))
    worst = disposition(problems)
    if worst is Disposition.QUARANTINE or not (study and series and sop):
        return Verdict(ObjectStatus.QUARANTINED, codes(problems), quarantine_path(sha256), row)
    state = ObjectStatus.FLAGGED if worst is Disposition.WARN else ObjectStatus.STORED
    return Verdict(state, codes(problems), instance_path(study, series, sop), row)


def places(row: JournalRow) -> tuple[JournalRow, ...]:
    """List where an object may go, best first: its own place, that of a variant, and quarantine if even that is taken.

    The last one needs two objects whose digests begin alike: rare by chance, cheap for an attacker.
    """
    if row.state == ObjectStatus.QUARANTINED:
        return (row,)
    codes = (UID_CONFLICT, *row.codes)
    return (
        row,
        replace(row, state=ObjectStatus.VARIANT.value, codes=codes, path=variant_path(row.path, row.sha256)),
        replace(row, state=ObjectStatus.QUARANTINED.value, codes=codes, path=quarantine_path(row.sha256)),
    )


class Reading:
    """One object that is read without being written anywhere: what it would be, for a dry run or a look at what is there.

    Takes the data set in pieces like :class:`vna.model.Incoming`; :meth:`verdict` ends it.
    """

    def __init__(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> None:
        meta = file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        self._announced = (sop_class_uid, sop_instance_uid)
        self._digest = hashlib.sha256(meta)
        self._scanner = HeaderScanner(transfer_syntax_uid)
        self._is_scanned = False
        self._length = 0
        self.size = len(meta)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the data set."""
        self._digest.update(chunk)
        self._length += len(chunk)
        self.size += len(chunk)
        if not self._is_scanned:
            self._is_scanned = self._scanner.feed(chunk)

    def sha256(self) -> str:
        """Tell the SHA-256 that the stored file would have, in hexadecimal."""
        return self._digest.hexdigest()

    def verdict(self, read_at: ReadAt) -> Verdict:
        """Judge what was read; ``read_at`` gives access to the data set's bytes once more."""
        return examine(self._scanner.close(), *self._announced, self.sha256(), self._length, read_at)
