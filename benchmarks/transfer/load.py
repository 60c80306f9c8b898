"""Many associations at once, each with a large object, while an honest peer asks by C-ECHO whether we are there."""

from __future__ import annotations

import shutil
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Results
from benchmarks.transfer.receive import dcmsend
from benchmarks.transfer.systems import vna_receive
from benchmarks.workloads import WORKLOADS, generate
from vna.dimse.echo import echo
from vna.model import Local, Node

OURS = "vna receive"
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Load:
    """What many associations did to the service: memory of all its processes, and how long an honest C-ECHO took."""

    peak_mib: float
    echo_p99_s: float
    echoes: int


def many_associations(results: Results, scratch: Path, files: Path, associations: int, *, workers: int = 1) -> Load:
    """Have ``associations`` dcmsends send an object of 105 MB each at once; ``files`` is a folder for what they send.

    An echo is a whole association from connect to release. It is timed in this process, which has little else to do.
    """
    parts = [files / str(number) for number in range(associations)]
    for number, part in enumerate(parts):
        generate(WORKLOADS["L"], 1, part, seed=str(number + 1))
    size = sum(path.stat().st_size for part in parts for path in part.iterdir())
    times: list[float] = []
    over = threading.Event()
    with vna_receive(scratch / "load", workers=workers) as receiver:
        node = Node("vna", ae_title=receiver.ae_title, port=receiver.port, acse_timeout_s=60, dimse_timeout_s=60)
        asking = threading.Thread(target=_ask, args=(node, times, over))
        asking.start()
        begun = time.perf_counter()
        running = [dcmsend(receiver.ae_title, receiver.port, part) for part in parts]
        failed = [process.wait() for process in running]
        over.set()
        asking.join()
        receiver.settled(associations)
        seconds = time.perf_counter() - begun
        peak = receiver.peak_mib()
    if any(failed):
        raise RuntimeError("dcmsend could not send everything")
    shutil.rmtree(scratch / "load")
    shutil.rmtree(files)
    workload = f"receive L x{associations}"
    results.add(OURS, workload, seconds, instances=associations, size=size, peak_mib=peak)
    p99 = statistics.quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]
    return Load(round(peak, 1), round(p99, 3), len(times))


def _ask(node: Node, times: list[float], over: threading.Event) -> None:
    while not over.is_set():
        times.append(echo(node, Local()))
        over.wait(_PAUSE_S)
