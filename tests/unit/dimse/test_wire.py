"""Delayed acknowledgement is disabled for peers that wait for it, and left alone for all others."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.peers import skip_unless_ci
from vna.dimse.wire import Wire


@pytest.fixture(autouse=True)
def _on_linux() -> None:
    if not hasattr(socket, "TCP_QUICKACK"):
        skip_unless_ci("the system has no TCP_QUICKACK: run it on Linux")


class Watched(socket.socket):
    """A socket that counts how often delayed acknowledgement was disabled."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.quick = 0

    def setsockopt(self, level: int, option: int, *value: Any) -> None:
        self.quick += (level, option) == (socket.IPPROTO_TCP, socket.TCP_QUICKACK)
        super().setsockopt(level, option, *value)


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as peer:
        accepted, _ = listener.accept()
        with Watched(fileno=accepted.detach()) as ours:
            yield Wire(ours, timeout_s=60), peer


def quick(wire: Wire) -> int:
    assert isinstance(wire.sock, Watched)
    return wire.sock.quick


def later(peer: socket.socket, data: bytes) -> threading.Timer:
    """Send when a delayed acknowledgement would have come."""
    timer = threading.Timer(0.2, peer.sendall, (data,))
    timer.start()
    return timer


def test_a_peer_that_pauses_inside_a_message_is_acknowledged_at_once_from_then_on(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    peer.sendall(b"abc")
    timer = later(peer, b"def")
    wire.need(6)
    timer.join()
    assert quick(wire) == 0
    peer.sendall(b"ghi")
    wire.need(9)
    assert quick(wire) == 1


def test_a_pause_between_messages_says_nothing(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    timer = later(peer, b"abc")
    wire.fill(between_messages=True)
    timer.join()
    peer.sendall(b"def")
    wire.fill()
    assert quick(wire) == 0


def test_what_is_there_unread_is_seen_without_reading_it(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    assert not wire.has_unread()
    peer.sendall(b"abc")
    wire.need(3)
    wire.position = 1
    assert wire.has_unread()
    wire.position = 3
    assert not wire.has_unread()
    peer.close()
    select.select([wire.sock], [], [], 60)
    assert wire.has_unread()


def test_a_peer_with_nagles_algorithm_waits_once_and_not_for_each_object(ends: tuple[Wire, socket.socket]) -> None:
    wire, peer = ends
    pauses = 0

    def send() -> None:
        for _ in range(50):
            peer.sendall(b"header")
            peer.sendall(b"body")
            assert peer.recv(2) == b"ok"

    thread = threading.Thread(target=send)
    thread.start()
    for _ in range(50):
        wire.fill(between_messages=True)
        before = time.monotonic()
        wire.need(10)
        pauses += time.monotonic() - before > 0.03 and quick(wire) == 0
        wire.position += 10
        wire.send(b"ok")
    thread.join()
    assert pauses <= 1, "what is disabled once stays so"
