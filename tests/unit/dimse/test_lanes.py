"""Lanes: many associations share one queue, their number follows the peer, and no object is lost or settled twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO

import pytest

from tests.support.associations import CT, EXPLICIT
from tests.support.scripted import Script, Scripted, ScriptedPeer, accept_first, scripted_peer, serve_store
from tests.support.sinks import MemorySink
from vna.dimse import pdus
from vna.dimse.acceptor import Event
from vna.dimse.lanes import Lanes, StoppedError
from vna.dimse.limits import ScpLimits
from vna.dimse.negotiation import Context, Proposal
from vna.dimse.retry import Patience
from vna.dimse.send import SendItem
from vna.dimse.storage_scp import storage_scp
from vna.errors import AssociationRejectedError, ConfigError, PeerError, UnreachableError
from vna.model import Local, Node, Outcome

LOCAL = Local()


def items(count: int, prefix: str = "1.2", sop_class_uid: str = CT) -> list[SendItem]:
    return [
        SendItem(f"{prefix}.{n}", sop_class_uid, f"{prefix}.{n}", EXPLICIT, lambda: BytesIO(b"data"), 0, 4) for n in range(count)
    ]


def states(outcomes: list[Outcome]) -> Counter[str]:
    return Counter(outcome.state for outcome in outcomes)


def slow_store(seconds: float) -> Script:
    """A peer whose every answer takes so long, as if it were far away."""
    return serve_store(0, on_object=lambda command, data: time.sleep(seconds))


def impatient() -> Patience:
    return Patience(attempts=2, first_wait_s=0.01)


def test_one_call_gets_one_outcome_for_each_item() -> None:
    told: list[Outcome] = []
    with scripted_peer(serve_store(0)) as peer, Lanes(peer.node(), LOCAL) as lanes:
        outcomes = lanes.send(items(100), told.append)
    assert {outcome.key for outcome in outcomes} == {item.key for item in items(100)}
    assert states(outcomes) == {"sent": 100}
    assert told == outcomes


def test_associations_grow_for_a_far_peer_and_stay_within_the_limit() -> None:
    with scripted_peer(slow_store(0.03)) as peer:
        with Lanes(peer.node(), LOCAL, most=6) as lanes:
            outcomes = lanes.send(items(250))
            assert lanes.target > 2
        assert 3 <= len(peer.requests) <= 6
    assert states(outcomes) == {"sent": 250}


def test_calls_of_many_threads_share_the_associations() -> None:
    with scripted_peer(serve_store(0)) as peer:
        with Lanes(peer.node(), LOCAL, most=3) as lanes, ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda n: lanes.send(items(20, f"1.2.{n}")), range(8)))
        assert len(peer.requests) <= 3
    assert [states(outcomes) for outcomes in done] == [{"sent": 20}] * 8
    assert len({outcome.key for outcomes in done for outcome in outcomes}) == 160


@contextmanager
def one_at_a_time() -> Iterator[ScriptedPeer]:
    free = threading.Lock()

    def script(assoc: Scripted) -> None:
        try:
            serve_store(0, on_object=lambda command, data: time.sleep(0.005))(assoc)
        finally:
            free.release()

    def wait_for_turn(proposal: Proposal) -> Context:
        free.acquire()
        return accept_first(proposal)

    with scripted_peer(script, accept=wait_for_turn) as peer:
        yield peer


def test_a_peer_that_serves_one_association_at_a_time_holds_nothing_up() -> None:
    started = time.monotonic()
    with one_at_a_time() as peer:
        with Lanes(peer.node(acse_timeout_s=20), LOCAL, most=4) as lanes:
            outcomes = lanes.send(items(200))
        elapsed = time.monotonic() - started
        assert states(outcomes) == {"sent": 200}
        assert elapsed < 10


def test_associations_that_are_turned_away_are_not_asked_for_again_at_once_and_lose_nothing() -> None:
    sink = MemorySink()
    sink.before_commit = lambda uid: time.sleep(0.02)
    events: list[Event] = []
    with storage_scp(LOCAL, sink, port=0, limits=ScpLimits(associations=2), on_event=events.append) as scp:
        with Lanes(Node("few", ae_title="VNA", port=scp.port), LOCAL, most=8, patience=impatient()) as lanes:
            outcomes = lanes.send(items(200))
        rejected = sum(event.code == "ASSOC_LIMIT" for event in events)
    assert states(outcomes) == {"sent": 200}
    assert 1 <= rejected <= 6


def test_out_of_resources_makes_them_fewer() -> None:
    with scripted_peer(slow_store(0.02)) as peer, Lanes(peer.node(), LOCAL, most=8) as lanes:
        lanes.send(items(150))
        before = lanes.target
        assert before > 1
        lanes._pace.refused(time.monotonic())
        assert lanes.target == before // 2
    with scripted_peer(serve_store(0xA700)) as peer, Lanes(peer.node(), LOCAL) as lanes:
        outcomes = lanes.send(items(20))
        assert {(outcome.state, outcome.code) for outcome in outcomes} == {("failed", "0xA700")}
        assert lanes.target == 1


def test_an_association_that_breaks_costs_the_object_in_flight_only() -> None:
    def script(assoc: Scripted) -> None:
        for _ in range(10):
            context_id, command, _ = assoc.receive()
            assoc.respond(context_id, command, 0)
        assoc.hang_up()

    with scripted_peer(script) as peer, Lanes(peer.node(), LOCAL, most=1, patience=impatient()) as lanes:
        outcomes = lanes.send(items(40))
    assert len(outcomes) == len({outcome.key for outcome in outcomes}) == 40
    assert states(outcomes)["failed"] <= 6


def test_a_peer_that_cannot_be_reached_fails_the_call() -> None:
    with Lanes(Node("gone", ae_title="X", port=1), LOCAL, patience=impatient()) as lanes:
        for _ in range(2):
            with pytest.raises(UnreachableError):
                lanes.send(items(3))


def test_a_rejection_for_good_fails_the_call() -> None:
    with (
        scripted_peer(serve_store(0), answer=pdus.reject(1, 1, 7)) as peer,
        Lanes(peer.node(), LOCAL, patience=impatient()) as lanes,
        pytest.raises(AssociationRejectedError),
    ):
        lanes.send(items(3))


def test_names_that_no_association_can_have_fail_the_call() -> None:
    with (
        scripted_peer(serve_store(0)) as peer,
        Lanes(peer.node(ae_title="ä" * 20), LOCAL) as lanes,
        pytest.raises(ConfigError),
    ):
        lanes.send(items(3))


def test_what_cannot_be_proposed_is_settled_without_an_association() -> None:
    with Lanes(Node("gone", port=1), LOCAL) as lanes:
        (outcome,) = lanes.send(items(1, sop_class_uid=""))
    assert (outcome.state, outcome.code) == ("refused", "BAD_UID")


def test_what_the_caller_raises_ends_its_call_and_no_other() -> None:
    def interrupt(outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with scripted_peer(serve_store(0)) as peer, Lanes(peer.node(), LOCAL) as lanes:
        with pytest.raises(KeyboardInterrupt):
            lanes.send(items(50), interrupt)
        assert states(lanes.send(items(50))) == {"sent": 50}


def test_stopping_ends_calls_under_way_soon() -> None:
    silent = serve_store(0, on_object=lambda command, data: time.sleep(0.05))
    with scripted_peer(silent) as peer, Lanes(peer.node(), LOCAL, most=2) as lanes, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(lanes.send, items(1000))
        time.sleep(0.3)
        started = time.monotonic()
        lanes.stop()
        with pytest.raises(StoppedError):
            sending.result(10)
        assert time.monotonic() - started < 5
        with pytest.raises(StoppedError):
            lanes.send(items(1))


def test_300_kinds_of_objects_find_their_associations() -> None:
    mixed = [items(1, f"1.2.{n}", f"1.2.840.113619.4.{n}")[0] for n in range(300)]
    with scripted_peer(serve_store(0)) as peer:
        with Lanes(peer.node(), LOCAL, most=2) as lanes:
            outcomes = lanes.send(mixed)
        assert max(len(request.proposals) for request in peer.requests) <= 128
    assert states(outcomes) == {"sent": 300}


def test_associations_stay_open_from_one_call_to_the_next() -> None:
    with scripted_peer(serve_store(0)) as peer:
        with Lanes(peer.node(), LOCAL, most=1) as lanes:
            for number in range(10):
                lanes.send(items(2, f"1.2.{number}"))
        assert len(peer.requests) == 1


def test_a_peer_that_ends_every_association_gets_its_errors_told() -> None:
    with (
        scripted_peer(lambda assoc: assoc.abort()) as peer,
        Lanes(peer.node(), LOCAL, patience=impatient()) as lanes,
    ):
        try:
            outcomes = lanes.send(items(5))
        except PeerError:
            return
    assert set(states(outcomes)) == {"failed"}
    assert len(outcomes) == 5
