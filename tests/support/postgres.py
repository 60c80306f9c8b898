"""A PostgreSQL server on a free loopback port, from Debian's package, in a folder that is thrown away."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.peers import HOST, free_port

_START_S = 60
_VERSIONS = Path("/usr/lib/postgresql")


def require_postgres() -> None:
    """Skip the test where PostgreSQL or its driver is not installed, and say how to get it; fail if ``CI=true``."""
    missing = [] if _programs() else ["postgresql: apt-get install postgresql (scripts/test does that as root on Debian)"]
    missing += [] if find_spec("psycopg") else ["psycopg: pip install 'psycopg[binary]' (it is in the extra test)"]
    if missing:
        reason = f"needs {'; '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def _programs() -> Path | None:
    """Find the folder with initdb and postgres: Debian keeps it off the path, one a version."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = sorted(_VERSIONS.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


@dataclass
class PostgresServer:
    """A running server; :meth:`database` makes an empty database in it and gives its URL."""

    port: int
    folder: Path
    programs: Path

    def database(self) -> str:
        """Create an empty database, and give the URL that a ledger is opened with."""
        name = f"ledger_{secrets.token_hex(6)}"
        self.sql(f'CREATE DATABASE "{name}"', database="postgres")
        return f"postgresql+psycopg://vna@{HOST}:{self.port}/{name}"

    def sql(self, statement: str, *, database: str) -> str:
        """Run a statement by psql, and give what it prints."""
        command = [self.programs / "psql", "-h", HOST, "-p", str(self.port), "-U", "vna", "-d", database, "-Atqc", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def postgres(folder: Path) -> Iterator[PostgresServer]:
    """Start a server, and end it by its process id. As root it runs as the user ``postgres``, since it refuses to be root."""
    require_postgres()
    programs = _programs()
    assert programs is not None
    user = "postgres" if os.geteuid() == 0 else None
    folder.mkdir(parents=True, exist_ok=True)
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    data, port = folder / "data", free_port()
    initialise = [programs / "initdb", "-D", data, "-U", "vna", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run(initialise, check=True, capture_output=True, user=user, cwd="/", timeout=120)
    settings = {"listen_addresses": HOST, "port": port, "unix_socket_directories": "", "fsync": "off", "max_connections": 200}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stdout=log, stderr=subprocess.STDOUT, user=user, cwd="/"
        )
    server = PostgresServer(port, folder, programs)
    try:
        _wait(server, process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: PostgresServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    ready = [server.programs / "pg_isready", "-q", "-h", HOST, "-p", str(server.port)]
    while subprocess.run(ready, timeout=30, check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"PostgreSQL did not start: {(server.folder / 'log').read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
