"""One C-MOVE or C-GET of the embedded PACS: its sub-operations, counts and faults (PS3.4 C.4.2 and C.4.3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from uuid import uuid4

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.presentation import PresentationContext

from vna.demo.catalogue import StoredObject
from vna.demo.faults import Faults
from vna.demo.identifiers import write_identifier
from vna.demo.sending import NoAnswerError, NoContextError, associate, send_data_set, send_response

MAX_CONTEXTS = 128
PENDING, SUCCESS, CANCEL, WARNING = 0xFF00, 0x0000, 0xFE00, 0xB000
UNABLE_TO_PERFORM_SUB_OPERATIONS = 0xA702


@dataclass
class Counts:
    """The sub-operations of one retrieve (0000,1020-1023), and the SOP Instance UIDs of those that failed."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)

    def settle(self, stored: StoredObject, status: int | None) -> None:
        """Count one sub-operation by the status of its C-STORE response; None: there was none."""
        self.remaining -= 1
        if status == SUCCESS:
            self.completed += 1
        elif status is not None and status & 0xF000 == 0xB000:
            self.warning += 1
        else:
            self.failed += 1
            self.failed_uids.append(stored.sop_instance_uid)

    @property
    def final_status(self) -> int:
        """The status that the Standard asks for in the end."""
        if not self.failed:
            return SUCCESS
        return WARNING if self.completed or self.warning else UNABLE_TO_PERFORM_SUB_OPERATIONS


