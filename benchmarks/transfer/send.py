"""Senders side by side, to a storescp that throws everything away and to Orthanc; and whole commands against each other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Results
from benchmarks.transfer.receive import dcmsend
from benchmarks.transfer.systems import HOST, Receiver, orthanc_receiver, python_environment, storescp, vna_command
from benchmarks.workloads import WORKLOADS, generate
from indexer.scan import read_file_meta
from vna.archive import Archive
from vna.config import config_text
from vna.dimse.send import SendItem, send
from vna.model import Local, Node

OURS = "vna send"
FORWARD = "vna forward"
_HEAD_BYTES = 4096
_SLOW = {"pynetdicom storescu": 8}

_PYNETDICOM = """
import sys, time
from pynetdicom.apps.storescu.storescu import main
begun = time.perf_counter()
main(["-q", "-cx", "-aec", sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], "-r"])
print(time.perf_counter() - begun)
"""
"""pynetdicom's own application inside a running process: what it costs to import is not counted, as it is not for ours."""

Send = Callable[[Receiver, Path], float]


def _by_us(receiver: Receiver, folder: Path) -> float:
    begun = time.perf_counter()
    node = Node("target", ae_title=receiver.ae_title, port=receiver.port)
    outcomes = send(node, Local(), [item_of(path) for path in sorted(folder.iterdir())])
    seconds = time.perf_counter() - begun
    if any(outcome.state != "sent" for outcome in outcomes):
        raise RuntimeError("our sender could not send everything")
    return seconds


def item_of(path: Path) -> SendItem:
    with path.open("rb") as file:
        meta = read_file_meta(file.read(_HEAD_BYTES))
    assert meta.data_set_offset is not None
    return SendItem(
        path.name,
        meta.sop_class_uid,
        meta.sop_instance_uid,
        meta.transfer_syntax_uid,
        lambda: path.open("rb"),
        meta.data_set_offset,
        path.stat().st_size,
    )


def _by_dcmsend(receiver: Receiver, folder: Path) -> float:
    begun = time.perf_counter()
    if dcmsend(receiver.ae_title, receiver.port, folder).wait():
        raise RuntimeError("dcmsend could not send everything")
    return time.perf_counter() - begun


def _by_storescu(receiver: Receiver, folder: Path) -> float:
    begun = time.perf_counter()
    command = ["storescu", "-q", "-pdu", "131072", "-aec", receiver.ae_title, HOST, str(receiver.port), "+sd", str(folder)]
    subprocess.run(command, check=True, env={**python_environment(), "TCP_NODELAY": "1"})
    return time.perf_counter() - begun


def _by_pynetdicom(receiver: Receiver, folder: Path) -> float:
    command = [sys.executable, "-W", "ignore", "-c", _PYNETDICOM, receiver.ae_title, HOST, str(receiver.port), str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


SENDERS: dict[str, Send] = {
    "dcmsend": _by_dcmsend,
    "storescu": _by_storescu,
    "pynetdicom storescu": _by_pynetdicom,
    OURS: _by_us,
}


@contextmanager
def ignoring(folder: Path) -> Iterator[Receiver]:
    # --fork: without it, it serves one association at a time and lets the others wait
    with storescp(folder, "--fork", "--ignore", "-pdu", "131072") as receiver:
        yield receiver


def send_side(results: Results, scratch: Path, counts: Mapping[str, int], runs: int) -> None:
    """Measure senders on S and M; each run goes to a fresh receiver."""
    for name, count in counts.items():
        if name == "L":
            continue
        for target, start, systems in (
            ("storescp --ignore", ignoring, tuple(SENDERS)),
            ("Orthanc", orthanc_receiver, ("dcmsend", OURS)),
        ):
            some = count if target != "Orthanc" else max(count // 2, 1)
            for run in range(runs):
                for system in systems:
                    number = max(some // _SLOW.get(system, 1), 1)
                    files = generate(WORKLOADS[name], number, scratch / f"send-{number}")
                    size = sum(path.stat().st_size for path in files)
                    folder = scratch / f"to-{run}-{system.replace(' ', '_')}"
                    with start(folder) as receiver:
                        seconds = SENDERS[system](receiver, scratch / f"send-{number}")
                    results.add(system, f"send {name} to {target}", seconds, instances=number, size=size)
                    shutil.rmtree(folder)
            for path in scratch.glob("send-*"):
                shutil.rmtree(path)


def forward_side(results: Results, scratch: Path, count: int, runs: int) -> None:
    """Measure the whole command ``vna forward`` against the whole command dcmsend, M objects to ``storescp --ignore``."""
    workload = f"forward {count} M, whole command"
    files = generate(WORKLOADS["M"], count, scratch / "files")
    size = sum(path.stat().st_size for path in files)
    for run in range(runs):
        folder = scratch / f"forward-{run}"
        with ignoring(folder / "target") as receiver:
            results.add("dcmsend", workload, _by_dcmsend(receiver, scratch / "files"), instances=count, size=size)
            ready_archive(folder, receiver)
            subprocess.run(
                vna_command(folder, "ingest", str(scratch / "files"), "--adapter", "folder", "--json"),
                check=True,
                capture_output=True,
                env=python_environment(),
            )
            begun = time.perf_counter()
            done = subprocess.run(
                vna_command(folder, "forward", "target", "--json"),
                capture_output=True,
                env=python_environment(),
                check=False,
            )
            seconds = time.perf_counter() - begun
            if done.returncode or json.loads(done.stdout)["sent"] != count:
                raise RuntimeError(f"vna forward did not send everything: {done.stderr.decode()[-500:]}")
            results.add(FORWARD, workload, seconds, instances=count, size=size)
        shutil.rmtree(folder)
    shutil.rmtree(scratch / "files")


def ready_archive(folder: Path, peer: Receiver, *, name: str = "target", port: int = 11112) -> None:
    """Make an archive and a vna.toml in ``folder`` with one node; we listen on ``port``."""
    folder.mkdir(parents=True, exist_ok=True)
    node = f'[nodes.{name}]\nkind = "dimse"\nae_title = "{peer.ae_title}"\nhost = "{HOST}"\nport = {peer.port}\n'
    text = config_text("archive", "sqlite:///archive/ledger.sqlite").replace("port = 11112", f"port = {port}", 1)
    (folder / "vna.toml").write_text(f"{text}\n{node}")
    Archive.create(str(folder / "archive"))
