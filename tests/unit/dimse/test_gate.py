"""Several processes accept from one socket, and share out what comes, each without keeping anybody waiting for it.

Here they are gates in threads, with a clock of the test's own: what is given way for cannot depend on how busy the machine is.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest

from tests.support.associations import associate_request
from vna.dimse import gate
from vna.dimse.gate import Gate
from vna.dimse.limits import ScpLimits

LIMITS = ScpLimits(associations=8)


class Clock:
    """Stands still, or jumps to where somebody waits for; it notes every sleep, which no gate may take."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reads = 0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        self.reads += 1
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(gate, "time", clock)
    return clock


@pytest.fixture
def jumping(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let nobody wait who gives way: where nothing is ready, the clock is set to the end of the wait."""

    class Selector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is None or timeout >= 1:  # that is for peers, who have the time they are granted
                return super().select(timeout)
            events = super().select(0)
            if not events:
                clock.now += timeout
            return events

    monkeypatch.setattr(gate, "selectors", SimpleNamespace(**{**vars(selectors), "DefaultSelector": Selector}))
    return clock


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield listener


@contextmanager
def running(*gates: Gate) -> Iterator[None]:
    threads = [threading.Thread(target=each.run) for each in gates]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for each, thread in zip(gates, threads, strict=True):
            each.stop()
            thread.join()


class Admitted:
    """What gates have admitted, by name, and when."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.names: list[str] = []
        self.moments: list[float] = []
        self._clock = clock

    def gate(self, listener: socket.socket, name: str, serving: Callable[[], int] | None, limits: ScpLimits = LIMITS) -> Gate:
        def admit(sock: socket.socket, address: str, request: bytes) -> None:
            self.moments.append(self._clock.now if self._clock else 0)
            self.names.append(name)
            sock.close()

        return Gate(listener, limits, None, admit, lambda address, code: None, serving)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def ask(listener: socket.socket) -> socket.socket:
    peer = socket.create_connection(listener.getsockname())
    peer.sendall(associate_request())
    return peer


def wait_until_seen(clock: Clock) -> None:
    """Wait until a gate that looks away has been awake several times since, and had every chance to accept."""
    reads = clock.reads
    wait_until(lambda: clock.reads > reads + 20)


@pytest.mark.parametrize("serving", [3, 7], ids=["some", "nearly full"])
def test_whoever_serves_more_associations_lets_the_others_go_first(listener: socket.socket, clock: Clock, serving: int) -> None:
    admitted = Admitted()
    with running(admitted.gate(listener, "busy", lambda: serving)), ask(listener):
        wait_until_seen(clock)
        assert not admitted.names
        with running(admitted.gate(listener, "idle", lambda: 0)):
            wait_until(lambda: bool(admitted.names))
    assert admitted.names == ["idle"]
    assert not clock.sleeps


def test_whoever_is_busy_takes_what_nobody_else_takes(listener: socket.socket, jumping: Clock) -> None:
    admitted = Admitted()
    with ask(listener), running(admitted.gate(listener, "busy", lambda: 3)):
        wait_until(lambda: bool(admitted.names))
    assert not jumping.sleeps


def test_who_gives_way_goes_on_with_those_that_it_has_accepted(listener: socket.socket, clock: Clock) -> None:
    admitted = Admitted()
    with running(admitted.gate(listener, "busy", lambda: 3)), socket.create_connection(listener.getsockname()) as slow:
        wait_until_seen(clock)
        clock.now += 0.02
        slow.sendall(associate_request()[:20])
        with socket.create_connection(listener.getsockname()):  # and for this one it gives way, until the clock goes on
            wait_until_seen(clock)
            slow.sendall(associate_request()[20:])
            wait_until(lambda: bool(admitted.names))
    assert admitted.names == ["busy"]
    assert not clock.sleeps


def test_a_flood_of_connections_is_given_way_to_once_and_not_for_each(listener: socket.socket, jumping: Clock) -> None:
    admitted = Admitted(jumping)
    began = jumping.now
    for _ in range(500):
        socket.create_connection(listener.getsockname()).close()
    with ask(listener), running(admitted.gate(listener, "busy", lambda: 50, ScpLimits())):
        wait_until(lambda: bool(admitted.names))
    assert admitted.moments[0] - began <= 0.05
    assert not jumping.sleeps


def test_a_burst_is_shared_out_as_long_as_it_is_given_way_for(listener: socket.socket, jumping: Clock) -> None:
    """Each accept is given way for by itself: the first in a burst is no better than the second."""
    admitted = Admitted(jumping)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(ask(listener))
        with running(admitted.gate(listener, "busy", lambda: len(admitted.names), ScpLimits())):
            wait_until(lambda: len(admitted.names) == 5)
    pauses = [later - earlier for earlier, later in zip(admitted.moments, admitted.moments[1:], strict=False)]
    assert pauses == pytest.approx([0.001, 0.002, 0.003, 0.004])


def test_a_process_without_places_leaves_a_whole_burst_to_those_that_have_some(listener: socket.socket, clock: Clock) -> None:
    admitted = Admitted()
    with ExitStack() as stack:
        stack.enter_context(running(admitted.gate(listener, "full", lambda: LIMITS.associations)))
        for _ in range(40):
            stack.enter_context(ask(listener))
        clock.now += 0.03  # longer than anybody gives way who has places
        wait_until_seen(clock)
        assert not admitted.names
        stack.enter_context(running(admitted.gate(listener, "idle", lambda: 0)))
        wait_until(lambda: len(admitted.names) == 40)
    assert admitted.names == ["idle"] * 40


def test_a_process_that_fills_up_while_it_gives_way_gives_way_for_longer(listener: socket.socket, clock: Clock) -> None:
    admitted = Admitted()
    serving = [3]
    with running(admitted.gate(listener, "busy", lambda: serving[0])), ask(listener):
        wait_until_seen(clock)
        serving[0] = LIMITS.associations
        clock.now += 0.02
        wait_until_seen(clock)
        assert not admitted.names
        with running(admitted.gate(listener, "idle", lambda: 0)):
            wait_until(lambda: bool(admitted.names))
    assert admitted.names == ["idle"]


def test_where_nobody_has_places_peers_are_told_so(listener: socket.socket, jumping: Clock) -> None:
    admitted = Admitted(jumping)  # that is, handed on, so that they can be turned away
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(ask(listener))
        stack.enter_context(running(admitted.gate(listener, "full", lambda: LIMITS.associations)))
        wait_until(lambda: len(admitted.names) == 40)
    assert admitted.moments[-1] - 1000 < 1


def test_a_process_alone_gives_way_to_nobody(listener: socket.socket, jumping: Clock) -> None:
    admitted = Admitted(jumping)
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(ask(listener))
        stack.enter_context(running(admitted.gate(listener, "alone", None)))
        wait_until(lambda: len(admitted.names) == 40)
    assert admitted.moments == [1000.0] * 40
    assert not jumping.sleeps
