"""One association that a peer opened with our storage SCP, served by one thread from its A-ASSOCIATE-RQ to its end."""

from __future__ import annotations

import contextlib
import logging
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from vna.dimse import commands, negotiation, pdus
from vna.dimse.access import AccessList
from vna.dimse.codes import REJECTIONS
from vna.dimse.commands import Command
from vna.dimse.limits import ScpLimits
from vna.dimse.messages import MessageStream, discard
from vna.dimse.negotiation import AssociateRequest, Context
from vna.dimse.sop_classes import APPLICATION_CONTEXT
from vna.dimse.storing import Stored, store
from vna.dimse.wire import Wire
from vna.model import Provenance, Receipt, Sink

log = logging.getLogger(__name__)

SourceOf = Callable[[str], str]
"""Calling AE title -> the name that receipts and provenance give to the source."""


class EventKind(StrEnum):
    """What the storage SCP tells: it listens, an association began, an object was stored or refused, an association was turned
    away, an association ended."""

    LISTENING = "listening"
    ASSOCIATION = "association"
    STORED = "stored"
    REFUSED = "refused"
    REJECTED = "rejected"
    CLOSED = "closed"


class Event(NamedTuple):
    """One thing that happened. ``code`` is a stable code for ``rejected`` and ``closed``, a DIMSE status for ``refused``."""

    kind: EventKind
    calling_ae_title: str = ""
    peer_address: str = ""
    code: str = ""
    detail: str = ""
    port: int = 0
    receipt: Receipt | None = None


OnEvent = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Service:
    """What all associations of one storage SCP share."""

    ae_title: str
    sink: Sink
    limits: ScpLimits
    access: AccessList
    source_of: SourceOf
    on_event: OnEvent | None

    def tell(self, event: Event) -> None:
        """Report an event to whoever listens."""
        if self.on_event is not None:
            self.on_event(event)


def rejection(code: str) -> bytes:
    """Build the A-ASSOCIATE-RJ for a code of :data:`vna.dimse.codes.REJECTIONS`."""
    answer = REJECTIONS[code].answer
    assert answer is not None
    return pdus.reject(*answer)


