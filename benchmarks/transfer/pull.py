"""Whole pulls from DCMTK's dcmqrscp by C-MOVE: movescu into other receivers, and ``vna pull`` into an archive."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from benchmarks.report import Results
from benchmarks.transfer.receive import dcmsend
from benchmarks.transfer.send import ready_archive
from benchmarks.transfer.systems import HOST, Receiver, orthanc_receiver, python_environment, storescp, vna_command
from benchmarks.workloads import STUDY_INSTANCES, WORKLOADS, generate
from tests.support.peers import Peer, dcmqrscp
from vna.dimse.find import find
from vna.model import Local

OURS = "vna pull"
STORESCP = "movescu into storescp +B"
ORTHANC = "movescu into Orthanc"


def pull(results: Results, scratch: Path, counts: Mapping[str, int], runs: int) -> None:
    """Measure pulls of S and M, peers tuned and as they come."""
    for name, count in counts.items():
        if name != "L":
            _pull(results, scratch, name, count, runs, nodelay=True)
            _pull(results, scratch, name, count, runs, nodelay=False)


def _pull(results: Results, scratch: Path, name: str, count: int, runs: int, *, nodelay: bool) -> None:
    workload = f"pull {name}{'' if nodelay else ', Nagle left on'}"
    files = generate(WORKLOADS[name], count, scratch / "files")
    size = sum(path.stat().st_size for path in files)
    ports = dict(zip(("VNA", "STORESCP", "ORTHANC"), _lasting_ports(3), strict=True))
    with ExitStack() as stack:
        peer = stack.enter_context(dcmqrscp(scratch / "qr", destinations=ports.items(), nodelay=nodelay))
        if dcmsend(peer.ae_title, peer.port, scratch / "files").wait():
            raise RuntimeError("dcmqrscp could not be loaded")
        shutil.rmtree(scratch / "files")
        studies = _studies(peer)
        for run in range(runs):
            for system in (STORESCP, ORTHANC, OURS):
                folder = scratch / f"pull-{run}-{system.replace(' ', '_')}"
                # who stalls 40 ms at each object gets one study of them only
                some = studies if nodelay or system == OURS else studies[:1]
                number = min(count, len(some) * STUDY_INSTANCES)
                seconds = _run(system, folder, peer, some, ports, number, nodelay=nodelay)
                results.add(system, workload, seconds, instances=number, size=size * number // count)
                shutil.rmtree(folder)
    shutil.rmtree(scratch / "qr")


def _lasting_ports(count: int) -> list[int]:
    """Find free ports below those that the system gives to connections, since they are bound again and again."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            found.add(port)
    return list(found)


def _run(
    system: str, folder: Path, peer: Peer, studies: Sequence[str], ports: Mapping[str, int], count: int, *, nodelay: bool
) -> float:
    if system == OURS:
        return _vna_pull(folder, peer, ports["VNA"], count)
    with (
        storescp(folder, "+B", "-pdu", "131072", nodelay=nodelay, port=ports["STORESCP"])
        if system == STORESCP
        else orthanc_receiver(folder, nodelay=nodelay, port=ports["ORTHANC"])
    ) as receiver:
        environment = {**os.environ, "TCP_NODELAY": "1" if nodelay else "0"}
        command = ["movescu", "-q", "-S", "-aem", receiver.ae_title, "-aec", peer.ae_title, HOST, str(peer.port)]
        begun = time.perf_counter()
        for study in studies:
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
            subprocess.run([*command, *keys], check=True, env=environment, capture_output=True)
        return time.perf_counter() - begun


def _vna_pull(folder: Path, peer: Peer, port: int, count: int) -> float:
    """Time the command ``vna pull`` from its start to its exit, ledger, digests and index commit included."""
    ready_archive(folder, Receiver(peer.ae_title, peer.port, lambda _: None, [], folder), name="legacy", port=port)
    _vna(folder, "inventory", "legacy")
    begun = time.perf_counter()
    told = _vna(folder, "pull", "legacy")
    seconds = time.perf_counter() - begun
    if told["instances"] != count:
        raise RuntimeError(f"vna pull brought {told['instances']} of {count}")
    return seconds


def _vna(folder: Path, *arguments: str) -> dict[str, int]:
    done = subprocess.run(vna_command(folder, *arguments, "--json"), capture_output=True, env=python_environment(), check=False)
    if done.returncode:
        raise RuntimeError(f"vna {arguments[0]} failed: {done.stderr.decode()[-500:]}")
    told: dict[str, int] = json.loads(done.stdout)
    return told


def _studies(peer: Peer) -> list[str]:
    found = find(peer.node(), Local(), "STUDY", {"StudyInstanceUID": ""})
    return sorted(study["StudyInstanceUID"] for study in found)
