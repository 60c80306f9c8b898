"""What a store on S3 does when the network, the service or the credentials fail."""

from __future__ import annotations

import hashlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.faults import storm
from tests.support.s3 import S3Service
from tests.support.s3_proxy import Fault, Request, S3Proxy, s3_proxy
from vna.errors import ConfigError, DigestMismatchError, RefusedError, StoreError, StoreFullError
from vna.store.s3 import Retry, S3Store

QUICK = Retry(attempts=6, first_wait_s=0.001, longest_wait_s=0.01)
PART = 5 << 20
STORM = 240

BEFORE = [Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.REFUSE_CONNECTION, Fault.CUT_UPLOAD]
AFTER = [Fault.LOSE_ANSWER, Fault.ERROR_AFTER]


@pytest.fixture
def proxy(s3: S3Service) -> Iterator[S3Proxy]:
    with s3_proxy(s3.port) as running:
        yield running


@pytest.fixture
def url(s3: S3Service) -> str:
    return s3.url()


@pytest.fixture
def store(s3: S3Service, proxy: S3Proxy, url: str) -> S3Store:
    store = S3Store(url, s3.storage_options(proxy.port), retry=QUICK, multipart_above=PART)
    store.probe()
    return store


def once(fault: Fault, operation: str) -> Callable[[Request], Fault]:
    """Make a fault at the first request of a kind, and none after."""
    guard = threading.Lock()
    left = [fault]

    def decide(request: Request) -> Fault:
        with guard:
            return left.pop() if left and request.operation == operation else Fault.NONE

    return decide


def always(fault: Fault, *operations: str) -> Callable[[Request], Fault]:
    """Make a fault at every request of these kinds."""
    return lambda request: fault if request.operation in operations else Fault.NONE


@pytest.mark.parametrize("fault", [*BEFORE, *AFTER, Fault.CONFLICT])
def test_a_put_whose_outcome_is_unknown_is_resolved_and_is_ours(store: S3Store, proxy: S3Proxy, fault: Fault) -> None:
    proxy.decide = once(fault, "put")
    assert store.put_bytes(b"bytes", "instances/a.dcm")
    assert proxy.faults[fault] == 1
    assert store.read_bytes("instances/a.dcm") == b"bytes"
    assert not store.put_bytes(b"bytes", "instances/a.dcm"), "the same bytes from another put are not this put's"


def test_a_put_that_times_out_after_it_was_applied_is_resolved(s3: S3Service, proxy: S3Proxy, url: str) -> None:
    options = {**s3.storage_options(proxy.port), "config_kwargs": {"read_timeout": 2}}
    store = S3Store(url, options, retry=QUICK)
    store.probe()
    proxy.decide = once(Fault.TIME_OUT, "put")
    assert store.put_bytes(b"bytes", "instances/a.dcm")
    assert proxy.faults[Fault.TIME_OUT] == 1
    assert store.read_bytes("instances/a.dcm") == b"bytes"


@pytest.mark.parametrize("fault", AFTER)
def test_a_put_that_lost_the_race_and_its_answer_is_told_so(
    s3: S3Service, store: S3Store, proxy: S3Proxy, url: str, fault: Fault
) -> None:
    other = S3Store(url, s3.storage_options(), retry=QUICK)
    assert other.put_bytes(b"bytes", "instances/a.dcm")
    proxy.decide = once(fault, "put")
    assert not store.put_bytes(b"bytes", "instances/a.dcm")
    assert other.read_bytes("instances/a.dcm") == b"bytes"


@pytest.mark.parametrize("operation", ["begin", "part", "complete"])
@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, *AFTER])
def test_an_upload_in_parts_survives_it_too(store: S3Store, proxy: S3Proxy, tmp_path: Path, operation: str, fault: Fault) -> None:
    large = tmp_path / "large"
    large.write_bytes(random.Random(1).randbytes(PART + 17))
    proxy.decide = once(fault, operation)
    assert store.put_file(large, "instances/large.dcm")
    assert proxy.faults[fault] == 1
    assert store.read_bytes("instances/large.dcm") == large.read_bytes()


