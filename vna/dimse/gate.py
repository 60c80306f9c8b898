"""The gate of the storage SCP: holds connections until their first PDU is whole, on one selector and without a thread each.

Until then a stranger costs a socket and the bytes it has sent, both bounded, in total and by address; it has a deadline from the
moment of its accept, and it counts against nobody's association limit. The TLS handshake happens here too, without blocking.

Where several processes accept from one socket, whoever serves more associations lets the others go first: it looks away from the
socket for a moment, and goes on with all else meanwhile. In a burst of connections that adds up to so much and no more. A process
that has no place left looks away for longer, and turns away what is there still, since then nobody else has a place either.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from vna.dimse import pdus
from vna.dimse.limits import ScpLimits
from vna.dimse.pdus import ProtocolError
from vna.dimse.wire import tune

log = logging.getLogger(__name__)

Admit = Callable[[socket.socket, str, bytes], None]
"""Takes a connection whose A-ASSOCIATE-RQ is whole: socket, peer address, the PDU."""

Refused = Callable[[str, str], None]
"""Told of a connection that was dropped: peer address, code."""

_ACCEPTS_AT_ONCE: Final = 64
_CHUNK: Final = 64 << 10
_BREATH_S: Final = 0.05
_BURST_S: Final = 0.3
_GIVE_WAY_S: Final = 0.001  # for each association that is served here
_LONGEST_GIVE_WAY_S: Final = 0.01
_GIVE_WAY_A_BURST_S: Final = 0.03
_FULL_S: Final = 0.05
_TURNED_AWAY_AT_ONCE: Final = 8


@dataclass(eq=False, slots=True)
class _Waiting:
    sock: socket.socket
    address: str
    deadline: float
    shaking_hands: bool
    received: bytearray = field(default_factory=bytearray)
    due: int = pdus.HEADER.size


class Gate:
    """Runs in one thread (:meth:`run`) until :meth:`stop`; the listening socket is the caller's.

    ``serving`` tells how many associations this process serves, where other processes accept from the same socket.
    """

    def __init__(
        self,
        listener: socket.socket,
        limits: ScpLimits,
        tls: ssl.SSLContext | None,
        admit: Admit,
        refused: Refused,
        serving: Callable[[], int] | None = None,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._limits = limits
        self._tls = tls
        self._admit = admit
        self._refused = refused
        self._serving = serving
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[_Waiting, None] = {}  # in the order of their accepts, so of their deadlines
        self._by_address: Counter[str] = Counter()
        self._bytes = 0
        self._looks_again_at: float | None = None  # where we look away from the listening socket
        self._then_accept = 0
        self._burst_ends_at = 0.0
        self._may_give_way_s = 0.0
        self._stopping = False
        self._wake_up, self._woken = socket.socketpair()
        self._woken.setblocking(False)

    def stop(self) -> None:
        """End :meth:`run` soon; the connections that still wait are closed."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake_up.send(b"\0")

    def run(self) -> None:
        """Accept and wait until stopped."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        try:
            while not self._stopping:
                try:
                    self._turn()
                except Exception as exc:  # noqa: BLE001 - the worker boundary: one connection fails, the gate stays open
                    where = "".join(traceback.format_tb(exc.__traceback__))
                    log.error("a connection could not be handled: %s\n%s", type(exc).__name__, where)
        finally:
            for waiting in list(self._waiting):
                self._drop(waiting, "")
            self._selector.close()
            self._wake_up.close()
            self._woken.close()

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._patience()):
            if isinstance(key.data, _Waiting):
                self._advance(key.data)
            elif key.fileobj is self._listener:
                self._accept_or_give_way()
        if self._looks_again_at is not None and self._looks_again_at <= time.monotonic():
            self._look_again()
        self._expire()

    def _patience(self) -> float | None:
        moments = [] if self._looks_again_at is None else [self._looks_again_at]
        first = next(iter(self._waiting), None)
        if first is not None:
            moments.append(first.deadline)
        return max(min(moments) - time.monotonic(), 0.001) if moments else None

    def _accept_or_give_way(self) -> None:
        if self._serving is None:
            self._accept(_ACCEPTS_AT_ONCE)
        elif self._is_full():
            self._look_away(_FULL_S, _TURNED_AWAY_AT_ONCE)
        elif (pause_s := self._take_pause(self._serving() + len(self._waiting))) > 0:
            self._look_away(pause_s, 1)
        else:
            self._accept(1)

    def _is_full(self) -> bool:
        return self._serving is not None and self._serving() >= self._limits.associations

    def _take_pause(self, busy: int) -> float:
        """Say for how long an idler process may go first, and take that off what there is of it in this burst."""
        now = time.monotonic()
        if now >= self._burst_ends_at:
            self._burst_ends_at = now + _BURST_S
            self._may_give_way_s = _GIVE_WAY_A_BURST_S
        pause_s = min(busy * _GIVE_WAY_S, _LONGEST_GIVE_WAY_S, self._may_give_way_s)
        self._may_give_way_s -= pause_s
        return pause_s

    def _look_away(self, seconds: float, then_accept: int) -> None:
        self._looks_again_at = time.monotonic() + seconds
        self._then_accept = then_accept
        self._selector.unregister(self._listener)

    def _look_again(self) -> None:
        self._looks_again_at = None
        self._selector.register(self._listener, selectors.EVENT_READ)
        if self._is_full() and self._then_accept < _TURNED_AWAY_AT_ONCE:  # it has become so meanwhile
            self._look_away(_FULL_S, _TURNED_AWAY_AT_ONCE)
        else:
            self._accept(self._then_accept)

    def _accept(self, at_most: int) -> None:
        for _ in range(at_most):
            try:
                sock, peer = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as exc:  # the peer is gone already, or descriptors have run out
                log.warning("a connection could not be accepted (%s)", exc.strerror or type(exc).__name__)
                if self._waiting:
                    self._drop(next(iter(self._waiting)), "WAITING_LIMIT")
                else:
                    self._look_away(_BREATH_S, 1)
                return
            try:
                self._hold(sock, str(peer[0]))
            except OSError:  # gone already
                sock.close()

    def _hold(self, sock: socket.socket, address: str) -> None:
        limits = self._limits
        tune(sock)
        sock.setblocking(False)
        patience = limits.first_pdu_s
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            patience = min(patience, limits.handshake_s)
        if self._by_address[address] >= limits.waiting_per_address:
            self._drop(next(w for w in self._waiting if w.address == address), "WAITING_LIMIT")
        elif len(self._waiting) >= limits.waiting:
            worst = self._by_address.most_common(1)[0][0]
            self._drop(next(w for w in self._waiting if w.address == worst), "WAITING_LIMIT")
        waiting = _Waiting(sock, address, time.monotonic() + patience, self._tls is not None)
        self._waiting[waiting] = None
        self._by_address[address] += 1
        self._selector.register(sock, selectors.EVENT_READ, waiting)
        self._advance(waiting)  # most peers have sent their request by now

    def _advance(self, waiting: _Waiting) -> None:
        try:
            if waiting.shaking_hands:
                assert isinstance(waiting.sock, ssl.SSLSocket)
                waiting.sock.do_handshake()
                waiting.shaking_hands = False
                self._watch(waiting, selectors.EVENT_READ)
            self._receive(waiting)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._watch(waiting, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._watch(waiting, selectors.EVENT_WRITE)
        except ProtocolError as exc:
            with contextlib.suppress(OSError):
                waiting.sock.send(pdus.abort(pdus.BY_PROVIDER, exc.reason))
            self._drop(waiting, exc.code)
        except OSError as exc:
            self._drop(waiting, "TLS" if isinstance(exc, ssl.SSLError) else "CLOSED")

    def _receive(self, waiting: _Waiting) -> None:
        while True:
            chunk = waiting.sock.recv(min(waiting.due - len(waiting.received), _CHUNK))
            if not chunk:
                raise ConnectionResetError
            waiting.received += chunk
            self._bytes += len(chunk)
            if len(waiting.received) == pdus.HEADER.size:
                kind, length = pdus.HEADER.unpack(waiting.received)
                pdus.check_length(kind, length, 0)
                if kind != pdus.A_ASSOCIATE_RQ:
                    raise ProtocolError("PDU_PROTOCOL", "the first PDU is no A-ASSOCIATE-RQ", reason=2)
                waiting.due += length
            if len(waiting.received) == waiting.due:
                self._forget(waiting)
                try:
                    self._admit(waiting.sock, waiting.address, bytes(waiting.received))
                except OSError:  # gone already
                    waiting.sock.close()
                return
            if self._bytes > self._limits.waiting_bytes:
                self._drop(max(self._waiting, key=lambda w: len(w.received)), "WAITING_LIMIT")
                if waiting not in self._waiting:
                    return

    def _watch(self, waiting: _Waiting, event: int) -> None:
        if waiting in self._waiting:
            self._selector.modify(waiting.sock, event, waiting)

    def _expire(self) -> None:
        now = time.monotonic()
        for waiting in list(self._waiting):
            if waiting.deadline > now:
                break
            self._drop(waiting, "TLS_DEADLINE" if waiting.shaking_hands else "ACCEPT_DEADLINE")

    def _forget(self, waiting: _Waiting) -> None:
        del self._waiting[waiting]
        self._bytes -= len(waiting.received)
        self._by_address[waiting.address] -= 1
        if not self._by_address[waiting.address]:
            del self._by_address[waiting.address]
        self._selector.unregister(waiting.sock)

    def _drop(self, waiting: _Waiting, code: str) -> None:
        if waiting not in self._waiting:
            return
        self._forget(waiting)
        waiting.sock.close()
        if code:
            self._refused(waiting.address, code)
