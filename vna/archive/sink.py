"""The sink: the one way into the archive, for receivers, pulls and folders alike.

The write order is the promise (docs/store-format.md): spool file, fsync, final name, fsync of the folder, journal row, fsync of
the journal, and only then the receipt. The spool name and the intent stay until the row is durable, so that a crash at any step
leaves something that recovery can complete without looking through the store; they go when the receipt is out (``tidy``).
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, TracebackType

from vna.archive.examine import Announced, Reading, places, raw_row, receipt_row
from vna.archive.journal import JournalWriter
from vna.archive.layout import JOURNAL, quarantine_path, reason_path
from vna.archive.owed import Owing
from vna.archive.rows import JournalRow, encode
from vna.archive.unfinished import Pending, Unfinished, stands
from vna.archive.writers import Writer
from vna.errors import DigestMismatchError, StoreError
from vna.model import ObjectStatus, Provenance, Receipt
from vna.store import SYSTEM, LocalStore, Operations, Readable, SpoolFile, Store
from vna.store.operations import store_errors
from vna.store.room import Reserve

OnReceipt = Callable[[Receipt, Provenance], None]

_CHUNK = 1 << 20
_UNTIDIED = 64  # objects at most whose spool names are still there, where nobody calls tidy

log = logging.getLogger(__name__)


class Durability(StrEnum):
    """When an object becomes durable: before its own receipt, or with its study (:meth:`ArchiveSink.commit_study`)."""

    OBJECT = "object"
    STUDY = "study"


class ArchiveSink:
    """Takes objects into the archive; satisfies :class:`vna.model.Sink`. Use it as a context manager. Thread-safe.

    It owns one journal writer, named :attr:`writer`. ``on_receipt`` is called, in the thread that commits, for every receipt that
    stands for something durable; duplicates included. A sink that ``owes`` gives its receipts for what is durable on this machine
    alone (:mod:`vna.archive.owed`), each object by itself.
    """

    def __init__(
        self,
        store: Store,
        workspace: Path,
        *,
        operations: Operations = SYSTEM,
        durability: Durability = Durability.OBJECT,
        on_receipt: OnReceipt | None = None,
        reserve: Reserve | None = None,
        owes: bool = False,
    ) -> None:
        self._store = store
        # Only a link tells after a power failure that a spool file was published; anywhere else the intent does.
        self._needs_intents = not (isinstance(store, LocalStore) and store.keeps_source)
        # To ask where each object goes costs more than to find a name taken now and then; but they come again by whole studies,
        # and where publishing is an upload it is always asked.
        self._expects_duplicates = self._needs_intents
        self._durability = durability
        self._on_receipt = on_receipt
        self._writer = Writer(workspace, operations, reserve)
        self._owing = Owing(workspace, self._writer.name, operations) if owes else None
        self._journal = JournalWriter(workspace / JOURNAL, self._writer.name, operations)
        self._lock = threading.Lock()
        self._unfinished = Unfinished()
        self._studies: dict[str, list[Pending]] = {}
        self._recorded: deque[Pending] = deque()

    @property
    def writer(self) -> str:
        """The name of this sink's journal writer."""
        return self._writer.name

    def __call__(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, provenance: Provenance
    ) -> ArchiveIncoming:
        """Begin one object. Raises StoreFullError when there is no room, RefusedError for UIDs that no file meta can hold."""
        announced = Announced.of(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        if len(self._recorded) > _UNTIDIED:
            self.tidy()
        return ArchiveIncoming(self, self._writer.spool.create(announced.file_meta()), announced, provenance)

    def quarantine_bytes(self, source: Path | Readable, code: str, provenance: Provenance) -> Receipt:
        """Keep bytes that cannot be a DICOM object, as they are, under their digest and with their reason ``code``.

        ``source`` is a file to copy, or an open one that is read to its end. The receipt is durable.
        """
        if isinstance(source, Path):
            with store_errors("the file could not be read"), source.open("rb") as file:
                return self.quarantine_bytes(file, code, provenance)
        spool = self._writer.spool.create()
        try:
            while chunk := source.read(_CHUNK):
                spool.write(chunk)
        except (OSError, StoreError):
            spool.discard()
            raise
        row = raw_row(self.writer, (code,), spool.sha256(), spool.size, now(), provenance)
        receipt = self._file([Pending(spool, row)])[0]
        self.tidy()
        return receipt

    def take_file(self, file: Path, row: JournalRow) -> Receipt:
        """File a whole object that stands on this disk already, with the row that tells of it; the file stays. Thread-safe."""
        receipt = self._file([Pending(self._writer.spool.link(file, row.size), row)])[0]
        self.tidy()
        return receipt

    def commit_study(self, study_instance_uid: str) -> list[Receipt]:
        """Make everything durable at once that was committed for a study with durability ``study``.

        The receipts are the ones that count; those of the single commits said what would become of each object.
        """
        with self._lock:
            batch = self._studies.pop(study_instance_uid, [])
        receipts = self._file(batch) if batch else []
        self.tidy()
        return receipts

    def tidy(self) -> None:
        """Remove the spool names and intents of objects that the journal knows.

        No acknowledgement waits for it. What cannot be removed is tried again the next time, or by recovery.
        """
        failed: list[Pending] = []
        while self._recorded:
            try:
                pending = self._recorded.popleft()
            except IndexError:  # another thread was quicker
                break
            try:
                self._drop(pending)
            except StoreError as exc:
                log.warning("%s", exc)
                failed.append(pending)
        self._recorded.extend(failed)

    def seal(self) -> None:
        """Seal the open journal segment, so that the next :meth:`vna.archive.Archive.sync_index` takes it.

        What an error left is tried once more before: another writer may have acknowledged it meanwhile as a duplicate.
        """
        with suppress(StoreError):  # it stays where it is
            self._finish_all()
        self._journal.seal()

    def close(self) -> None:
        """Commit what waits for its study, seal the journal and leave; what an error left unfinished is tried once more.

        What still cannot be finished stays in the spool for recovery; this writer acknowledged nothing of it.
        """
        try:
            for study in list(self._studies):
                self.commit_study(study)
            self._finish_all()
        finally:
            self._leave()

    def abort(self) -> None:
        """Leave without committing what waits for its study; what is durable stays."""
        for batch in self._studies.values():
            for pending in batch:
                pending.spool.discard()
        self._studies.clear()
        self.tidy()
        self._leave()

    def __enter__(self) -> ArchiveSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _leave(self) -> None:
        try:
            self._journal.close()
        finally:
            with suppress(StoreError):  # what is left there is empty, and recovery's
                self._writer.spool.close()
            self._writer.leave(clean=not self._unfinished and not any(self._writer.folder.glob("*.part")))

    # -- filing

    def _take(self, spool: SpoolFile, row: JournalRow) -> Receipt:
        """File one object, now or with its study; or owe it to the store."""
        if self._owing is not None:
            receipt = self._owing.take(spool, row)
            if self._on_receipt is not None:
                self._on_receipt(receipt, row.provenance)
            return receipt
        pending = Pending(spool, row)
        waits = self._durability is Durability.STUDY and row.state != ObjectStatus.QUARANTINED
        if not waits:
            return self._file([pending])[0]
        spool.close()
        with self._lock:
            self._studies.setdefault(row.study_instance_uid, []).append(pending)
        return row.receipt()

    def _file(self, batch: Sequence[Pending]) -> list[Receipt]:
        """Make a batch durable and known; either all of it is acknowledged or none."""
        is_durable = False
        try:
            waiting: Sequence[Pending] = batch
            asks = self._expects_duplicates
            while waiting:
                waiting = [pending for pending in waiting if not self._is_duplicate(pending, asks=asks)]
                self._publish(waiting)
                waiting, asks = [pending for pending in waiting if not pending.is_published], True
            self._expects_duplicates = self._needs_intents or any(pending.duplicate for pending in batch)
            self._record([pending for pending in batch if pending.is_published])
            is_durable = True
        finally:
            if not is_durable:
                self._keep_for_later(batch)
        result = [pending.duplicate or pending.row.receipt() for pending in batch]
        if self._on_receipt is not None:
            for receipt, pending in zip(result, batch, strict=True):
                self._on_receipt(receipt, pending.row.provenance)
        return result

    def _is_duplicate(self, pending: Pending, *, asks: bool) -> bool:
        """Choose the place of an object; if it stands there already, note the receipt and drop the spool file.

        Unless it ``asks``, its own place is taken to be free; publishing tells where it is not.
        """
        path = pending.row.path
        if path not in self._unfinished.left and not (asks and self._store.exists(path)):
            return False
        for row in places(pending.row):
            finished = self._unfinished.finish(row.path, self._finish)
            match holds(self._store, row):
                case None:
                    pending.row = row
                    return False
                case True:
                    pending.duplicate = finished or self._duplicate(row)
                    pending.spool.discard()
                    return True
        raise damaged(quarantine_path(pending.row.sha256))

    def _duplicate(self, row: JournalRow) -> Receipt:
        # Another writer may have published it a moment ago: what we are about to acknowledge must survive a power failure now.
        self._store.settle(row.path)
        return row.receipt()._replace(state="duplicate")

    def _publish(self, batch: Sequence[Pending]) -> None:
        if not batch:
            return
        for pending in batch:
            pending.spool.sync()
        for pending in batch:
            pending.payload = encode(pending.row)
            self._writer.intents.record(pending.spool.name, pending.payload, durable=self._needs_intents)
        try:
            published = self._store.publish([(pending.spool.location, pending.row.path) for pending in batch])
        except BaseException:
            for pending in batch:
                pending.is_in_doubt = True
            raise
        for pending, done in zip(batch, published, strict=True):
            pending.is_published = done
            if not done:
                self._writer.intents.finish(pending.spool.name, given_up=True)

    def _record(self, batch: Sequence[Pending]) -> None:
        if not batch:
            return
        for pending in batch:
            put_reason(self._store, pending.row)
        self._journal.append([pending.payload for pending in batch])
        self._recorded.extend(batch)

    def _drop(self, pending: Pending) -> None:
        """Remove the spool name and the intent of an object that the journal knows."""
        pending.spool.discard()
        self._writer.intents.finish(pending.spool.name)

    def _keep_for_later(self, batch: Sequence[Pending]) -> None:
        """After an error: give up what has no final name, keep what has or may have, for another try or for recovery."""
        given_up = []
        for pending in batch:
            if pending.is_published or (pending.is_in_doubt and self._may_have_its_name(pending)):
                self._unfinished.keep(pending)
            else:
                given_up.append(pending)
        for pending in batch:
            pending.spool.close()
        for pending in given_up:
            self._give_up(pending)

    def _may_have_its_name(self, pending: Pending) -> bool:
        if not isinstance(self._store, LocalStore):
            return True  # a request that nobody waits for any more may be carried out yet, whatever stands there now
        try:
            return self._store.came_from(pending.spool.path, pending.row.path)
        except StoreError:
            return True  # nobody can tell now

    def _give_up(self, pending: Pending) -> None:
        pending.spool.discard()
        self._writer.intents.finish(pending.spool.name, given_up=True)

    def _finish(self, pending: Pending) -> bool:
        """Do what an error left to be done for an object; False if its final name is another's after all."""
        if not pending.is_published and not stands(self._store, pending.spool.path, pending.row.path):
            self._give_up(pending)
            return False
        pending.is_published, pending.is_in_doubt = True, False
        self._record([pending])
        return True

    def _finish_all(self) -> None:
        self.tidy()
        for path in self._unfinished.paths(in_doubt=False):
            self._unfinished.finish(path, self._finish)
        with suppress(StoreError):  # where the store does not answer, each would wait as long for nothing
            for path in self._unfinished.paths(in_doubt=True):
                self._unfinished.finish(path, self._finish)
        self.tidy()


class ArchiveIncoming:
    """One object on its way into the archive; satisfies :class:`vna.model.Incoming`. Used by one thread at a time."""

    __slots__ = ("_is_over", "_meta_length", "_provenance", "_reading", "_sink", "_spool")

    def __init__(self, sink: ArchiveSink, spool: SpoolFile, announced: Announced, provenance: Provenance) -> None:
        self._sink = sink
        self._spool = spool
        self._meta_length = spool.size
        self._reading = Reading(announced)
        self._provenance = provenance
        self._is_over = False

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """See :meth:`vna.model.Incoming.write`."""
        self._spool.write(chunk)
        self._reading.write(chunk)

    def commit(self) -> Receipt:
        """See :meth:`vna.model.Incoming.commit`."""
        spool, offset = self._spool, self._meta_length
        sha256 = spool.sha256()
        verdict = self._reading.verdict(sha256, lambda at, length: spool.read_at(offset + at, length))
        row = receipt_row(self._sink.writer, self._reading.announced, verdict, sha256, spool.size, now(), self._provenance)
        self._is_over = True
        return self._sink._take(spool, row)

    def tidy(self) -> None:
        """See :meth:`vna.model.Incoming.tidy`."""
        self._sink.tidy()
        self._sink._writer.spool.prepare()

    def abort(self) -> None:
        """See :meth:`vna.model.Incoming.abort`. After :meth:`commit` was called it does nothing: the sink has the file then."""
        if not self._is_over:
            self._is_over = True
            self._spool.discard()


def now() -> str:
    """Tell the time of receipt: UTC, ISO 8601, microseconds."""
    second, nanosecond = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(second)}.{nanosecond // 1000:06d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def holds(store: Store, row: JournalRow) -> bool | None:
    """Tell whether the store holds these bytes under the row's path: None if nothing is there, False if other bytes are."""
    if not store.exists(row.path):
        return None
    return store.size(row.path) == row.size and digest(store, row.path) == row.sha256


def foresee(store: Store, row: JournalRow, foreseen: Mapping[str, str] = MappingProxyType({})) -> Receipt:
    """Tell what would become of an object, without writing anything; ``foreseen`` are digests by path that would be there too."""
    for place in places(row):
        there = foreseen.get(place.path)
        same = holds(store, place) if there is None else there == place.sha256
        if same is None:
            return place.receipt()
        if same:
            return place.receipt()._replace(state="duplicate")
    raise damaged(quarantine_path(row.sha256))


def damaged(path: str) -> DigestMismatchError:
    """Make the error that tells of an object whose bytes are not those that its name promises."""
    return DigestMismatchError(
        f"{path} holds other bytes than its name says", hint="the object is damaged: restore it from a copy"
    )


def digest(store: Store, path: str) -> str:
    """Read an object to its end and tell its SHA-256."""
    total = hashlib.sha256()
    with store.open(path) as file, store_errors("the object could not be read"):
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def put_reason(store: Store, row: JournalRow) -> None:
    """Write down beside an object in quarantine why it is there; nothing for any other object."""
    if row.state != ObjectStatus.QUARANTINED:
        return
    fields = json.loads(encode(row))
    fields.pop("row")
    reason = {"code": row.codes[0] if row.codes else "", **fields}
    store.put_bytes(json.dumps(reason, indent=1).encode("ascii") + b"\n", reason_path(row.sha256))