def test_of_an_upload_that_fails_nothing_is_visible_and_nothing_is_left(
    s3: S3Service, store: S3Store, proxy: S3Proxy, url: str, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(random.Random(1).randbytes(PART + 17))
    proxy.decide = always(Fault.INTERNAL_ERROR, "complete")
    with pytest.raises(StoreError):
        store.put_file(large, "instances/large.dcm")
    assert s3.keys(url) == []
    assert [key for key in s3.uploads() if url.endswith(key.split("/")[0])] == []


def test_uploads_of_dead_writers_are_given_up_and_never_those_of_living_ones(s3: S3Service, store: S3Store, url: str) -> None:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = s3.client()
    parts: list[dict[str, object]] = []

    def begin(key: str) -> dict[str, str]:
        names = {"Bucket": bucket, "Key": key}
        return {**names, "UploadId": client.create_multipart_upload(**names)["UploadId"]}

    def add_part(names: dict[str, str]) -> datetime:
        part = client.upload_part(**names, PartNumber=len(parts) + 1, Body=bytes(PART))
        parts.append({"PartNumber": len(parts) + 1, "ETag": part["ETag"]})
        added: datetime = client.list_parts(**names)["Parts"][-1]["LastModified"]
        return added

    dead, foreign, living = (
        begin(f"{prefix}{key}") for key in ("/instances/dead", "x/instances/of-somebody-else", "/instances/living")
    )
    last_of_dead = add_part(dead)
    parts.clear()
    limit = last_of_dead + timedelta(seconds=1)
    while add_part(living) <= limit:
        pass
    assert store.sweep() == 0
    assert store.sweep(limit) == 1
    assert {key.removeprefix(prefix) for key in s3.uploads() if key.startswith(prefix)} == {
        "/instances/living",
        "x/instances/of-somebody-else",
    }
    client.complete_multipart_upload(**living, MultipartUpload={"Parts": parts})
    client.abort_multipart_upload(**foreign)
    assert store.size("instances/living") == len(parts) * PART


def test_a_put_that_never_succeeds_raises_and_leaves_nothing(s3: S3Service, store: S3Store, proxy: S3Proxy, url: str) -> None:
    proxy.decide = always(Fault.SLOW_DOWN, "put")
    with pytest.raises(StoreError, match="SlowDown"):
        store.put_bytes(b"bytes", "instances/a.dcm")
    assert proxy.faults[Fault.SLOW_DOWN] == QUICK.attempts
    assert s3.keys(url) == []


def test_a_put_whose_every_answer_is_lost_is_found_by_its_token(store: S3Store, proxy: S3Proxy) -> None:
    proxy.decide = always(Fault.LOSE_ANSWER, "put")
    assert store.put_bytes(b"bytes", "instances/a.dcm")


def test_expired_credentials_are_not_tried_again_and_named_without_a_secret(
    s3: S3Service, store: S3Store, proxy: S3Proxy, url: str
) -> None:
    proxy.decide = always(Fault.EXPIRED, "put", "get", "head", "list")
    proxy.faults.clear()
    for attempt in (
        lambda: store.put_bytes(b"bytes", "instances/a.dcm"),
        lambda: list(store.list()),
        lambda: store.exists("instances/a.dcm"),
        lambda: store.read_bytes("instances/a.dcm"),
    ):
        with pytest.raises(StoreError) as raised:
            attempt()
        assert "credentials" in raised.value.hint
        assert not any(secret in f"{raised.value} {raised.value.hint}" for secret in s3.storage_options().values())
    assert proxy.faults[Fault.EXPIRED] == 4
    proxy.decide = lambda request: Fault.NONE
    assert s3.keys(url) == []


def test_a_full_service_is_told_from_a_broken_one(store: S3Store, proxy: S3Proxy) -> None:
    proxy.decide = always(Fault.FULL, "put")
    with pytest.raises(StoreFullError):
        store.put_bytes(b"bytes", "instances/a.dcm")


@pytest.mark.parametrize("fault", [Fault.SHORT_BODY, *BEFORE])
def test_reading_goes_on_where_it_broke_off(store: S3Store, proxy: S3Proxy, fault: Fault) -> None:
    data = random.Random(1).randbytes(1_000_000)
    store.put_bytes(data, "instances/a.dcm")
    proxy.decide = once(fault, "get")
    assert store.read_bytes("instances/a.dcm") == data
    proxy.decide = once(fault, "get")
    with store.open("instances/a.dcm") as file:
        assert hashlib.file_digest(file, "sha256").digest() == hashlib.sha256(data).digest()
    assert proxy.faults[fault] == 2


def test_a_body_that_is_short_and_says_so_never_passes_as_whole(store: S3Store, proxy: S3Proxy) -> None:
    data = b"a" * 100_000
    store.put_bytes(data, "instances/a.dcm")
    proxy.decide = once(Fault.SHORT_AND_FITTING, "get")
    with store.open("instances/a.dcm") as file:
        assert file.read() == data
    proxy.decide = once(Fault.SHORT_AND_FITTING, "get")
    assert store.read_bytes("instances/a.dcm") == data
    proxy.decide = always(Fault.SHORT_AND_FITTING, "get")
    with pytest.raises(DigestMismatchError):
        store.read_bytes("instances/a.dcm")
    with store.open("instances/a.dcm") as file, pytest.raises(StoreError):
        file.read()


def test_an_empty_list_does_not_hide_an_object_that_is_asked_for(store: S3Store, proxy: S3Proxy) -> None:
    store.put_bytes(b"bytes", "instances/a.dcm")
    proxy.decide = always(Fault.EMPTY_LIST, "list")
    assert list(store.list()) == []
    assert store.exists("instances/a.dcm")


def test_other_bytes_than_were_put_are_taken_away_again_and_never_acknowledged(s3: S3Service, proxy: S3Proxy, url: str) -> None:
    if s3.kind != "moto":
        pytest.skip("this service verifies the signature over the bytes, and refuses the request")
    store = S3Store(url, s3.storage_options(proxy.port), retry=QUICK)
    store.probe()
    proxy.decide = always(Fault.CHANGE_BODY, "put")
    with pytest.raises(DigestMismatchError):
        store.put_bytes(b"bytes", "instances/a.dcm")
    assert s3.keys(url) == []


LIES = {
    Fault.IGNORE_CONDITION: "If-None-Match",
    Fault.IGNORE_METADATA: "metadata",
    Fault.IGNORE_RANGE: "range",
    Fault.EMPTY_LIST: "LIST",
    Fault.SHORT_AND_FITTING: "bytes",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_service_that_lies_is_refused_and_its_lie_is_named(moto: S3Service, lie: Fault) -> None:
    kinds = {Fault.EMPTY_LIST: ("list",), Fault.SHORT_AND_FITTING: ("get",)}.get(lie, ("put", "get"))
    url = moto.url()
    with s3_proxy(moto.port) as proxy:
        proxy.decide = always(lie, *kinds)
        with pytest.raises(RefusedError, match=LIES[lie]) as raised:
            S3Store(url, moto.storage_options(proxy.port), retry=QUICK).put_bytes(b"bytes", "instances/a.dcm")
        assert raised.value.exit_code == 21
    assert moto.keys(url) == []


def test_a_service_is_not_refused_because_answers_to_its_probe_are_lost(s3: S3Service, proxy: S3Proxy, url: str) -> None:
    undisturbed = S3Store(url, s3.storage_options(), retry=QUICK).probe()
    seen, guard = Counter[str](), threading.Lock()

    def decide(request: Request) -> Fault:
        """Lose the answer to every put of one object at its first attempt, and to the first attempts of those that race."""
        name = request.path.rpartition("/")[2]
        with guard:
            seen[name] += request.operation == "put"
            is_lost = (name == "object" and seen[name] % 2) or (name == "race" and seen[name] <= 8)
        return Fault.LOSE_ANSWER if is_lost and request.operation == "put" else Fault.NONE

    proxy.decide = decide
    assert S3Store(url, s3.storage_options(proxy.port), retry=QUICK).probe() == undisturbed
    assert proxy.faults[Fault.LOSE_ANSWER] >= 10
    assert s3.keys(url) == []


def test_a_service_whose_uploads_in_parts_overwrite_gets_large_objects_in_one_put(moto: S3Service, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(PART + 17))
    url = moto.url()
    with s3_proxy(moto.port) as proxy:
        proxy.decide = always(Fault.IGNORE_CONDITION, "complete")
        store = S3Store(url, moto.storage_options(proxy.port), retry=QUICK, multipart_above=PART)
        assert not store.probe().conditional_multipart
        assert store.put_file(large, "instances/large.dcm")
        assert not store.put_file(large, "instances/large.dcm")
        assert proxy.requests["part"] == 1  # the probe's own
    assert moto.keys(url) == ["instances/large.dcm"]


def test_a_service_that_ignores_the_condition_on_parts_and_one_that_does_not_answer_are_told_apart(moto: S3Service) -> None:
    with s3_proxy(moto.port) as proxy:
        proxy.decide = always(Fault.REFUSE_CONNECTION, "put", "get", "head", "list", "begin")
        store = S3Store(moto.url(), moto.storage_options(proxy.port), retry=QUICK)
        with pytest.raises(StoreError):
            store.probe()
        proxy.decide = lambda request: Fault.NONE
        assert store.put_bytes(b"bytes", "instances/a.dcm")


def test_credentials_come_from_the_environment(moto: S3Service, monkeypatch: pytest.MonkeyPatch) -> None:
    options = moto.storage_options()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    with pytest.raises(ConfigError, match="credentials"):
        S3Store(moto.url())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secret"])
    assert S3Store(moto.url()).put_bytes(b"bytes", "instances/a.dcm")


def test_an_option_that_is_not_known_and_a_bucket_that_is_not_there_are_named(moto: S3Service) -> None:
    with pytest.raises(ConfigError, match="endpoint"):
        S3Store(moto.url(), {**moto.storage_options(), "endpoint": "http://127.0.0.1"})
    with pytest.raises(StoreError, match="no-such-bucket"):
        S3Store("s3://no-such-bucket/prefix", moto.storage_options(), retry=QUICK).probe()
    with pytest.raises(ConfigError):
        S3Store("s3://", moto.storage_options())


def test_a_storm_of_faults_loses_nothing_shows_nothing_partial_and_leaves_no_question(s3: S3Service, tmp_path: Path) -> None:
    """Writers race for the same names; ``scripts/bench faults --operations 20000`` is the same for longer."""
    result = storm(s3, tmp_path, operations=STORM, seed=7, rate=0.25)
    assert result.problems == {}
    assert sum(result.operations.values()) == STORM
    assert sum(result.faults.values()) > STORM / 5
    assert result.resolved <= sum(result.raised.values())
