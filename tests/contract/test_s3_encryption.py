"""Server-side encryption: every object is put with it, in one piece or in parts, and read, exchanged and described with it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from tests.support.objects import send, wire_object
from tests.support.s3 import S3Service
from vna.archive import Archive
from vna.errors import ConfigError, StoreError
from vna.store.s3 import Retry, S3Store

_QUICK = Retry(attempts=4, first_wait_s=0.01, longest_wait_s=0.1)
_PART = 5 << 20
_KEY = "0123456789abcdef0123456789abcdef"
_CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": _KEY}
_KINDS = {
    "SSE-S3": {"ServerSideEncryption": "AES256"},
    "SSE-KMS": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "a-key"},
    "SSE-C": _CUSTOMER,
}


@pytest.fixture
def url(s3: S3Service) -> str:
    return s3.url()


def opened(s3: S3Service, url: str, extra: dict[str, str]) -> S3Store:
    options = s3.storage_options() | {"s3_additional_kwargs": extra}
    return S3Store(url, options, retry=_QUICK, multipart_above=_PART)


@pytest.mark.parametrize("kind", _KINDS)
def test_objects_are_encrypted_and_behave_as_any_others(s3: S3Service, url: str, tmp_path: Path, kind: str) -> None:
    store, extra = opened(s3, url, _KINDS[kind]), _KINDS[kind]
    large, good = tmp_path / "large", tmp_path / "good"
    large.write_bytes(bytes(range(256)) * 4096 * 6)
    good.write_bytes(b"good")
    assert store.put_bytes(b"rotten", "instances/a.dcm")
    assert not store.put_bytes(b"another", "instances/a.dcm")
    assert store.put_file(large, "instances/large.dcm")
    assert store.came_from(large, "instances/a.dcm") is False
    assert store.read_bytes("instances/a.dcm") == b"rotten"
    with store.open("instances/large.dcm") as file:
        file.seek(_PART - 5)
        assert file.read() == large.read_bytes()[_PART - 5 :]
    store.replace_damaged(good, "instances/a.dcm", hashlib.sha256(b"rotten").hexdigest())
    assert (store.read_bytes("instances/a.dcm"), store.size("instances/a.dcm")) == (b"good", 4)
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    shown = {name: value for name, value in extra.items() if name != "SSECustomerKey"}
    with_key = extra if extra is _CUSTOMER else {}
    if (s3.kind, kind) == ("moto", "SSE-C"):
        return  # it takes the key and forgets it
    for name in ("a", "large"):
        head = s3.client().head_object(Bucket=bucket, Key=f"{prefix}/instances/{name}.dcm", **with_key)
        assert {name: head.get(name) for name in shown} == shown


def test_the_customers_key_comes_from_the_environment(seaweedfs: S3Service, monkeypatch: pytest.MonkeyPatch) -> None:
    url, algorithm = seaweedfs.url(), {"SSECustomerAlgorithm": "AES256"}
    for wrong in ("", "no base64!", base64.b64encode(b"short").decode()):
        monkeypatch.setenv("VNA_SSE_CUSTOMER_KEY", wrong)
        with pytest.raises(ConfigError, match="VNA_SSE_CUSTOMER_KEY"):
            opened(seaweedfs, url, algorithm)
    monkeypatch.setenv("VNA_SSE_CUSTOMER_KEY", base64.b64encode(_KEY.encode()).decode())
    opened(seaweedfs, url, algorithm).put_bytes(b"bytes", "instances/a.dcm")
    assert opened(seaweedfs, url, _CUSTOMER).read_bytes("instances/a.dcm") == b"bytes"


def test_an_archive_keeps_objects_and_rows_under_the_customers_key(
    seaweedfs: S3Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VNA_SSE_CUSTOMER_KEY", base64.b64encode(_KEY.encode()).decode())
    url = seaweedfs.url()
    options = seaweedfs.storage_options() | {"s3_additional_kwargs": {"SSECustomerAlgorithm": "AES256"}}
    archive = Archive.create(url, options, spool=str(tmp_path / "spool"))
    with archive.sink() as sink:
        receipt = send(sink, wire_object(InstanceNumber=1))
    assert archive.sync_index() == 1
    assert [row["path"] for row in archive.query("SELECT path FROM instances")] == [receipt.path]
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    (rows,) = (key for key in seaweedfs.keys(url) if key.startswith("index/instances/part-"))
    for path in (receipt.path, rows):
        head = seaweedfs.client().head_object(Bucket=bucket, Key=f"{prefix}/{path}", **_CUSTOMER)
        assert head["SSECustomerAlgorithm"] == "AES256"


def test_without_the_customers_key_nothing_is_read_and_no_message_shows_it(seaweedfs: S3Service) -> None:
    url = seaweedfs.url()
    opened(seaweedfs, url, _CUSTOMER).put_bytes(b"bytes", "instances/a.dcm")
    other = {**_CUSTOMER, "SSECustomerKey": _KEY[::-1]}
    for extra in ({}, other):
        with pytest.raises(StoreError) as raised:
            opened(seaweedfs, url, extra).read_bytes("instances/a.dcm")
        said = f"{raised.value} {raised.value.hint} {raised.value.__cause__}"
        assert _KEY not in said
        assert _KEY[::-1] not in said
