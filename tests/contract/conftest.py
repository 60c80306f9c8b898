"""Services that the contract suites run over, each started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
