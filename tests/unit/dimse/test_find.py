"""A query yields every match as text, and never lets a truncated answer pass for a whole one."""

from __future__ import annotations

import pytest

from tests.support.scripted import Scripted, scripted_peer
from vna.dimse import identifiers
from vna.dimse.find import find, finder
from vna.errors import AssociationAbortedError, ConfigError, DimseStatusError, PeerError, QueryTruncatedError, UnreachableError
from vna.model import Local

LOCAL = Local()
KEYS = {"StudyInstanceUID": "", "PatientName": ""}


def matches(assoc: Scripted, count: int, status: int, *, pending: int = 0xFF00) -> dict[str, str]:
    """Answer one query with ``count`` matches and a final status; return what was asked."""
    context_id, command, data = assoc.receive()
    syntax = assoc.contexts[context_id].transfer_syntax
    for n in range(count):
        match = identifiers.encode("STUDY", {"StudyInstanceUID": f"1.2.{n}", "PatientName": "Jérôme"}, syntax)
        assoc.respond(context_id, command, pending, match)
    assoc.respond(context_id, command, status)
    return identifiers.decode(data, syntax, [*KEYS, "StudyDate"])


@pytest.mark.parametrize("pending", [0xFF00, 0xFF01])
def test_matches_come_as_text_until_success(pending: int) -> None:
    asked: list[dict[str, str]] = []

    def script(assoc: Scripted) -> None:
        asked.append(matches(assoc, 3, 0x0000, pending=pending))
        assoc.receive()

    with scripted_peer(script) as peer:
        found = list(find(peer.node(), LOCAL, "STUDY", {**KEYS, "StudyDate": "20240101-20240131"}))
    assert [match["StudyInstanceUID"] for match in found] == ["1.2.0", "1.2.1", "1.2.2"]
    assert {match["PatientName"] for match in found} == {"Jérôme"}
    assert asked == [
        {
            "SpecificCharacterSet": "",
            "QueryRetrieveLevel": "STUDY",
            "StudyDate": "20240101-20240131",
            "StudyInstanceUID": "",
            "PatientName": "",
        }
    ]


@pytest.mark.parametrize(
    ("status", "error", "transient"),
    [
        (0xA700, QueryTruncatedError, False),
        (0xB001, QueryTruncatedError, False),
        (0xFE00, QueryTruncatedError, False),
        (0xA900, DimseStatusError, False),
        (0xC000, DimseStatusError, False),
        (0xC123, DimseStatusError, False),
        (0x0122, DimseStatusError, False),
        (0x0124, DimseStatusError, False),
        (0x0110, DimseStatusError, True),
        (0x4711, DimseStatusError, False),
        (0xB123, DimseStatusError, False),
    ],
)
def test_any_end_but_success_raises_after_the_matches(status: int, error: type[PeerError], transient: bool) -> None:
    def script(assoc: Scripted) -> None:
        matches(assoc, 2, status)
        assoc.receive()

    found = []
    with scripted_peer(script) as peer, pytest.raises(error) as caught:
        for match in find(peer.node(), LOCAL, "STUDY", KEYS):
            found.append(match)  # noqa: PERF402 - what came before the error counts
    assert len(found) == 2
    assert caught.value.transient is transient
    assert f"0x{status:04X}" in str(caught.value)
    assert "Jérôme" not in str(caught.value)


@pytest.mark.parametrize("how", ["abort", "hang_up"])
def test_an_association_that_breaks_raises(how: str) -> None:
    def script(assoc: Scripted) -> None:
        context_id, command, _ = assoc.receive()
        syntax = assoc.contexts[context_id].transfer_syntax
        assoc.respond(context_id, command, 0xFF00, identifiers.encode("STUDY", {"StudyInstanceUID": "1"}, syntax))
        getattr(assoc, how)()

    with scripted_peer(script) as peer, pytest.raises(AssociationAbortedError):
        list(find(peer.node(), LOCAL, "STUDY", KEYS))


