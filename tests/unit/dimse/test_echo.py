"""An echo that fails says why, and what to do about it."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.scripted import accept_first, scripted_peer
from tests.support.sinks import MemorySink
from vna.dimse import hints, pdus
from vna.dimse.echo import echo
from vna.dimse.negotiation import Context, Proposal
from vna.dimse.storage_scp import storage_scp
from vna.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConfigError,
    DimseStatusError,
    PeerError,
    UnreachableError,
)
from vna.model import Local, Node

LOCAL = Local(ae_title="OURS", port=11112)


def test_an_echo_takes_its_time() -> None:
    with storage_scp(LOCAL, MemorySink(), port=0) as scp:
        assert 0 < echo(Node("pacs", ae_title="PACS", port=scp.port), LOCAL) < 5


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_nothing_listens() -> None:
    with pytest.raises(UnreachableError, match="nothing listens") as caught:
        echo(Node("pacs", ae_title="PACS", port=free_port()), LOCAL)
    assert "[nodes.pacs]" in caught.value.hint
    assert caught.value.ae_title == "PACS"
    assert caught.value.transient


def test_the_name_is_not_known() -> None:
    with pytest.raises(UnreachableError, match="not known") as caught:
        echo(Node("pacs", ae_title="PACS", host="no-such-host.invalid"), LOCAL)
    assert "host in [nodes.pacs]" in caught.value.hint


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "no route"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "no route"),
        (TimeoutError("timed out"), "in time"),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "in time"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_other_failures_of_the_network_have_hints_too(error: OSError, words: str) -> None:
    made = hints.unreachable(error, Node("pacs", ae_title="PACS", host="10.0.0.1", port=104))
    assert words in str(made)
    assert made.hint


@pytest.mark.parametrize(
    ("pdu", "words", "hint", "transient"),
    [
        (pdus.reject(1, 1, 3), "calling AE title not recognised", "'OURS'", False),
        (pdus.reject(1, 1, 7), "called AE title not recognised", "'PEER'", False),
        (pdus.reject(1, 1, 1), "no reason", "'OURS'", False),
        (pdus.reject(1, 1, 2), "application context", "", False),
        (pdus.reject(2, 3, 2), "local limit", "fewer", True),
        (pdus.reject(2, 3, 1), "congestion", "later", True),
        (pdus.reject(2, 1, 1), "for now", "later", True),
        (pdus.reject(1, 9, 9), "source 9, reason 9", "", False),
    ],
)
def test_a_rejection_says_which_setting_is_wrong(pdu: bytes, words: str, hint: str, transient: bool) -> None:
    with scripted_peer(lambda assoc: None, answer=pdu) as peer, pytest.raises(AssociationRejectedError, match=words) as caught:
        echo(peer.node(), LOCAL)
    assert hint in caught.value.hint
    assert caught.value.transient is transient
    assert (caught.value.result, caught.value.source, caught.value.reason) == tuple(pdu[7:10])


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", pdus.abort(0, 0)])
def test_a_port_that_speaks_something_else_is_told(answer: bytes) -> None:
    with scripted_peer(lambda assoc: None, answer=answer) as peer, pytest.raises(AssociationAbortedError) as caught:
        echo(peer.node(), LOCAL)
    assert caught.value.hint


@contextmanager
def listener(*, answers: bool) -> Iterator[int]:
    """Accept a connection and close it at once, or never say anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            sock, _ = server.accept()
            kept.append(sock)
            if answers:
                sock.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        thread.join()
        for sock in kept:
            sock.close()


def test_a_peer_that_hangs_up_is_told() -> None:
    with listener(answers=True) as port, pytest.raises(AssociationAbortedError) as caught:
        echo(Node("pacs", ae_title="PACS", port=port), LOCAL)
    assert "TLS" in caught.value.hint


def test_a_peer_that_says_nothing_is_given_up() -> None:
    with listener(answers=False) as port, pytest.raises(UnreachableError, match="silent") as caught:
        echo(Node("pacs", ae_title="PACS", port=port, acse_timeout_s=0.1), LOCAL)
    assert caught.value.hint


def test_a_peer_without_verification_is_told() -> None:
    def none(proposal: Proposal) -> Context:
        return Context(proposal.context_id, proposal.abstract_syntax, "", 3)

    with scripted_peer(lambda assoc: assoc.receive() and None, accept=none) as peer, pytest.raises(DimseStatusError) as caught:
        echo(peer.node(), LOCAL)
    assert caught.value.status == 0x0122


@pytest.mark.parametrize(("status", "transient"), [(0x0122, False), (0x0213, True)])
def test_a_status_other_than_success_is_told(status: int, transient: bool) -> None:
    def script(assoc: object) -> None:
        context_id, command, _ = assoc.receive()  # type: ignore[attr-defined]
        assoc.respond(context_id, command, status)  # type: ignore[attr-defined]
        assoc.receive()  # type: ignore[attr-defined]

    with scripted_peer(script, accept=accept_first) as peer, pytest.raises(DimseStatusError) as caught:
        echo(peer.node(), LOCAL)
    assert (caught.value.status, caught.value.transient) == (status, transient)


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN_CHARS_X", "BACK\\SLASH", "ÜMLAUT"])
def test_titles_that_cannot_be_sent_are_a_matter_of_configuration(title: str) -> None:
    with pytest.raises(ConfigError):
        echo(Node("pacs", ae_title=title), LOCAL)


def test_every_failure_of_a_peer_is_one_kind_of_error() -> None:
    for error in (UnreachableError, AssociationRejectedError, AssociationAbortedError, DimseStatusError):
        assert issubclass(error, PeerError)
