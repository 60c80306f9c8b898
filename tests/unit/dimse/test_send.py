"""Objects are sent as they are, each gets an outcome, and a peer that fails costs no more than what was in flight."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.scripted import Scripted, accept_first, scripted_peer, serve_store
from tests.support.sinks import MemorySink
from vna.dimse import commands, negotiation, pdus
from vna.dimse.commands import Command
from vna.dimse.negotiation import Context, Proposal
from vna.dimse.send import SendItem, send, sender
from vna.dimse.storage_scp import storage_scp
from vna.errors import AssociationAbortedError, AssociationRejectedError, ConfigError, InstanceMissingError, UnreachableError
from vna.model import Local, Node, Outcome

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, JPEG, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.1.99"
LOCAL = Local()


def item(
    n: int,
    content: bytes = b"data set",
    *,
    sop_class: str = CT,
    syntax: str = EXPLICIT,
    open_: Callable[[], BinaryIO] | None = None,
) -> SendItem:
    return SendItem(f"key{n}", sop_class, f"1.2.{n}", syntax, open_ or (lambda: io.BytesIO(b"head" + content)), 4)


def states(outcomes: list[Outcome]) -> list[tuple[str, str, str]]:
    return [(outcome.key, outcome.state, outcome.code) for outcome in outcomes]


@pytest.mark.parametrize("size", [8, 16_378, 16_380, 1 << 20, (1 << 20) + 2, 3_000_000])
@pytest.mark.parametrize("max_pdu", [0, 16384, 65537])
def test_a_file_arrives_byte_by_byte(tmp_path: Path, size: int, max_pdu: int) -> None:
    content = os.urandom(size)
    path = tmp_path / "a.dcm"
    path.write_bytes(b"head" + content)
    got: list[bytes] = []
    with scripted_peer(serve_store(0, on_object=lambda _, data: got.append(data)), max_pdu=max_pdu) as peer:
        outcomes = send(peer.node(), LOCAL, [item(1, open_=lambda: path.open("rb")), item(2, content)])
    assert states(outcomes) == [("key1", "sent", "0x0000"), ("key2", "sent", "0x0000")]
    assert got == [content, content]


def test_requests_name_the_object_and_number_the_messages() -> None:
    seen: list[Command] = []
    with scripted_peer(serve_store(0, on_object=lambda command, _: seen.append(command))) as peer:
        send(peer.node(), LOCAL, [item(1), item(22)])
    assert [command.elements[0x1000] for command in seen] == [b"1.2.1\0", b"1.2.22"]
    assert [command.number(0x0110) for command in seen] == [1, 2]
    assert {command.text(0x0002) for command in seen} == {CT}


def test_contexts_are_one_for_each_class_and_syntax_of_the_items() -> None:
    items = [item(1), item(2), item(3, syntax=JPEG), item(4, sop_class=MR)]
    with scripted_peer(serve_store(0)) as peer:
        send(peer.node(), LOCAL, items)
    (request,) = peer.requests
    proposed = [(proposal.abstract_syntax, proposal.transfer_syntaxes) for proposal in request.proposals]
    assert proposed == [(CT, (EXPLICIT,)), (CT, (JPEG,)), (MR, (EXPLICIT,))]
    assert (request.calling_ae_title, request.called_ae_title) == ("VNA", "PEER")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (0x0000, "sent"),
        (0xB000, "warning"),
        (0xB006, "warning"),
        (0xB007, "warning"),
        (0xA700, "failed"),
        (0x0110, "failed"),
        (0x0213, "failed"),
        (0xA900, "refused"),
        (0xC000, "refused"),
        (0x0122, "refused"),
        (0x0124, "refused"),
        (0x0111, "refused"),
        (0xA779, "refused"),
        (0xFFFB, "refused"),
    ],
)
def test_a_status_becomes_an_outcome_and_the_rest_goes_on(status: int, state: str) -> None:
    with scripted_peer(serve_store(status, 0)) as peer:
        first, second = send(peer.node(), LOCAL, [item(1), item(2)])
    assert (first.state, first.code) == (state, f"0x{status:04X}")
    assert (first.detail == "") == (state == "sent")
    assert second.state == "sent"


def test_the_peers_comment_never_gets_into_an_outcome() -> None:
    def script(assoc: Scripted) -> None:
        context_id, command, _ = assoc.receive()
        values = {
            commands.MESSAGE_ID_RESPONDED_TO: command.elements[commands.MESSAGE_ID],
            commands.STATUS: commands.us(0xC000),
            0x0902: b"Patient SECRET^CANARY",
        }
        assoc.wire.send(commands.command_pdu(commands.encode(0x8001, values, data_set=False), context_id))
        assoc.receive()

    with scripted_peer(script) as peer:
        (outcome,) = send(peer.node(), LOCAL, [item(1)])
    assert outcome.state == "refused"
    assert "CANARY" not in repr(outcome)


def reject_jpeg(proposal: Proposal) -> Context:
    if JPEG in proposal.transfer_syntaxes:
        return Context(proposal.context_id, proposal.abstract_syntax, "", 4)
    return accept_first(proposal)


def test_what_the_peer_does_not_negotiate_is_refused_and_not_transcoded() -> None:
    got: list[str] = []
    script = serve_store(0, on_object=lambda command, _: got.append(command.text(0x1000)))
    with scripted_peer(script, accept=reject_jpeg) as peer:
        outcomes = send(peer.node(), LOCAL, [item(1, syntax=JPEG), item(2), item(3, syntax=JPEG)])
    assert states(outcomes) == [
        ("key1", "refused", "CONTEXT_REJECTED"),
        ("key2", "sent", "0x0000"),
        ("key3", "refused", "CONTEXT_REJECTED"),
    ]
    assert outcomes[0].detail == "transfer syntaxes not supported"
    assert got == ["1.2.2"]


@pytest.mark.parametrize(
    ("odd", "code"),
    [
        (item(1, sop_class=""), "BAD_UID"),
        (item(1, sop_class="1" * 65), "BAD_UID"),
        (item(1, syntax="1.2 3"), "BAD_UID"),
        (item(1, b"odd"), "ODD_LENGTH"),
    ],
)
def test_what_cannot_be_sent_at_all_is_refused_before_it_does_harm(odd: SendItem, code: str) -> None:
    with scripted_peer(serve_store(0)) as peer:
        outcomes = send(peer.node(), LOCAL, [odd, item(2)])
    assert states(outcomes) == [("key1", "refused", code), ("key2", "sent", "0x0000")]


def test_a_deflated_object_of_odd_length_is_padded() -> None:
    got: list[bytes] = []
    with scripted_peer(serve_store(0, on_object=lambda _, data: got.append(data))) as peer:
        send(peer.node(), LOCAL, [item(1, b"odd", syntax=DEFLATED)])
    assert got == [b"odd\0"]


def missing() -> BinaryIO:
    raise FileNotFoundError(2, "No such file or directory", "/archive/SECRET.dcm")


def not_in_the_store() -> BinaryIO:
    raise InstanceMissingError("instances/SECRET.dcm is not in the store")


@pytest.mark.parametrize("open_", [missing, not_in_the_store])
def test_a_file_that_cannot_be_read_fails_alone_and_names_no_path(open_: Callable[[], BinaryIO]) -> None:
    with scripted_peer(serve_store(0)) as peer:
        outcomes = send(peer.node(), LOCAL, [item(1), item(2, open_=open_), item(3)])
    assert states(outcomes) == [("key1", "sent", "0x0000"), ("key2", "failed", "UNREADABLE"), ("key3", "sent", "0x0000")]
    assert "SECRET" not in outcomes[1].detail


class Shrinking(io.BytesIO):
    """Gives one megabyte, then fails."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 1 << 20:
            raise OSError(5, "Input/output error")
        return super().read(size)


