"""DICOM over TLS: strong versions and ciphers only, certificates of the configured authority only."""

from __future__ import annotations

import io
import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.certificates import Authority, Certificate
from tests.support.sinks import MemorySink
from vna.dimse import tls
from vna.dimse.echo import echo
from vna.dimse.send import SendItem, send
from vna.dimse.storage_scp import StorageScp, storage_scp
from vna.errors import AssociationAbortedError, ConfigError, PeerError, UnreachableError
from vna.model import Local, Node

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.sign("vna")


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def scp(ours: Certificate, sink: MemorySink) -> Iterator[StorageScp]:
    with storage_scp(Local(tls_certificate=ours.certificate, tls_key=ours.key), sink, port=0) as running:
        yield running


def node_of(scp: StorageScp, authority: Authority) -> Node:
    return Node("vna", ae_title="VNA", port=scp.port, tls_ca=authority.certificate, acse_timeout_s=5, dimse_timeout_s=5)


def test_objects_of_any_size_pass_through_tls_unchanged(scp: StorageScp, authority: Authority, sink: MemorySink) -> None:
    contents = {f"1.2.{n}": os.urandom(size) for n, size in enumerate((2, 20_000, 3_000_000))}
    items = [
        SendItem(uid, CT, uid, EXPLICIT, lambda content=content: io.BytesIO(content), 0)  # type: ignore[misc]
        for uid, content in contents.items()
    ]
    outcomes = send(node_of(scp, authority), Local(), items)
    assert [outcome.state for outcome in outcomes] == ["sent"] * 3
    assert sink.data_sets == contents


def test_a_certificate_of_another_authority_is_not_trusted(scp: StorageScp, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(UnreachableError, match="not trusted") as caught:
        echo(node_of(scp, stranger), Local())
    assert "tls_ca" in caught.value.hint


def test_plain_dicom_to_a_tls_port_is_told(scp: StorageScp, authority: Authority) -> None:
    with pytest.raises(AssociationAbortedError) as caught:
        echo(replace(node_of(scp, authority), tls_ca=""), Local())
    assert "TLS" in caught.value.hint


def test_tls_to_a_plain_port_is_told(authority: Authority) -> None:
    with storage_scp(Local(), MemorySink(), port=0) as plain, pytest.raises(UnreachableError) as caught:
        echo(node_of(plain, authority), Local())
    assert caught.value.hint


def test_with_an_authority_of_ours_clients_must_show_a_certificate(
    authority: Authority, ours: Certificate, tmp_path: Path
) -> None:
    client = authority.sign("client")
    stranger = Authority(tmp_path, "stranger").sign("client")
    local = Local(tls_certificate=ours.certificate, tls_key=ours.key, tls_ca=authority.certificate)
    with storage_scp(local, MemorySink(), port=0) as scp:
        node = node_of(scp, authority)
        assert echo(node, Local(tls_certificate=client.certificate, tls_key=client.key)) > 0
        for calling in (Local(), Local(tls_certificate=stranger.certificate, tls_key=stranger.key)):
            with pytest.raises(PeerError):
                echo(node, calling)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("highest", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-SHA384"),
        (ssl.TLSVersion.TLSv1_2, "eNULL:@SECLEVEL=0"),
    ],
    ids=["TLS 1.1", "no forward secrecy", "CBC SHA-1", "CBC", "no encryption"],
)
def test_weak_clients_are_refused(scp: StorageScp, highest: ssl.TLSVersion, ciphers: str) -> None:
    assert not shakes_hands(scp, highest, ciphers)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_clients_are_taken(scp: StorageScp, version: ssl.TLSVersion) -> None:
    assert shakes_hands(scp, version, "ECDHE-ECDSA-AES256-GCM-SHA384")


def shakes_hands(scp: StorageScp, highest: ssl.TLSVersion, ciphers: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(ciphers)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = highest
    with socket.create_connection(("127.0.0.1", scp.port), timeout=5) as plain:
        try:
            with context.wrap_socket(plain):
                return True
        except (ssl.SSLError, ConnectionError):
            return False


@pytest.mark.parametrize("broken", [{"tls_certificate": "/no/such.pem"}, {"tls_key": "/no/such.key"}, {"tls_ca": "/no/such.pem"}])
def test_files_that_cannot_be_used_are_a_matter_of_configuration(ours: Certificate, broken: dict[str, str]) -> None:
    local = replace(Local(tls_certificate=ours.certificate, tls_key=ours.key), **broken)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="TLS files"):
        tls.server_context(local)


def test_without_certificates_there_is_no_tls() -> None:
    assert tls.server_context(Local()) is None
    assert tls.client_context(Node("pacs"), Local()) is None
