"""Retrieves ask for what they were told, hand every object to the sink, and say how the peer says it ended."""

from __future__ import annotations

import os
import threading

import pytest

from tests.support.scripted import Scripted, accept_first, scripted_peer
from tests.support.sinks import MemorySink, full
from vna.dimse import commands, identifiers
from vna.dimse.negotiation import Context, Proposal
from vna.dimse.retrieve import SubOperations, get, move
from vna.dimse.transfer_syntaxes import COMMON
from vna.errors import AssociationAbortedError, ConfigError, DimseStatusError, UnreachableError
from vna.model import Local, Provenance

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
EXPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
LOCAL = Local(ae_title="OURS", port=11112)
STUDY = {"StudyInstanceUID": "1.2.3"}
PROVENANCE = Provenance("legacy")


def asked(assoc: Scripted) -> tuple[int, commands.Command, dict[str, str]]:
    context_id, command, data = assoc.receive()
    keys = identifiers.decode(data, assoc.contexts[context_id].transfer_syntax, ["StudyInstanceUID", "SOPInstanceUID"])
    return context_id, command, keys


def test_a_move_names_level_keys_and_destination_and_reports_the_counts() -> None:
    pending: list[SubOperations] = []
    seen: list[tuple[str, dict[str, str]]] = []

    def script(assoc: Scripted) -> None:
        context_id, command, keys = asked(assoc)
        seen.append((command.text(commands.MOVE_DESTINATION), keys))
        assoc.respond(context_id, command, 0xFF00, _1020=2, _1021=1, _1022=0, _1023=0)
        assoc.respond(context_id, command, 0xFF00)
        assoc.respond(context_id, command, 0x0000, _1021=3, _1022=0, _1023=1)
        assoc.receive()

    with scripted_peer(script) as peer:
        result = move(peer.node(), LOCAL, STUDY, on_pending=pending.append)
    assert seen == [("OURS", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3"})]
    assert pending == [SubOperations(2, 1, 0, 0), SubOperations()]
    assert (result.status, result.completed, result.failed, result.warning) == (0, 3, 0, 1)


def test_a_move_says_when_it_begins_to_wait_and_not_while_answers_are_there() -> None:
    has_sent, waiting = threading.Event(), threading.Event()
    pending: list[int] = []
    waits: list[int] = []

    def script(assoc: Scripted) -> None:
        context_id, command, _ = asked(assoc)
        assoc.respond(context_id, command, 0xFF00, _1020=3)
        assoc.respond(context_id, command, 0xFF00, _1020=2)
        assoc.respond(context_id, command, 0xFF00, _1020=1)
        has_sent.set()
        assert waiting.wait(60)
        assoc.respond(context_id, command, 0x0000)
        assoc.receive()

    def tell(counts: SubOperations) -> None:
        assert has_sent.wait(60)
        pending.append(counts.remaining)

    def tell_waiting(counts: SubOperations) -> None:
        waits.append(counts.remaining)
        if counts.remaining == 1:
            waiting.set()

    with scripted_peer(script) as peer:
        move(peer.node(dimse_timeout_s=60), LOCAL, STUDY, on_pending=tell, on_waiting=tell_waiting)
    assert pending == [3, 2, 1]
    assert waits[-1] == 1


def test_a_move_elsewhere_and_of_single_instances() -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    def script(assoc: Scripted) -> None:
        context_id, command, keys = asked(assoc)
        seen.append((command.text(commands.MOVE_DESTINATION), keys))
        assoc.respond(context_id, command, 0x0000)
        assoc.receive()

    with scripted_peer(script) as peer:
        move(peer.node(), LOCAL, {**STUDY, "SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.5\\1.6"}, "THERE")
    assert seen == [("THERE", {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.2.3", "SOPInstanceUID": "1.5\\1.6"})]


def test_failed_uids_are_read_from_a_warning() -> None:
    def script(assoc: Scripted) -> None:
        context_id, command, _ = asked(assoc)
        syntax = assoc.contexts[context_id].transfer_syntax
        failed = identifiers.encode("STUDY", {"FailedSOPInstanceUIDList": "1.7\\1.8"}, syntax)
        assoc.respond(context_id, command, 0xB000, failed, _1021=1, _1022=2)
        assoc.receive()

    with scripted_peer(script) as peer:
        result = move(peer.node(), LOCAL, STUDY)
    assert (result.status, result.failed, result.failed_uids) == (0xB000, 2, ("1.7", "1.8"))


@pytest.mark.parametrize(
    ("status", "transient", "hint"),
    [
        (0xA801, False, "'OURS'"),
        (0xA702, True, "could not reach"),
        (0xA701, True, ""),
        (0xA900, False, ""),
        (0x0124, False, "granted"),
        (0xC000, False, "'OURS'"),
    ],
)
def test_a_failed_move_raises_with_the_hint_for_its_status(status: int, transient: bool, hint: str) -> None:
    def script(assoc: Scripted) -> None:
        context_id, command, _ = asked(assoc)
        assoc.respond(context_id, command, status)
        assoc.receive()

    with scripted_peer(script) as peer, pytest.raises(DimseStatusError) as caught:
        move(peer.node(), LOCAL, STUDY)
    assert (caught.value.status, caught.value.transient) == (status, transient)
    assert hint in caught.value.hint


def test_a_move_is_given_as_long_as_the_node_says_a_retrieve_takes() -> None:
    def script(assoc: Scripted) -> None:
        asked(assoc)
        assoc.receive()

    with scripted_peer(script) as peer, pytest.raises(UnreachableError, match="silent"):
        move(peer.node(dimse_timeout_s=60, retrieve_timeout_s=0.1), LOCAL, STUDY)


def test_a_retrieve_without_a_unique_key_is_refused() -> None:
    with scripted_peer(lambda assoc: assoc.abort()) as peer, pytest.raises(ConfigError, match="unique key"):
        move(peer.node(), LOCAL, {})


def send_all(assoc: Scripted, objects: dict[str, bytes], *, context_id: int = 3, status: int = 0) -> list[int]:
    get_context, command, _ = asked(assoc)
    answers = []
    for n, (uid, data) in enumerate(objects.items(), 1):
        answers.append(assoc.store(context_id, uid, data, message_id=n))
        assoc.respond(get_context, command, 0xFF00, _1020=len(objects) - n, _1021=n, _1022=0, _1023=0)
    assoc.respond(get_context, command, status, _1021=len(objects), _1022=0, _1023=0)
    return answers


def test_a_get_hands_every_object_to_the_sink_and_answers_it() -> None:
    objects = {f"1.9.{n}": os.urandom(size) for n, size in enumerate((10, 20_000, 600_000))}
    answers: list[int] = []
    pending: list[SubOperations] = []

    def script(assoc: Scripted) -> None:
        answers.extend(send_all(assoc, objects))
        assoc.receive()

    sink = MemorySink()
    with scripted_peer(script) as peer:
        result = get(peer.node(), LOCAL, STUDY, {CT: [EXPLICIT, JPEG]}, sink, PROVENANCE, on_pending=pending.append)
        (request,) = peer.requests
    assert sink.data_sets == objects
    assert {arrived.provenance.source for arrived in sink.arrived} == {"legacy"}
    assert {arrived.transfer_syntax_uid for arrived in sink.arrived} == {EXPLICIT}
    assert answers == [0, 0, 0]
    assert (result.status, result.completed, result.received) == (0, 3, 3)
    assert [counts.remaining for counts in pending] == [2, 1, 0]
    proposed = [(proposal.abstract_syntax, proposal.transfer_syntaxes) for proposal in request.proposals]
    assert proposed[1:] == [(CT, (EXPLICIT,)), (CT, (JPEG,))]
    assert proposed[0][0] == STUDY_ROOT_GET


def test_a_get_without_known_syntaxes_proposes_the_common_ones() -> None:
    def script(assoc: Scripted) -> None:
        send_all(assoc, {})
        assoc.receive()

    with scripted_peer(script) as peer:
        get(peer.node(), LOCAL, STUDY, [CT], MemorySink(), PROVENANCE)
        (request,) = peer.requests
    assert [p.transfer_syntaxes for p in request.proposals if p.abstract_syntax == CT] == [(uid,) for uid in COMMON]


def test_many_sop_classes_are_asked_for_on_several_associations() -> None:
    def script(assoc: Scripted) -> None:
        get_context, command, _ = asked(assoc)
        failed = 200 - (len(assoc.contexts) - 1)
        assoc.respond(get_context, command, 0xB000, _1021=len(assoc.contexts) - 1, _1022=failed, _1023=0)
        assoc.receive()

    classes = {f"1.2.840.113619.4.{n}": [EXPLICIT] for n in range(200)}
    with scripted_peer(script) as peer:
        result = get(peer.node(), LOCAL, STUDY, classes, MemorySink(), PROVENANCE)
        storage = [[p.abstract_syntax for p in request.proposals[1:]] for request in peer.requests]
    assert [len(uids) for uids in storage] == [127, 73]
    assert sorted(uid for uids in storage for uid in uids) == sorted(classes)
    assert result.completed == 200


@pytest.mark.parametrize(
    ("statuses", "status"), [((0xA702, 0), 0xB000), ((0, 0xB000), 0xB000), ((0, 0), 0), ((0xA702, 0xC000), None)]
)
def test_a_get_on_several_associations_fails_only_if_all_do(statuses: tuple[int, int], status: int | None) -> None:
    def script(assoc: Scripted) -> None:
        get_context, command, _ = asked(assoc)
        assoc.respond(get_context, command, statuses[assoc.number])
        assoc.receive()

    classes = {f"1.2.840.113619.4.{n}": [EXPLICIT] for n in range(200)}
    with scripted_peer(script) as peer:
        if status is None:
            with pytest.raises(DimseStatusError):
                get(peer.node(), LOCAL, STUDY, classes, MemorySink(), PROVENANCE)
        else:
            assert get(peer.node(), LOCAL, STUDY, classes, MemorySink(), PROVENANCE).status == status


def reject_mr(proposal: Proposal) -> Context:
    if proposal.abstract_syntax == MR:
        return Context(proposal.context_id, MR, "", 3)
    return accept_first(proposal)


def test_contexts_that_the_peer_does_not_negotiate_are_named() -> None:
    def script(assoc: Scripted) -> None:
        send_all(assoc, {"1.9": b"data"})
        assoc.receive()

    with scripted_peer(script, accept=reject_mr) as peer:
        result = get(peer.node(), LOCAL, STUDY, {CT: [EXPLICIT], MR: [EXPLICIT, JPEG]}, MemorySink(), PROVENANCE)
    assert result.missing_contexts == ((MR, EXPLICIT), (MR, JPEG))


def test_what_the_sink_refuses_is_refused_to_the_peer_and_not_counted() -> None:
    answers: list[int] = []

    def script(assoc: Scripted) -> None:
        answers.extend(send_all(assoc, {"1.9.1": bytes(50_000), "1.9.2": b"data"}, status=0xB000))
        assoc.receive()

    sink = MemorySink()
    sink.on_open = lambda uid: full() if uid == "1.9.1" else None
    with scripted_peer(script) as peer:
        result = get(peer.node(), LOCAL, STUDY, {CT: [EXPLICIT]}, sink, PROVENANCE)
    assert answers == [0xA700, 0]
    assert list(sink.data_sets) == ["1.9.2"]
    assert (result.status, result.received) == (0xB000, 1)


@pytest.mark.parametrize("how", ["abort", "hang_up"])
def test_a_get_that_breaks_raises_and_what_was_stored_stays(how: str) -> None:
    def script(assoc: Scripted) -> None:
        asked(assoc)
        assoc.store(3, "1.9.1", b"data")
        getattr(assoc, how)()

    sink = MemorySink()
    with scripted_peer(script) as peer, pytest.raises(AssociationAbortedError):
        get(peer.node(), LOCAL, STUDY, {CT: [EXPLICIT]}, sink, PROVENANCE)
    assert list(sink.data_sets) == ["1.9.1"]


def test_a_peer_that_does_not_offer_the_service_is_told_from_one_that_fails() -> None:
    def none(proposal: Proposal) -> Context:
        return Context(proposal.context_id, proposal.abstract_syntax, "", 3)

    with scripted_peer(lambda assoc: assoc.receive() and None, accept=none) as peer:
        with pytest.raises(DimseStatusError) as caught:
            get(peer.node(), LOCAL, STUDY, {CT: [EXPLICIT]}, MemorySink(), PROVENANCE)
        assert caught.value.status == 0x0122
        with pytest.raises(DimseStatusError):
            move(peer.node(), LOCAL, STUDY)


def test_a_get_of_nothing_is_a_mistake() -> None:
    with scripted_peer(lambda assoc: assoc.abort()) as peer, pytest.raises(ConfigError):
        get(peer.node(), LOCAL, STUDY, {}, MemorySink(), PROVENANCE)