def test_a_file_that_fails_half_way_is_never_taken_for_whole() -> None:
    sink = MemorySink()
    with storage_scp(LOCAL, sink, port=0) as scp:
        node = Node("vna", ae_title="VNA", port=scp.port)
        outcomes = send(node, LOCAL, [item(1), item(2, open_=lambda: Shrinking(bytes(3 << 20))), item(3)])
    assert states(outcomes) == [("key1", "sent", "0x0000"), ("key2", "failed", "UNREADABLE"), ("key3", "sent", "0x0000")]
    assert sorted(sink.data_sets) == ["1.2.1", "1.2.3"]


@pytest.mark.parametrize("how", ["abort", "hang_up"])
@pytest.mark.parametrize("when", ["before the object", "after the object"])
def test_a_lost_association_costs_the_object_in_flight_only(how: str, when: str) -> None:
    def script(assoc: Scripted) -> None:
        for n in range(100):
            if assoc.number == 0 and n == 2 and when == "before the object":
                getattr(assoc, how)()
                return
            context_id, command, _ = assoc.receive()
            if assoc.number == 0 and n == 2:
                getattr(assoc, how)()
                return
            assoc.respond(context_id, command, 0)

    with scripted_peer(script) as peer:
        outcomes = send(peer.node(), LOCAL, [item(n) for n in range(6)])
    assert [outcome.state for outcome in outcomes] == ["sent", "sent", "failed", "sent", "sent", "sent"]
    assert outcomes[2].code == "ASSOCIATION_LOST"
    assert len(peer.requests) == 2


