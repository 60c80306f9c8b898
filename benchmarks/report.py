"""The result of a comparison: rows, ratios, and how they are shown."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One system on one workload: the median of its runs."""

    system: str
    workload: str
    seconds: float
    instances_per_s: float
    mib_per_s: float
    peak_mib: float = 0.0


@dataclass
class Results:
    """Collects the runs of a comparison: seconds by (system, workload)."""

    name: str
    runs: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    peaks: dict[tuple[str, str], float] = field(default_factory=dict)

    def size(self, workload: str, instances: int, size: int) -> None:
        """Say how many instances and bytes one run of a workload moves."""
        self.sizes[workload] = (instances, size)

    def add(self, system: str, workload: str, seconds: float, *, peak_mib: float = 0.0) -> None:
        """Take one run."""
        self.runs.setdefault((system, workload), []).append(seconds)
        self.peaks[system, workload] = max(self.peaks.get((system, workload), 0.0), peak_mib)

    def rows(self) -> list[Row]:
        """Give the medians."""
        rows = []
        for (system, workload), seconds in self.runs.items():
            median = statistics.median(seconds)
            instances, size = self.sizes[workload]
            rows.append(
                Row(
                    system,
                    workload,
                    round(median, 4),
                    round(instances / median, 1),
                    round(size / median / 2**20, 1),
                    round(self.peaks[system, workload], 1),
                )
            )
        return rows

    def ratio(self, ours: str, theirs: str, workload: str) -> float | None:
        """Give our throughput as a multiple of theirs, None where one was not measured."""
        if (ours, workload) not in self.runs or (theirs, workload) not in self.runs:
            return None
        return round(statistics.median(self.runs[theirs, workload]) / statistics.median(self.runs[ours, workload]), 3)


def show(name: str, rows: Iterable[Row], ratios: Mapping[str, float | None], *, as_json: bool) -> None:
    """Print the result as one JSON object or as a table, with the machine it was measured on."""
    kept = {key: value for key, value in ratios.items() if value is not None}
    if as_json:
        print(json.dumps({"name": name, "rows": [asdict(row) for row in rows], "ratios": kept, "machine": machine()}))
        return
    print(f"{name}: {machine()}")
    print(f"{'system':34} {'workload':22} {'seconds':>9} {'inst/s':>10} {'MiB/s':>9} {'peak MiB':>9}")
    for row in rows:
        print(
            f"{row.system:34} {row.workload:22} {row.seconds:9.3f} {row.instances_per_s:10,.0f} "
            f"{row.mib_per_s:9,.0f} {row.peak_mib:9,.0f}"
        )
    for key, value in kept.items():
        print(f"  {key}: {value:.2f}")


def machine() -> str:
    """Say on what it was measured."""
    system = f"{platform.system()} {platform.release()}"
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {system}"


def parser(description: str | None, parts: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Make the argument parser that comparisons share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    made.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each system, interleaved; medians are shown")
    if parts:
        made.add_argument("--only", nargs="+", choices=parts, default=list(parts), help="parts of the comparison")
    return made
