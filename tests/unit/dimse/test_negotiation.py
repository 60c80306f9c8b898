"""Associations are negotiated so that the sender's native encoding survives, and malformed requests are refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from vna.dimse import negotiation
from vna.dimse.negotiation import Context, Proposal
from vna.dimse.pdus import ProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE = "1.2.840.113619.4.26"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT, EXPLICIT, BIG, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.50"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((EXPLICIT,), EXPLICIT),
        ((IMPLICIT,), IMPLICIT),
        ((IMPLICIT, EXPLICIT), EXPLICIT),
        ((JPEG, EXPLICIT, IMPLICIT), JPEG),
        ((EXPLICIT, JPEG), EXPLICIT),
        ((IMPLICIT, BIG, EXPLICIT), BIG),
        (("1.2.3.4.5", EXPLICIT), "1.2.3.4.5"),
    ],
)
def test_the_senders_first_syntax_is_taken_unless_it_is_the_default_one(offered: tuple[str, ...], chosen: str) -> None:
    assert negotiation.accept_context(Proposal(1, CT, offered)) == Context(1, CT, chosen, 0)


@pytest.mark.parametrize(
    ("proposal", "result"),
    [
        (Proposal(1, PRIVATE, (EXPLICIT,)), 0),
        (Proposal(1, "1.2.840.10008.1.1", (IMPLICIT,)), 0),
        (Proposal(1, FIND, (EXPLICIT,)), 3),
        (Proposal(1, "", (EXPLICIT,)), 3),
        (Proposal(1, CT, ()), 4),
    ],
)
def test_storage_and_verification_are_accepted_and_nothing_else(proposal: Proposal, result: int) -> None:
    assert negotiation.accept_context(proposal).result == result


def request(**changes: object) -> bytes:
    proposals = negotiation.contexts_for([(CT, (EXPLICIT, JPEG)), (PRIVATE, (IMPLICIT,))])
    options: dict[str, object] = {"max_pdu": 16384, "scp_roles": [CT], "window": 4, **changes}
    return negotiation.encode_request("CALLING", "CALLED", proposals, **options)  # type: ignore[arg-type]


def test_a_request_reads_back() -> None:
    read = negotiation.decode_request(request())
    assert (read.calling_ae_title, read.called_ae_title, read.max_pdu, read.window) == ("CALLING", "CALLED", 16384, 4)
    assert read.proposals == (Proposal(1, CT, (EXPLICIT, JPEG)), Proposal(3, PRIVATE, (IMPLICIT,)))
    assert read.application_context == "1.2.840.10008.3.1.1.1"


def test_pynetdicom_reads_our_request_with_its_roles() -> None:
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(request())
    user = pdu.user_information
    assert user is not None
    role = user.role_selection[CT]  # type: ignore[index]
    assert (role.scu_role, role.scp_role) == (0, 1)
    assert len(pdu.presentation_context) == 2


def test_an_accept_reads_back_and_holds_the_ae_titles_as_they_came() -> None:
    asked = negotiation.decode_request(request())
    answers = [Context(1, CT, JPEG, 0), Context(3, PRIVATE, IMPLICIT, 4)]
    data = negotiation.encode_accept(asked, answers, max_pdu=65536, window=2)
    pdu = A_ASSOCIATE_AC()
    pdu.decode(data)
    assert (pdu.called_ae_title, pdu.calling_ae_title) == ("CALLED", "CALLING")
    read = negotiation.decode_accept(data, asked.proposals)
    assert read.contexts == (Context(1, CT, JPEG, 0), Context(3, PRIVATE, "", 4))
    assert (read.max_pdu, read.window) == (65536, 2)


def test_no_window_is_answered_where_none_was_proposed() -> None:
    asked = negotiation.decode_request(request(window=None))
    data = negotiation.encode_accept(asked, [Context(1, CT, JPEG, 0)], max_pdu=65536, window=8)
    assert b"\x53\x00\x00\x04" not in data
    assert negotiation.decode_accept(data, asked.proposals).window == 1


def test_a_context_without_an_answer_is_not_accepted() -> None:
    asked = negotiation.decode_request(request())
    data = negotiation.encode_accept(asked, [Context(1, CT, JPEG, 0)], max_pdu=0, window=1)
    assert negotiation.decode_accept(data, asked.proposals).contexts[1].result != 0


@pytest.mark.parametrize("answer", [Context(5, CT, EXPLICIT, 0), Context(1, CT, BIG, 0)], ids=["unknown id", "other syntax"])
def test_an_accept_of_something_that_was_not_proposed_is_refused(answer: Context) -> None:
    asked = negotiation.decode_request(request())
    data = negotiation.encode_accept(asked, [answer], max_pdu=0, window=1)
    with pytest.raises(ProtocolError, match="PDU_PROTOCOL"):
        negotiation.decode_accept(data, asked.proposals)


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def test_unknown_items_are_ignored_wherever_they_stand() -> None:
    data = request()
    user_at = data.rindex(b"\x50\x00")
    user = data[user_at + 4 :]
    extended = data[:user_at] + item(0x99, b"xyz") + item(0x50, item(0x5A, b"abc") + user + item(0x58, b"\xff"))
    assert negotiation.decode_request(extended) == negotiation.decode_request(data)


def context_item(number: int, syntaxes: int = 1) -> bytes:
    return item(0x20, bytes((number, 0, 0, 0)) + item(0x30, CT.encode()) + item(0x40, EXPLICIT.encode()) * syntaxes)


@pytest.mark.parametrize(
    "contexts",
    [
        b"",
        context_item(1) * 2,
        context_item(2),
        b"".join(context_item(n) for n in range(1, 256, 2)) + context_item(255),
        context_item(1, syntaxes=257),
        context_item(1)[:-3],
        item(0x20, b"\x01\x00"),
        item(0x20, bytes((1, 0, 0, 0)) + struct.pack(">BxH", 0x30, 5000) + CT.encode()),
        item(0x20, bytes((1, 0, 0, 0)) + item(0x30, CT.encode()) + item(0x40, b"\xff\xfe\xfd")),
        item(0x20, bytes((1, 0, 0, 0)) + item(0x30, b"1" * 70) + item(0x40, EXPLICIT.encode())),
    ],
    ids=[
        "none",
        "same id",
        "even id",
        "129",
        "257 syntaxes",
        "cut off",
        "no body",
        "item length lies",
        "no text",
        "70 characters",
    ],
)
def test_impossible_presentation_contexts_are_refused(contexts: bytes) -> None:
    data = request()
    first, user_at = data.index(b"\x20\x00"), data.rindex(b"\x50\x00")
    with pytest.raises(ProtocolError, match="PDU_PROTOCOL"):
        negotiation.decode_request(data[:first] + contexts + data[user_at:])


def test_all_128_contexts_fit() -> None:
    proposals = negotiation.contexts_for((f"1.2.{n}", (EXPLICIT,)) for n in range(128))
    data = negotiation.encode_request("A", "B", proposals, max_pdu=0)
    assert [p.context_id for p in negotiation.decode_request(data).proposals] == list(range(1, 256, 2))


@settings(max_examples=300)
@given(st.data())
def test_a_mutated_request_is_read_or_refused(data: st.DataObject) -> None:
    original = bytearray(request())
    for _ in range(data.draw(st.integers(1, 4))):
        original[data.draw(st.integers(6, len(original) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 40))
    try:
        read = negotiation.decode_request(bytes(original[: len(original) - cut]))
    except ProtocolError:
        return
    assert 1 <= len(read.proposals) <= 128


@pytest.mark.parametrize(
    ("uid", "proposable"),
    [
        (CT, True),
        ("1" * 64, True),
        ("1" * 65, False),
        ("", False),
        ("1.2 3", False),
        ("1.2\n", False),
        ("1.２", False),
        ("dccc95", True),
    ],
)
def test_what_can_stand_in_a_context_at_all(uid: str, proposable: bool) -> None:
    assert negotiation.is_proposable(uid) is proposable
