"""A peer that can break every rule: an association written byte by byte on a plain socket."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Self

from vna.dimse import commands, negotiation, pdus
from vna.dimse.commands import Command
from vna.dimse.negotiation import AssociateAccept, Proposal

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
CT_AND_ECHO = negotiation.contexts_for([(CT, (EXPLICIT,)), (VERIFICATION, (EXPLICIT,))])


def associate_request(
    proposals: Sequence[Proposal] = CT_AND_ECHO, *, calling: str = "RAW", called: str = "VNA", window: int | None = None
) -> bytes:
    """Build the A-ASSOCIATE-RQ of a well-behaved peer."""
    return negotiation.encode_request(calling, called, proposals, max_pdu=16384, window=window)


def store_request(sop_instance_uid: str, *, message_id: int = 1, sop_class_uid: str = CT, **elements: bytes) -> bytes:
    """Build a C-STORE-RQ command set; ``elements`` named ``_0800`` and the like replace or add elements."""
    values = {
        commands.AFFECTED_SOP_CLASS_UID: commands.uid(sop_class_uid),
        commands.MESSAGE_ID: commands.us(message_id),
        commands.PRIORITY: commands.us(0),
        commands.AFFECTED_SOP_INSTANCE_UID: commands.uid(sop_instance_uid),
        **{int(name[1:], 16): value for name, value in elements.items()},
    }
    return commands.encode(commands.C_STORE_RQ, values, data_set=True)


def echo_request(message_id: int = 1) -> bytes:
    """Build a C-ECHO-RQ command set."""
    values = {commands.AFFECTED_SOP_CLASS_UID: commands.uid(VERIFICATION), commands.MESSAGE_ID: commands.us(message_id)}
    return commands.encode(commands.C_ECHO_RQ, values, data_set=False)


def p_data(data: bytes, context_id: int = 1, flags: int = pdus.LAST) -> bytes:
    """Frame bytes as one P-DATA-TF PDU with one value."""
    return pdus.P_DATA_HEADER.pack(pdus.P_DATA_TF, len(data) + 6, len(data) + 2, context_id, flags) + data


class RawPeer:
    """One connection to an SCP on loopback, from ``source`` if given; reads wait at most ``timeout_s``."""

    def __init__(self, port: int, *, source: str = "", timeout_s: float = 10) -> None:
        self.sock = socket.create_connection(
            ("127.0.0.1", port), timeout=timeout_s, source_address=(source, 0) if source else None
        )
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accept: AssociateAccept | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def associate(self, proposals: Sequence[Proposal] = CT_AND_ECHO, **names: str) -> Self:
        """Negotiate; fails unless accepted."""
        self.send(associate_request(proposals, **names))  # type: ignore[arg-type]
        pdu = self.read_pdu()
        assert pdu[:1] == b"\x02", pdu[:10]
        self.accept = negotiation.decode_accept(pdu, proposals)
        return self

    def store(self, sop_instance_uid: str, data_set: bytes, *, fragment: int = 8192, message_id: int = 1) -> int:
        """Store one object and return the status of the response."""
        self.send(p_data(store_request(sop_instance_uid, message_id=message_id), flags=pdus.COMMAND | pdus.LAST))
        for start in range(0, len(data_set), fragment):
            piece = data_set[start : start + fragment]
            self.send(p_data(piece, flags=pdus.LAST if start + fragment >= len(data_set) else 0))
        return self.read_response().number(commands.STATUS)

    def echo(self) -> int:
        """Send a C-ECHO in the second context and return the status of the response."""
        self.send(p_data(echo_request(), context_id=3, flags=pdus.COMMAND | pdus.LAST))
        return self.read_response().number(commands.STATUS)

    def read_response(self) -> Command:
        """Read a response that comes in one PDU."""
        pdu = self.read_pdu()
        assert pdu[0] == pdus.P_DATA_TF, pdu[:10]
        return commands.parse(pdu[12:])

    def read_pdu(self) -> bytes:
        """Read one PDU, header included; fewer bytes, or none, where the connection ends."""
        header = self._read(6)
        return header + self._read(int.from_bytes(header[2:6], "big")) if len(header) == 6 else header

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                piece = self.sock.recv(count - len(data))
            except ConnectionError:
                break
            if not piece:
                break
            data += piece
        return data
