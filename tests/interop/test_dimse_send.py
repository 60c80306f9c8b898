"""Our sender stores at DCMTK, Orthanc and pynetdicom: what they keep is what is in the file, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt

from tests.conftest import TRUNCATED
from tests.support.certificates import Authority
from tests.support.instances import data_set_of, make_instance, make_uid, real_image_files, write_instance
from tests.support.peers import OrthancPeer, dcmqrscp, orthanc, storescp
from vna.demo.images import ImageFile, read_image_file
from vna.dimse.echo import echo
from vna.dimse.send import SendItem, send
from vna.model import Local, Node

pytestmark = pytest.mark.interop

LOCAL = Local()
WHOLE = [image for image in real_image_files(unique=True) if image.path.name not in TRUNCATED]
UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}


def item(image: ImageFile) -> SendItem:
    content = image.path.read_bytes()
    return SendItem(
        key=str(image.path),
        sop_class_uid=image.sop_class_uid,
        sop_instance_uid=image.sop_instance_uid,
        transfer_syntax_uid=image.transfer_syntax_uid,
        open=lambda: image.path.open("rb"),
        data_set_offset=len(content) - len(data_set_of(content)),
        size=len(content),
    )


def sent_form(image: ImageFile) -> bytes:
    data_set = data_set_of(image.path)
    return data_set + b"\0" * (len(data_set) & 1)


def test_storescp_gets_every_real_image_as_it_is_in_its_file(tmp_path: Path) -> None:
    with storescp(tmp_path) as peer:
        outcomes = send(peer.node(), LOCAL, map(item, WHOLE))
        received = peer.objects()
    assert {outcome.state for outcome in outcomes} == {"sent"}
    for image in WHOLE:
        arrived = received[image.sop_instance_uid]
        assert (arrived.transfer_syntax_uid, arrived.data_set) == (image.transfer_syntax_uid, sent_form(image))


def test_orthanc_keeps_what_it_takes_and_refuses_the_rest_with_a_status(loaded_orthanc: OrthancPeer, tmp_path: Path) -> None:
    with orthanc(tmp_path) as peer:
        outcomes = {outcome.key: outcome for outcome in send(peer.node(), LOCAL, map(item, WHOLE))}
        stored = peer.sop_instance_uids()
        for image in WHOLE:
            outcome = outcomes[str(image.path)]
            assert (outcome.state == "sent") == (image.sop_instance_uid in stored)
            assert outcome.state == "sent" or outcome.code == "0xC000"
        kept = [image for image in WHOLE if image.sop_instance_uid in stored]
        assert len(kept) > 140
        for image in kept[::5]:  # it encodes some sequences anew, whoever sends them
            assert data_set_of(peer.file(image.sop_instance_uid)) == data_set_of(loaded_orthanc.file(image.sop_instance_uid))


def test_dcmqrscp_refuses_compressed_contexts_and_nothing_is_transcoded(tmp_path: Path) -> None:
    images = [image for image in WHOLE if image.path.stat().st_size < 100_000]
    with dcmqrscp(tmp_path) as peer:
        outcomes = {outcome.key: outcome for outcome in send(peer.node(), LOCAL, map(item, images))}
    refused = {key for key, outcome in outcomes.items() if outcome.code == "CONTEXT_REJECTED"}
    assert refused >= {str(image.path) for image in images if image.transfer_syntax_uid not in UNCOMPRESSED}
    assert {outcome.state for key, outcome in outcomes.items() if key in refused} == {"refused"}
    assert "sent" in {outcome.state for outcome in outcomes.values()}


@pytest.fixture(scope="module")
def received() -> dict[str, bytes]:
    return {}


@pytest.fixture(scope="module")
def pynetdicom_node(received: dict[str, bytes]) -> Iterator[Node]:
    """A pynetdicom SCP; stopping one takes half a second."""

    def handle(event: evt.Event) -> int:
        received[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()  # type: ignore[union-attr]
        return 0

    ae = AE("PYNETDICOM")
    ae.supported_contexts = AllStoragePresentationContexts
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)])
    assert server is not None
    yield Node("pynetdicom", ae_title="PYNETDICOM", port=server.server_address[1])
    server.shutdown()


def test_pynetdicom_gets_what_it_negotiates(pynetdicom_node: Node, received: dict[str, bytes]) -> None:
    images = [image for image in WHOLE if image.path.stat().st_size < 300_000]
    outcomes = {outcome.key: outcome for outcome in send(pynetdicom_node, LOCAL, map(item, images))}
    sent = [image for image in images if outcomes[str(image.path)].state == "sent"]
    assert len(sent) > 90
    assert {received[image.sop_instance_uid] == sent_form(image) for image in sent} == {True}
    assert {o.code for o in outcomes.values() if o.state == "refused"} == {"CONTEXT_REJECTED"}


def test_600_objects_of_300_classes_need_several_associations(tmp_path: Path) -> None:
    items = []
    for n in range(600):
        ds = make_instance(InstanceNumber=n, SOPClassUID=f"1.2.840.113619.4.{n % 300}", SOPInstanceUID=make_uid("many", n))
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        image = read_image_file(write_instance(tmp_path / f"{n}.dcm", ds))
        assert image is not None
        items.append(item(image))
    with storescp(tmp_path / "peer") as peer:
        outcomes = send(peer.node(), LOCAL, items)
        arrived = peer.objects()
    assert {outcome.state for outcome in outcomes} == {"sent"}
    assert {uid: received.data_set for uid, received in arrived.items()} == {
        item.sop_instance_uid: data_set_of(Path(item.key)) for item in items
    }


def test_dcmtk_is_reached_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, theirs = authority.sign("vna"), authority.sign("pacs")
    args = ("+B", "+xa", "-pm", "+uf", "+tls", theirs.key, theirs.certificate, "+cf", authority.certificate)
    local = Local(tls_certificate=ours.certificate, tls_key=ours.key)
    image = next(image for image in WHOLE if image.path.name == "CT_small.dcm")
    with storescp(tmp_path, args=args) as peer:
        node = peer.node(tls_ca=authority.certificate)
        assert echo(node, local) > 0
        assert [outcome.state for outcome in send(node, local, [item(image)])] == ["sent"]
        assert peer.objects()[image.sop_instance_uid].data_set == data_set_of(image.path)
