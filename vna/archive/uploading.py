"""Upload what is owed (:mod:`vna.archive.owed`), in the background, until nothing is.

Each object goes the way of every other one: it gets a name in the spool of the uploader's own sink, which finds duplicates and
variants, puts it, and writes its row. Only then is it owed no more. Killed in between, the sink's recovery completes what it had
begun, and the object, owed still, is found to be there already.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from vna.archive.layout import OWED
from vna.archive.owed import Debts
from vna.archive.recovery import file_digest
from vna.archive.rows import JournalRow
from vna.archive.sink import ArchiveSink
from vna.archive.writers import claim
from vna.errors import DigestMismatchError, StoreError, VnaError
from vna.model import Receipt
from vna.store import SYSTEM, Operations
from vna.store.locks import release
from vna.store.operations import store_errors

log = logging.getLogger(__name__)

Tell = Callable[[Mapping[str, Any]], None]

THREADS = 8
_LOCK = "uploader.lock"
_LISTED = 5000
_LOOK_S = 0.25
_TURN_S = 1.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_LONGEST_WAIT_S = 60.0
_SLACK_S = 2.0


@dataclass(slots=True)
class _Tried:
    """An object that could not be uploaded: how often it was tried in vain, and when it is tried again."""

    times: int = 0
    due: float = 0.0


def _said(error: Exception) -> str:
    """Say what an error says, if it is one of ours: another one's message may quote anything."""
    return str(error) if isinstance(error, VnaError) else type(error).__name__


def _forget(event: Mapping[str, Any]) -> None:
    """Tell nobody."""