def test_a_peer_that_ends_every_association_is_given_up_soon() -> None:
    def script(assoc: Scripted) -> None:
        assoc.receive()
        assoc.abort()

    with scripted_peer(script) as peer:
        outcomes = send(peer.node(), LOCAL, [item(n) for n in range(50)])
    assert len(peer.requests) == 3
    assert [(outcome.state, outcome.code) for outcome in outcomes] == [("failed", "ASSOCIATION_LOST")] * 50


def test_an_answer_to_another_message_ends_the_association() -> None:
    def script(assoc: Scripted) -> None:
        context_id, command, _ = assoc.receive()
        changed = Command({**command.elements, commands.MESSAGE_ID: commands.us(99)})
        assoc.respond(context_id, changed, 0)
        assoc.receive()

    with scripted_peer(script) as peer:
        outcomes = send(peer.node(), LOCAL, [item(1)])
    assert states(outcomes) == [("key1", "failed", "ASSOCIATION_LOST")]


@pytest.mark.parametrize(
    ("answer", "error", "transient"),
    [
        (pdus.reject(1, 1, 3), AssociationRejectedError, False),
        (pdus.reject(2, 3, 2), AssociationRejectedError, True),
        (pdus.abort(2, 0), AssociationAbortedError, True),
        (b"SSH-2.0-OpenSSH\r\n", AssociationAbortedError, True),
    ],
)
def test_a_peer_that_turns_us_away_at_once_raises(answer: bytes, error: type[Exception], transient: bool) -> None:
    told: list[Outcome] = []
    with scripted_peer(serve_store(0), answer=answer) as peer, pytest.raises(error) as caught:
        send(peer.node(), LOCAL, [item(1)], told.append)
    assert caught.value.transient is transient  # type: ignore[attr-defined]
    assert not told


def test_a_peer_that_is_not_there_raises() -> None:
    with scripted_peer(serve_store(0)) as peer:
        node = peer.node()
    with pytest.raises(UnreachableError):
        send(node, LOCAL, [item(1)])


def test_a_peer_that_goes_away_for_good_fails_the_rest_with_a_reason() -> None:
    def script(assoc: Scripted) -> None:
        context_id, command, _ = assoc.receive()
        assoc.respond(context_id, command, 0)
        assoc.receive()
        peer.close()
        assoc.hang_up()

    with scripted_peer(script) as peer:
        outcomes = send(peer.node(), LOCAL, [item(n) for n in range(4)])
    assert [(outcome.state, outcome.code) for outcome in outcomes] == [
        ("sent", "0x0000"),
        ("failed", "ASSOCIATION_LOST"),
        ("failed", "UNREACHABLE"),
        ("failed", "UNREACHABLE"),
    ]


