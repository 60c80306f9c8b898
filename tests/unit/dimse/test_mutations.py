"""10,000 mutated command sets and PDU streams: whatever a peer sends, an association ends in order and keeps no half object."""

from __future__ import annotations

import socket
import struct

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.associations import associate_request, echo_request, p_data, store_request
from tests.support.sinks import MemorySink
from vna.dimse import commands, pdus
from vna.dimse.acceptor import Acceptor, Event, EventKind, Service
from vna.dimse.access import access_list
from vna.dimse.limits import ScpLimits
from vna.model import Local

COMMAND = pdus.COMMAND | pdus.LAST
REQUEST = associate_request()
UID = "1.2.3"
LIMITS = ScpLimits(object_bytes=1 << 20, stall_s=5, idle_s=5)
ENDS = {"released", "aborted", "rejected", "lost", "timed_out"}

MUTATIONS = st.binary(min_size=8, max_size=32)
"""Eight bytes for each mutation: what is done, at which byte, and with which number."""

EXTREMES = (0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)

SEVERAL = st.lists(MUTATIONS, min_size=5, max_size=5)
"""Five mutations an example: Hypothesis costs more for each than serving an association does."""

many = settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def mutate(original: bytes, mutations: bytes) -> bytes:
    """Change bytes here and there; a length, in either byte order, is as likely to be hit as anything else."""
    data = bytearray(original)
    for start in range(0, len(mutations) - 7, 8):
        what, position, choice, number = struct.unpack_from(">BHBI", mutations, start)
        at = position % (len(data) + 1)
        number = EXTREMES[choice % len(EXTREMES)] if choice & 1 else number
        match what % 5:
            case 0:
                data[at : at + 1] = bytes((number & 0xFF,))
            case 1:
                data[at : at + 4] = struct.pack("<I" if choice & 2 else ">I", number)
            case 2:
                del data[at : at + 1 + number % 16]
            case 3:
                data[at:at] = data[at : at + 1 + number % 64]
            case _:
                data[at:at] = number.to_bytes(4, "big")
    return bytes(data)


def serve(sent: bytes) -> tuple[MemorySink, list[Event], bytes]:
    """Serve one association whose peer sends these bytes behind its request and then closes its side."""
    ours, theirs = socket.socketpair()
    sink = MemorySink()
    events: list[Event] = []
    with ours, theirs:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        local = Local()
        service = Service(local.ae_title, sink, LIMITS, access_list(local), str, events.append)
        Acceptor(service, ours, "127.0.0.2", REQUEST).run()
        theirs.settimeout(5)
        answers = b""
        while piece := theirs.recv(1 << 16):
            answers += piece
    return sink, events, answers


def assert_in_order(sink: MemorySink, events: list[Event], answers: bytes) -> None:
    closed = [event.code for event in events if event.kind is EventKind.CLOSED]
    assert len(closed) == 1
    assert set(closed) <= ENDS
    stored = sum(event.kind is EventKind.STORED for event in events)
    assert len(sink.arrived) == stored  # what was committed was told, and nothing else
    acknowledged, position = 0, 0
    while position < len(answers):
        kind, length = pdus.HEADER.unpack_from(answers, position)
        pdu = answers[position : position + 6 + length]
        assert len(pdu) == 6 + length  # only whole PDUs leave us
        assert kind in (pdus.A_ASSOCIATE_AC, pdus.P_DATA_TF, pdus.A_RELEASE_RP, pdus.A_ABORT)
        if kind == pdus.P_DATA_TF:
            response = commands.parse(pdu[12:])
            is_store = response.field == commands.C_STORE_RQ | commands.RESPONSE
            acknowledged += is_store and response.number(commands.STATUS) == 0
        position += len(pdu)
    assert acknowledged <= stored  # nothing is acknowledged that the sink has not committed


@many
@given(SEVERAL)
def test_a_mutated_command_set_never_breaks_the_association_in_disorder(several: list[bytes]) -> None:
    rest = p_data(bytes(50), 1, 0) + p_data(bytes(20), 1) + p_data(echo_request(), 3, COMMAND) + pdus.RELEASE_RQ
    for mutations in several:
        assert_in_order(*serve(p_data(mutate(store_request(UID), mutations), 1, COMMAND) + rest))


@many
@given(SEVERAL)
def test_mutated_pdus_never_break_the_association_in_disorder(several: list[bytes]) -> None:
    whole = store_request(UID)
    stream = b"".join(
        (
            p_data(whole[:40], 1, pdus.COMMAND),
            p_data(whole[40:], 1, COMMAND),
            p_data(bytes(50), 1, 0),
            p_data(bytes(20), 1),
            p_data(echo_request(), 3, COMMAND),
            pdus.RELEASE_RQ,
        )
    )
    for mutations in several:
        assert_in_order(*serve(mutate(stream, mutations)))


def test_what_is_not_mutated_is_stored_and_released() -> None:
    sink, events, answers = serve(p_data(store_request(UID), 1, COMMAND) + p_data(b"data", 1) + pdus.RELEASE_RQ)
    assert_in_order(sink, events, answers)
    assert sink.data_sets == {UID: b"data"}
    assert answers.endswith(pdus.RELEASE_RP)