class _Rejected(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        self.pdu = rejection(code)


class Acceptor:
    """Serves one connection: :meth:`run` in a thread, :meth:`drain` from any other."""

    def __init__(self, service: Service, sock: socket.socket, address: str, request: bytes) -> None:
        self.address = address
        self._service = service
        self._request_pdu = request
        self._wire = Wire(sock, timeout_s=service.limits.stall_s)
        self._busy = True
        self._draining = False
        self._calling = ""
        self._contexts: dict[int, Context] = {}
        self._provenance: dict[str, Provenance] = {}

    def run(self) -> None:
        """Negotiate, answer requests until the association ends, close. Never raises."""
        code = detail = ""
        try:
            code, detail = self._run()
        except Exception as exc:  # noqa: BLE001 - the worker boundary: one association fails, the service goes on
            code, detail = "INTERNAL", type(exc).__name__
            log.error("an association failed: %s\n%s", type(exc).__name__, "".join(traceback.format_tb(exc.__traceback__)))
            self._wire.abort(pdus.BY_PROVIDER)
        finally:
            self._wire.close()
        log.info("association with %r at %s ended: %s", self._calling, self.address, code)
        self._tell(EventKind.CLOSED, code, detail)

    def drain(self) -> None:
        """End the association as soon as no request of it is under way."""
        self._draining = True
        if not self._busy:
            self._wire.interrupt()

    def kill(self) -> None:
        """Close the connection under whatever is under way."""
        self._wire.close()

    def _run(self) -> tuple[str, str]:
        try:
            self._negotiate()
            self._serve()
        except _Rejected as exc:
            with contextlib.suppress(pdus.AssociationEnd):
                self._wire.send(exc.pdu)
            self._tell(EventKind.REJECTED, exc.code)
            return "rejected", exc.code
        except pdus.Released:
            with contextlib.suppress(pdus.AssociationEnd):
                self._wire.send(pdus.RELEASE_RP)
            return "released", ""
        except pdus.ProtocolError as exc:
            self._wire.abort(pdus.BY_PROVIDER, exc.reason)
            self._tell(EventKind.REJECTED, exc.code, exc.detail)
            return "aborted", str(exc)
        except pdus.TimedOut as exc:
            self._wire.abort(pdus.BY_PROVIDER)
            return "timed_out", str(exc)
        except pdus.AssociationEnd as exc:
            if self._draining:
                self._wire.abort(pdus.BY_USER)
                return "drained", ""
            return ("aborted" if isinstance(exc, pdus.Aborted) else "lost"), str(exc)
        self._wire.abort(pdus.BY_USER)
        return "drained", ""

    def _negotiate(self) -> None:
        request = negotiation.decode_request(self._request_pdu)
        self._request_pdu = b""
        self._calling = request.calling_ae_title
        self._check(request)
        limits = self._service.limits
        answers = [negotiation.accept_context(proposal) for proposal in request.proposals]
        self._contexts = {answer.context_id: answer for answer in answers if answer.result == negotiation.ACCEPTANCE}
        window = min(request.window or limits.window, limits.window)
        self._wire.send(negotiation.encode_accept(request, answers, max_pdu=limits.max_pdu, window=window))
        self._request = request
        self._stream = MessageStream(
            self._wire,
            self._contexts,
            max_pdu=limits.max_pdu,
            stall_s=limits.stall_s,
            min_rate=limits.min_rate,
            min_rate_after_s=limits.min_rate_after_s,
        )
        software = request.implementation[:16]
        log.info("association with %r (%r) at %s: %d contexts", self._calling, software, self.address, len(self._contexts))
        self._tell(EventKind.ASSOCIATION)

    def _check(self, request: AssociateRequest) -> None:
        access = self._service.access
        if not request.protocol_version & 1:
            raise _Rejected("PROTOCOL_VERSION")
        if request.application_context != APPLICATION_CONTEXT:
            raise _Rejected("APPLICATION_CONTEXT")
        if not access.is_called(request.called_ae_title):
            raise _Rejected("CALLED_AE")
        if not access.admits(request.calling_ae_title, self.address):
            raise _Rejected("CALLING_AE")

    def _serve(self) -> None:
        """Answer requests one after the other; returns when draining."""
        limits = self._service.limits
        while True:
            self._busy = False
            if self._draining:
                return
            self._stream.wait(limits.idle_s)
            self._busy = True
            context_id, command = self._stream.read_command()
            field = command.field
            if field == commands.C_CANCEL_RQ:
                continue
            if field & commands.RESPONSE:
                raise pdus.ProtocolError("DIMSE_COMMAND", "a response to nothing")
            command.number(commands.MESSAGE_ID)  # without one there is no answering
            stored: Stored | None = None
            if field == commands.C_STORE_RQ:
                stored = self._store(context_id, command)
                status = stored.status
            else:
                if command.has_data_set:
                    self._stream.read_data(context_id, discard, limits.object_bytes)
                status = 0x0000 if field == commands.C_ECHO_RQ else 0x0211
            answer = commands.response(command, status)
            try:
                self._wire.send(commands.command_pdu(answer, context_id, self._request.max_pdu))
            finally:  # the peer need not wait for what others are told
                if stored is not None:
                    self._tell_stored(stored)
                    stored.tidy()

    def _store(self, context_id: int, command: Command) -> Stored:
        service = self._service
        return store(
            self._stream,
            context_id,
            command,
            self._contexts[context_id].transfer_syntax,
            service.sink,
            self._provenance_of(command),
            service.limits.object_bytes,
        )

    def _tell_stored(self, stored: Stored) -> None:
        if self._service.on_event is not None:
            kind = EventKind.STORED if stored.receipt else EventKind.REFUSED
            code = "" if stored.receipt else f"0x{stored.status:04X}"
            self._service.tell(Event(kind, self._calling, self.address, code, receipt=stored.receipt))

    def _provenance_of(self, command: Command) -> Provenance:
        originator = command.text(commands.MOVE_ORIGINATOR_AE_TITLE).strip()
        known = self._provenance.get(originator)
        if known is None:
            known = Provenance(
                source=self._service.source_of(self._calling),
                calling_ae_title=self._calling,
                called_ae_title=self._request.called_ae_title,
                peer_address=self.address,
                move_originator=originator,
            )
            if len(self._provenance) < 64:  # a peer makes these up
                self._provenance[originator] = known
        return known

    def _tell(self, kind: EventKind, code: str = "", detail: str = "") -> None:
        self._service.tell(Event(kind, self._calling, self.address, code, detail))
