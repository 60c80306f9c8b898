"""The result of a comparison: rows, ratios, and how they are shown."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Row:
    """One system on one workload: the median of its runs.

    ``cpu_us`` is the processor time of the system's processes for one instance, in microseconds, where it was taken: a guide that
    a busy machine disturbs less than the clock.
    """

    system: str
    workload: str
    seconds: float
    instances_per_s: float
    mib_per_s: float
    peak_mib: float = 0.0
    cpu_us: float = 0.0


@dataclass(frozen=True, slots=True)
class _Run:
    seconds: float
    instances: int
    size: int
    peak_mib: float
    cpu_s: float


@dataclass
class Results:
    """Collects the runs of a comparison, by system and workload."""

    runs: dict[tuple[str, str], list[_Run]] = field(default_factory=dict)

    def add(
        self,
        system: str,
        workload: str,
        seconds: float,
        *,
        instances: int,
        size: int,
        peak_mib: float = 0.0,
        cpu_s: float = 0.0,
    ) -> None:
        """Take one run, which moved so many instances and bytes."""
        self.runs.setdefault((system, workload), []).append(_Run(seconds, instances, size, peak_mib, cpu_s))

    def rows(self) -> list[Row]:
        """Give the medians."""
        rows = []
        for (system, workload), runs in self.runs.items():
            median = statistics.median(run.seconds for run in runs)
            peak = max(run.peak_mib for run in runs)
            instances, mib = runs[0].instances / median, runs[0].size / median / 2**20
            cpu_us = statistics.median(run.cpu_s / run.instances for run in runs) * 1e6
            rows.append(
                Row(system, workload, round(median, 4), round(instances, 1), round(mib, 1), round(peak, 1), cpu_us=round(cpu_us))
            )
        return rows

    def rate(self, system: str, workload: str) -> float | None:
        """Give the median of instances per second, None where it was not measured."""
        runs = self.runs.get((system, workload))
        return statistics.median(run.instances / run.seconds for run in runs) if runs else None

    def ratio(self, ours: str, theirs: str, workload: str, other_workload: str = "") -> float | None:
        """Give our throughput as a multiple of theirs (on ``other_workload`` if named), None where one was not measured."""
        mine, other = self.rate(ours, workload), self.rate(theirs, other_workload or workload)
        return round(mine / other, 3) if mine and other else None


def show(
    name: str,
    rows: Iterable[Row],
    ratios: Mapping[str, float | None],
    *,
    as_json: bool,
    goals: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> None:
    """Print the result as one JSON object or as a table, with the machine it was measured on.

    ``goals`` says for a ratio what is required of it and what is hoped for.
    """
    kept = {key: value for key, value in ratios.items() if value is not None}
    if as_json:
        told = {"name": name, "rows": [asdict(row) for row in rows], "ratios": kept, "machine": machine()}
        print(json.dumps({**told, "goals": {key: goals[key] for key in kept if key in goals}} if goals else told))
        return
    print(f"{name}: {machine()}")
    print(f"{'system':26} {'workload':40} {'seconds':>9} {'inst/s':>10} {'MiB/s':>9} {'peak MiB':>9} {'CPU us/inst':>12}")
    for row in rows:
        print(
            f"{row.system:26} {row.workload:40} {row.seconds:9.3f} {row.instances_per_s:10,.0f} "
            f"{row.mib_per_s:9,.0f} {row.peak_mib:9,.0f} {row.cpu_us:12,.0f}"
        )
    for key, value in kept.items():
        goal = goals.get(key)
        print(f"  {key}: {value:.2f}" + (f"  (required {goal[0]:g}, goal {goal[1]:g})" if goal else ""))


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
