"""Many associations at once, each with a large object, while an honest peer asks by C-ECHO whether the receiver is there."""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Results
from benchmarks.transfer.receive import dcmsend
from benchmarks.transfer.systems import Receiver, orthanc_receiver, storescp, vna_receive
from benchmarks.workloads import WORKLOADS, generate
from vna.dimse.echo import echo
from vna.model import Local, Node

OURS = "vna receive"
STORESCP = "storescp --fork +B"
ORTHANC = "Orthanc"
_PAUSE_S = 0.05
_PATIENCE_S = 300


@dataclass(frozen=True, slots=True)
class Load:
    """What many associations did to a receiver: how many of them it lost, memory of all its processes, and an honest C-ECHO."""

    lost: int
    peak_mib: float
    echo_p99_s: float
    echoes: int


def many_associations(results: Results, scratch: Path, files: Path, associations: int) -> dict[str, Load]:
    """Have ``associations`` dcmsends send an object of 105 MB each at once, to one receiver after the other.

    ``files`` is a folder for what they send. An echo is a whole association from connect to release. It is timed in this process,
    which has little else to do. Peaks of storescp are those of its parent alone: its children are gone at the end.
    """
    parts = [files / str(number) for number in range(associations)]
    for number, part in enumerate(parts):
        generate(WORKLOADS["L"], 1, part, seed=str(number + 1))
    found = {system: _load(results, scratch / "load", parts, system) for system in (STORESCP, ORTHANC, OURS)}
    shutil.rmtree(files)
    return found


def _start(system: str, folder: Path) -> AbstractContextManager[Receiver]:
    if system == STORESCP:  # without a process for each it serves one association at a time and lets the others wait
        return storescp(folder, "--fork", "+B", "-pdu", "131072")
    return orthanc_receiver(folder) if system == ORTHANC else vna_receive(folder)


def _load(results: Results, folder: Path, parts: Sequence[Path], system: str) -> Load:
    size = sum(path.stat().st_size for part in parts for path in part.iterdir())
    times: list[float] = []
    over = threading.Event()
    with _start(system, folder) as receiver:
        peer = Node(
            "peer", ae_title=receiver.ae_title, port=receiver.port, acse_timeout_s=_PATIENCE_S, dimse_timeout_s=_PATIENCE_S
        )
        asking = threading.Thread(target=_ask, args=(peer, times, over))
        asking.start()
        begun = time.perf_counter()
        running = [dcmsend(receiver.ae_title, receiver.port, part) for part in parts]
        lost = sum(bool(process.wait()) for process in running)
        over.set()
        asking.join()
        receiver.settled(len(parts) - lost)
        seconds = time.perf_counter() - begun
        peak = receiver.peak_mib()
    shutil.rmtree(folder)
    if not lost:  # the rate of who lost some would not be one
        results.add(system, f"receive L x{len(parts)}", seconds, instances=len(parts), size=size, peak_mib=peak)
    p99 = statistics.quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]
    return Load(lost, round(peak, 1), round(p99, 3), len(times))


def _ask(node: Node, times: list[float], over: threading.Event) -> None:
    while not over.is_set():
        times.append(echo(node, Local()))
        over.wait(_PAUSE_S)
