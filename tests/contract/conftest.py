"""Services that the contract suites run over, each started once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import PostgresServer, postgres
from tests.support.s3 import S3Service, s3_service


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    with s3_service("moto", tmp_path_factory.mktemp("moto")) as service:
        yield service


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    with s3_service("seaweedfs", tmp_path_factory.mktemp("seaweedfs")) as service:
        yield service


@pytest.fixture(params=["moto", "seaweedfs"])
def s3(request: pytest.FixtureRequest) -> S3Service:
    """Both services in turn."""
    service = request.getfixturevalue(request.param)
    assert isinstance(service, S3Service)
    return service


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    # Not below the session's own folder, which the server's user may not enter.
    with tempfile.TemporaryDirectory(prefix="vna-postgres-") as folder:
        Path(folder).chmod(0o755)
        with postgres(Path(folder) / "server") as server:
            yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind that a ledger may stand on."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    server = request.getfixturevalue("postgres_server")
    assert isinstance(server, PostgresServer)
    return server.database()
