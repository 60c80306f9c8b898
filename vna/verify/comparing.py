"""The comparing sink: what a target sends back is held against what the archive keeps, and dropped.

The archive's digest is that of SOP class, SOP instance, transfer syntax and the data set's bytes, so the same digest over what
comes back proves that all of them are the same. Only where it is another one are both data sets parsed.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from indexer.header import HeaderScanner
from indexer.record import SERIES_INSTANCE_UID, STUDY_INSTANCE_UID
from vna.archive import Archive
from vna.archive.effective import EffectiveObject
from vna.errors import VnaError
from vna.ledger import StoredObject
from vna.model import Incoming, Provenance, Receipt
from vna.part10 import file_meta
from vna.verify.compare import differences, joined

_IN_MEMORY = 16 << 20
_CHUNK = 1 << 20
SECOND_COPY = "SECOND_COPY"
"""Stands before the names of what differs where the target holds the right object, and another under the same UID beside it."""


class Verdict(StrEnum):
    """How what came back relates to what was sent: the same bytes, the same said otherwise, or something else."""

    IDENTICAL = "IDENTICAL"
    EQUIVALENT = "EQUIVALENT"
    DIFFERENT = "DIFFERENT"


@dataclass(frozen=True, slots=True)
class Compared:
    """The verdict on one object, and the names of what differs."""

    verdict: Verdict
    names: tuple[str, ...] = ()

    @property
    def detail(self) -> str:
        """The names as one text."""
        return joined(self.names)


@dataclass(slots=True)
class Batch:
    """The objects of one study that are to come back. ``results`` is by digest; ``last`` is when something came last."""

    objects: dict[str, list[StoredObject]]
    results: dict[str, Compared] = field(default_factory=dict)
    last: float = field(default_factory=time.monotonic)

    def pending(self) -> list[StoredObject]:
        """List the objects that have no verdict yet."""
        return [one for group in self.objects.values() for one in group if one.sha256 not in self.results]


class Comparer:
    """A sink that compares and keeps nothing; satisfies :class:`vna.model.Sink`. Thread-safe."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._changed = threading.Condition()
        self._batches: dict[str, Batch] = {}
        self._received: dict[str, StoredObject] = {}

    @contextmanager
    def batch(self, objects: Iterable[StoredObject]) -> Iterator[Batch]:
        """Expect objects to come back while the block runs.

        What comes back is known by its SOP Instance UID alone, and studies may share one: this waits until no other batch has it.
        """
        groups: dict[str, list[StoredObject]] = {}
        for one in objects:
            groups.setdefault(one.sop_instance_uid, []).append(one)
        made = Batch(groups)
        with self._changed:
            self._changed.wait_for(lambda: self._batches.keys().isdisjoint(groups))
            self._batches.update(dict.fromkeys(groups, made))
        try:
            yield made
        finally:
            with self._changed:
                for uid in groups:
                    del self._batches[uid]
                self._changed.notify_all()

    def as_it_left(self, stored: StoredObject) -> StoredObject:
        """Give an object the UIDs that it left under; they are others only where a correction says so."""
        if not stored.revision:
            return stored
        effective, file = self._leaving(stored)
        file.close()
        scanner = HeaderScanner(effective.transfer_syntax_uid)
        scanner.feed(effective.head[effective.data_set_offset :])
        scanned = scanner.close()
        left = replace(
            stored,
            study_instance_uid=scanned.uid(STUDY_INSTANCE_UID) or stored.study_instance_uid,
            series_instance_uid=scanned.uid(SERIES_INSTANCE_UID) or stored.series_instance_uid,
            sop_instance_uid=effective.sop_instance_uid,
            sop_class_uid=effective.sop_class_uid,
        )
        with self._changed:
            self._received[stored.sha256] = stored
        return left

    def _leaving(self, stored: StoredObject) -> tuple[EffectiveObject, BinaryIO]:
        received = self._received.get(stored.sha256, stored)
        return self._archive.open_leaving(stored.path, stored.sha256, received.study_instance_uid, stored.revision)

    def _digest(self, stored: StoredObject) -> str:
        """Give the digest of what left: the archive's own, unless a correction made another file of it."""
        if not stored.revision:
            return stored.sha256
        total = hashlib.sha256()
        with self._leaving(stored)[1] as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
        return total.hexdigest()

    def wait(self, seconds: float) -> None:
        """Wait until something comes back, at most so long."""
        with self._changed:
            self._changed.wait(seconds)

    def __call__(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, provenance: Provenance) -> Incoming:
        return _Returned(self, sop_class_uid, sop_instance_uid, transfer_syntax_uid)

    def judge(self, sop_instance_uid: str, digest: str, file: BinaryIO) -> None:
        """Compare what came back with every object of its UID that has no better verdict."""
        with self._changed:
            batch = self._batches.get(sop_instance_uid)
        if batch is None:
            return
        group = batch.objects[sop_instance_uid]
        found: dict[str, Compared] = {}
        same = [one.sha256 for one in group if self._digest(one) == digest]
        if same:
            found = {sha256: Compared(Verdict.IDENTICAL) for sha256 in same}
        else:
            for one in group:
                if one.revision or batch.results.get(one.sha256, _UNKNOWN).verdict is Verdict.DIFFERENT:
                    found[one.sha256] = self._compare(one, file)
        with self._changed:
            if len(group) == 1 and group[0].revision:
                found = {group[0].sha256: _together(batch.results.get(group[0].sha256), found[group[0].sha256])}
            batch.results.update(found)
            batch.last = time.monotonic()
            self._changed.notify_all()

    def _compare(self, stored: StoredObject, file: BinaryIO) -> Compared:
        file.seek(0)
        with self._leaving(stored)[1] if stored.revision else self._archive.open_object(stored.path) as ours:
            names = differences(ours, file)
        return Compared(Verdict.DIFFERENT, names) if names else Compared(Verdict.EQUIVALENT)


