"""Sending one study: its objects stream from the archive, and each outcome is in the ledger within a second."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from vna.archive import Archive
from vna.dimse.lanes import Lanes, StoppedError
from vna.dimse.send import SendItem
from vna.errors import PeerError, RefusedError
from vna.ledger import Lease, Ledger, StoredObject
from vna.model import Outcome
from vna.part10 import file_meta

RECORD_EVERY_S = 1.0
CORRECTION_REFUSED = "CORRECTION_REFUSED"
"""Code of an object whose correction cannot be applied: it is not sent until that is mended or taken back."""

_TAKEN = ("sent", "warning")


@dataclass(slots=True)
class Sent:
    """What became of one study: outcomes by (state, code), bytes that were taken, and why nothing could be sent."""

    outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    bytes: int = 0
    error: PeerError | None = None


@dataclass(frozen=True, slots=True)
class Sending:
    """What all studies of one forward share. ``digests`` limits the objects; None: whatever is due."""

    archive: Archive
    ledger: Ledger
    lanes: Lanes
    digests: frozenset[str] | None

    def send_study(self, lease: Lease) -> Sent:
        """Send what is due of the study of the lease. Raises LockedError when the lease was lost."""
        due = self.ledger.outcomes.objects_due_forward(lease.node, lease.study_instance_uid)
        chosen = [one for one in due if self.digests is None or one.sha256 in self.digests]
        sent = Sent()
        recorder = _Recorder(self.ledger, lease, sent, {one.sha256: one for one in chosen})
        try:
            self.lanes.send(self._items(chosen, recorder), recorder.take)
        except PeerError as exc:
            sent.error = exc
        except StoppedError:
            pass
        finally:
            recorder.flush()
        return sent

    def _items(self, chosen: Iterable[StoredObject], recorder: _Recorder) -> Iterator[SendItem]:
        for stored in chosen:
            try:
                yield self._corrected(stored) if stored.revision else self._item(stored)
            except RefusedError as exc:
                recorder.take(Outcome(stored.sha256, "failed", CORRECTION_REFUSED, str(exc)))

    def _corrected(self, stored: StoredObject) -> SendItem:
        """Describe an object as it leaves: a new head, and the rest of the file as it lies in the store."""
        names = (stored.path, stored.sha256, stored.study_instance_uid, stored.revision)
        effective, file = self.archive.open_leaving(*names)
        file.close()
        return SendItem(
            key=stored.sha256,
            sop_class_uid=effective.sop_class_uid,
            sop_instance_uid=effective.sop_instance_uid,
            transfer_syntax_uid=effective.transfer_syntax_uid,
            open=lambda: self.archive.open_leaving(*names)[1],
            data_set_offset=effective.data_set_offset,
            size=effective.size,
        )

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

    def __init__(self, ledger: Ledger, lease: Lease, sent: Sent, objects: Mapping[str, StoredObject]) -> None:
        self._ledger = ledger
        self._lease = lease
        self._sent = sent
        self._objects = objects
        self._waiting: list[Outcome] = []
        self._written_at = time.monotonic()

    def take(self, outcome: Outcome) -> None:
        """Count an outcome and write it down with those of the same second."""
        self._waiting.append(outcome)
        key = (outcome.state, outcome.code)
        self._sent.outcomes[key] = self._sent.outcomes.get(key, 0) + 1
        if outcome.state in _TAKEN:
            self._sent.bytes += self._objects[outcome.key].size
        if time.monotonic() - self._written_at >= RECORD_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write down what was taken since the last time."""
        waiting, self._waiting = self._waiting, []
        self._ledger.outcomes.record(self._lease, waiting, {one.key: self._objects[one.key].revision for one in waiting})
        self._written_at = time.monotonic()
