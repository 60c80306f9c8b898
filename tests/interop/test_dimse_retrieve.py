"""Queries and retrieves at DCMTK and Orthanc: everything is found, and arrives as the peer sends it, byte by byte."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.conftest import LoadedDatabase
from tests.support.instances import data_set_of, real_image_files
from tests.support.peers import (
    OrthancPeer,
    Peer,
    Received,
    dcmqrscp,
    free_port,
    move_study,
    orthanc,
    read_received,
    sent_by,
    storescp,
)
from tests.support.sinks import MemorySink
from vna.dimse.echo import echo
from vna.dimse.find import Finder, find, finder
from vna.dimse.retrieve import get, move
from vna.dimse.storage_scp import storage_scp
from vna.errors import AssociationAbortedError, AssociationRejectedError, DimseStatusError
from vna.model import Local, Provenance

pytestmark = pytest.mark.interop

OURS = "VNA"
LOSSLESS = "1.3.6.1.4.1.5962.1.1.8.1.4.20040826185059.5457"
"""The SOP Instance UID of an image in JPEG lossless, in a study of many syntaxes."""

UNCOMPRESSED = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"]


@dataclass(frozen=True)
class Source:
    """A peer that holds the real images, the port that it knows us by, and what storescp receives from it."""

    peer: Peer
    port: int
    studies: list[str]
    sends: dict[str, Received]


@pytest.fixture(scope="module", params=["dcmqrscp", "orthanc"])
def source(
    request: pytest.FixtureRequest, loaded_database: LoadedDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Source]:
    folder, port = tmp_path_factory.mktemp("source"), free_port()
    if request.param == "dcmqrscp":
        with dcmqrscp(folder, database=loaded_database.path, destinations=[(OURS, port)]) as peer:
            yield described(peer, port, folder)
    else:
        peer = request.getfixturevalue("loaded_orthanc")
        peer.add_modality("vna_dimse", OURS, port)
        yield described(peer, port, folder)


def described(peer: Peer, port: int, folder: Path) -> Source:
    studies = [match["StudyInstanceUID"] for match in find(peer.node(), Local(), "STUDY", {"StudyInstanceUID": ""})]
    return Source(peer, port, studies, sent_by(peer, studies, folder / "reference", ae_title=OURS, port=port))


def images_of(ask: Finder, study: str) -> Iterator[dict[str, str]]:
    for series in ask("SERIES", {"StudyInstanceUID": study, "SeriesInstanceUID": ""}):
        yield from ask(
            "IMAGE",
            {
                "StudyInstanceUID": study,
                "SeriesInstanceUID": series["SeriesInstanceUID"],
                "SOPInstanceUID": "",
                "SOPClassUID": "",
            },
        )


def test_queries_find_every_instance(source: Source) -> None:
    with finder(source.peer.node(), Local()) as ask:
        found = {image["SOPInstanceUID"] for study in source.studies for image in images_of(ask, study)}
    assert found >= set(source.sends)
    assert len(found) > 140


def test_names_come_in_their_own_script(source: Source) -> None:
    keys = {"StudyInstanceUID": "", "PatientName": ""}
    names = {match["PatientName"] for match in find(source.peer.node(), Local(), "STUDY", keys)}
    assert "Äneas^Rüdiger" in names
    if isinstance(source.peer, OrthancPeer):  # it answers in its default character set, which loses the rest
        return
    assert {"قباني^لنزار", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Wang^XiaoDong=王^小東", "Люкceмбypг"} <= names


def test_a_move_brings_what_storescp_receives(source: Source) -> None:
    sink = MemorySink()
    local = Local(ae_title=OURS)
    completed = 0
    with storage_scp(local, sink, port=source.port):
        for study in source.studies:
            try:
                completed += move(source.peer.node(), local, {"StudyInstanceUID": study}).completed
            except DimseStatusError as exc:  # nothing of that study in a syntax that dcmqrscp proposes
                assert exc.status == 0xA702
    arrived = {a.sop_instance_uid: Received(a.sop_instance_uid, a.transfer_syntax_uid, a.data_set) for a in sink.arrived}
    assert arrived == source.sends
    assert completed == len(sink.arrived)
    assert {a.provenance.calling_ae_title for a in sink.arrived} == {source.peer.ae_title}
    assert {a.provenance.move_originator for a in sink.arrived} == {OURS}


def test_movescu_has_a_peer_send_to_us_what_it_sends_to_storescp(source: Source) -> None:
    sink = MemorySink()
    with storage_scp(Local(ae_title=OURS), sink, port=source.port):
        for study in source.studies:
            move_study(source.peer, study, OURS)
    arrived = {a.sop_instance_uid: Received(a.sop_instance_uid, a.transfer_syntax_uid, a.data_set) for a in sink.arrived}
    assert arrived == source.sends


def test_what_getscu_gets_is_what_we_get(source: Source, tmp_path: Path) -> None:
    study = next(iter(source.studies))
    command = ["getscu", "-S", "+B", "-aec", source.peer.ae_title, "-od", str(tmp_path), "127.0.0.1", str(source.peer.port)]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    subprocess.run([*command, *keys], check=True, capture_output=True, timeout=120)
    theirs = {uid: item.data_set for uid, item in read_received(tmp_path).items()}
    classes = {image.sop_class_uid for image in real_image_files() if image.study_instance_uid == study}
    sink = MemorySink()
    contexts = dict.fromkeys(classes, UNCOMPRESSED[:1])
    get(source.peer.node(), Local(), {"StudyInstanceUID": study}, contexts, sink, Provenance("legacy"))
    assert theirs
    assert sink.data_sets == theirs


def test_a_get_brings_what_a_move_brings_in_the_syntaxes_that_we_propose(source: Source) -> None:
    sink = MemorySink()
    classes: dict[str, list[str]] = defaultdict(list)
    for image in real_image_files():
        classes[image.study_instance_uid].append(image.sop_class_uid)
    for study in source.studies:
        contexts = dict.fromkeys(dict.fromkeys(classes[study]), UNCOMPRESSED[:1])
        try:
            get(source.peer.node(), Local(), {"StudyInstanceUID": study}, contexts, sink, Provenance("legacy"))
        except DimseStatusError as exc:  # Orthanc gives up at the first object that has no context
            assert exc.status in (0xA702, 0xC000)
    sent = {uid: item.data_set for uid, item in source.sends.items() if item.transfer_syntax_uid == UNCOMPRESSED[0]}
    assert len(sink.data_sets) > 80
    for uid, data_set in sink.data_sets.items():
        if uid in sent:
            assert data_set == sent[uid]


def test_orthanc_gives_every_syntax_by_get_as_it_keeps_it(loaded_orthanc: OrthancPeer) -> None:
    contexts: dict[str, set[str]] = defaultdict(set)
    for image in real_image_files():
        contexts[image.sop_class_uid].add(image.transfer_syntax_uid)
    stored = loaded_orthanc.sop_instance_uids()
    sink = MemorySink()
    node = loaded_orthanc.node()
    for match in find(node, Local(), "STUDY", {"StudyInstanceUID": ""}):
        keys = {"StudyInstanceUID": match["StudyInstanceUID"]}
        get(node, Local(), keys, {uid: sorted(syntaxes) for uid, syntaxes in contexts.items()}, sink, Provenance("legacy"))
    assert set(sink.data_sets) == stored
    for uid in sorted(stored)[::10]:  # Orthanc does not send Data Set Trailing Padding
        assert data_set_of(loaded_orthanc.file(uid)).startswith(sink.data_sets[uid])


def test_dcmqrscp_is_run_again_for_each_family_of_syntaxes(loaded_database: LoadedDatabase, tmp_path: Path) -> None:
    port = free_port()
    local, sink = Local(ae_title=OURS), MemorySink()
    study = next(image.study_instance_uid for image in real_image_files() if image.sop_instance_uid == LOSSLESS)
    with dcmqrscp(tmp_path, database=loaded_database.path, destinations=[(OURS, port)], extra_args=["-xs"]) as peer:
        reference = sent_by(peer, [study], tmp_path / "reference", ae_title=OURS, port=port)
        with storage_scp(local, sink, port=port):
            result = move(peer.node(), local, {"StudyInstanceUID": study})
    assert result.failed
    assert LOSSLESS in sink.data_sets
    assert sink.data_sets == {uid: item.data_set for uid, item in reference.items()}
    assert {a.transfer_syntax_uid for a in sink.arrived} == {"1.2.840.10008.1.2.4.70"}


STUDY = {"StudyInstanceUID": "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"}


def test_what_dcmqrscp_says_gets_a_hint(loaded_database: LoadedDatabase, tmp_path: Path) -> None:
    with dcmqrscp(tmp_path, database=loaded_database.path, destinations=[("OTHER", 9)]) as peer:
        node = peer.node("legacy")
        with pytest.raises(AssociationRejectedError) as called:
            echo(replace(node, ae_title="WRONG"), Local())
        with pytest.raises(DimseStatusError) as destination:
            move(node, Local(), STUDY)
        with pytest.raises(DimseStatusError) as unreachable:
            move(node, Local(), STUDY, "OTHER")
    assert "ae_title in [nodes.legacy]" in called.value.hint
    assert destination.value.status == 0xA801
    assert "'VNA' as a destination" in destination.value.hint
    assert unreachable.value.status == 0xA702
    assert "firewall" in unreachable.value.hint


def test_what_orthanc_says_gets_a_hint(tmp_path: Path) -> None:
    config = {"DicomCheckCalledAet": True, "DicomAlwaysAllowEcho": False, "DicomAlwaysAllowMove": True}
    with orthanc(tmp_path, config=config) as peer:
        node = peer.node("legacy")
        with pytest.raises(AssociationRejectedError) as called:
            echo(replace(node, ae_title="WRONG"), Local())
        with pytest.raises(AssociationAbortedError) as calling:
            echo(node, Local())
        with pytest.raises(DimseStatusError) as destination:
            move(node, Local(), STUDY)
    assert "ae_title in [nodes.legacy]" in called.value.hint
    assert "AE title" in calling.value.hint
    assert "'VNA' as a destination" in destination.value.hint


def test_a_storage_peer_without_queries_is_told(tmp_path: Path) -> None:
    with storescp(tmp_path) as peer, pytest.raises(DimseStatusError) as caught:
        list(find(peer.node(), Local(), "STUDY", {"StudyInstanceUID": ""}))
    assert caught.value.status == 0x0122
