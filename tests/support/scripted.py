"""A peer that follows a script: it negotiates as it is told, then a function plays its part of one association."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vna.dimse import commands, negotiation, pdus
from vna.dimse.commands import Command
from vna.dimse.messages import MessageStream
from vna.dimse.negotiation import AssociateRequest, Context, Proposal
from vna.dimse.wire import Wire
from vna.model import Node

MAX_PDU = 16384


def accept_first(proposal: Proposal) -> Context:
    """Accept every context with its first transfer syntax."""
    return Context(proposal.context_id, proposal.abstract_syntax, proposal.transfer_syntaxes[0], 0)


class Scripted:
    """One association, seen from the scripted peer's side."""

    def __init__(self, wire: Wire, request: AssociateRequest, contexts: list[Context], number: int, max_pdu: int) -> None:
        self.wire = wire
        self.request = request
        self.contexts = {context.context_id: context for context in contexts if not context.result}
        self.number = number
        self._stream = MessageStream(wire, self.contexts, max_pdu=max_pdu or 1 << 30, stall_s=10)

    def receive(self) -> tuple[int, Command, bytes]:
        """Read the next request or response with its data set. Raises AssociationEnd where the association is over."""
        context_id, command = self._stream.read_command()
        data = bytearray()
        if command.has_data_set:
            self._stream.read_data(context_id, data.extend, 1 << 30)
        return context_id, command, bytes(data)

    def respond(self, context_id: int, request: Command, status: int, data: bytes | None = None, **elements: int) -> None:
        """Answer ``request``; ``elements`` named ``_1020`` and the like are added as US values."""
        values = {
            commands.MESSAGE_ID_RESPONDED_TO: request.elements[commands.MESSAGE_ID],
            commands.AFFECTED_SOP_CLASS_UID: request.elements[commands.AFFECTED_SOP_CLASS_UID],
            commands.STATUS: commands.us(status),
            **{int(name[1:], 16): commands.us(value) for name, value in elements.items()},
        }
        answer = commands.encode(request.field | commands.RESPONSE, values, data_set=data is not None)
        self.wire.send(commands.command_pdu(answer, context_id))
        if data is not None:
            self.wire.send(commands.fragments(data, context_id, 0, MAX_PDU))

    def store(self, context_id: int, sop_instance_uid: str, data: bytes, message_id: int = 1) -> int:
        """Send a C-STORE sub-operation and return the status it gets."""
        values = {
            commands.AFFECTED_SOP_CLASS_UID: commands.uid(self.contexts[context_id].abstract_syntax),
            commands.MESSAGE_ID: commands.us(message_id),
            commands.PRIORITY: commands.us(0),
            commands.AFFECTED_SOP_INSTANCE_UID: commands.uid(sop_instance_uid),
        }
        self.wire.send(commands.command_pdu(commands.encode(commands.C_STORE_RQ, values, data_set=True), context_id))
        self.wire.send(commands.fragments(data, context_id, 0, MAX_PDU))
        return self.receive()[1].number(commands.STATUS)

    def abort(self) -> None:
        """Send A-ABORT and close."""
        self.wire.abort(pdus.BY_USER)

    def hang_up(self) -> None:
        """Close the connection without a word."""
        self.wire.close()


Script = Callable[[Scripted], None]


@dataclass
class ScriptedPeer:
    """A running scripted peer; ``requests`` are the association requests it got, ``problems`` what its script did not expect."""

    listener: socket.socket
    requests: list[AssociateRequest] = field(default_factory=list)
    problems: list[BaseException] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.listener.getsockname()[1])

    def close(self) -> None:
        """Take no further association; those that are open go on."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)

    def node(self, **options: object) -> Node:
        """Describe this peer as the product names it."""
        return Node(
            **{"name": "peer", "ae_title": "PEER", "port": self.port, "acse_timeout_s": 5, "dimse_timeout_s": 5, **options}
        )  # type: ignore[arg-type]


@contextmanager
def scripted_peer(
    script: Script, *, accept: Callable[[Proposal], Context] = accept_first, answer: bytes = b"", max_pdu: int = MAX_PDU
) -> Iterator[ScriptedPeer]:
    """Run a peer that plays ``script`` on every association; release is answered for it.

    With ``answer`` it sends these bytes to every request and closes instead. What the script raises fails the test.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    peer = ScriptedPeer(listener)
    threads: list[threading.Thread] = []

    def serve(sock: socket.socket, number: int) -> None:
        wire = Wire(sock, timeout_s=10)
        try:
            request = negotiation.decode_request(wire.read_pdu(MAX_PDU)[1])
            peer.requests.append(request)
            if answer:
                wire.send(answer)
                return
            contexts = [accept(proposal) for proposal in request.proposals]
            wire.send(negotiation.encode_accept(request, contexts, max_pdu=max_pdu, window=1))
            script(Scripted(wire, request, contexts, number, max_pdu))
        except pdus.Released:
            wire.send(pdus.RELEASE_RP)
        except pdus.ProtocolError as exc:
            peer.problems.append(exc)
        except pdus.AssociationEnd:
            pass
        except BaseException as exc:
            peer.problems.append(exc)
        finally:
            wire.close()

    def run() -> None:
        for number in range(1 << 30):
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(sock, number)))
            threads[-1].start()

    accepting = threading.Thread(target=run)
    accepting.start()
    try:
        yield peer
    finally:
        peer.close()
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join()
    if peer.problems:
        raise peer.problems[0]


def serve_store(*statuses: int, on_object: Callable[[Command, bytes], None] = lambda command, data: None) -> Script:
    """Make a script that answers the n-th C-STORE with the n-th status, and all further ones with the last."""

    def script(assoc: Scripted) -> None:
        remaining = list(statuses)
        while True:
            context_id, command, data = assoc.receive()
            on_object(command, data)
            assoc.respond(context_id, command, remaining.pop(0) if len(remaining) > 1 else remaining[0])

    return script