class Uploader:
    """Uploads what a workspace owes, in ``threads`` threads, while its ``with`` block runs.

    Of several for one workspace one is at work, and the others wait. ``open_sink`` opens the sink through which everything goes;
    ``reach`` raises StoreError while the service does not answer. An error of the service holds everything up until it answers
    again; an object that alone fails is tried again later, and the others go on. ``trouble`` is the error that holds all of them
    up at the moment. ``tell`` is called, from any thread, with events: ``uploaded`` for each object, ``uploads_held_up``,
    ``uploads_caught_up`` after that, and ``owed_damaged``.
    """

    def __init__(
        self,
        workspace: Path,
        open_sink: Callable[[], ArchiveSink],
        reach: Callable[[], object],
        tell: Tell = _forget,
        *,
        operations: Operations = SYSTEM,
        threads: int = THREADS,
    ) -> None:
        self._folder = workspace / OWED
        self._debts = Debts(workspace, operations)
        self._operations = operations
        self._open_sink = open_sink
        self._reach = reach
        self._tell = tell
        self._threads = threads
        self._sink: ArchiveSink | None = None
        self._lock: int | None = None
        lock = threading.Lock()
        self._changed = threading.Condition(lock)
        self._has_work = threading.Condition(lock)
        # -- all of the following under that lock
        self._queue: deque[Path] = deque()
        self._busy: set[str] = set()
        self._tried: dict[str, _Tried] = {}
        self.trouble: VnaError | None = None
        self._pauses = 0
        self._is_behind = False
        self._ends_at = float("inf")
        self._is_ending = self._is_over = False
        self._feeder = threading.Thread(target=self._run, name="owed", daemon=True)

    @property
    def is_held_up(self) -> bool:
        """Whether the service takes nothing at the moment."""
        return self.trouble is not None

    def __enter__(self) -> Uploader:
        """Begin, in threads of its own, or wait there for our turn."""
        self._claim()
        self._feeder.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Give the turn to another one: until then nobody uploads what is left."""
        if self.stop(0.0):
            self._release()

    def stop(self, within_s: float) -> bool:
        """Upload what can be in that time, and end. What is left stays owed; False if a thread is still waiting for the service.

        A service that does not answer is not waited for. Such a thread, and the lock, end with the process. Safe to repeat.
        """
        self._end(time.monotonic() + within_s)
        self._feeder.join(within_s + _SLACK_S)
        return not self._feeder.is_alive()

    def finish(self) -> None:
        """Upload what is owed, in this call, unless another uploader is at it; give up at the first trouble of the service."""
        self._end(float("inf"))
        self._claim()
        if self._lock is not None:
            log.info("uploading what is owed: %d objects", self._debts.summary().objects)
        try:
            self._run()
        finally:
            self._release()

    def seal(self) -> None:
        """Seal the journal segment, so that what was uploaded comes into the index; nothing while the service does not answer."""
        sink = self._sink
        if sink is not None and not self.is_held_up:
            sink.seal()

    def _end(self, at: float) -> None:
        with self._changed:
            self._ends_at, self._is_ending = at, True
            self._tried.clear()  # each is tried once more
            self._changed.notify_all()

    # -- the thread that finds what is owed

    def _run(self) -> None:
        sink: ArchiveSink | None = None
        while sink is None:
            try:
                if self._lock is None:
                    self._claim()
                if self._lock is not None:
                    sink = self._open_sink()
            except (VnaError, OSError) as exc:
                log.error("what is owed cannot be uploaded yet: %s", _said(exc))
            if sink is None:
                if self._is_ending:
                    return
                self._pause(_TURN_S)
        try:
            self._serve(sink)
        except (VnaError, OSError) as exc:
            log.error("the uploads could not be ended in order: %s", _said(exc))

    def _claim(self) -> None:
        with store_errors("what is owed could not be looked into"):
            self._operations.make_folder(self._folder)
            self._lock = claim(self._folder / _LOCK, make=True)

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            release(lock)

    def _serve(self, sink: ArchiveSink) -> None:
        self._sink = sink
        hands = [threading.Thread(target=self._work, args=(sink,), name=f"owed-{i}", daemon=True) for i in range(self._threads)]
        for hand in hands:
            hand.start()
        try:
            self._feed()
        finally:
            with self._changed:
                self._is_over = True
                self._has_work.notify_all()
            for hand in hands:
                hand.join()
            self._sink = None
            if self.is_held_up:
                sink.abort()  # nobody waits for the service: what it left unfinished, recovery finishes
            else:
                sink.close()
        self._debts.sweep()

    def _feed(self) -> None:
        while True:
            try:
                if not self._feed_once():
                    return
            except Exception as exc:  # noqa: BLE001 - whatever it is, what is owed must be uploaded one day
                log.error("what is owed could not be looked for: %s", _said(exc))
                if self._is_ending:
                    return
                self._pause(_TURN_S)

    def _feed_once(self) -> bool:
        """See to it that every thread has work; False when it is over."""
        if self._is_ending and time.monotonic() >= self._ends_at:
            return False
        if self.is_held_up:
            self._wait_for_service()
            return not (self._is_ending and self.is_held_up)
        with self._changed:
            if self._queue:
                self._changed.wait(_LOOK_S)
                return True
            now = time.monotonic()
            without = self._busy | {name for name, tried in self._tried.items() if tried.due > now}
        found = list(map(Path, self._debts.some(_LISTED, without)))
        with self._changed:
            self._queue.extend(found)
            self._has_work.notify_all()
            is_idle = not found and not self._busy and not self.is_held_up
        if is_idle and self._is_ending:
            return False
        if is_idle and not self._tried:
            self._caught_up()
        if not found:
            self._pause(_LOOK_S)
        return True

    def _wait_for_service(self) -> None:
        """Wait a while, longer each time, and see if the service answers again; at the end, just see."""
        if not self._is_behind:
            self._is_behind = True
            log.warning("uploads are held up: %s", self.trouble)
            self._tell({"event": "uploads_held_up", "reason": str(self.trouble), **asdict(self._debts.summary())})
        if not self._is_ending:
            longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._pauses, 10))
            self._pauses += 1
            self._pause(random.uniform(longest / 2, longest))  # noqa: S311 - jitter
        try:
            self._reach()
        except VnaError as exc:
            log.debug("uploads are still held up: %s", exc)
        else:
            with self._changed:
                self.trouble = None
                self._has_work.notify_all()

    def _caught_up(self) -> None:
        if self._is_behind:
            self._is_behind = False
            log.warning("uploads have caught up: nothing is owed any more")
            self._tell({"event": "uploads_caught_up"})
            self._debts.sweep()

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait(seconds)

    # -- the threads that upload

    def _work(self, sink: ArchiveSink) -> None:
        while (part := self._next()) is not None:
            error: Exception | None = None
            try:
                self._upload(sink, part)
            except FileNotFoundError:
                log.debug("what was owed is not there any more")
            except Exception as exc:  # noqa: BLE001 - whatever it is, the object stays owed, and the others go on
                error = exc
            with self._changed:
                self._note(part, error)

    def _next(self) -> Path | None:
        with self._changed:
            while not self._is_over:
                if self._queue and not self.is_held_up:
                    part = self._queue.popleft()
                    self._busy.add(str(part))
                    return part
                self._has_work.wait()
            return None

    def _upload(self, sink: ArchiveSink, part: Path) -> None:
        row = self._debts.row(part, sink.writer)
        if part.stat().st_size != row.size or file_digest(part) != row.sha256:
            self._debts.set_aside(part)
            log.error("an object that is owed is damaged on this disk, and set aside: %s", part.with_suffix(""))
            self._tell({"event": "owed_damaged", "sop_instance_uid": row.sop_instance_uid, "sha256": row.sha256})
            return
        receipt = sink.take_file(part, row)
        self._debts.settle(part)
        self._tell(_uploaded(receipt, row))

    def _note(self, part: Path, error: Exception | None) -> None:
        """Note what became of an object; under the lock."""
        name = str(part)
        self._busy.discard(name)
        if error is None:
            self._tried.pop(name, None)
            self._pauses = 0
        else:
            tried = self._tried.setdefault(name, _Tried())
            tried.times += 1
            tried.due = time.monotonic() + min(_LONGEST_WAIT_S, 2.0 ** min(tried.times, 10))
            if isinstance(error, StoreError) and not isinstance(error, DigestMismatchError):
                self.trouble = error
            else:
                log.error("an object that is owed could not be uploaded: %s", _said(error))
        if error is not None or not self._queue:
            self._changed.notify()


def _uploaded(receipt: Receipt, row: JournalRow) -> dict[str, Any]:
    """Tell what became of an object: it may be another than its sender was told (docs/receive.md)."""
    if receipt.state == "variant" or receipt.path != row.path:
        log.warning("an object that was owed has other bytes than stand under its UIDs: kept as %s", receipt.path)
    return {
        "event": "uploaded",
        "state": receipt.state,
        "sha256": receipt.sha256,
        "path": receipt.path,
        "size": receipt.size,
        "study_instance_uid": receipt.study_instance_uid,
        "sop_instance_uid": receipt.sop_instance_uid,
        "codes": list(receipt.codes),
    }
