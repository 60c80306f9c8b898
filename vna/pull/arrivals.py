"""Arrivals: which objects came, for which study that is being pulled, and when.

Objects are attributed by what they are, not by what the source says about them: by the Study Instance UID of the data set,
else by an expected SOP Instance UID. What belongs to no study under way is stored all the same and counted as unsolicited.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vna.errors import StoreError, StoreFullError, VnaError
from vna.model import Incoming, Provenance, Receipt, Sink
from vna.schedule import Pace

_INTERVALS = 20
_PATIENCE = 4
_LOOK_S = 0.1


@dataclass(slots=True)
class Job:
    """The arrivals of one study under way.

    ``wanted`` are the SOP Instance UIDs that were asked for, ``expected`` those still waited for, ``refused`` those that our own
    store did not take. ``began_at`` is when it was last asked for.
    """

    study_instance_uid: str
    wanted: frozenset[str]
    expected: set[str]
    receipts: list[Receipt] = field(default_factory=list)
    unexpected: int = 0
    refused: set[str] = field(default_factory=set)
    times: deque[float] = field(default_factory=lambda: deque(maxlen=_INTERVALS + 1))
    began_at: float = field(default_factory=time.monotonic)

    def quiet_s(self, settle_s: float) -> float:
        """Say how long silence must last to mean the end: ``settle_s``, or some times the usual interval of this study."""
        if len(self.times) < 3:
            return settle_s
        intervals = [later - earlier for earlier, later in zip(self.times, list(self.times)[1:], strict=False)]
        return max(settle_s, _PATIENCE * statistics.median(intervals))


class Arrivals:
    """Sorts receipts to the jobs under way, and tells the pace how quickly they come. Thread-safe.

    The pace says how many retrieves there are at once (:meth:`asking`). Jobs may be more: one is written down or prepared while
    another is on its way.
    """

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._has_place = threading.Condition(lock)
        self._asking = 0
        self._by_study: dict[str, Job] = {}
        self._by_instance: dict[str, Job] = {}
        self._is_ending = False
        self.unsolicited = 0
        self.failure: StoreFullError | None = None

    def open(self, study_instance_uid: str, expected: Iterable[str]) -> Job:
        """Begin to collect what comes for a study."""
        wanted = frozenset(expected)
        job = Job(study_instance_uid, wanted, set(wanted))
        with self._changed:
            self._by_study[study_instance_uid] = job
            self._by_instance.update(dict.fromkeys(job.expected, job))
        return job

    def close(self, job: Job) -> None:
        """Stop collecting for a study; what comes late is unsolicited here, and matched when the journal is read."""
        with self._changed:
            self._by_study.pop(job.study_instance_uid, None)
            for uid in job.wanted:
                if self._by_instance.get(uid) is job:
                    del self._by_instance[uid]

    @contextmanager
    def asking(self, job: Job) -> Iterator[None]:
        """Retrieve something of a job within the block, which waits for a place; when all is ending it waits for none."""
        with self._changed:
            while self._asking >= self._pace.target and not self.is_ending:
                self._has_place.wait(_LOOK_S)
            self._asking += 1
            job.began_at = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._asking -= 1
                self._has_place.notify()

    def add(self, receipt: Receipt) -> None:
        """Take a receipt."""
        with self._changed:
            job = self._by_study.get(receipt.study_instance_uid)
            is_wanted = job is not None and receipt.sop_instance_uid in job.wanted  # two studies may want one UID
            owner = job if is_wanted else self._by_instance.get(receipt.sop_instance_uid)
            job = job or owner
            if job is None:
                self.unsolicited += 1
                return
            if owner is None:
                job.unexpected += 1
            else:
                owner.expected.discard(receipt.sop_instance_uid)
            job.receipts.append(receipt)
            now = time.monotonic()
            seconds = now - (max(job.times[-1], job.began_at) if job.times else job.began_at)
            job.times.append(now)
            self._learn(now, receipt.size, seconds)
            self._changed.notify_all()

    def came_elsewhere(self, job: Job, instances: int) -> None:
        """Tell the pace how many instances another process received for a study that is over; nobody knows their sizes here."""
        now = time.monotonic()
        with self._changed:
            for _ in range(instances):
                self._learn(now, 0, (now - job.began_at) / instances)

    def _learn(self, now: float, size: int, seconds: float) -> None:
        before = self._pace.target
        self._pace.settled(now, size, seconds, max(self._asking, 1))
        if self._pace.target > before:
            self._has_place.notify_all()

    def refuse(self, sop_instance_uid: str, error: VnaError) -> None:
        """Note that our store did not take an object. A full store ends the run; the first such error is kept."""
        with self._changed:
            if isinstance(error, StoreFullError):
                self.failure = self.failure or error
            job = self._by_instance.get(sop_instance_uid)
            if job is not None:
                job.refused.add(sop_instance_uid)
            self._changed.notify_all()

    def end(self) -> None:
        """Take nothing more: the run is being given up."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
            self._has_place.notify_all()

    @property
    def is_ending(self) -> bool:
        """Whether nothing more is to be asked for or taken."""
        return self._is_ending or self.failure is not None

    def wait(self, seconds: float) -> None:
        """Wait until something arrives or ends, at most so long."""
        with self._changed:
            if not self.is_ending:
                self._changed.wait(seconds)

    def sink(self, sink: Sink) -> Sink:
        """Wrap a sink so that its receipts and failures are told here."""

        def take(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, provenance: Provenance) -> Incoming:
            if self.is_ending:
                raise StoreError("the pull is ending")
            try:
                incoming = sink(sop_class_uid, sop_instance_uid, transfer_syntax_uid, provenance)
            except VnaError as exc:
                self.refuse(sop_instance_uid, exc)
                raise
            return _Told(incoming, sop_instance_uid, self)

        return take


class _Told:
    """An incoming object whose end is told to the arrivals."""

    __slots__ = ("_arrivals", "_incoming", "_sop_instance_uid")

    def __init__(self, incoming: Incoming, sop_instance_uid: str, arrivals: Arrivals) -> None:
        self._incoming = incoming
        self._sop_instance_uid = sop_instance_uid
        self._arrivals = arrivals

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        try:
            self._incoming.write(chunk)
        except VnaError as exc:
            self._arrivals.refuse(self._sop_instance_uid, exc)
            raise

    def commit(self) -> Receipt:
        try:
            receipt = self._incoming.commit()
        except VnaError as exc:
            self._arrivals.refuse(self._sop_instance_uid, exc)
            raise
        self._arrivals.add(receipt)
        return receipt

    def tidy(self) -> None:
        self._incoming.tidy()

    def abort(self) -> None:
        self._incoming.abort()
