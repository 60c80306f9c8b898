"""DCMTK, Orthanc and pynetdicom store at our SCP: what arrives is what they send, byte by byte."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydicom.encaps import encapsulate

from tests.conftest import TRUNCATED
from tests.support.certificates import Authority
from tests.support.instances import data_set_of, make_instance, make_uid, real_image, real_image_files, write_instance
from tests.support.peers import require_peer, storescp
from tests.support.sending import send_files
from tests.support.sinks import MemorySink
from vna.dimse.storage_scp import StorageScp, storage_scp
from vna.model import Local

pytestmark = pytest.mark.interop

PROPOSALS = {
    "-x=": "CT_small.dcm",
    "-xe": "CT_small.dcm",
    "-xb": "MR_small_bigendian.dcm",
    "-xi": "MR_small_implicit.dcm",
    "-xs": "SC_rgb_jpeg_gdcm.dcm",
    "-xy": "SC_rgb_jpeg_dcmtk.dcm",
    "-xx": "JPGExtended.dcm",
    "-xv": "J2K_pixelrep_mismatch.dcm",
    "-xw": "JPEG2000.dcm",
    "-xt": "emri_small_jpeg_ls_lossless.dcm",
    "-xu": "JPEGLSNearLossless_08.dcm",
    "-xr": "MR_small_RLE.dcm",
    "-xd": "image_dfl.dcm",
}
"""What storescu may propose, and an image that needs it."""

VIDEO = {
    "-xm": "1.2.840.10008.1.2.4.100",
    "-xh": "1.2.840.10008.1.2.4.101",
    "-xn": "1.2.840.10008.1.2.4.102",
    "-xl": "1.2.840.10008.1.2.4.103",
    "-x2": "1.2.840.10008.1.2.4.104",
    "-x3": "1.2.840.10008.1.2.4.105",
    "-xo": "1.2.840.10008.1.2.4.106",
    "-x4": "1.2.840.10008.1.2.4.107",
    "-x5": "1.2.840.10008.1.2.4.108",
}
"""What storescu may propose for MPEG-2, MPEG-4 and HEVC. Nobody ships a small video; nobody on the way looks into one either."""


VIDEO_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4.1"
WHOLE = [image for image in real_image_files(unique=True) if image.path.name not in TRUNCATED]


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def scp(sink: MemorySink) -> Iterator[StorageScp]:
    with storage_scp(Local(), sink, port=0) as running:
        yield running


def run(command: Sequence[object]) -> subprocess.CompletedProcess[bytes]:
    require_peer("dcmtk")
    environment = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(list(map(str, command)), capture_output=True, env=environment, timeout=120, check=False)


@pytest.mark.parametrize("option", PROPOSALS)
def test_storescu_is_received_as_by_storescp_whatever_it_proposes(
    scp: StorageScp, sink: MemorySink, tmp_path: Path, option: str
) -> None:
    files = [real_image("CT_small.dcm"), real_image(PROPOSALS[option])]
    command = ["storescu", "-nh", option, "127.0.0.1"]
    ours = run([*command, scp.port, *files])
    with storescp(tmp_path) as reference:
        theirs = run([*command, reference.port, *files])
        expected = {uid: (item.transfer_syntax_uid, item.data_set) for uid, item in reference.objects().items()}
    assert expected
    assert {a.sop_instance_uid: (a.transfer_syntax_uid, a.data_set) for a in sink.arrived} == expected
    assert ours.returncode == theirs.returncode


def test_the_options_are_all_that_storescu_has() -> None:
    told = run(["storescu", "--help"]).stdout.decode()
    options = re.findall(r"^ +(-x\S)  +--propose-", told, re.MULTILINE)
    assert len(options) > 20
    assert set(options) == {*PROPOSALS, *VIDEO}


@pytest.mark.parametrize("option", VIDEO)
def test_video_passes_through_whatever_it_is(scp: StorageScp, sink: MemorySink, tmp_path: Path, option: str) -> None:
    frames = encapsulate([bytes(range(256)) * 300, b"last"])
    ds = make_instance(VIDEO[option], SOPClassUID=VIDEO_PHOTOGRAPHIC, PixelData=frames)
    path = write_instance(tmp_path / "video.dcm", ds)
    command = ["storescu", "-R", option, "127.0.0.1"]
    assert run([*command, scp.port, path]).returncode == 0
    with storescp(tmp_path) as reference:
        assert run([*command, reference.port, path]).returncode == 0
        expected = {uid: (item.transfer_syntax_uid, item.data_set) for uid, item in reference.objects().items()}
    assert [syntax for syntax, _ in expected.values()] == [VIDEO[option]]
    assert {a.sop_instance_uid: (a.transfer_syntax_uid, a.data_set) for a in sink.arrived} == expected


@pytest.mark.parametrize("options", [("-dn",), ("+dly",), ("-nip",), ("-ma",), ("-dn", "-nip", "-ma")], ids=" ".join)
def test_dcmsend_is_received_as_by_storescp_however_it_proposes(
    scp: StorageScp, sink: MemorySink, tmp_path: Path, options: tuple[str, ...]
) -> None:
    files = [real_image(name) for name in PROPOSALS.values()]
    run(["dcmsend", "-nh", *options, "127.0.0.1", scp.port, *files])
    with storescp(tmp_path) as reference:
        run(["dcmsend", "-nh", *options, "127.0.0.1", reference.port, *files])
        expected = {uid: item.data_set for uid, item in reference.objects().items()}
    assert expected
    assert sink.data_sets == expected


def test_dcmsend_sends_every_real_image_as_to_storescp(scp: StorageScp, sink: MemorySink, tmp_path: Path) -> None:
    files = [image.path for image in WHOLE]
    run(["dcmsend", "127.0.0.1", scp.port, *files])
    with storescp(tmp_path) as reference:
        run(["dcmsend", "127.0.0.1", reference.port, *files])
        expected = {uid: (item.transfer_syntax_uid, item.data_set) for uid, item in reference.objects().items()}
    assert len(expected) > 140
    assert {a.sop_instance_uid: (a.transfer_syntax_uid, a.data_set) for a in sink.arrived} == expected


def test_pynetdicom_sends_every_real_image(scp: StorageScp, sink: MemorySink) -> None:
    sent = send_files("127.0.0.1", scp.port, "VNA", [image.path for image in WHOLE])
    assert {item.status for item in sent} == {0}
    for image in WHOLE:
        data_set = data_set_of(image.path)
        assert sink.data_sets[image.sop_instance_uid] == data_set + b"\0" * (len(data_set) & 1)


def test_private_classes_and_syntaxes_pass_through(scp: StorageScp, sink: MemorySink, tmp_path: Path) -> None:
    private = make_instance(SOPClassUID="1.2.840.113619.4.26")
    private.file_meta.MediaStorageSOPClassUID = private.SOPClassUID
    path = write_instance(tmp_path / "private.dcm", private)
    (sent,) = send_files("127.0.0.1", scp.port, "VNA", [path])
    assert sent.status == 0
    (arrived,) = sink.arrived
    assert arrived.sop_class_uid == "1.2.840.113619.4.26"
    assert arrived.data_set == data_set_of(path)


def test_600_objects_of_300_classes_arrive_on_several_associations(scp: StorageScp, sink: MemorySink, tmp_path: Path) -> None:
    files = []
    for n in range(600):
        ds = make_instance(InstanceNumber=n, SOPClassUID=f"1.2.840.113619.4.{n % 300}", SOPInstanceUID=make_uid("many", n))
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        files.append(write_instance(tmp_path / f"{n}.dcm", ds))
    files.sort(key=lambda path: int(path.stem) % 300)
    sent = send_files("127.0.0.1", scp.port, "VNA", files)
    assert {item.status for item in sent} == {0}
    assert sink.data_sets == {make_uid("many", int(path.stem)): data_set_of(path) for path in files}


@pytest.mark.parametrize("pdu", [4096, 16384, 131072])
def test_any_pdu_size_will_do(scp: StorageScp, sink: MemorySink, pdu: int) -> None:
    path = real_image("CT_small.dcm")
    assert run(["dcmsend", "--max-send-pdu", pdu, "127.0.0.1", scp.port, path]).returncode == 0
    assert run(["dcmsend", "127.0.0.1", scp.port, path]).returncode == 0
    first, second = sink.arrived
    assert first.data_set == second.data_set


def test_echoscu_is_answered(scp: StorageScp) -> None:
    assert run(["echoscu", "-aec", "VNA", "127.0.0.1", scp.port]).returncode == 0


def test_an_aborting_peer_leaves_nothing_half(scp: StorageScp, sink: MemorySink) -> None:
    assert run(["storescu", "--abort", "127.0.0.1", scp.port, real_image("CT_small.dcm")]).returncode == 0
    assert run(["echoscu", "--abort", "127.0.0.1", scp.port]).returncode == 0
    assert len(sink.arrived) == 1


def test_dcmtk_stores_over_tls(sink: MemorySink, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, theirs = authority.sign("vna"), authority.sign("modality")
    local = Local(tls_certificate=ours.certificate, tls_key=ours.key, tls_ca=authority.certificate)
    path = real_image("CT_small.dcm")
    with storage_scp(local, sink, port=0) as scp:
        keys = ["+tls", theirs.key, theirs.certificate, "+cf", authority.certificate]
        assert run(["storescu", *keys, "127.0.0.1", scp.port, path]).returncode == 0
        assert run(["storescu", "127.0.0.1", scp.port, path]).returncode != 0
        assert run(["storescu", "+tla", "-ic", "127.0.0.1", scp.port, path]).returncode != 0
    assert len(sink.arrived) == 1
