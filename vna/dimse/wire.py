"""The socket under an association: blocking, bounded, with a deadline for every read.

Nagle's algorithm is switched off on our end. A peer that leaves it on and writes a PDU's header and body in two calls waits 40 ms
for a delayed acknowledgement, object after object. Where a read inside a message takes that long, delayed acknowledgement is
disabled again before each read from then on (TCP_QUICKACK does not last); for any other peer the acknowledgements would cost more
than all that we compute for a PDU.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from typing import Final

from vna.dimse import pdus
from vna.dimse.pdus import Aborted, ConnectionLost, ProtocolError, TimedOut

BUFFER_BYTES: Final = 256 << 10
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)
_STALL_S: Final = 0.02  # half of what a delayed acknowledgement takes at least
_TIMEVAL = struct.Struct("@ll")
_IOV_MAX: Final = 1000


def tune(sock: socket.socket) -> None:
    """Send small PDUs at once, and find out some day that a silent peer is gone."""
    with contextlib.suppress(OSError):  # a peer may be gone already; the next read says so
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class Wire:
    """One connection with its receive buffer.

    ``need`` makes bytes available in ``view[position:have]``; whoever takes them advances ``position``. Views into the buffer
    are valid until the next ``need`` or ``fill``. Every method raises a subclass of AssociationEnd when the connection is over.
    """

    __slots__ = ("_buffer", "_can_be_quick", "_is_quick", "_plain", "deadline", "have", "position", "sock", "view")

    def __init__(self, sock: socket.socket, *, timeout_s: float, buffer_bytes: int = BUFFER_BYTES, received: bytes = b"") -> None:
        self.sock = sock
        self._plain = not isinstance(sock, ssl.SSLSocket)
        self._is_quick = False
        self._can_be_quick = _QUICKACK is not None and sock.family in (socket.AF_INET, socket.AF_INET6)
        self._buffer = bytearray(max(buffer_bytes, len(received)))
        self.view = memoryview(self._buffer)
        self.view[: len(received)] = received
        self.position = 0
        self.have = len(received)
        self.deadline = float("inf")
        self.set_timeout(timeout_s)

    def set_timeout(self, seconds: float) -> None:
        """Bound each read and write. A kernel timeout on a blocking socket saves the poll that Python's own would cost."""
        if self._plain:
            self.sock.settimeout(None)
            value = _TIMEVAL.pack(int(seconds), max(int(seconds % 1 * 1e6), 0 if seconds >= 1 else 1))
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
        else:
            self.sock.settimeout(seconds)

    def need(self, count: int) -> None:
        """Have at least ``count`` bytes (a header's worth) from ``position`` on."""
        while self.have - self.position < count:
            self.fill()

    def fill(self, due: int = 0, *, between_messages: bool = False) -> None:
        """Read what is there, at least one byte. Raises TimedOut for silence and past ``deadline``.

        ``due`` bytes are known to come: they are waited for in the kernel, which saves a thousand wake-ups on a large object.
        ``between_messages`` the peer may take its time.
        """
        began = time.monotonic()
        position, have = self.position, self.have
        if position == have:
            self.position = have = 0
        elif len(self._buffer) - have < 4096:
            rest = bytes(self.view[position:have])
            have = len(rest)
            if have == len(self._buffer):
                raise ProtocolError("PDU_PROTOCOL", "nothing takes what was received")
            self.view[:have] = rest
            self.position = 0
        try:
            if self._is_quick:
                self.sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)  # type: ignore[arg-type]
            if due and self._plain:
                count = self.sock.recv_into(self.view[have : have + due], 0, socket.MSG_WAITALL)
            else:
                count = self.sock.recv_into(self.view[have:])
        except (BlockingIOError, TimeoutError) as exc:
            self.have = have
            raise TimedOut("the peer was silent for too long") from exc
        except OSError as exc:
            raise ConnectionLost(f"the connection was lost ({exc.strerror or type(exc).__name__})") from exc
        if not count:
            raise ConnectionLost("the peer closed the connection")
        self.have = have + count
        now = time.monotonic()
        if now - began > _STALL_S and not between_messages:
            self._is_quick = self._can_be_quick
        if now > self.deadline:
            raise TimedOut("the peer was too slow")

    def take(self, count: int) -> bytes:
        """Take exactly ``count`` bytes off the wire, more than the buffer holds if need be; the caller has bounded it."""
        if count <= self.have - self.position:
            start = self.position
            self.position = start + count
            return bytes(self.view[start : self.position])
        pieces = bytearray()
        while len(pieces) < count:
            if self.position == self.have:
                self.fill()
            end = min(self.have, self.position + count - len(pieces))
            pieces += self.view[self.position : end]
            self.position = end
        return bytes(pieces)

    def read_pdu(self, max_pdu: int) -> tuple[int, bytes]:
        """Read one whole PDU that is not P-DATA: its type and everything, header included."""
        self.need(6)
        kind, length = pdus.HEADER.unpack_from(self.view, self.position)
        pdus.check_length(kind, length, max_pdu)
        return kind, self.take(6 + length)

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``."""
        try:
            self.sock.sendall(data)
        except (BlockingIOError, TimeoutError) as exc:
            raise TimedOut("the peer took nothing for too long") from exc
        except OSError as exc:
            raise ConnectionLost(f"the connection was lost ({exc.strerror or type(exc).__name__})") from exc

    def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send all parts in order, gathered into as few writes as the system allows."""
        try:
            if self._plain:
                self._send_gathered(parts)
            else:
                self.sock.sendall(b"".join(parts))
        except (BlockingIOError, TimeoutError) as exc:
            raise TimedOut("the peer took nothing for too long") from exc
        except OSError as exc:
            raise ConnectionLost(f"the connection was lost ({exc.strerror or type(exc).__name__})") from exc

    def _send_gathered(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        sendmsg = self.sock.sendmsg
        for start in range(0, len(parts), _IOV_MAX):
            group = list(parts[start : start + _IOV_MAX])
            left = sum(map(len, group))
            while left:
                sent = sendmsg(group)
                left -= sent
                if left:
                    while sent >= len(group[0]):
                        sent -= len(group.pop(0))
                    group[0] = memoryview(group[0])[sent:]

    def has_unread(self) -> bool:
        """Say whether something of the peer, its end included, is there already. Reads nothing, waits for nothing."""
        if self.have > self.position or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
            return True
        readable = select.poll()
        readable.register(self.sock, select.POLLIN)
        return bool(readable.poll(0))

    def has_ended(self) -> bool:
        """Say whether an idle connection was closed or aborted by the peer meanwhile. Reads nothing, waits for nothing."""
        if self.have > self.position:
            return True  # nothing may come unasked but an A-ABORT
        try:
            if self._plain:
                self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                return True
            patience = self.sock.gettimeout()
            self.sock.settimeout(0)
            try:
                self.sock.recv(1)
            finally:
                self.sock.settimeout(patience)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True

    def interrupt(self) -> None:
        """Make a read that blocks in another thread end, as if the peer had closed. The write side stays usable."""
        with contextlib.suppress(OSError):
            # SSLSocket.shutdown would drop the TLS session under the reader's feet; the plain one only ends the stream.
            socket.socket.shutdown(self.sock, socket.SHUT_RD)

    def abort(self, source: int, reason: int = 0) -> None:
        """Send A-ABORT if the peer still listens, and close."""
        with contextlib.suppress(OSError, pdus.AssociationEnd):
            self.set_timeout(1)
            self.send(pdus.abort(source, reason))
        self.close()

    def close(self) -> None:
        """Close the connection. Safe to repeat."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        self.sock.close()


def aborted(pdu: bytes) -> Aborted:
    """Make the exception of an A-ABORT PDU."""
    return Aborted(pdu[8], pdu[9])
