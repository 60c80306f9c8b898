"""An association that we request, on the engine's own wire: negotiation, requests and their responses, release.

Every failure leaves here as one of vna.errors, with a hint.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from vna.dimse import commands, hints, negotiation, pdus, tls
from vna.dimse.commands import Command
from vna.dimse.limits import IDENTIFIER_BYTES, MIN_RATE
from vna.dimse.messages import MessageStream
from vna.dimse.negotiation import AssociateAccept, Context, Proposal
from vna.dimse.wire import Wire, aborted, tune
from vna.errors import ConfigError, DimseStatusError
from vna.model import Local, Node

log = logging.getLogger(__name__)

MAX_PDU: Final = 256 << 10
"""What we announce as requestor: only responses, and the objects of C-GET, come back."""

STALL_S: Final = 60.0


def connect(node: Node, local: Local) -> socket.socket:
    """Open the connection to ``node``, TLS included where it speaks that. Raises UnreachableError with a hint."""
    context = tls.client_context(node, local)
    sock: socket.socket | None = None
    try:
        sock = socket.create_connection((node.host, node.port), timeout=node.acse_timeout_s)
        tune(sock)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=node.host)
    except OSError as exc:
        if sock is not None:
            sock.close()
        raise hints.unreachable(exc, node) from exc
    return sock


@contextlib.contextmanager
def _errors(node: Node, doing: str) -> Iterator[None]:
    try:
        yield
    except pdus.AssociationEnd as exc:
        raise hints.ended(exc, node, doing) from exc


class _Ending:
    """See :meth:`Association.ending`; a class, since three are made for each object."""

    __slots__ = ("_assoc", "_doing")

    def __init__(self, assoc: Association, doing: str) -> None:
        self._assoc = assoc
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(exc, pdus.AssociationEnd):
            assoc = self._assoc
            assoc.is_open = False
            if isinstance(exc, (pdus.ProtocolError, pdus.TimedOut)):
                assoc.wire.abort(pdus.BY_PROVIDER, getattr(exc, "reason", 0))
            assoc.wire.close()
            raise hints.ended(exc, assoc.node, self._doing) from exc


class Association:
    """One association with ``node``, established by the constructor and released at the end of the ``with`` block.

    ``contexts`` holds every answer of the peer, accepted or not. ``on_wire`` is given the wire before the negotiation, so that
    another thread can interrupt that. Leaving the block by an exception aborts instead. Raises
    UnreachableError, AssociationRejectedError or AssociationAbortedError; ConfigError for AE titles that cannot be encoded.
    """

    def __init__(
        self,
        node: Node,
        local: Local,
        proposals: Sequence[Proposal],
        *,
        scp_roles: Sequence[str] = (),
        max_pdu: int = MAX_PDU,
        timeout_s: float = 0,
        on_wire: Callable[[Wire], None] | None = None,
    ) -> None:
        self.node = node
        self._timeout_s = timeout_s or node.dimse_timeout_s
        self._message_id = 0
        self.is_open = False
        try:
            request = negotiation.encode_request(local.ae_title, node.ae_title, proposals, max_pdu=max_pdu, scp_roles=scp_roles)
        except ValueError as exc:
            raise ConfigError(f"no association can be asked for with these names: {exc}") from exc
        self.wire = Wire(connect(node, local), timeout_s=node.acse_timeout_s)
        try:
            if on_wire is not None:
                on_wire(self.wire)
            accept = self._negotiate(request, proposals, local)
        except BaseException:
            self.wire.close()
            raise
        self.is_open = True
        self.contexts: tuple[Context, ...] = accept.contexts
        self.accepted = {context.context_id: context for context in accept.contexts if context.result == negotiation.ACCEPTANCE}
        self.peer_max_pdu = accept.max_pdu
        self.wire.deadline = float("inf")
        self.wire.set_timeout(self._timeout_s)
        stall_s = max(STALL_S, self._timeout_s)
        self.stream = MessageStream(
            self.wire,
            self.accepted,
            max_pdu=max_pdu,
            stall_s=stall_s,
            min_rate=MIN_RATE,
            min_rate_after_s=stall_s,
        )
        log.debug("association with %s: %d of %d contexts accepted", node.name, len(self.accepted), len(proposals))

    def _negotiate(self, request: bytes, proposals: Sequence[Proposal], local: Local) -> AssociateAccept:
        with _errors(self.node, hints.NEGOTIATING):
            self.wire.deadline = time.monotonic() + self.node.acse_timeout_s
            self.wire.send(request)
            kind, pdu = self.wire.read_pdu(0)
            if kind == pdus.A_ASSOCIATE_AC:
                return negotiation.decode_accept(pdu, proposals)
            if kind == pdus.A_ABORT:
                raise aborted(pdu)
            if kind != pdus.A_ASSOCIATE_RJ:
                raise pdus.ProtocolError("PDU_PROTOCOL", f"a PDU of type {kind} in answer to A-ASSOCIATE-RQ")
        raise hints.rejected(pdu[7], pdu[8], pdu[9], self.node, local)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if exc is None:
            self.release()
        else:
            self.abort()

    def context_for(self, abstract_syntax: str) -> Context:
        """Return the accepted context of a SOP class. Raises DimseStatusError (0122, not supported) where there is none."""
        for context in self.accepted.values():
            if context.abstract_syntax == abstract_syntax:
                return context
        raise DimseStatusError(
            f"{self.node.name}: the peer does not offer {abstract_syntax}",
            ae_title=self.node.ae_title,
            status=0x0122,
            hint="the service is switched off at the peer, or not granted to our AE title",
        )

    def next_message_id(self) -> int:
        """Return the next Message ID, 1 to 65535 and round again."""
        self._message_id = self._message_id % 65535 + 1
        return self._message_id

    def request(self, context: Context, field: int, elements: dict[int, bytes], identifier: bytes | None = None) -> int:
        """Send a request, with its identifier where it has one, and return its Message ID."""
        message_id = self.next_message_id()
        whole = {commands.MESSAGE_ID: commands.us(message_id), **elements}
        command = commands.encode(field, whole, data_set=identifier is not None)
        message = commands.command_pdu(command, context.context_id, self.peer_max_pdu)
        if identifier is not None:
            message += commands.fragments(identifier, context.context_id, 0, self.peer_max_pdu)
        with self.ending("sending a request"):
            self.wire.send(message)
        return message_id

    def receive(self) -> tuple[int, Command]:
        """Wait for the next command set of the peer, response or request: its context ID and its elements."""
        with self.ending("waiting for an answer"):
            return self.stream.read_command()

    def response(self, message_id: int) -> tuple[Command, bytes]:
        """Wait for a response to ``message_id``; return it with its identifier ('' where it has none)."""
        context_id, command = self.receive()
        with self.ending("reading an answer"):
            self.check_response(command, message_id)
            return command, self.read_identifier(context_id, command)

    def check_response(self, command: Command, message_id: int) -> None:
        """Raise ProtocolError unless ``command`` is a response to ``message_id``."""
        if not command.field & commands.RESPONSE or command.number(commands.MESSAGE_ID_RESPONDED_TO) != message_id:
            raise pdus.ProtocolError("PDU_PROTOCOL", "an answer to something that was not asked")

    def read_identifier(self, context_id: int, command: Command) -> bytes:
        """Read the identifier that follows a response, bounded; empty where none follows."""
        if not command.has_data_set:
            return b""
        data = bytearray()
        self.stream.read_data(context_id, data.extend, IDENTIFIER_BYTES)
        return bytes(data)

    def ending(self, doing: str) -> _Ending:
        """Turn an end of the association in a ``with`` block into a PeerError; a peer that broke the protocol is told so."""
        return _Ending(self, doing)

    def release(self) -> None:
        """Release the association (PS3.8 7.2). A peer that no longer answers is no reason to fail: nothing is outstanding."""
        if not self.is_open:
            return
        self.is_open = False
        with contextlib.suppress(pdus.AssociationEnd):
            self.wire.set_timeout(min(self.node.acse_timeout_s, 5))
            self.wire.send(pdus.RELEASE_RQ)
            kind, _ = self.wire.read_pdu(MAX_PDU)
            if kind == pdus.A_RELEASE_RQ:  # both at once (PS3.8 9.2.2.2): answer and go
                self.wire.send(pdus.RELEASE_RP)
        self.wire.close()

    def abort(self) -> None:
        """Abort the association; safe in any state."""
        if self.is_open:
            self.is_open = False
            self.wire.abort(pdus.BY_USER)
