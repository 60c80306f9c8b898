"""Strangers cannot knock the storage SCP over: an honest peer is served meanwhile, and memory stays bounded.

Attackers come from 127.0.0.2 and up, the honest peer from 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.associations import RawPeer, associate_request, echo_request, p_data, store_request
from tests.support.certificates import Authority
from tests.support.sinks import MemorySink
from vna.dimse import pdus
from vna.dimse.acceptor import Event, EventKind
from vna.dimse.echo import echo
from vna.dimse.limits import ScpLimits
from vna.dimse.storage_scp import StorageScp, storage_scp
from vna.errors import PeerError
from vna.model import Local, Node

COMMAND = pdus.COMMAND | pdus.LAST
LIMITS = ScpLimits(first_pdu_s=1, handshake_s=1, stall_s=1, idle_s=5, waiting=60, waiting_per_address=20, object_bytes=1 << 20)


PATIENCE_S = 5
"""Far above what it takes, so that a busy machine does not fail the test."""


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def scp(events: list[Event]) -> Iterator[StorageScp]:
    with storage_scp(Local(), MemorySink(), port=0, limits=LIMITS, on_event=events.append) as running:
        yield running


def assert_served(scp: StorageScp) -> None:
    """An honest peer gets its association, echo and store."""
    started = time.monotonic()
    with RawPeer(scp.port, source="127.0.0.1") as honest:
        honest.associate()
        assert honest.echo() == 0
        assert honest.store("1.2.3", b"data") == 0
        honest.send(pdus.RELEASE_RQ)
        assert honest.read_pdu() == pdus.RELEASE_RP
    assert time.monotonic() - started < PATIENCE_S


def codes(events: list[Event]) -> set[str]:
    return {event.code for event in events if event.kind is EventKind.REJECTED}


def wait_for(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.01)
    assert condition()  # type: ignore[operator]


@pytest.mark.parametrize("sent", [b"", b"\x01", b"\x01\x00\x00", b"\x01\x00\x00\x00\x00\xcc" + bytes(50)])
def test_stalled_connections_hold_neither_threads_nor_places(scp: StorageScp, events: list[Event], sent: bytes) -> None:
    threads = threading.active_count()
    with ExitStack() as stack:
        stalled = [stack.enter_context(RawPeer(scp.port, source=f"127.0.0.{2 + n % 20}")) for n in range(300)]
        for peer in stalled:
            with contextlib.suppress(ConnectionError):
                peer.send(sent)
        assert_served(scp)
        assert threading.active_count() <= threads + 2
        wait_for(lambda: "ACCEPT_DEADLINE" in codes(events))
        for peer in stalled:
            assert peer.read_pdu() == b""
    assert "WAITING_LIMIT" in codes(events)


def test_one_address_cannot_take_the_waiting_places_of_others(scp: StorageScp) -> None:
    with ExitStack() as stack:
        patient = stack.enter_context(RawPeer(scp.port, source="127.0.0.1"))
        for _ in range(100):
            stack.enter_context(RawPeer(scp.port, source="127.0.0.2"))
        assert patient.associate().echo() == 0


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "NOT_A_PDU"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "NOT_A_PDU"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "NOT_A_PDU"),
        (bytes(5000), "NOT_A_PDU"),
        (b"\x01\x00\xff\xff\xff\xff", "PDU_LENGTH"),
        (b"\x01\x00\x40\x00\x00\x00", "PDU_LENGTH"),
        (b"\x01\x00\x00\x00\x00\x00", "PDU_LENGTH"),
        (b"\x01\x00\x00\x10\x00\x01", "PDU_LENGTH"),
        (b"\x04\x00\x00\x00\x00\x10" + bytes(16), "PDU_LENGTH"),
        (b"\x05\x00\x00\x00\x00\x04" + bytes(4), "PDU_PROTOCOL"),
        (b"\x07\x00\x00\x00\x00\x04" + bytes(4), "PDU_PROTOCOL"),
        (b"\x02" + associate_request()[1:], "PDU_PROTOCOL"),
        (associate_request().replace(b"\x55\x00\x00\x07", b"\x55\x00\xff\xff"), "PDU_PROTOCOL"),
        (associate_request().replace(b"\x10\x00\x00\x15", b"\x10\x00\x00\x14"), "PDU_PROTOCOL"),
    ],
)
def test_what_is_no_request_is_aborted_with_its_code(scp: StorageScp, events: list[Event], sent: bytes, code: str) -> None:
    with RawPeer(scp.port, source="127.0.0.2") as attacker:
        attacker.send(sent)
        answer = attacker.read_pdu()
        assert answer == b"" or answer[0] == pdus.A_ABORT
        assert_served(scp)
    wait_for(lambda: code in codes(events))


ASSOCIATED = associate_request()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (pdus.HEADER.pack(4, 1 << 30), "PDU_LENGTH"),
        (pdus.HEADER.pack(4, 0xFFFFFFFF), "PDU_LENGTH"),
        (pdus.HEADER.pack(4, 0), "PDU_LENGTH"),
        (pdus.HEADER.pack(5, 0xFFFFFFFF), "PDU_LENGTH"),
        (p_data(echo_request(), 99, COMMAND), "PDU_PROTOCOL"),
        (p_data(echo_request(), 0, COMMAND), "PDU_PROTOCOL"),
        (p_data(echo_request(), 2, COMMAND), "PDU_PROTOCOL"),
        (p_data(echo_request(), 255, COMMAND), "PDU_PROTOCOL"),
        (p_data(b"data", 1), "PDU_PROTOCOL"),
        (p_data(store_request("1.2"), 1, COMMAND) + p_data(b"data", 3), "PDU_PROTOCOL"),
        (p_data(store_request("1.2", _0000=b"\xff\xff\xff\x7f"), 1, COMMAND), "DIMSE_COMMAND"),
        (p_data(bytes(100), 1, COMMAND), "DIMSE_COMMAND"),
        (ASSOCIATED, "PDU_PROTOCOL"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "NOT_A_PDU"),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_aborted_with_its_code(
    scp: StorageScp, events: list[Event], sent: bytes, code: str
) -> None:
    if sent is not ASSOCIATED and b"\xff\xff\xff\x7f" in sent:
        sent = sent.replace((len(store_request("1.2")) - 12).to_bytes(4, "little"), b"\xff\xff\xff\x7f", 1)
    with RawPeer(scp.port, source="127.0.0.2") as attacker:
        attacker.associate().send(sent)
        assert attacker.read_pdu()[:1] in (b"", b"\x07")
        assert_served(scp)
    wait_for(lambda: code in codes(events))


def test_data_that_comes_before_the_association_is_accepted_waits_for_it(scp: StorageScp) -> None:
    with RawPeer(scp.port, source="127.0.0.2") as hasty:
        hasty.send(associate_request() + p_data(echo_request(), 3, COMMAND))
        assert hasty.read_pdu()[0] == pdus.A_ASSOCIATE_AC
        assert hasty.read_response().number(0x0900) == 0


def test_endless_data_is_cut_off_at_the_limit_and_its_object_dropped(events: list[Event]) -> None:
    sink = MemorySink()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with storage_scp(Local(), sink, port=0, limits=LIMITS, on_event=events.append) as scp:
        with RawPeer(scp.port, source="127.0.0.2") as attacker:
            attacker.associate().send(p_data(store_request("1.2"), 1, COMMAND))
            endless = p_data(bytes(200_000), 1, 0)
            with contextlib.suppress(ConnectionError):
                for _ in range(500):
                    attacker.send(endless)
            assert_served(scp)
        wait_for(lambda: "DATASET_LIMIT" in codes(events))
    assert "1.2" in sink.aborted
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_an_object_that_stalls_is_given_up(scp: StorageScp) -> None:
    with RawPeer(scp.port, source="127.0.0.2") as attacker:
        attacker.associate().send(p_data(store_request("1.2"), 1, COMMAND) + p_data(b"da", 1, 0)[:13])
        assert_served(scp)
        assert attacker.read_pdu() == pdus.abort(2, 0)


def test_a_peer_that_never_reads_its_answers_is_given_up() -> None:
    with storage_scp(Local(), MemorySink(), port=0, limits=LIMITS) as scp, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.settimeout(10)
        deaf.connect(("127.0.0.1", scp.port))
        deaf.sendall(associate_request())
        echoes = p_data(echo_request(), 3, COMMAND) * 1000
        with pytest.raises((ConnectionError, TimeoutError)):
            for _ in range(1000):
                deaf.sendall(echoes)
        assert_served(scp)


@pytest.mark.parametrize("at", range(1, 9))
def test_an_abort_at_any_border_leaves_nothing_behind(at: int) -> None:
    sink = MemorySink()
    pieces = [
        associate_request(),
        p_data(store_request("1.2")[:30], 1, pdus.COMMAND),
        p_data(store_request("1.2")[30:], 1, COMMAND),
        p_data(b"data", 1, 0),
        p_data(b"data", 1, 0),
        p_data(b"data", 1),
        p_data(echo_request(), 3, COMMAND),
        pdus.RELEASE_RQ,
    ]
    with storage_scp(Local(), sink, port=0, limits=LIMITS) as scp, RawPeer(scp.port, source="127.0.0.2") as peer:
        peer.send(b"".join(pieces[:at]) + pdus.abort(0, 0))
        while peer.read_pdu():
            pass
        assert_served(scp)
    begun, finished = at >= 3, at >= 6
    assert [uid for uid in sink.data_sets if uid == "1.2"] == ["1.2"] * finished
    assert sink.aborted == ["1.2"] * (begun and not finished)


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01", b"not TLS at all"])
def test_silent_tls_connections_do_not_block_others(tmp_path: Path, events: list[Event], hello: bytes) -> None:
    authority = Authority(tmp_path)
    ours = authority.sign("vna")
    local = Local(tls_certificate=ours.certificate, tls_key=ours.key)
    with storage_scp(local, MemorySink(), port=0, limits=LIMITS, on_event=events.append) as scp, ExitStack() as stack:
        for n in range(50):
            stack.enter_context(RawPeer(scp.port, source=f"127.0.0.{2 + n % 10}")).send(hello)
        node = Node("vna", ae_title="VNA", port=scp.port, tls_ca=authority.certificate)
        assert echo(node, Local()) < PATIENCE_S
        expected = "TLS" if hello == b"not TLS at all" else "TLS_DEADLINE"
        wait_for(lambda: expected in codes(events))
        with pytest.raises((ssl.SSLError, PeerError, OSError)):
            echo(replace(node, tls_ca=""), Local())
