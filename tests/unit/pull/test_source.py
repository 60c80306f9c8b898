"""What a source says while it sends is read now and then, and costs a retrieve no time of its own."""

from __future__ import annotations

import fcntl
import struct
import termios
import threading
import time

import pytest

from tests.support.scripted import Scripted, scripted_peer
from tests.support.sinks import MemorySink
from vna.dimse.retry import Patience
from vna.model import Local
from vna.pull.requests import Request
from vna.pull.source import Method, Source, StoppedError

ANSWERS = 400
"""So many fit into what the system buffers for a connection."""


def wait_until_received(assoc: Scripted) -> None:
    """Wait until everything that was sent is in the other end's buffer."""
    deadline = time.monotonic() + 60
    while struct.unpack("i", fcntl.ioctl(assoc.wire.sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def source_at(node: object) -> Source:
    return Source(node, Local(port=11112), Method.MOVE, MemorySink(), None, Patience(attempts=1))  # type: ignore[arg-type]


@pytest.mark.parametrize("counts", [True, False], ids=["counting down", "never counting"])
def test_answers_that_have_come_already_are_not_waited_for_one_by_one(monkeypatch: pytest.MonkeyPatch, counts: bool) -> None:
    has_sent = threading.Event()
    waits: list[float] = []

    def script(assoc: Scripted) -> None:
        context_id, command, _ = assoc.receive()
        for remaining in range(ANSWERS, 0, -1):
            assoc.respond(context_id, command, 0xFF00, _1020=remaining if counts else ANSWERS, _1021=0, _1022=0, _1023=0)
            if remaining == ANSWERS:
                wait_until(waits)
        assoc.respond(context_id, command, 0x0000, _1021=ANSWERS, _1022=0, _1023=0)
        wait_until_received(assoc)
        has_sent.set()
        assoc.receive()

    with scripted_peer(script) as peer:
        source = source_at(peer.node(dimse_timeout_s=60))

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            assert has_sent.wait(60)
            return False

        monkeypatch.setattr(source._stopped, "wait", wait)
        source.retrieve(Request("1.2.3"), ())
    assert waits == [0.1], "a wait for each of the answers adds up"


def wait_until(waits: list[float]) -> None:
    deadline = time.monotonic() + 60
    while not waits:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def test_a_run_that_ends_is_not_kept_by_a_source_that_never_stops_answering() -> None:
    source: list[Source] = []

    def script(assoc: Scripted) -> None:
        context_id, command, _ = assoc.receive()
        assoc.respond(context_id, command, 0xFF00, _1020=9)
        source[0].stop()
        while True:
            assoc.respond(context_id, command, 0xFF00, _1020=9)

    with scripted_peer(script) as peer:
        source.append(source_at(peer.node()))
        with pytest.raises(StoppedError):
            source[0].retrieve(Request("1.2.3"), ())