def test_a_match_that_cannot_be_read_raises_instead_of_being_left_out() -> None:
    def script(assoc: Scripted) -> None:
        context_id, command, _ = assoc.receive()
        syntax = assoc.contexts[context_id].transfer_syntax
        whole = identifiers.encode("STUDY", {"StudyInstanceUID": "1.2.3", "PatientName": "SECRET^CANARY"}, syntax)
        assoc.respond(context_id, command, 0xFF00, whole[:-6])
        assoc.receive()

    with scripted_peer(script) as peer, pytest.raises(AssociationAbortedError, match="IDENTIFIER") as caught:
        list(find(peer.node(), LOCAL, "STUDY", KEYS))
    assert "CANARY" not in str(caught.value)


def test_a_silent_peer_is_given_up() -> None:
    def script(assoc: Scripted) -> None:
        assoc.receive()
        assoc.receive()

    with scripted_peer(script) as peer, pytest.raises(UnreachableError, match="silent"):
        list(find(peer.node(dimse_timeout_s=0.1), LOCAL, "STUDY", KEYS))


def test_a_session_asks_many_queries_on_one_association() -> None:
    def script(assoc: Scripted) -> None:
        while True:
            matches(assoc, 1, 0x0000)

    with scripted_peer(script) as peer:
        with finder(peer.node(), LOCAL) as ask:
            for _ in range(5):
                assert len(list(ask("STUDY", KEYS))) == 1
        assert len(peer.requests) == 1


def test_a_query_may_begin_while_another_is_read() -> None:
    def script(assoc: Scripted) -> None:
        while True:
            matches(assoc, 3, 0x0000)

    with scripted_peer(script) as peer:
        with finder(peer.node(), LOCAL) as ask:
            pairs = [
                (one["StudyInstanceUID"], two["StudyInstanceUID"]) for one in ask("STUDY", KEYS) for two in ask("STUDY", KEYS)
            ]
        assert len(pairs) == 9
        assert len(peer.requests) == 2


def test_a_query_that_is_no_longer_read_is_aborted_and_the_session_goes_on() -> None:
    def script(assoc: Scripted) -> None:
        while True:
            matches(assoc, 1000, 0x0000)

    with scripted_peer(script) as peer, finder(peer.node(), LOCAL) as ask:
        iterator = ask("STUDY", KEYS)
        next(iterator)
        iterator.close()  # type: ignore[attr-defined]
        assert len(list(ask("STUDY", KEYS))) == 1000
        assert len(peer.requests) == 2


def test_a_session_survives_a_failed_query() -> None:
    def script(assoc: Scripted) -> None:
        matches(assoc, 0, 0xC000)
        matches(assoc, 1, 0x0000)
        assoc.receive()

    with scripted_peer(script) as peer, finder(peer.node(), LOCAL) as ask:
        with pytest.raises(DimseStatusError):
            list(ask("STUDY", KEYS))
        assert len(list(ask("STUDY", KEYS))) == 1
        assert len(peer.requests) == 1


@pytest.mark.parametrize(
    ("model", "sop_class"), [("study", "1.2.840.10008.5.1.4.1.2.2.1"), ("patient", "1.2.840.10008.5.1.4.1.2.1.1")]
)
def test_the_model_chooses_the_sop_class(model: str, sop_class: str) -> None:
    def script(assoc: Scripted) -> None:
        matches(assoc, 0, 0x0000)
        assoc.receive()

    with scripted_peer(script) as peer:
        assert list(find(peer.node(), LOCAL, "STUDY", KEYS, model=model)) == []
        assert [p.abstract_syntax for p in peer.requests[0].proposals] == [sop_class]


def test_an_unknown_keyword_is_a_matter_of_configuration() -> None:
    with scripted_peer(lambda assoc: assoc.abort()) as peer, pytest.raises(ConfigError, match="StudyUID"):
        list(find(peer.node(), LOCAL, "STUDY", {"StudyUID": ""}))
