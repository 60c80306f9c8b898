"""Receivers side by side: dcmsend sends the same files to each, with one and with four associations."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from benchmarks.report import Results
from benchmarks.transfer.systems import HOST, Receiver, orthanc_receiver, pynetdicom_app, storescp, vna_receive
from benchmarks.workloads import WORKLOADS, generate

Start = Callable[[Path], AbstractContextManager[Receiver]]

OURS = "vna receive"
SYSTEMS: dict[str, Start] = {
    "storescp": partial(storescp, *()),
    "storescp +B": lambda folder: storescp(folder, "+B", "-pdu", "131072"),
    "Orthanc": orthanc_receiver,
    "pynetdicom storescp": pynetdicom_app,
    OURS: vna_receive,
    f"{OURS} --workers 2": partial(vna_receive, workers=2),
}
_FEW = {"pynetdicom storescp": 4, "Orthanc": 2}
"""Slow systems get a fraction of the files; their figures are rates, so they stay comparable."""


def receive(
    results: Results, scratch: Path, counts: dict[str, int], runs: int, *, systems: Sequence[str] = tuple(SYSTEMS)
) -> None:
    """Measure every system on every workload, the systems taking turns."""
    for name, count in counts.items():
        files = {parts: _parts(scratch / f"send-{name}-{parts}", name, count, parts) for parts in (1, 4)}
        size = sum(path.stat().st_size for path in files[1][0].iterdir())
        for parts in (1, 4) if name != "L" else (1,):
            workload = f"{name}, {parts} assoc."
            results.size(workload, count, size)
            for run in range(runs):
                for system in systems:
                    if (system.endswith("2") and parts == 1) or (name == "L" and system.startswith("pynetdicom")):
                        continue
                    folder = scratch / f"receive-{run}-{parts}-{name}-{system.replace(' ', '_')}"
                    seconds, peak = _run(SYSTEMS[system], folder, files[parts], count)
                    results.add(system, workload, seconds, peak_mib=peak)
                    shutil.rmtree(folder)
        for folders in files.values():
            for folder in folders:
                shutil.rmtree(folder)


def _parts(folder: Path, name: str, count: int, parts: int) -> list[Path]:
    """Generate the files, in a folder for each association."""
    folders = []
    for part in range(parts):
        folders.append(folder / str(part))
        generate(WORKLOADS[name], count // parts, folders[-1], seed=str(part + 1))
    return folders


def _run(start: Start, folder: Path, parts: Sequence[Path], count: int) -> tuple[float, float]:
    """Give the seconds until everything was sent, answered and settled, and the peak memory of the receiver."""
    with start(folder) as receiver:
        begun = time.perf_counter()
        send_all(receiver, parts)
        receiver.settled(count)
        return time.perf_counter() - begun, receiver.peak_mib()


def send_all(receiver: Receiver, parts: Sequence[Path], *, nodelay: bool = True) -> None:
    """Send each folder by a dcmsend of its own, all at once. Raises RuntimeError where one fails."""
    environment = {**os.environ, "TCP_NODELAY": "1" if nodelay else "0"}
    command = ["dcmsend", "-q", "-aec", receiver.ae_title, HOST, str(receiver.port), "+sd"]
    running = [subprocess.Popen([*command, str(part)], env=environment) for part in parts]
    if any(process.wait() for process in running):
        raise RuntimeError("dcmsend could not send everything")
