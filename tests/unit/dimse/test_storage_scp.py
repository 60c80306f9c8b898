"""The storage SCP answers what is durable, keeps everything, and says no by the Standard's own codes."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import replace

import pytest

from tests.support.associations import CT, EXPLICIT, RawPeer, associate_request, echo_request, p_data, store_request
from tests.support.sinks import MemorySink, full
from vna.dimse import commands, negotiation, pdus
from vna.dimse.acceptor import Event, EventKind
from vna.dimse.limits import ScpLimits
from vna.dimse.storage_scp import open_listener, storage_scp
from vna.errors import ConfigError, RefusedError, StoreError
from vna.model import Local

COMMAND = pdus.COMMAND | pdus.LAST
LOCAL = Local(ae_title="VNA")
QUICK = ScpLimits(first_pdu_s=0.3, idle_s=0.3, stall_s=0.3, drain_s=5)


def status_of(peer: RawPeer, request: bytes, data_set: bytes = b"data", context_id: int = 1) -> int:
    peer.send(p_data(request, context_id, COMMAND) + p_data(data_set, context_id))
    return peer.read_response().number(commands.STATUS)


def test_an_object_reaches_the_sink_as_it_was_sent() -> None:
    sink = MemorySink()
    data = os.urandom(100_000)
    with storage_scp(LOCAL, sink, port=0, source_of=lambda title: f"node of {title}") as scp, RawPeer(scp.port) as peer:
        assert peer.associate(calling="SENDER").store("1.2.3", data) == 0
    (arrived,) = sink.arrived
    assert (arrived.sop_class_uid, arrived.sop_instance_uid, arrived.transfer_syntax_uid) == (CT, "1.2.3", EXPLICIT)
    assert arrived.data_set == data
    assert arrived.provenance.source == "node of SENDER"
    assert (arrived.provenance.calling_ae_title, arrived.provenance.called_ae_title) == ("SENDER", "VNA")
    assert arrived.provenance.peer_address == "127.0.0.1"


def test_the_originator_of_a_move_is_kept() -> None:
    sink = MemorySink()
    with storage_scp(LOCAL, sink, port=0) as scp, RawPeer(scp.port) as peer:
        peer.associate()
        assert status_of(peer, store_request("1.2", _1030=b"MOVER ", _1031=b"\x07\x00")) == 0
        assert status_of(peer, store_request("1.3")) == 0
    assert [arrived.provenance.move_originator for arrived in sink.arrived] == ["MOVER", ""]


def test_one_association_carries_many_objects_and_echoes() -> None:
    sink = MemorySink()
    with storage_scp(LOCAL, sink, port=0) as scp, RawPeer(scp.port) as peer:
        peer.associate()
        for n in range(20):
            assert peer.store(f"1.2.{n}", bytes([n]) * 500, message_id=n + 1) == 0
            assert peer.echo() == 0
    assert len(sink.data_sets) == 20


def test_the_response_comes_only_after_the_sink_has_committed() -> None:
    sink = MemorySink()
    may_commit = threading.Event()
    sink.before_commit = lambda uid: assert_set(may_commit)
    with storage_scp(LOCAL, sink, port=0) as scp, RawPeer(scp.port, timeout_s=0.3) as peer:
        peer.associate()
        peer.send(p_data(store_request("1.2"), 1, COMMAND) + p_data(b"data", 1))
        with pytest.raises(TimeoutError):
            peer.read_pdu()
        may_commit.set()
        assert peer.read_response().number(commands.STATUS) == 0


def assert_set(event: threading.Event) -> None:
    assert event.wait(10)


@pytest.mark.parametrize("hook", ["on_open", "during_write", "before_commit"])
@pytest.mark.parametrize(
    ("failure", "status"),
    [(full, 0xA700), (StoreError("broken"), 0x0110), (OSError(28, "No space left"), 0xA700), (ValueError("a bug"), 0x0110)],
    ids=["full", "store", "ENOSPC", "bug"],
)
def test_what_the_sink_cannot_keep_is_refused_and_the_association_goes_on(hook: str, failure: object, status: int) -> None:
    sink = MemorySink()

    def fail(_: object) -> None:
        if isinstance(failure, Exception):
            raise failure
        full()

    setattr(sink, hook, fail)
    with storage_scp(LOCAL, sink, port=0) as scp, RawPeer(scp.port) as peer:
        peer.associate()
        assert peer.store("1.2", bytes(50_000)) == status
        setattr(sink, hook, lambda _: None)
        assert peer.store("1.3", bytes(50_000)) == 0
    assert list(sink.data_sets) == ["1.3"]
    assert sink.aborted == ([] if hook == "on_open" else ["1.2"])


def test_an_object_that_breaks_off_is_dropped_and_never_committed() -> None:
    sink = MemorySink()
    ended = threading.Event()

    def note(event: Event) -> None:
        if event.kind is EventKind.CLOSED:
            ended.set()

    with storage_scp(LOCAL, sink, port=0, on_event=note) as scp, RawPeer(scp.port) as peer:
        peer.associate()
        peer.send(p_data(store_request("1.2"), 1, COMMAND) + p_data(bytes(4000), 1, 0))
        peer.sock.close()
        assert ended.wait(60), "a receiver that stops now may leave the request unread"
    assert sink.aborted == ["1.2"]
    assert not sink.arrived


@pytest.mark.parametrize(
    ("request_", "uid"),
    [
        (store_request("1.2.3", _1000=b"../../etc/passwd"), "../../etc/passwd"),
        (store_request("1.2.3", _1000=b"not a uid\xff"), "not a uid\xff"),
        (store_request("1.2.3", _1000=b""), ""),
        (store_request("1.2.3", _1000=b"1.2.3\0\0\0"), "1.2.3"),
        (store_request("1.2.3", _1000=b"1.2.3 "), "1.2.3"),
    ],
)
def test_odd_uids_are_for_the_sink_to_judge(request_: bytes, uid: str) -> None:
    sink = MemorySink()
    with storage_scp(LOCAL, sink, port=0) as scp, RawPeer(scp.port) as peer:
        assert status_of(peer.associate(), request_) == 0
    assert [arrived.sop_instance_uid for arrived in sink.arrived] == [uid]


def test_a_store_request_without_a_data_set_is_not_understood() -> None:
    with storage_scp(LOCAL, MemorySink(), port=0) as scp, RawPeer(scp.port) as peer:
        peer.associate()
        elements = {0x0002: commands.uid(CT), 0x0110: commands.us(1), 0x1000: commands.uid("1.2")}
        peer.send(p_data(commands.encode(commands.C_STORE_RQ, elements, data_set=False), 1, COMMAND))
        assert peer.read_response().number(commands.STATUS) == 0xC000
        assert peer.echo() == 0


def test_other_operations_are_not_recognised() -> None:
    with storage_scp(LOCAL, MemorySink(), port=0) as scp, RawPeer(scp.port) as peer:
        peer.associate()
        find = commands.encode(commands.C_FIND_RQ, {0x0002: commands.uid(CT), 0x0110: commands.us(3)}, data_set=True)
        assert status_of(peer, find) == 0x0211
        peer.send(p_data(commands.encode(commands.C_CANCEL_RQ, {0x0120: commands.us(3)}, data_set=False), 1, COMMAND))
        assert peer.echo() == 0


@pytest.mark.parametrize("missing", [commands.MESSAGE_ID, commands.COMMAND_FIELD])
def test_a_request_that_cannot_be_answered_is_aborted(missing: int) -> None:
    with storage_scp(LOCAL, MemorySink(), port=0) as scp, RawPeer(scp.port) as peer:
        peer.associate()
        elements = dict(commands.parse(echo_request()).elements)
        del elements[missing], elements[0]
        body = b"".join(b"\0\0" + n.to_bytes(2, "little") + len(v).to_bytes(4, "little") + v for n, v in sorted(elements.items()))
        peer.send(p_data(body, 3, COMMAND))
        assert peer.read_pdu()[0] == pdus.A_ABORT


def test_release_is_answered() -> None:
    with storage_scp(LOCAL, MemorySink(), port=0) as scp, RawPeer(scp.port) as peer:
        peer.associate().send(pdus.RELEASE_RQ)
        assert peer.read_pdu() == pdus.RELEASE_RP
        assert peer.read_pdu() == b""


def test_contexts_are_answered_one_by_one() -> None:
    proposals = negotiation.contexts_for(
        [
            ("1.2.840.113619.4.26", ("1.2.840.113619.5.2",)),
            ("1.2.840.10008.5.1.4.1.2.2.1", (EXPLICIT,)),
            (CT, ("1.2.840.10008.1.2", "1.2.840.10008.1.2.4.90")),
        ]
    )
    with storage_scp(LOCAL, MemorySink(), port=0) as scp, RawPeer(scp.port) as peer:
        accept = peer.associate(proposals).accept
    assert accept is not None
    assert [(c.result, c.transfer_syntax) for c in accept.contexts] == [
        (0, "1.2.840.113619.5.2"),
        (3, ""),
        (0, "1.2.840.10008.1.2.4.90"),
    ]


def test_operations_may_overlap_within_the_window_that_was_agreed() -> None:
    sink = MemorySink()
    with storage_scp(LOCAL, sink, port=0, limits=ScpLimits(window=3)) as scp, RawPeer(scp.port) as peer:
        peer.send(associate_request(window=0))
        accept = negotiation.decode_accept(peer.read_pdu(), negotiation.decode_request(associate_request()).proposals)
        assert accept.window == 3
        peer.send(b"".join(p_data(store_request(f"1.{n}", message_id=n), 1, COMMAND) + p_data(b"data", 1) for n in (1, 2, 3)))
        assert [peer.read_response().number(commands.MESSAGE_ID_RESPONDED_TO) for _ in range(3)] == [1, 2, 3]
    assert len(sink.arrived) == 3


GUARDED = Local(ae_title="VNA", allow=("PACS@127.0.0.1", "OTHER@127.0.0.9"))


@pytest.mark.parametrize(
    ("calling", "called", "source", "answer"),
    [
        ("PACS", "VNA", "127.0.0.1", b"\x02"),
        ("OTHER", "VNA", "127.0.0.9", b"\x02"),
        ("OTHER", "VNA", "127.0.0.1", pdus.reject(1, 1, 3)),
        ("PACS", "VNA", "127.0.0.9", pdus.reject(1, 1, 3)),
        ("STRANGER", "VNA", "127.0.0.1", pdus.reject(1, 1, 3)),
        ("PACS", "NOTVNA", "127.0.0.1", pdus.reject(1, 1, 7)),
        ("PACS", "vna", "127.0.0.1", pdus.reject(1, 1, 7)),
    ],
)
def test_only_those_on_the_list_get_in(calling: str, called: str, source: str, answer: bytes) -> None:
    events: list[Event] = []
    with storage_scp(GUARDED, MemorySink(), port=0, on_event=events.append) as scp, RawPeer(scp.port, source=source) as peer:
        peer.send(associate_request(calling=calling, called=called))
        assert peer.read_pdu().startswith(answer)
    kinds = {event.kind for event in events}
    assert (EventKind.REJECTED in kinds) == (answer != b"\x02")
    assert (EventKind.ASSOCIATION in kinds) == (answer == b"\x02")


@pytest.mark.parametrize(
    ("at", "replacement", "answer"),
    [
        (7, b"\x02", pdus.reject(1, 2, 2)),
        (78, b"1.2.840.10008.3.1.1.9", pdus.reject(1, 1, 2)),
        (26, b"\x00" * 16, pdus.abort(2, 6)),
        (26, b"PA\nCS" + b" " * 11, pdus.abort(2, 6)),
    ],
    ids=["protocol version", "application context", "no calling title", "control character"],
)
def test_impossible_requests_are_turned_away(at: int, replacement: bytes, answer: bytes) -> None:
    request = associate_request()
    with storage_scp(LOCAL, MemorySink(), port=0) as scp, RawPeer(scp.port) as peer:
        peer.send(request[:at] + replacement + request[at + len(replacement) :])
        assert peer.read_pdu() == answer


@pytest.mark.parametrize("quota", [{"associations": 2}, {"associations_per_address": 2}])
def test_beyond_the_limit_associations_are_turned_away_for_now(quota: dict[str, int]) -> None:
    with storage_scp(LOCAL, MemorySink(), port=0, limits=replace(ScpLimits(), **quota)) as scp:
        with RawPeer(scp.port) as first, RawPeer(scp.port) as second, RawPeer(scp.port) as third:
            first.associate()
            second.associate()
            third.send(associate_request())
            assert third.read_pdu() == pdus.reject(2, 3, 2)
            first.send(pdus.RELEASE_RQ)
            assert first.read_pdu() == pdus.RELEASE_RP
            assert first.read_pdu() == b""
        with RawPeer(scp.port) as fourth:
            deadline = time.monotonic() + 5
            while True:
                fourth.send(associate_request())
                if fourth.read_pdu()[:1] == b"\x02":
                    break
                assert time.monotonic() < deadline
                fourth = RawPeer(scp.port)


def test_an_idle_association_is_ended() -> None:
    events: list[Event] = []
    with storage_scp(LOCAL, MemorySink(), port=0, limits=QUICK, on_event=events.append) as scp, RawPeer(scp.port) as peer:
        peer.associate()
        assert peer.read_pdu() == pdus.abort(2, 0)
        assert peer.read_pdu() == b""
    assert EventKind.CLOSED in {event.kind for event in events}


def test_events_tell_what_happened() -> None:
    events: list[Event] = []
    sink = MemorySink()
    with storage_scp(LOCAL, sink, port=0, on_event=events.append) as scp, RawPeer(scp.port) as peer:
        peer.associate(calling="SENDER").store("1.2.3", b"data")
        sink.before_commit = full
        peer.store("1.2.4", b"data")
        peer.send(pdus.RELEASE_RQ)
        peer.read_pdu()
    assert [event.kind for event in events] == [
        EventKind.LISTENING,
        EventKind.ASSOCIATION,
        EventKind.STORED,
        EventKind.REFUSED,
        EventKind.CLOSED,
    ]
    listening, association, stored, refused, closed = events
    assert listening.port == scp.port
    assert (association.calling_ae_title, association.peer_address) == ("SENDER", "127.0.0.1")
    assert stored.receipt is not None
    assert stored.receipt.sop_instance_uid == "1.2.3"
    assert refused.code == "0xA700"
    assert closed.code == "released"


def test_stopping_lets_the_object_under_way_finish_and_ends_idle_associations_at_once() -> None:
    sink = MemorySink()
    scp = storage_scp(LOCAL, sink, port=0)
    scp.start()
    with RawPeer(scp.port) as idle, RawPeer(scp.port) as busy:
        idle.associate()
        busy.associate().send(p_data(store_request("1.2"), 1, COMMAND) + p_data(bytes(4000), 1, 0))
        deadline = time.monotonic() + 5
        while not sink.largest_chunk and time.monotonic() < deadline:
            time.sleep(0.01)
        stopping = threading.Thread(target=scp.stop)
        stopping.start()
        assert idle.read_pdu() == pdus.abort(0, 0)
        busy.send(p_data(bytes(4000), 1))
        assert busy.read_response().number(commands.STATUS) == 0
        assert busy.read_pdu() == pdus.abort(0, 0)
        stopping.join(5)
        assert not stopping.is_alive()
        with pytest.raises(ConnectionRefusedError):
            RawPeer(scp.port)
    assert list(sink.data_sets) == ["1.2"]


def test_stopping_cuts_what_does_not_finish_in_time() -> None:
    sink = MemorySink()
    scp = storage_scp(LOCAL, sink, port=0)
    scp.start()
    with RawPeer(scp.port) as busy:
        busy.associate().send(p_data(store_request("1.2"), 1, COMMAND) + p_data(bytes(4000), 1, 0))
        deadline = time.monotonic() + 5
        while not sink.largest_chunk and time.monotonic() < deadline:
            time.sleep(0.01)
        scp.stop(timeout_s=0.1)
        assert busy.read_pdu() in (b"", pdus.abort(0, 0))
    assert sink.aborted == ["1.2"]
    assert not sink.arrived


def test_several_servers_share_one_listening_socket() -> None:
    sink = MemorySink()
    listener = open_listener(LOCAL, 0)
    with storage_scp(LOCAL, sink, listener=listener) as one, storage_scp(LOCAL, sink, listener=listener.dup()) as two:
        assert one.port == two.port
        for n in range(6):
            with RawPeer(one.port) as peer:
                assert peer.associate().store(f"1.{n}", b"data") == 0
    assert len(sink.data_sets) == 6


def test_the_network_is_not_listened_to_unguarded() -> None:
    with pytest.raises(RefusedError):
        storage_scp(Local(host="0.0.0.0"), MemorySink(), port=0)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="in use"):
        storage_scp(LOCAL, MemorySink(), port=taken.getsockname()[1])