class Retrieval:
    """Carries out one retrieve of ``selected``; ``others`` is what else the archive holds, of which a fault sends one."""

    def __init__(
        self,
        assoc: Association,
        request: C_MOVE | C_GET,
        context: PresentationContext,
        selected: Sequence[StoredObject],
        others: Sequence[StoredObject],
        faults: Faults,
    ) -> None:
        self._assoc, self._request, self._context = assoc, request, context
        self._selected, self._others, self._faults = selected, others, faults
        self._counts = Counts(len(selected))

    def get(self) -> None:
        """Send back over the association that asks, on contexts for which it took the role of SCP."""
        if not self._faults.retrieve_sends_nothing:
            self._send_all(self._assoc, None)
        self._finish()

    def move(self, ae: AE, destination: str, address: tuple[str, int]) -> threading.Thread | None:
        """Send to ``destination`` over associations of our own; the thread is what still sends after the final response."""
        if self._faults.retrieve_sends_nothing:
            self._finish()
            return None
        if self._faults.retrieve_answers_first:
            self._respond(SUCCESS, Counts(0, len(self._selected)))
            late = threading.Thread(target=self._move_all, args=(ae, destination, address), kwargs={"responds": False})
            late.start()
            return late
        self._move_all(ae, destination, address)
        self._finish()
        return None

    def _move_all(self, ae: AE, destination: str, address: tuple[str, int], *, responds: bool = True) -> None:
        originator = (str(self._assoc.requestor.ae_title).strip(), int(self._request.MessageID or 0))
        for batch in _batches(self._to_send()):
            assoc = associate(ae, *address, destination, map(_pair, batch))
            self._send_all(assoc, originator, batch, responds=responds)
            if assoc.is_established:
                assoc.release()

    def _send_all(
        self,
        assoc: Association,
        originator: tuple[str, int] | None,
        batch: Sequence[StoredObject] | None = None,
        *,
        responds: bool = True,
    ) -> None:
        asked = {stored.sop_instance_uid for stored in self._selected}
        for number, stored in enumerate(self._to_send() if batch is None else batch, 1):
            if responds and (self._is_cancelled or not self._assoc.is_established):
                return
            is_asked = stored.sop_instance_uid in asked and self._counts.remaining > 0
            status = self._send(assoc, stored, number, originator)
            if is_asked:
                self._counts.settle(stored, status)
                if responds and self._counts.remaining:
                    self._respond(PENDING, self._counts)
            if number == self._faults.retrieve_aborts_after:
                self._assoc.abort()

    def _to_send(self) -> list[StoredObject]:
        """List what goes over the wire, faults included."""
        times = 2 if self._faults.retrieve_sends_twice else 1
        extra = list(self._others[:1]) if self._faults.retrieve_sends_extra else []
        return [stored for stored in self._selected for _ in range(times)] + extra

    def _send(self, assoc: Association, stored: StoredObject, number: int, originator: tuple[str, int] | None) -> int | None:
        """Send one instance; return its status, or None where it was not sent or not answered."""
        faults = self._faults
        if faults.delay_s:
            time.sleep(faults.delay_s)
        if faults.retrieve_drops_every and number % faults.retrieve_drops_every == 0:
            return SUCCESS
        if faults.retrieve_fails_every and number % faults.retrieve_fails_every == 0:
            return None
        if not assoc.is_established:
            return None
        sent = self._falsified(stored)
        try:
            return send_data_set(
                assoc,
                sent.sop_class_uid,
                sent.sop_instance_uid,
                sent.transfer_syntax_uid,
                sent.data_set,
                message_id=number % 65535 + 1,
                move_originator=originator,
            )
        except (NoContextError, NoAnswerError):
            return None

    def _falsified(self, stored: StoredObject) -> StoredObject:
        data_set = stored.data_set
        if self._faults.retrieve_alters:
            data_set = data_set[:-1] + bytes([data_set[-1] ^ 0xFF])
        if self._faults.retrieve_new_uids:
            new_uid = _other_uid(stored.sop_instance_uid)
            data_set = data_set.replace(stored.sop_instance_uid.encode(), new_uid.encode())
            return replace(stored, sop_instance_uid=new_uid, data_set=data_set)
        return replace(stored, data_set=data_set)

    @property
    def _is_cancelled(self) -> bool:
        return int(self._request.MessageID or 0) in self._assoc.dimse.cancel_req

    def _finish(self) -> None:
        counts = self._counts
        if self._faults.retrieve_sends_nothing:
            counts = Counts(0, len(self._selected))
        if self._is_cancelled:
            self._respond(CANCEL, counts)
            return
        counts.failed += counts.remaining
        counts.remaining = 0
        self._respond(counts.final_status, counts)

    def _respond(self, status: int, counts: Counts) -> None:
        if not self._assoc.is_established:
            return
        response = type(self._request)()
        if self._faults.retrieve_counts_nothing and status != PENDING:
            counts = Counts(0)
        if status in (PENDING, CANCEL):
            response.NumberOfRemainingSuboperations = counts.remaining
        response.NumberOfCompletedSuboperations = counts.completed
        response.NumberOfFailedSuboperations = counts.failed
        response.NumberOfWarningSuboperations = counts.warning
        if status not in (PENDING, SUCCESS) and counts.failed_uids:
            response.Identifier = write_identifier({"FailedSOPInstanceUIDList": "\\".join(counts.failed_uids)}, self._context)
        send_response(self._assoc, self._request, self._context, response, status)


def _pair(stored: StoredObject) -> tuple[str, str]:
    return stored.sop_class_uid, stored.transfer_syntax_uid


def _batches(objects: Sequence[StoredObject]) -> Iterator[list[StoredObject]]:
    """Cut where the contexts, one per SOP class and transfer syntax, would be more than one association can have."""
    batch: list[StoredObject] = []
    pairs: set[tuple[str, str]] = set()
    for stored in objects:
        if _pair(stored) not in pairs and len(pairs) == MAX_CONTEXTS:
            yield batch
            batch, pairs = [], set()
        pairs.add(_pair(stored))
        batch.append(stored)
    if batch:
        yield batch


def _other_uid(uid: str) -> str:
    """Make another UID of the same length, so that it fits into the data set in place of the first."""
    digits = str(uuid4().int)
    return uid[: len(uid) // 2] + digits[: len(uid) - len(uid) // 2]
