"""The peers that other tests lean on do what their docstrings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import LoadedDatabase
from tests.support.instances import data_set_of, make_instance, real_image, write_instance
from tests.support.peers import OrthancPeer, dcmqrscp, free_port, load, orthanc, sent_by, storescp

pytestmark = pytest.mark.interop


def test_storescp_receives_the_files_own_bytes(tmp_path: Path) -> None:
    path = real_image("CT_small.dcm")
    with storescp(tmp_path) as peer:
        (sent,) = load(peer, [path])
        received = peer.objects()
    assert sent.status == 0
    assert received[sent.sop_instance_uid].data_set == data_set_of(path)


def test_dcmqrscp_refuses_compressed_contexts_by_default(tmp_path: Path) -> None:
    with dcmqrscp(tmp_path) as peer:
        sent = load(peer, [real_image("CT_small.dcm"), real_image("JPEG2000.dcm")])
    assert [(file.status, file.reason) for file in sent] == [(0, ""), (None, "presentation context rejected")]


def test_dcmqrscp_can_be_loaded_with_nearly_all_real_images_and_sends_them(
    loaded_database: LoadedDatabase, tmp_path: Path
) -> None:
    assert len(loaded_database.sop_instance_uids) > 140
    image = next(file for file in loaded_database.sent if file.path.name == "MR_small_implicit.dcm")
    study = "1.3.6.1.4.1.5962.1.2.4.20040826185059.5457"
    port = free_port()
    with dcmqrscp(tmp_path / "qr", database=loaded_database.path, destinations=[("REF", port)]) as peer:
        received = sent_by(peer, [study], tmp_path / "ref", ae_title="REF", port=port)
    assert image.sop_instance_uid in received


def test_orthanc_keeps_the_bytes_that_it_was_sent(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "a.dcm", make_instance())
    with orthanc(tmp_path / "orthanc") as peer:
        (sent,) = load(peer, [path])
        assert sent.status == 0
        assert data_set_of(peer.file(sent.sop_instance_uid)) == data_set_of(path)


def test_orthanc_sends_to_a_destination_that_is_added_while_it_runs(loaded_orthanc: OrthancPeer, tmp_path: Path) -> None:
    port = free_port()
    loaded_orthanc.add_modality("ref", "REF", port)
    study = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
    received = sent_by(loaded_orthanc, [study], tmp_path, ae_title="REF", port=port)
    assert received
    for uid, item in received.items():  # Orthanc keeps Data Set Trailing Padding (FFFC,FFFC) but does not send it
        assert data_set_of(loaded_orthanc.file(uid)).startswith(item.data_set)
