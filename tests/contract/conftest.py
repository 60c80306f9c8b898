"""Services that the contract suites run over, each started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import PostgresServer
from tests.support.s3 import S3Service, s3_service


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    with s3_service("moto", tmp_path_factory.mktemp("moto")) as service:
        yield service


@pytest.fixture(params=["moto", "seaweedfs"])
def s3(request: pytest.FixtureRequest) -> S3Service:
    """Both services in turn."""
    service = request.getfixturevalue(request.param)
    assert isinstance(service, S3Service)
    return service


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind that a ledger may stand on."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    server = request.getfixturevalue("postgres_server")
    assert isinstance(server, PostgresServer)
    return server.database()
