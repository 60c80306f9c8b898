"""No name, ID or accession number reaches a log, an event, an outcome or an error, at any level, whatever goes wrong."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import pytest

from tests.support.associations import RawPeer, p_data, store_request
from tests.support.instances import data_set_bytes, make_instance
from tests.support.scripted import Scripted, scripted_peer, serve_store
from tests.support.sinks import MemorySink
from vna.dimse import identifiers, pdus
from vna.dimse.acceptor import Event
from vna.dimse.find import find
from vna.dimse.retrieve import get, move
from vna.dimse.send import SendItem, send
from vna.dimse.storage_scp import storage_scp
from vna.errors import VnaError
from vna.model import Local, Node, Provenance

CANARIES = ("CANARYNAME", "CANARYID", "CANARYACC")
CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
LOCAL = Local()
SECRETS = {"PatientName": "CANARYNAME^A", "PatientID": "CANARYID", "AccessionNumber": "CANARYACC"}
DATA_SET = data_set_bytes(make_instance(**SECRETS))
KEYS = {"StudyInstanceUID": "1.2.3", **SECRETS}


def fail(exc: Exception) -> Callable[[object], None]:
    def hook(_: object) -> None:
        raise exc

    return hook


def receive(said: list[str]) -> None:
    sink = MemorySink()
    with storage_scp(LOCAL, sink, port=0, on_event=lambda event: said.append(repr(event))) as scp:
        node = Node("vna", ae_title="VNA", port=scp.port)
        item = SendItem("key", CT, "1.2.3", EXPLICIT, lambda: io.BytesIO(DATA_SET), 0)
        said += map(repr, send(node, LOCAL, [item]))
        for hook in ("on_open", "during_write", "before_commit"):
            setattr(sink, hook, fail(ValueError(f"cannot parse {SECRETS}")))
            said += map(repr, send(node, LOCAL, [item]))
            setattr(sink, hook, lambda _: None)
        with RawPeer(scp.port) as peer:
            peer.associate().send(p_data(store_request("1.2.4"), 1, pdus.COMMAND | pdus.LAST) + p_data(DATA_SET[:300], 3))
            peer.read_pdu()
        with RawPeer(scp.port) as peer:
            peer.send(DATA_SET)
            peer.read_pdu()
    assert sink.arrived


def query(said: list[str]) -> None:
    def script(assoc: Scripted) -> None:
        while True:
            context_id, command, _ = assoc.receive()
            match = identifiers.encode("STUDY", KEYS, assoc.contexts[context_id].transfer_syntax)
            assoc.respond(context_id, command, 0xFF00, match)
            assoc.respond(context_id, command, 0xFF00, match[:-3])

    with scripted_peer(script) as peer, pytest.raises(VnaError) as caught:
        for match in find(peer.node(), LOCAL, "STUDY", KEYS):
            assert match["PatientID"] == "CANARYID"
    said.append(repr(caught.value) + caught.value.hint)


def retrieve(said: list[str]) -> None:
    def script(assoc: Scripted) -> None:
        context_id, command, _ = assoc.receive()
        if len(assoc.contexts) > 1:
            assoc.store(3, "1.2.3", DATA_SET)
        assoc.respond(context_id, command, 0xC000)
        assoc.receive()

    keys = {"StudyInstanceUID": "1.2.3", "PatientID": "CANARYID"}
    sink = MemorySink()
    sink.before_commit = fail(ValueError(f"cannot parse {SECRETS}"))
    with scripted_peer(script) as peer:
        with pytest.raises(VnaError) as moving:
            move(peer.node(), LOCAL, keys)
        with pytest.raises(VnaError) as getting:
            get(peer.node(), LOCAL, keys, {CT: [EXPLICIT]}, sink, Provenance("x"))
    said += (repr(caught.value) + caught.value.hint for caught in (moving, getting))


def forward(said: list[str]) -> None:
    item = SendItem("key", CT, "1.2.3", EXPLICIT, lambda: io.BytesIO(DATA_SET), 0)
    with scripted_peer(serve_store(0xC000)) as peer:
        said += map(repr, send(peer.node(), LOCAL, [item]))


@pytest.mark.parametrize("scenario", [receive, query, retrieve, forward])
def test_no_canary_is_told(scenario: Callable[[list[str]], None], caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        scenario(said)
    formatter = logging.Formatter("%(message)s")
    whole = "\n".join([*said, *(formatter.format(record) for record in caplog.records)])
    assert len(whole) > 50
    for canary in CANARIES:
        assert canary not in whole


def test_the_log_does_say_what_happened(caplog: pytest.LogCaptureFixture) -> None:
    events: list[Event] = []
    with (
        caplog.at_level(logging.INFO),
        storage_scp(LOCAL, MemorySink(), port=0, on_event=events.append) as scp,
        RawPeer(scp.port) as peer,
    ):
        peer.associate(calling="SENDER")
    assert "SENDER" in caplog.text
    assert "127.0.0.1" in caplog.text
