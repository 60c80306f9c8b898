"""Receivers side by side: dcmsend sends the same files to each, with one and with four associations."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmarks.report import Results
from benchmarks.transfer.systems import HOST, Receiver, engine_only, orthanc_receiver, pynetdicom_app, storescp, vna_receive
from benchmarks.workloads import WORKLOADS, generate


class Start(Protocol):
    """How a receiver is started in a fresh folder."""

    def __call__(self, folder: Path, /, *, nodelay: bool = True) -> AbstractContextManager[Receiver]: ...


def _tuned_storescp(folder: Path, /, *, nodelay: bool = True) -> AbstractContextManager[Receiver]:
    return storescp(folder, "+B", "-pdu", "131072", nodelay=nodelay)


OURS = "vna receive"
ENGINE = "vna engine only"
SYSTEMS: dict[str, Start] = {
    "storescp": storescp,
    "storescp +B": _tuned_storescp,
    "Orthanc": orthanc_receiver,
    "pynetdicom storescp": pynetdicom_app,
    ENGINE: engine_only,
    OURS: vna_receive,
    f"{OURS} --workers 2": partial(vna_receive, workers=2),
}
_SLOW = {"pynetdicom storescp": 8, "Orthanc": 2}
"""Slow systems get a fraction of the files; their figures are rates, so they stay comparable."""

_STALLED = 20
"""How many times fewer files a system gets that stalls 40 ms at each."""

_Runs = Sequence[tuple[str, Start, int]]


def receive(
    results: Results, scratch: Path, counts: Mapping[str, int], runs: int, *, systems: Sequence[str], suffix: str = ""
) -> None:
    """Measure every system on every workload, the systems taking turns."""
    for name, count in counts.items():
        for parts in (1, 4) if name != "L" and runs > 1 else (1,):
            turns = [
                (system, SYSTEMS[system], count // _SLOW.get(system, 1) // parts * parts or parts)
                for system in systems
                if not (system.endswith(" 2") and parts == 1) and not (name == "L" and system.startswith("pynetdicom"))
            ]
            _take_turns(results, scratch, f"receive {name}{f' x{parts}' if parts > 1 else ''}{suffix}", name, turns, runs, parts)


def untouched(results: Results, scratch: Path, counts: Mapping[str, int], runs: int) -> None:
    """Measure with senders and receivers that leave Nagle's algorithm on, as they come."""
    for name, count in counts.items():
        if name == "L":
            continue
        turns: _Runs = [
            (system, SYSTEMS[system], count if system == OURS else max(count // _STALLED, 5))
            for system in ("storescp", "storescp +B", "Orthanc", OURS)
        ]
        _take_turns(results, scratch, f"receive {name}, Nagle left on", name, turns, runs, 1, nodelay=False)


def _take_turns(
    results: Results, scratch: Path, workload: str, name: str, turns: _Runs, runs: int, parts: int, *, nodelay: bool = True
) -> None:
    """Run each system ``runs`` times, one after the other, so that a busy moment of the machine meets all of them."""
    files = {count: _parts(scratch / f"send-{count}", name, count, parts) for count in {count for *_, count in turns}}
    for run in range(runs):
        for system, start, count in turns:
            folder = scratch / f"receive-{run}-{system.replace(' ', '_')}"
            size = sum(path.stat().st_size for part in files[count] for path in part.iterdir())
            with start(folder, nodelay=nodelay) as receiver:
                cpu_s, begun = receiver.cpu_s(), time.perf_counter()
                send_all(receiver, files[count], nodelay=nodelay)
                receiver.settled(count)
                results.add(
                    system,
                    workload,
                    time.perf_counter() - begun,
                    instances=count,
                    size=size,
                    peak_mib=receiver.peak_mib(),
                    cpu_s=receiver.cpu_s() - cpu_s,
                )
            shutil.rmtree(folder)
    for count in files:
        shutil.rmtree(scratch / f"send-{count}")


def _parts(folder: Path, name: str, count: int, parts: int) -> list[Path]:
    """Generate the files, in a folder for each association."""
    folders = []
    for part in range(parts):
        folders.append(folder / str(part))
        generate(WORKLOADS[name], count // parts, folders[-1], seed=str(part + 1))
    return folders


def send_all(receiver: Receiver, parts: Sequence[Path], *, nodelay: bool = True) -> None:
    """Send each folder by a dcmsend of its own, all at once. Raises RuntimeError where one fails."""
    running = [dcmsend(receiver.ae_title, receiver.port, part, nodelay=nodelay) for part in parts]
    ended = [process.wait() for process in running]
    if any(ended):
        raise RuntimeError("dcmsend could not send everything")


def dcmsend(ae_title: str, port: int, folder: Path, *options: str, nodelay: bool = True) -> subprocess.Popen[bytes]:
    """Start a dcmsend that sends all files of a folder."""
    environment = {**os.environ, "TCP_NODELAY": "1" if nodelay else "0"}
    return subprocess.Popen(["dcmsend", "-q", *options, "-aec", ae_title, HOST, str(port), "+sd", str(folder)], env=environment)
