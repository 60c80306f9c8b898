"""Fixtures that every folder of tests may use. Real peers: see tests/support/peers.py; their context managers are public too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.instances import real_images
from tests.support.peers import OrthancPeer, dcmqrscp, load, orthanc
from tests.support.postgres import PostgresServer, postgres
from tests.support.s3 import S3Service, s3_service
from tests.support.sending import Sent
from tests.support.sites import LOCAL, S3, Place

TRUNCATED = {"MR_truncated.dcm", "SC_rgb_jpeg.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"}
"""DCMTK waits for the rest of these until the sender gives up, as does Orthanc, which is built on it."""


def _loadable() -> list[Path]:
    return [path for path in real_images() if path.name not in TRUNCATED]


@dataclass(frozen=True)
class LoadedDatabase:
    """A dcmqrscp database and what dcmqrscp said to each file when it was loaded."""

    path: Path
    sent: list[Sent]

    @property
    def sop_instance_uids(self) -> set[str]:
        """The SOP Instance UIDs that it holds; of several objects with one UID it keeps the last."""
        return {file.sop_instance_uid for file in self.sent if file.is_stored}


@pytest.fixture(scope="session")
def loaded_database(tmp_path_factory: pytest.TempPathFactory) -> LoadedDatabase:
    """A dcmqrscp database of the real images, to read only: ``dcmqrscp(tmp_path, database=loaded_database.path, ...)``."""
    folder = tmp_path_factory.mktemp("dcmqrscp")
    with dcmqrscp(folder, accept_all=True) as peer:
        sent = load(peer, _loadable())
    return LoadedDatabase(folder / "db", sent)


@pytest.fixture(scope="session")
def loaded_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancPeer]:
    """A running Orthanc holding the real images, to read only; destinations may be added by its ``add_modality``."""
    with orthanc(tmp_path_factory.mktemp("orthanc")) as peer:
        load(peer, _loadable())
        yield peer


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    """A real S3 server with one bucket; each test takes a prefix of its own (``seaweedfs.url()``)."""
    with s3_service("seaweedfs", tmp_path_factory.mktemp("seaweedfs")) as service:
        yield service


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server; each test takes a database of its own (``postgres_server.database()``)."""
    # Not below the session's own folder, which the server's user may not enter.
    with tempfile.TemporaryDirectory(prefix="vna-postgres-") as folder:
        Path(folder).chmod(0o755)
        with postgres(Path(folder) / "server") as server:
            yield server


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a new archive and its ledger are to live: by its parameter in a local folder, or on S3 and PostgreSQL."""
    kind = getattr(request, "param", LOCAL)
    if kind == LOCAL:
        return Place(str(tmp_path / "archive"), f"sqlite:///{tmp_path}/archive/ledger.sqlite")
    s3: S3Service = request.getfixturevalue("seaweedfs")
    if kind == S3:
        return Place(s3.url(), f"sqlite:///{tmp_path}/ledger.sqlite", s3.storage_options(), str(tmp_path / "spool"))
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return Place(s3.url(), server.database(), s3.storage_options(), str(tmp_path / "spool"))