def test_an_outcome_is_told_as_soon_as_it_is_known() -> None:
    told: list[str] = []
    seen_at_open: list[int] = []

    def open_third() -> BinaryIO:
        seen_at_open.append(len(told))
        return io.BytesIO(b"headdata")

    with scripted_peer(serve_store(0)) as peer:
        outcomes = send(
            peer.node(), LOCAL, [item(1), item(2), item(3, open_=open_third)], lambda outcome: told.append(outcome.key)
        )
    assert told == [outcome.key for outcome in outcomes] == ["key1", "key2", "key3"]
    assert seen_at_open == [1]  # the third is read while the second is under way


def test_nothing_is_opened_for_nothing() -> None:
    assert send(Node("nowhere", ae_title="X", port=1), LOCAL, []) == []


def test_more_than_128_contexts_take_several_associations() -> None:
    items = [item(n, sop_class=f"1.2.840.113619.4.{n % 300}") for n in range(600)]
    with scripted_peer(serve_store(0)) as peer:
        outcomes = send(peer.node(), LOCAL, items)
    assert {outcome.state for outcome in outcomes} == {"sent"}
    assert sorted(outcome.key for outcome in outcomes) == sorted(item.key for item in items)
    assert [len(request.proposals) for request in peer.requests] == [128, 128, 128]
    assert len({p.abstract_syntax for request in peer.requests for p in request.proposals}) == 300


def test_a_sender_keeps_its_association_from_study_to_study() -> None:
    with scripted_peer(serve_store(0)) as peer:
        with sender(peer.node(), LOCAL) as session:
            for n in range(5):
                assert [outcome.state for outcome in session.send([item(n)])] == ["sent"]
            assert [outcome.state for outcome in session.send([item(9, sop_class=MR)])] == ["sent"]
            assert [outcome.state for outcome in session.send([item(10)])] == ["sent"]
        assert [len(request.proposals) for request in peer.requests] == [1, 2]


def test_a_sender_notices_that_the_peer_has_gone_meanwhile() -> None:
    def script(assoc: Scripted) -> None:
        context_id, command, _ = assoc.receive()
        assoc.respond(context_id, command, 0)
        assoc.abort()

    with scripted_peer(script) as peer, sender(peer.node(), LOCAL) as session:
        for n in range(3):
            assert [outcome.state for outcome in session.send([item(n)])] == ["sent"]
            while not session._assoc.wire.has_ended():  # type: ignore[union-attr]
                pass
    assert len(peer.requests) == 3


def test_a_silent_peer_is_given_up_after_the_nodes_timeout() -> None:
    def script(assoc: Scripted) -> None:
        assoc.receive()
        assoc.receive()

    with scripted_peer(script) as peer:
        outcomes = send(peer.node(dimse_timeout_s=0.1), LOCAL, [item(1)])
    assert states(outcomes) == [("key1", "failed", "ASSOCIATION_LOST")]
    assert "silent" in outcomes[0].detail


def test_names_that_cannot_be_encoded_are_a_matter_of_configuration() -> None:
    with scripted_peer(serve_store(0)) as peer, pytest.raises(ConfigError):
        send(peer.node(ae_title="A TITLE FAR TOO LONG"), LOCAL, [item(1)])


def test_items_may_come_from_a_generator() -> None:
    with scripted_peer(serve_store(0)) as peer:
        assert len(send(peer.node(), LOCAL, (item(n) for n in range(3)))) == 3


def test_a_context_id_belongs_to_its_pair() -> None:
    seen: dict[str, int] = {}

    def script(assoc: Scripted) -> None:
        while True:
            context_id, command, _ = assoc.receive()
            seen[command.text(0x1000)] = context_id
            assoc.respond(context_id, command, 0)

    with scripted_peer(script) as peer:
        send(peer.node(), LOCAL, [item(1), item(2, syntax=JPEG), item(3)])
    assert seen == {"1.2.1": 1, "1.2.2": 3, "1.2.3": 1}
    assert negotiation.ACCEPTANCE == 0
