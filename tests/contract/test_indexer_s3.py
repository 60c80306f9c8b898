"""The indexer alone over a bucket: the same rows as over a folder, few bytes, and every row once whatever happens."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer import cli
from indexer import s3 as s3_module
from indexer.columns import OVERLAYS
from indexer.errors import IndexerError, UsageError
from indexer.query import connect, query
from indexer.remote import HEAD
from indexer.schema import COLUMNS
from indexer.table import Table
from indexer.tree import index_tree
from tests.docs.pages import ROOT
from tests.support.instances import make_instance, part10_bytes, real_images
from tests.support.peers import HOST
from tests.support.s3 import S3Service
from tests.support.s3_proxy import Fault, Request, S3Proxy, s3_proxy
from tests.unit.indexer.corpus import BAD_FILES, encapsulated, explicit, good, part10

_SAME = [column.name for column in COLUMNS if column.name not in ("source", "received_at")]
_WAIT_S = 120


@pytest.fixture
def proxy(s3: S3Service) -> Iterator[S3Proxy]:
    with s3_proxy(s3.port) as running:
        yield running


def put_all(s3: S3Service, url: str, files: dict[str, bytes]) -> None:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = s3.client()
    for name, data in files.items():
        client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)


def rows_of(table: Path | str, columns: list[str] = _SAME, options: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    con = connect(Table.open(table, storage_options=options))
    try:
        return query(
            con, f"SELECT {', '.join(f'{name!r}'.replace(chr(39), chr(34)) for name in columns)} FROM received ORDER BY path"
        )
    finally:
        con.close()


def write_all(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def small(number: int) -> dict[str, bytes]:
    """Make so many small instances of several studies."""
    return {
        f"{n % 7}/{n:04d}": part10_bytes(make_instance(PatientID=f"P{n % 7}", InstanceNumber=n, SeriesNumber=n % 3))
        for n in range(number)
    }


def test_a_bucket_gives_the_same_rows_as_a_folder_with_the_same_files(s3: S3Service, tmp_path: Path) -> None:
    files = {f"bad/{n}": case.content for n, case in enumerate(BAD_FILES) if len(case.content) < 100_000}
    files |= {f"real/it's {n} ü%": path.read_bytes() for n, path in enumerate(real_images(unique=True)[:40])}
    files |= {
        "empty": b"",
        "long header": part10(explicit(0x00080008, b"OB", bytes(3 * HEAD)) + explicit(0x00100010, b"PN", b"A^B")),
    }
    url = s3.url()
    put_all(s3, url, files)
    put_all(s3, f"{url}x", {"of-a-neighbour": b""})
    local = index_tree(write_all(tmp_path / "files", files), str(tmp_path / "local"), with_digest=True)
    remote = index_tree(url, str(tmp_path / "remote"), with_digest=True, storage_options=s3.storage_options())
    assert remote.found == remote.added == len(files)
    assert (remote.codes, remote.bytes) == (local.codes, local.bytes)
    assert rows_of(tmp_path / "remote") == rows_of(tmp_path / "local")
    assert {row["source"] for row in rows_of(tmp_path / "remote", ["path", "source"])} == {url}
    again = index_tree(url, str(tmp_path / "remote"), with_digest=True, storage_options=s3.storage_options())
    assert (again.known, again.added, again.changed) == (len(files), 0, 0)


def test_of_large_objects_only_the_beginning_is_read_and_the_heads_of_fragments(
    s3: S3Service, proxy: S3Proxy, tmp_path: Path
) -> None:
    pixels = bytes(6 << 20)
    large = part10_bytes(make_instance(Rows=2048, Columns=1536, PixelData=pixels))
    fragments = part10(encapsulated(b"", *[bytes(400_000)] * 20), b"1.2.840.10008.1.2.4.90")
    url = s3.url()
    put_all(s3, url, {"native": large, "compressed": fragments})
    result = index_tree(url, str(tmp_path / "t"), storage_options=s3.storage_options(proxy.port))
    assert result.bytes == len(large) + len(fragments)
    assert proxy.answered["get"] <= 2 * HEAD + 21 * 4096
    assert proxy.requests["get"] <= 23
    assert rows_of(tmp_path / "t", ["path", "codes"])[1] == {"path": "native", "codes": None}
    index_tree(url, str(tmp_path / "digests"), with_digest=True, storage_options=s3.storage_options(proxy.port))
    assert proxy.answered["get"] >= result.bytes


def test_an_object_replaced_within_a_second_by_one_of_the_same_size_is_scanned_again(s3: S3Service, tmp_path: Path) -> None:
    url, table = s3.url(), str(tmp_path / "t")
    uids = {"StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.2", "SOPInstanceUID": "1.2.3"}
    first, second = (part10_bytes(make_instance(PatientID=name, **uids)) for name in ("P1", "P2"))
    put_all(s3, url, {"a": first, "b": first})
    index_tree(url, table, storage_options=s3.storage_options())
    put_all(s3, url, {"a": second, "c": first})
    result = index_tree(url, table, storage_options=s3.storage_options())
    assert (len(first), result.added, result.changed, result.known) == (len(second), 1, 1, 1)
    assert [(row["path"], row["PatientID"]) for row in rows_of(table)] == [("a", "P2"), ("b", "P1"), ("c", "P1")]


_RUN = """
import json, os, sys
from indexer.tree import index_tree
url, table, options = sys.argv[1:]
options = json.loads(options)
index_tree(url, table, workers=2, storage_options=options, rows_a_commit=40)
"""


def test_a_scan_killed_at_random_goes_on_and_gives_every_row_exactly_once(seaweedfs: S3Service, tmp_path: Path) -> None:
    files, url, table, dice = small(400), seaweedfs.url(), str(tmp_path / "t"), random.Random(5)
    put_all(seaweedfs, url, files)
    with s3_proxy(seaweedfs.port) as proxy:
        options = json.dumps(seaweedfs.storage_options(proxy.port))
        for _ in range(3):
            until = proxy.requests["get"] + dice.randrange(30, 150)
            process = subprocess.Popen([sys.executable, "-c", _RUN, url, table, options], start_new_session=True)
            deadline = time.monotonic() + _WAIT_S
            while process.poll() is None and proxy.requests["get"] < until and time.monotonic() < deadline:
                time.sleep(0.002)
            os.killpg(process.pid, 9)
            process.wait()
        before = len(rows_of(table)) if (tmp_path / "t" / "_delta_log").is_dir() else 0
        proxy.requests.clear()
        subprocess.run([sys.executable, "-c", _RUN, url, table, options], check=True, timeout=_WAIT_S)
        assert proxy.requests["get"] == len(files) - before, "what was committed is not scanned again"
    assert [row["path"] for row in rows_of(table)] == sorted(files)
    assert rows_of(table) == rows_of_local(files, tmp_path)


def rows_of_local(files: dict[str, bytes], tmp_path: Path) -> list[dict[str, Any]]:
    index_tree(write_all(tmp_path / "files", files), str(tmp_path / "local"))
    return rows_of(tmp_path / "local")


def test_a_bad_network_changes_nothing_in_the_rows(s3: S3Service, proxy: S3Proxy, tmp_path: Path) -> None:
    files, url, dice = small(120) | {"large": good() + bytes(3 * HEAD)}, s3.url(), random.Random(3)
    put_all(s3, url, files)
    bad = [Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.REFUSE_CONNECTION, Fault.SHORT_BODY, Fault.SHORT_AND_FITTING]
    proxy.decide = lambda request: dice.choice(bad) if dice.random() < 0.15 and request.operation == "get" else Fault.NONE
    index_tree(url, str(tmp_path / "t"), storage_options=s3.storage_options(proxy.port))
    assert proxy.faults.total() > 5
    assert rows_of(tmp_path / "t") == rows_of_local(files, tmp_path)


def test_credentials_that_expire_end_the_run_keep_what_was_scanned_and_stand_nowhere(
    s3: S3Service, proxy: S3Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, url, table = small(120), s3.url(), tmp_path / "t"
    put_all(s3, url, files)

    def expire(request: Request) -> Fault:
        return Fault.EXPIRED if request.operation == "get" and proxy.requests["get"] >= 70 else Fault.NONE

    proxy.decide = expire
    caplog.set_level("DEBUG", logger="indexer")
    with pytest.raises(IndexerError, match="ExpiredToken") as raised:
        index_tree(url, str(table), storage_options=s3.storage_options(proxy.port))
    assert "credentials" in raised.value.hint
    held = len(rows_of(table))
    assert 0 < held < len(files)
    proxy.decide = lambda request: Fault.NONE
    result = index_tree(url, str(table), storage_options=s3.storage_options(proxy.port))
    assert (result.known, result.added) == (held, len(files) - held)
    secret = s3.storage_options()["secret"]
    written = b"".join(path.read_bytes() for path in table.rglob("*") if path.is_file())
    assert secret.encode() not in written
    assert secret not in f"{raised.value} {raised.value.hint} {caplog.text}"


@pytest.mark.parametrize("fault", [Fault.EXPIRED_AS_AWS_SAYS, Fault.EXPIRED])
def test_credentials_that_expire_take_no_row_away(s3: S3Service, proxy: S3Proxy, tmp_path: Path, fault: Fault) -> None:
    url, table, options = s3.url(), tmp_path / "t", s3.storage_options(proxy.port)
    put_all(s3, url, small(8))
    index_tree(url, str(table), storage_options=options)
    before = rows_of(table)
    put_all(s3, url, small(10))  # eight of them changed
    proxy.decide = lambda request: fault if request.operation == "get" else Fault.NONE
    with pytest.raises(IndexerError, match="ExpiredToken"):
        index_tree(url, str(table), storage_options=options)
    assert rows_of(table) == before


def test_an_object_that_is_denied_gets_a_row_that_says_so_and_is_tried_again(
    s3: S3Service, proxy: S3Proxy, tmp_path: Path
) -> None:
    url, table, options = s3.url(), str(tmp_path / "t"), s3.storage_options(proxy.port)
    put_all(s3, url, {"a": good(), "b": good(), "c": good()})
    proxy.decide = lambda request: Fault.DENIED if request.path.endswith("/b") else Fault.NONE
    first = index_tree(url, table, storage_options=options)
    assert (first.added, first.quarantined, dict(first.codes)) == (3, 1, {"UNREADABLE": 1})
    assert [row["codes"] for row in rows_of(table, ["path", "codes"])] == [None, "UNREADABLE", None]
    second = index_tree(url, table, storage_options=options)
    assert (second.known, second.changed, second.unread) == (2, 0, 1)
    proxy.decide = lambda request: Fault.NONE
    third = index_tree(url, table, storage_options=options)
    assert (third.known, third.changed, third.unread) == (2, 1, 0)
    put_all(s3, url, {"a": good() + bytes(8), "b": good() + bytes(8)})
    before = rows_of(table)
    proxy.decide = lambda request: Fault.DENIED if request.operation == "get" else Fault.NONE
    assert index_tree(url, table, storage_options=options).unread == 2
    assert rows_of(table) == before, "what is denied for now takes no good row away"
    proxy.decide = lambda request: Fault.DENIED if request.operation == "list" else Fault.NONE
    with pytest.raises(IndexerError, match="AccessDenied"):
        index_tree(url, table, storage_options=options)


def test_table_and_objects_in_one_bucket_by_the_command_with_credentials_of_the_environment(seaweedfs: S3Service) -> None:
    url, files = seaweedfs.url(), small(5)
    put_all(seaweedfs, url, files)
    options = seaweedfs.storage_options()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": options["key"],
        "AWS_SECRET_ACCESS_KEY": options["secret"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    def indexer(*arguments: str) -> Any:
        command = [sys.executable, "-m", "indexer", *arguments, "--endpoint-url", seaweedfs.endpoint, "--json"]
        return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, timeout=_WAIT_S).stdout)

    table = f"{url}/index"
    for added in (5, 0):
        told = indexer("scan", url, "--to", table)
        assert (told["found"], told["added"]) == (5, added)
    assert indexer("query", table, "SELECT count(DISTINCT PatientID) AS n FROM instances") == [{"n": 5}]


def test_corrected_values_of_an_archive_on_s3_are_seen(
    moto: S3Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url, options = moto.url(), moto.storage_options()
    for name, option in (("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(name, options[option])
    row = {"path": "p", "size": 1, "StudyInstanceUID": "1.2", "sha256": "ab" * 32, "PatientID": "P1"}

    def asked(table: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            cli.main(["query", table, "SELECT PatientID, revision FROM instances", "--endpoint-url", moto.endpoint, "--json"])
        assert not ended.value.code
        return json.loads(capsys.readouterr().out)

    Table.create(f"{url}/index/instances", storage_options=options).append([row], "w", 1)
    assert asked(f"{url}/index/instances") == [{"PatientID": "P1", "revision": None}]
    overlays = Table.create(f"{url}/index/overlays", OVERLAYS, options)
    overlays.append([{**row, "PatientID": "P2", "revision": 1}], "c", 1)
    for table in (f"{url}/index/instances", f"{url}/index/instances/"):
        assert asked(table) == [{"PatientID": "P2", "revision": 1}]


def test_a_table_on_a_service_that_overwrites_ends_with_the_code_that_help_and_page_name(
    moto: S3Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(s3_module, "_TRUSTED", set())
    for name, option in (("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(name, moto.storage_options()[option])

    def ended(*arguments: str) -> int:
        with pytest.raises(SystemExit) as raised:
            cli.main(list(arguments))
        return int(raised.value.code or 0)

    with s3_proxy(moto.port) as proxy:
        proxy.decide = lambda request: Fault.IGNORE_CONDITION if request.operation == "put" else Fault.NONE
        endpoint = f"http://{HOST}:{proxy.port}"
        code = ended("scan", str(write_all(tmp_path, small(1))), "--to", moto.url(), "--endpoint-url", endpoint)
    assert (code, "If-None-Match" in capsys.readouterr().err) == (21, True)
    assert ended("--help") == 0
    for text in (capsys.readouterr().out, (ROOT / "docs" / "indexer.md").read_text("utf-8")):
        named = re.search(r"Exit codes:(.*?)\.", text, re.DOTALL)
        assert named is not None
        assert set(re.findall(r"\b\d+\b", named[1])) == {"0", "1", "2", "21", "130"}


def test_mistakes_are_named(moto: S3Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no-such-bucket"):
        index_tree("s3://no-such-bucket/x", str(tmp_path / "t"), storage_options=moto.storage_options())
    with pytest.raises(UsageError, match="bucket"):
        index_tree("s3://", str(tmp_path / "t"), storage_options=moto.storage_options())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UsageError, match="credentials"):
        index_tree(moto.url(), str(tmp_path / "t"), storage_options={"endpoint_url": moto.endpoint})
