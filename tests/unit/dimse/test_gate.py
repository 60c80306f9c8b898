"""Several processes accept from one socket, and share out what comes."""

from __future__ import annotations

import socket
import threading
import time
from types import SimpleNamespace

import pytest

from tests.support.associations import associate_request
from vna.dimse import gate
from vna.dimse.gate import Gate
from vna.dimse.limits import ScpLimits


@pytest.mark.parametrize("turn", range(4))
def test_whoever_serves_more_associations_lets_the_others_go_first(turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    admitted: list[str] = []
    taken = threading.Event()

    def give_way(seconds: float) -> None:
        if seconds:
            assert seconds == 0.003
            assert taken.wait(60)

    def gate_of(name: str, serving: int) -> Gate:
        def admit(sock: socket.socket, address: str, request: bytes) -> None:
            admitted.append(name)
            sock.close()
            taken.set()

        return Gate(listener, ScpLimits(), None, admit, lambda address, code: None, lambda: serving)

    monkeypatch.setattr(gate, "time", SimpleNamespace(monotonic=time.monotonic, sleep=give_way))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gates = [gate_of("idle", 0), gate_of("busy", 3)]
        threads = [threading.Thread(target=each.run) for each in gates]
        for thread in threads:
            thread.start()
        with socket.create_connection(listener.getsockname()) as peer:
            peer.sendall(associate_request())
            assert taken.wait(60)
        for each, thread in zip(gates, threads, strict=True):
            each.stop()
            thread.join()
    assert admitted == ["idle"]


def test_a_process_alone_gives_way_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(seconds: float) -> None:
        raise AssertionError("nobody else would take it")

    both = threading.Semaphore(0)

    def admit(sock: socket.socket, address: str, request: bytes) -> None:
        sock.close()
        both.release()

    monkeypatch.setattr(gate, "time", SimpleNamespace(monotonic=time.monotonic, sleep=never))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        alone = Gate(listener, ScpLimits(), None, admit, lambda address, code: None)
        peers = [socket.create_connection(listener.getsockname()) for _ in range(2)]
        for peer in peers:
            peer.sendall(associate_request())
        thread = threading.Thread(target=alone.run)
        thread.start()
        for peer in peers:
            assert both.acquire(timeout=60)
            peer.close()
        alone.stop()
        thread.join()
