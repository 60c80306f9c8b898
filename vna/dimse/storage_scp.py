"""The Storage SCP (PS3.4 Annex B): C-STORE and C-ECHO on many associations at once, into a sink.

Every storage class, private and unknown ones included, and every transfer syntax is accepted; the data sets are opaque bytes. A
success is answered only after the sink has returned its receipt, which means durable; quarantined objects are durable too.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

from vna.dimse import tls
from vna.dimse.acceptor import Acceptor, Event, EventKind, OnEvent, Service, SourceOf, rejection
from vna.dimse.access import access_list
from vna.dimse.gate import Gate
from vna.dimse.limits import ScpLimits
from vna.errors import ConfigError
from vna.model import Local, Sink

__all__ = ["Event", "EventKind", "StorageScp", "open_listener", "storage_scp"]

log = logging.getLogger(__name__)


def open_listener(local: Local, port: int | None = None) -> socket.socket:
    """Bind and listen at ``[local]``; ``port`` overrides its port, 0 picks a free one. Several processes may share the socket.

    Raises ConfigError where the address cannot be had.
    """
    number = local.port if port is None else port
    try:
        return socket.create_server(
            (local.host, number), family=socket.AF_INET6 if ":" in local.host else socket.AF_INET, backlog=4096
        )
    except OSError as exc:
        raise ConfigError(
            f"cannot listen on {local.host}:{number} ({exc.strerror or type(exc).__name__})",
            hint="another program, or another run of this one, has the port; or host in [local] is no address of this machine",
        ) from exc


class StorageScp:
    """A running Storage SCP: a context manager that serves inside its block and drains when it ends.

    ``port`` is the port it listens on. Raises RefusedError for an address other than loopback with neither allow list nor TLS,
    ConfigError for an unusable address, allow list or certificate.
    """

    def __init__(
        self,
        local: Local,
        sink: Sink,
        *,
        port: int | None = None,
        source_of: SourceOf | None = None,
        on_event: OnEvent | None = None,
        limits: ScpLimits | None = None,
        listener: socket.socket | None = None,
        is_shared: bool = False,
    ) -> None:
        self.limits = limits or ScpLimits()
        access = access_list(local)
        context = tls.server_context(local)
        self._service = Service(local.ae_title, sink, self.limits, access, source_of or str, on_event)
        self._listener = listener or open_listener(local, port)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._running: dict[Acceptor, threading.Thread] = {}
        self._by_address: Counter[str] = Counter()
        serving = self._running.__len__ if is_shared else None
        self._gate = Gate(self._listener, self.limits, context, self._admit, self._refused, serving)
        self._thread = threading.Thread(target=self._gate.run, name=f"gate-{self.port}", daemon=True)
        self._stopped = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to accept. The ``with`` block does this."""
        self._thread.start()
        log.info("listening on port %d as %r", self.port, self._service.ae_title)
        self._service.tell(Event(EventKind.LISTENING, port=self.port))

    def stop(self, timeout_s: float | None = None) -> None:
        """Accept nothing more, let the objects under way finish, and close; after ``timeout_s`` (``drain_s``) cut what is left.

        Safe to repeat. What was not answered was not acknowledged: the peer keeps it.
        """
        if self._stopped:
            return
        self._stopped = True
        end = time.monotonic() + (self.limits.drain_s if timeout_s is None else timeout_s)
        self._gate.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self._listener.close()
        with self._lock:
            running = dict(self._running)
        for acceptor in running:
            acceptor.drain()
        for thread in running.values():
            thread.join(max(end - time.monotonic(), 0))
        for acceptor, thread in running.items():
            if thread.is_alive():
                acceptor.kill()
                thread.join(1)

    def _admit(self, sock: socket.socket, address: str, request: bytes) -> None:
        """Start an association's thread, or turn it away for now; called by the gate."""
        if self._starts(sock, address, request):
            return
        with contextlib.suppress(OSError):
            sock.send(rejection("ASSOC_LIMIT"))
        sock.close()
        self._refused(address, "ASSOC_LIMIT")

    def _starts(self, sock: socket.socket, address: str, request: bytes) -> bool:
        limits = self.limits
        with self._lock:
            if len(self._running) >= limits.associations or self._by_address[address] >= limits.associations_per_address:
                return False
            acceptor = Acceptor(self._service, sock, address, request)
            thread = threading.Thread(target=self._serve, args=(acceptor,), name=f"association-{address}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no thread left
                return False
            self._running[acceptor] = thread
            self._by_address[address] += 1
        return True

    def _serve(self, acceptor: Acceptor) -> None:
        try:
            acceptor.run()
        finally:
            with self._lock:
                del self._running[acceptor]
                self._by_address[acceptor.address] -= 1
                if not self._by_address[acceptor.address]:
                    del self._by_address[acceptor.address]

    def _refused(self, address: str, code: str) -> None:
        log.info("a connection from %s was dropped: %s", address, code)
        self._service.tell(Event(EventKind.REJECTED, peer_address=address, code=code))


def storage_scp(
    local: Local,
    sink: Sink,
    *,
    port: int | None = None,
    source_of: SourceOf | None = None,
    on_event: OnEvent | None = None,
    limits: ScpLimits | None = None,
    listener: socket.socket | None = None,
    is_shared: bool = False,
) -> StorageScp:
    """Make a Storage SCP for a ``with`` block: ``with storage_scp(local, sink, port=0) as scp: ... scp.port``.

    ``source_of`` names the source of a calling AE title (default: the title itself). ``on_event`` is called from the
    associations' threads. ``listener`` is a socket of :func:`open_listener`, for several processes on one port (``is_shared``).
    """
    return StorageScp(
        local, sink, port=port, source_of=source_of, on_event=on_event, limits=limits, listener=listener, is_shared=is_shared
    )
