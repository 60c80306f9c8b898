"""Over TLS, both directions: DCMTK, Orthanc and pynetdicom, each side with a certificate that the other one checks."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, _config, build_context, evt

from tests.support.certificates import Authority, Certificate
from tests.support.instances import data_set_of, real_image
from tests.support.peers import OrthancPeer, free_port, orthanc, storescp
from tests.support.sinks import MemorySink
from vna.demo.images import ImageFile, read_image_file
from vna.dimse.echo import echo
from vna.dimse.find import find
from vna.dimse.retrieve import get, move
from vna.dimse.send import SendItem, send
from vna.dimse.storage_scp import StorageScp, storage_scp
from vna.errors import PeerError
from vna.model import Local, Node, Provenance

pytestmark = pytest.mark.interop

NAMES = ("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def ours(authority: Authority) -> Local:
    made = authority.sign("vna")
    return Local(port=free_port(), tls_certificate=made.certificate, tls_key=made.key, tls_ca=authority.certificate)


def images() -> list[ImageFile]:
    found = [read_image_file(real_image(name)) for name in NAMES]
    return [image for image in found if image is not None]


def items() -> list[SendItem]:
    made = []
    for image in images():
        content = image.path.read_bytes()
        offset = len(content) - len(data_set_of(content))
        names = (image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid)
        made.append(SendItem(str(image.path), *names, lambda path=image.path: path.open("rb"), offset))  # type: ignore[misc]
    return made


def sent() -> dict[str, bytes]:
    """SOP Instance UID -> the data set as it goes over the wire."""
    return {image.sop_instance_uid: data_set_of(image.path) for image in images()}


@contextmanager
def tls_orthanc(folder: Path, authority: Authority, local: Local) -> Iterator[OrthancPeer]:
    theirs = authority.sign("orthanc")
    modality = {
        "AET": local.ae_title,
        "Host": "127.0.0.1",
        "Port": local.port,
        "AllowTranscoding": False,
        "UseDicomTls": True,
    }
    config = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": theirs.certificate,
        "DicomTlsPrivateKey": theirs.key,
        "DicomTlsTrustedCertificates": authority.certificate,
        "DicomModalities": {"vna": modality},
    }
    with orthanc(folder, config=config) as peer:
        yield peer


def test_orthanc_stores_answers_and_sends_over_tls(tmp_path: Path, authority: Authority, ours: Local) -> None:
    with tls_orthanc(tmp_path / "orthanc", authority, ours) as peer:
        node = peer.node(tls_ca=authority.certificate)
        assert echo(node, ours) > 0
        assert {outcome.state for outcome in send(node, ours, items())} == {"sent"}
        assert peer.sop_instance_uids() == set(sent())
        studies = [match["StudyInstanceUID"] for match in find(node, ours, "STUDY", {"StudyInstanceUID": ""})]
        moved, got = MemorySink(), MemorySink()
        contexts: dict[str, list[str]] = {}
        for image in images():
            contexts.setdefault(image.sop_class_uid, []).append(image.transfer_syntax_uid)
        with storage_scp(ours, moved) as scp:
            assert scp.port == ours.port
            for study in studies:
                assert move(node, ours, {"StudyInstanceUID": study}).failed == 0
        for study in studies:
            get(node, ours, {"StudyInstanceUID": study}, contexts, got, Provenance("orthanc"))
        assert moved.data_sets == got.data_sets
        assert moved.data_sets.keys() == sent().keys()
        for uid, data in moved.data_sets.items():  # as Orthanc keeps them; it does not send Data Set Trailing Padding
            assert data_set_of(peer.file(uid)).startswith(data)


def test_dcmtk_takes_every_image_over_tls(tmp_path: Path, authority: Authority, ours: Local) -> None:
    theirs = authority.sign("pacs")
    secure = ("+tls", theirs.key, theirs.certificate, "+cf", authority.certificate)
    with storescp(tmp_path / "peer", args=("+B", "+xa", "-pm", "+uf", *secure)) as peer:
        node = peer.node(tls_ca=authority.certificate)
        assert {outcome.state for outcome in send(node, ours, items())} == {"sent"}
        assert {uid: item.data_set for uid, item in peer.objects().items()} == sent()
        with pytest.raises(PeerError) as caught:
            echo(node, Local())
    assert "certificate of ours" in caught.value.hint


def context(authority: Authority, own: Certificate, *, is_server: bool) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(own.certificate, own.key)
    made.load_verify_locations(authority.certificate)
    return made


def test_pynetdicom_takes_images_over_tls(authority: Authority, ours: Local) -> None:
    received: dict[str, bytes] = {}

    def handle(event: evt.Event) -> int:
        received[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()  # type: ignore[union-attr]
        return 0

    ae = AE("PYNETDICOM")
    for negotiated in AllStoragePresentationContexts:
        ae.add_supported_context(str(negotiated.abstract_syntax), [image.transfer_syntax_uid for image in images()])
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, handle)],
        ssl_context=context(authority, authority.sign("pynetdicom"), is_server=True),
    )
    assert server is not None
    try:
        node = Node("far", ae_title="PYNETDICOM", port=server.server_address[1], tls_ca=authority.certificate)
        assert {outcome.state for outcome in send(node, ours, items())} == {"sent"}
    finally:
        server.shutdown()
    assert received == sent()


def test_pynetdicom_stores_over_tls(authority: Authority, ours: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # the file's own bytes
    sink = MemorySink()
    ae = AE("PYNETDICOM")
    contexts = [build_context(image.sop_class_uid, image.transfer_syntax_uid) for image in images()]
    with storage_scp(ours, sink, port=0) as scp:
        client = context(authority, authority.sign("modality"), is_server=False)
        assoc = ae.associate("127.0.0.1", scp.port, contexts, ae_title="VNA", tls_args=(client, None))  # type: ignore[arg-type]
        assert assoc.is_established
        for image in images():
            assert assoc.send_c_store(image.path).Status == 0
        assoc.release()
        assert_plain_is_refused(scp)
    assert sink.data_sets == sent()


def assert_plain_is_refused(scp: StorageScp) -> None:
    with pytest.raises(PeerError):
        echo(Node("us", ae_title="VNA", port=scp.port), Local())
