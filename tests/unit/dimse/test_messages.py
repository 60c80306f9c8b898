"""Messages are read from the wire in any fragmentation, and every breach of the protocol ends the association by its code."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.associations import echo_request, p_data, store_request
from vna.dimse import limits, pdus
from vna.dimse.commands import C_STORE_RQ
from vna.dimse.messages import MessageStream, discard
from vna.dimse.pdus import COMMAND, LAST, Aborted, AssociationEnd, ConnectionLost, ProtocolError, Released, TimedOut
from vna.dimse.wire import Wire

MAX_PDU = 4096
Pair = tuple[socket.socket, MessageStream]


def connected(**options: float) -> tuple[socket.socket, MessageStream, Wire]:
    peer, ours = socket.socketpair()
    wire = Wire(ours, timeout_s=options.pop("timeout_s", 5), buffer_bytes=8192)
    values = {"max_pdu": MAX_PDU, "stall_s": 5, **options}
    return peer, MessageStream(wire, {1, 3}, **values), wire  # type: ignore[arg-type]


@pytest.fixture
def pair() -> Iterator[Pair]:
    peer, stream, wire = connected()
    yield peer, stream
    peer.close()
    wire.close()


def read_object(stream: MessageStream, limit: int = 1 << 20) -> tuple[int, bytes, int]:
    context_id, command = stream.read_command()
    field = command.field
    received = bytearray()
    stream.read_data(context_id, received.extend, limit)
    return context_id, bytes(received), field


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=20000), st.lists(st.integers(0, 3000), max_size=8), st.lists(st.integers(0, 60), max_size=3), st.booleans()
)
def test_any_fragmentation_gives_the_same_object(data: bytes, sizes: list[int], command_sizes: list[int], joined: bool) -> None:
    peer, stream, wire = connected()
    pieces = cut(data, sizes)
    pieces = [piece[at : at + 4000] for piece in pieces for at in range(0, max(len(piece), 1), 4000)]
    commands = cut(store_request("1.2.3"), command_sizes)
    framed = [p_data(piece, 3, COMMAND) for piece in commands[:-1]] + [p_data(commands[-1], 3, COMMAND | LAST)]
    framed += [p_data(piece, 3, 0) for piece in pieces[:-1]] + [p_data(pieces[-1], 3, LAST)]

    def write() -> None:
        for part in [b"".join(framed)] if joined else framed:
            peer.sendall(part)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert read_object(stream) == (3, data, C_STORE_RQ)
    finally:
        peer.close()
        writer.join()
        wire.close()


def test_several_values_may_share_one_pdu(pair: Pair) -> None:
    peer, stream = pair
    values = b"".join(
        pdus.PDV_HEADER.pack(len(data) + 2, 1, flags) + data
        for data, flags in ((store_request("1.2"), COMMAND | LAST), (b"abcd", 0), (b"", 0), (b"ef", LAST))
    )
    peer.sendall(pdus.HEADER.pack(4, len(values)) + values)
    assert read_object(stream)[1] == b"abcdef"


@pytest.mark.parametrize("tail", [b"", b"yz"])
def test_a_value_is_taken_when_it_is_there_however_little_follows(pair: Pair, tail: bytes) -> None:
    peer, stream = pair
    first = pdus.PDV_HEADER.pack(1002, 1, 0) + bytes(1000)
    second = pdus.PDV_HEADER.pack(2 + len(tail), 1, LAST) + tail
    whole = p_data(store_request("1.2"), 1, COMMAND | LAST) + pdus.HEADER.pack(4, len(first + second)) + first + second

    def drip() -> None:
        for at in range(0, len(whole), 97):
            peer.sendall(whole[at : at + 97])
            time.sleep(0.001)

    writer = threading.Thread(target=drip)
    writer.start()
    assert read_object(stream)[1] == bytes(1000) + tail
    writer.join()


def test_the_pieces_are_never_larger_than_the_buffer_although_the_object_is(pair: Pair) -> None:
    peer, stream = pair
    largest = 0

    def note(piece: memoryview) -> None:
        nonlocal largest
        largest = max(largest, len(piece))

    def write() -> None:
        peer.sendall(p_data(store_request("1.2"), 1, COMMAND | LAST) + p_data(bytes(4000), 1, 0) * 100 + p_data(b"", 1))

    writer = threading.Thread(target=write)
    writer.start()
    context_id, _ = stream.read_command()
    assert stream.read_data(context_id, note, 1 << 20) == 400_000
    writer.join()
    assert 0 < largest <= 8192


@pytest.mark.parametrize("fails_after", [0, 4000, 7998])
def test_the_rest_of_an_object_is_drained_when_nobody_wants_it(pair: Pair, fails_after: int) -> None:
    peer, stream = pair
    seen = 0

    def fail(piece: memoryview) -> None:
        nonlocal seen
        seen += len(piece)
        if seen > fails_after:
            raise OSError("disk full")

    peer.sendall(p_data(store_request("1.2"), 1, COMMAND | LAST) + p_data(bytes(4000), 1, 0) + p_data(bytes(4000), 1))
    peer.sendall(p_data(echo_request(9), 1, COMMAND | LAST))
    context_id, _ = stream.read_command()
    with pytest.raises(OSError, match="disk full"):
        stream.read_data(context_id, fail, 1 << 20)
    stream.read_data(context_id, discard, 1 << 20)
    assert stream.read_command()[1].number(0x0110) == 9


REQUEST = p_data(store_request("1.2"), 1, COMMAND | LAST)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (p_data(b"data", 1), "PDU_PROTOCOL"),
        (p_data(echo_request(), 5, COMMAND | LAST), "PDU_PROTOCOL"),
        (p_data(echo_request(), 2, COMMAND | LAST), "PDU_PROTOCOL"),
        (REQUEST + p_data(b"data", 3), "PDU_PROTOCOL"),
        (REQUEST + p_data(b"da", 1, 0) + p_data(b"ta", 3), "PDU_PROTOCOL"),
        (REQUEST + REQUEST, "PDU_PROTOCOL"),
        (REQUEST + p_data(b"data", 1, 0) + REQUEST, "PDU_PROTOCOL"),
        (p_data(echo_request()[:20], 1, COMMAND) + p_data(b"data", 1), "PDU_PROTOCOL"),
        (p_data(echo_request()[:20], 1, COMMAND) + p_data(echo_request()[20:], 3, COMMAND | LAST), "PDU_PROTOCOL"),
        (REQUEST + pdus.RELEASE_RQ, "PDU_PROTOCOL"),
        (pdus.RELEASE_RP, "PDU_PROTOCOL"),
        (pdus.HEADER.pack(1, 100) + bytes(100), "PDU_PROTOCOL"),
        (pdus.HEADER.pack(4, 8) + struct.pack(">IBB", 100, 1, 3) + b"xy", "PDU_PROTOCOL"),
        (pdus.HEADER.pack(4, 8) + struct.pack(">IBB", 0, 1, 3) + b"xy", "PDU_PROTOCOL"),
        (pdus.HEADER.pack(4, 8) + struct.pack(">IBB", 1, 1, 3) + b"xy", "PDU_PROTOCOL"),
        (pdus.HEADER.pack(4, 8) + struct.pack(">IBB", 0xFFFFFFFF, 1, 3) + b"xy", "PDU_PROTOCOL"),
        (pdus.HEADER.pack(4, 10) + struct.pack(">IBB", 4, 1, 1) + b"xyzz", "PDU_PROTOCOL"),
        (pdus.HEADER.pack(4, MAX_PDU + 1), "PDU_LENGTH"),
        (pdus.HEADER.pack(4, 1 << 30), "PDU_LENGTH"),
        (pdus.HEADER.pack(4, 0xFFFFFFFF), "PDU_LENGTH"),
        (pdus.HEADER.pack(4, 0), "PDU_LENGTH"),
        (b"GET / HTTP/1.1\r\n\r\n", "NOT_A_PDU"),
        (p_data(b"\x08\x00\x05\x00\x04\x00\x00\x00abcd", 1, COMMAND | LAST), "DIMSE_COMMAND"),
        (p_data(b"", 1, COMMAND | LAST), "DIMSE_COMMAND"),
    ],
)
def test_breaches_of_the_protocol_have_a_code(pair: Pair, sent: bytes, code: str) -> None:
    peer, stream = pair
    peer.sendall(sent)
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(ProtocolError, match=code):
        while True:
            _, _, field = read_object(stream)
            assert field


def test_a_command_set_without_end_is_cut_off(pair: Pair) -> None:
    peer, stream = pair
    endless = p_data(bytes(4000), 1, COMMAND) * (limits.COMMAND_BYTES // 4000 + 2)
    writer = threading.Thread(target=peer.sendall, args=(endless,))
    writer.start()
    with pytest.raises(ProtocolError, match="DIMSE_COMMAND"):
        stream.read_command()
    writer.join()


@pytest.mark.parametrize(("limit", "fits"), [(7999, False), (8000, True)])
def test_the_length_of_a_data_set_is_limited(pair: Pair, limit: int, fits: bool) -> None:
    peer, stream = pair
    peer.sendall(REQUEST + p_data(bytes(4000), 1, 0) + p_data(bytes(4000), 1))
    if fits:
        assert len(read_object(stream, limit)[1]) == 8000
    else:
        with pytest.raises(ProtocolError, match="DATASET_LIMIT"):
            read_object(stream, limit)


@pytest.mark.parametrize(
    ("sent", "end"),
    [
        (pdus.RELEASE_RQ, Released),
        (pdus.abort(0, 0), Aborted),
        (REQUEST + pdus.abort(2, 4), Aborted),
        (b"", ConnectionLost),
        (b"\x04\x00", ConnectionLost),
        (REQUEST + p_data(bytes(100), 1)[:50], ConnectionLost),
    ],
)
def test_ends_of_the_association_are_told_apart(pair: Pair, sent: bytes, end: type[AssociationEnd]) -> None:
    peer, stream = pair
    peer.sendall(sent)
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(end):
        read_object(stream)


def test_silence_inside_a_message_has_an_end() -> None:
    peer, stream, _ = connected(timeout_s=0.05)
    peer.sendall(REQUEST[:9])
    with pytest.raises(TimedOut):
        stream.read_command()


def test_a_command_that_drips_has_an_end_too() -> None:
    peer, stream, _ = connected(timeout_s=1, stall_s=0.1)
    stop = threading.Event()

    def drip() -> None:
        for byte in REQUEST:
            if stop.wait(0.02):
                return
            peer.sendall(bytes([byte]))

    dripping = threading.Thread(target=drip)
    dripping.start()
    with pytest.raises(TimedOut):
        stream.read_command()
    stop.set()
    dripping.join()


def test_a_data_set_below_the_minimum_rate_is_given_up() -> None:
    peer, stream, _ = connected(timeout_s=1, min_rate=100_000, min_rate_after_s=0.05)
    stop = threading.Event()

    def drip() -> None:
        peer.sendall(REQUEST)
        while not stop.wait(0.01):
            peer.sendall(p_data(b"xy", 1, 0))

    dripping = threading.Thread(target=drip)
    dripping.start()
    context_id, _ = stream.read_command()
    with pytest.raises(TimedOut, match="MIN_RATE"):
        stream.read_data(context_id, discard, 1 << 20)
    stop.set()
    dripping.join()


def test_waiting_between_messages_has_a_patience_of_its_own() -> None:
    peer, stream, _ = connected(timeout_s=0.02)
    later = threading.Timer(0.1, peer.sendall, args=(p_data(echo_request(), 1, COMMAND | LAST),))
    later.start()
    stream.wait(5)
    assert stream.read_command()[1].number(0x0110) == 1
    started = time.monotonic()
    with pytest.raises(TimedOut):
        stream.wait(0.05)
    assert time.monotonic() - started < 5
    later.join()


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_mutated_streams_end_the_association_or_are_read(data: st.DataObject) -> None:
    peer, stream, wire = connected()
    original = bytearray(REQUEST + p_data(bytes(50), 1, 0) + p_data(bytes(20), 1) + p_data(echo_request(), 3, COMMAND | LAST))
    for _ in range(data.draw(st.integers(1, 3))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    peer.sendall(original[: data.draw(st.integers(0, len(original)))])
    peer.close()
    with pytest.raises(AssociationEnd):
        while True:
            context_id, command = stream.read_command()
            if command.has_data_set:
                stream.read_data(context_id, discard, 1000)
    wire.close()
