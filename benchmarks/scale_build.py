"""Build an index of a national archive's shape by bulk append through the public API of ``indexer``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.national import Shape, instance_rows
from indexer.table import Segment, Table

WRITER = "bulk"


@dataclass(frozen=True, slots=True)
class Built:
    """What a build took: rows, seconds and processor seconds of the appends alone, seconds of making up the rows, bytes."""

    rows: int
    append_s: float
    append_cpu_s: float
    generate_s: float
    bytes: int
    files: int
    peak_mib: float


def build(url: Path, shape: Shape, rows_a_commit: int = 500_000) -> Built:
    """Append every instance of a shape to a new table at ``url``, a commit for each batch; only the appends are timed."""
    table = Table.create(url)
    append_s = append_cpu_s = generate_s = 0.0
    before = time.perf_counter()
    for number, rows in enumerate(instance_rows(shape, rows_a_commit)):
        started, cpu = time.perf_counter(), time.process_time()
        generate_s += started - before
        table.append_segments([Segment(WRITER, number, rows)])
        before = time.perf_counter()
        append_s, append_cpu_s = append_s + before - started, append_cpu_s + time.process_time() - cpu
    info = table.info()
    return Built(info.rows, append_s, append_cpu_s, generate_s, info.bytes, info.files, peak_mib())


def peak_mib() -> float:
    """Tell the most memory that this process has had so far, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
