"""Sending one study: its objects stream from the archive, and each outcome is in the ledger within a second."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from vna.archive import Archive
from vna.dimse.retry import Patience
from vna.dimse.send import ASSOCIATION_LOST, ASSOCIATION_REJECTED, UNREACHABLE, Sender, SendItem
from vna.errors import AssociationRejectedError, PeerError, UnreachableError
from vna.ledger import Lease, Ledger, StoredObject
from vna.model import Local, Node, Outcome
from vna.part10 import file_meta

RECORD_EVERY_S = 1.0
_TAKEN = ("sent", "warning")


@dataclass(slots=True)
class Sent:
    """What became of one study: outcomes by (state, code), bytes that were taken, and why nothing could be sent."""

    outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    bytes: int = 0
    error: PeerError | None = None


class StoppedError(Exception):
    """The run is being given up; raised out of a send under way, which aborts its association."""


class Senders:
    """One sender a thread, all closed at the end of the ``with`` block."""

    def __init__(self, node: Node, local: Local) -> None:
        self._node = node
        self._local = local
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.close()

    def mine(self) -> Sender:
        """Return this thread's sender."""
        sender: Sender | None = getattr(self._threads, "sender", None)
        if sender is None:
            sender = self._threads.sender = Sender(self._node, self._local)
            with self._lock:
                self._stack.enter_context(sender)
        return sender


@dataclass(frozen=True, slots=True)
class Sending:
    """What all studies of one forward share. ``digests`` limits the objects; None: whatever is due."""

    archive: Archive
    ledger: Ledger
    senders: Senders
    patience: Patience
    stopped: threading.Event
    digests: frozenset[str] | None

    def send_study(self, lease: Lease) -> Sent:
        """Send what is due of the study of the lease. Raises LockedError when the lease was lost."""
        due = self.ledger.outcomes.objects_due_forward(lease.node, lease.study_instance_uid)
        chosen = [one for one in due if self.digests is None or one.sha256 in self.digests]
        sent = Sent()
        recorder = _Recorder(self.ledger, lease, sent, {one.sha256: one.size for one in chosen}, self.stopped)
        items = [self._item(one) for one in chosen]
        try:
            # Nothing was sent where this raises, so that trying again sends nothing twice.
            self.patience.call(lambda: self.senders.mine().send(items, recorder.take))
        except PeerError as exc:
            sent.error = exc
        except StoppedError:
            pass
        finally:
            recorder.flush()
        return sent

    def _item(self, stored: StoredObject) -> SendItem:
        meta = file_meta(stored.sop_class_uid, stored.sop_instance_uid, stored.transfer_syntax_uid)
        return SendItem(
            key=stored.sha256,
            sop_class_uid=stored.sop_class_uid,
            sop_instance_uid=stored.sop_instance_uid,
            transfer_syntax_uid=stored.transfer_syntax_uid,
            open=partial(self.archive.open_object, stored.path),
            data_set_offset=len(meta),
            size=stored.size,
        )


class _Recorder:
    """Writes outcomes to the ledger, many at once but soon."""

    def __init__(self, ledger: Ledger, lease: Lease, sent: Sent, sizes: dict[str, int], stopped: threading.Event) -> None:
        self._ledger = ledger
        self._lease = lease
        self._sent = sent
        self._sizes = sizes
        self._stopped = stopped
        self._waiting: list[Outcome] = []
        self._written_at = time.monotonic()

    def take(self, outcome: Outcome) -> None:
        """Count an outcome and write it down with those of the same second. Raises StoppedError when the run ends."""
        self._waiting.append(outcome)
        key = (outcome.state, outcome.code)
        self._sent.outcomes[key] = self._sent.outcomes.get(key, 0) + 1
        if outcome.state in _TAKEN:
            self._sent.bytes += self._sizes[outcome.key]
        if time.monotonic() - self._written_at >= RECORD_EVERY_S:
            self.flush()
        if self._stopped.is_set():
            raise StoppedError

    def flush(self) -> None:
        """Write down what was taken since the last time."""
        waiting, self._waiting = self._waiting, []
        self._ledger.outcomes.record(self._lease, waiting)
        self._written_at = time.monotonic()


def connection_code(error: PeerError) -> str:
    """Name the reason why a target could not be sent anything."""
    if isinstance(error, AssociationRejectedError):
        return ASSOCIATION_REJECTED
    return UNREACHABLE if isinstance(error, UnreachableError) else ASSOCIATION_LOST