_UNKNOWN = Compared(Verdict.DIFFERENT)


def _together(before: Compared | None, now: Compared) -> Compared:
    """Judge a corrected object of which a target gives back several copies: one with other values beside it is a difference.

    A target that keys its objects by Patient ID keeps the old one under the old patient.
    """
    if before is None or (before.verdict is Verdict.DIFFERENT) == (now.verdict is Verdict.DIFFERENT):
        return now
    wrong = before if before.verdict is Verdict.DIFFERENT else now
    names = wrong.names if SECOND_COPY in wrong.names else (SECOND_COPY, *wrong.names)
    return Compared(Verdict.DIFFERENT, names)


class _Returned:
    """One object on its way back."""

    __slots__ = ("_comparer", "_file", "_hash", "_size", "_sop_class_uid", "_sop_instance_uid", "_transfer_syntax_uid")

    def __init__(self, comparer: Comparer, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> None:
        try:
            meta = file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        except ValueError as exc:
            raise VnaError(str(exc)) from exc
        self._comparer = comparer
        self._sop_class_uid = sop_class_uid
        self._sop_instance_uid = sop_instance_uid
        self._transfer_syntax_uid = transfer_syntax_uid
        self._hash = hashlib.sha256(meta)
        self._size = len(meta)
        self._file = cast(BinaryIO, SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115 (closed by commit or abort)
        self._file.write(meta)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self._hash.update(chunk)
        self._size += len(chunk)
        self._file.write(chunk)

    def commit(self) -> Receipt:
        digest = self._hash.hexdigest()
        with self._file:
            self._comparer.judge(self._sop_instance_uid, digest, self._file)
        return Receipt(
            state="compared",
            sha256=digest,
            path="",
            size=self._size,
            sop_instance_uid=self._sop_instance_uid,
            sop_class_uid=self._sop_class_uid,
            transfer_syntax_uid=self._transfer_syntax_uid,
        )

    def tidy(self) -> None:
        pass

    def abort(self) -> None:
        self._file.close()
