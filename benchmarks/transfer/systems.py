"""The receivers that are compared: each runs in processes of its own, in a fresh folder, until its block ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.peers import free_port, orthanc, running
from vna.archive import Archive
from vna.config import config_text

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[2]


@dataclass
class Receiver:
    """A running receiver; ``settled`` waits until it has done all that it must with so many objects."""

    ae_title: str
    port: int
    settled: Callable[[int], None]
    pids: list[int]
    folder: Path

    def peak_mib(self) -> float:
        """Give the sum of its processes' peak resident sizes."""
        return sum(_peak_kib(pid) for pid in self.pids) / 1024

    def cpu_s(self) -> float:
        """Give the processor time that its processes have used, children that have ended included."""
        return sum(_cpu_s(pid) for pid in self.pids)


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _peak_kib(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def _nothing(_: int) -> None:
    """Every other receiver is done when it has answered."""


@contextmanager
def storescp(folder: Path, *options: str, nodelay: bool = True, port: int = 0) -> Iterator[Receiver]:
    """Run DCMTK's storescp with these options."""
    port, out = port or free_port(), folder / "received"
    out.mkdir(parents=True)
    command = ["storescp", "-aet", "STORESCP", *options, "-od", str(out), str(port)]
    with running(command, folder, "storescp", [port], nodelay=nodelay) as process:
        yield Receiver("STORESCP", port, _nothing, [process.pid], folder)


@contextmanager
def orthanc_receiver(folder: Path, *, nodelay: bool = True, port: int = 0) -> Iterator[Receiver]:
    """Run Orthanc with its default SQLite index."""
    with orthanc(folder, nodelay=nodelay, port=port) as peer:
        yield Receiver(peer.ae_title, peer.port, _nothing, [peer.process.pid], folder)


@contextmanager
def pynetdicom_app(folder: Path, *, nodelay: bool = True) -> Iterator[Receiver]:
    """Run the storescp application that pynetdicom ships."""
    port, out = free_port(), folder / "received"
    out.mkdir(parents=True)
    command = [sys.executable, "-W", "ignore", "-m", "pynetdicom", "storescp", str(port), "-od", str(out)]
    with running(command, folder, "pynetdicom", [port], nodelay=nodelay) as process:
        yield Receiver("STORESCP", port, _nothing, [process.pid], folder)


@contextmanager
def engine_only(folder: Path, *, nodelay: bool = True) -> Iterator[Receiver]:
    """Run our engine with digest, scan, journal and fsync off: see :mod:`benchmarks.transfer.engine`."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "benchmarks.transfer.engine", str(folder / "received")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=python_environment())
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield Receiver("VNA", int(process.stdout.readline()), _nothing, [process.pid], folder)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@contextmanager
def vna_receive(folder: Path, *, workers: int = 1, nodelay: bool = True) -> Iterator[Receiver]:
    """Run ``vna receive`` as a user would: header scan, digest, journal and index commits, fsync for each object."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "vna.toml").exists():
        (folder / "vna.toml").write_text(config_text("archive", "sqlite:///archive/ledger.sqlite"))
        Archive.create(str(folder / "archive"))
    log = (folder / "receive.log").open("ab")
    command = vna_command(folder, "receive", "--port", "0", "--json", "--workers", str(workers))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=python_environment())
    indexed = _Indexed()
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    reader = threading.Thread(target=indexed.read, args=(process.stdout,), daemon=True)
    reader.start()

    def settled(count: int) -> None:
        process.send_signal(signal.SIGUSR1)
        if not indexed.reached(count):
            raise RuntimeError("the index did not take all objects")

    try:
        yield Receiver("VNA", int(first["port"]), settled, [process.pid, *children(process.pid)], folder)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        reader.join(10)
        process.stdout.close()
        log.close()


def vna_command(folder: Path, *arguments: str) -> list[str]:
    """Make the command line of ``vna`` with the configuration in ``folder``."""
    return [sys.executable, "-m", "vna", "--config", str(folder / "vna.toml"), *arguments]


def python_environment() -> dict[str, str]:
    """Give an environment in which a Python of ours finds the product and the benchmarks."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


class _Indexed:
    """Counts the rows that the service says are in the index."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def read(self, stream: Any) -> None:
        """Read events to their end."""
        for line in stream:
            if line.startswith(b'{"event": "indexed"'):
                with self._changed:
                    self._count += json.loads(line)["rows"]
                    self._changed.notify_all()

    def reached(self, count: int) -> bool:
        """Wait until so many rows are in the index."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count >= count, timeout=120)


def children(pid: int) -> list[int]:
    """List the child processes of a process."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
