"""Build an index of a national archive's shape, and look things up in it.

``scripts/bench scale [--rows N | --quick] [--dir D] [--json]``. By default 58.8 million instances: the series of
``idc-index-data``, their instances made up (benchmarks/national.py). They are appended in bulk through the public API of
``indexer``; the table of studies is rolled up; then come look-ups through ``vna.query``, warm (an index that stays open) and cold
(opened anew for each, files out of the system's cache), the same at a million rows, in SQLite where it loads within half an hour,
and by C-FIND in Orthanc at 2,000 studies and in dcmqrscp, which holds no more than 500. ``--dir`` keeps the index and takes it up
again.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.national import Shape, instance_rows, real_shape, small_shape
from benchmarks.report import machine, parser
from benchmarks.scale_build import Built, build, peak_mib
from benchmarks.scale_lookups import LOOKUPS, Study, Timed, cold, opened, sample, timed, warm
from benchmarks.scale_sqlite import Loaded
from benchmarks.scale_sqlite import answer as sqlite_answer
from indexer.scan import scan_file
from indexer.table import Table

GOALS = {
    "Patient ID, warm, ms": (80, 30),
    "Study UID, warm, ms": (80, 30),
    "bytes a row": (200, 150),
    "rows appended a second": (150_000, 300_000),
    "growth of Patient ID look-ups": (4, 2),
    "growth of Study UID look-ups": (4, 2),
}
"""What is required, and what is hoped for; of the rate more is better, of all others less."""

PARTS = ("sqlite", "peers", "growth", "cold")
_PEER_STUDIES = 2_000
_SMALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of look-up in one system at one size; ``seconds`` is the median."""

    system: str
    workload: str
    instances: int
    seconds: float
    p99_s: float
    cpu_s: float
    answers: int


class Comparison:
    """Collects lines and single figures, and tells them."""

    def __init__(self, looked_up: int) -> None:
        self.looked_up = looked_up
        self.lines: list[Line] = []
        self.figures: dict[str, float] = {}

    def add(self, system: str, instances: int, found: dict[str, Timed], kind: str = "warm") -> None:
        """Take what a system needed for each kind of look-up."""
        for name, each in found.items():
            line = Line(system, f"{name}, {kind}", instances, each.median_s, each.p99_s, each.cpu_s, each.answers)
            self.lines.append(line)
            print(f"  {system:10} {instances:>11,} {line.workload:28} {each.median_s * 1e3:9.1f} ms", file=sys.stderr)

    def built(self, built: Built, name: str = "") -> None:
        """Take what a build took."""
        self.figures |= {
            f"{name}rows appended a second": built.rows / built.append_s,
            f"{name}rows appended a processor second": built.rows / built.append_cpu_s,
            f"{name}bytes a row": built.bytes / built.rows,
            f"{name}files": built.files,
            f"{name}peak MiB": built.peak_mib,
        }

    def finish(self, *, as_json: bool) -> None:
        """Print everything: one JSON object, or a table."""
        by_name = {(line.system, line.workload, line.instances): line for line in self.lines}
        most = max(line.instances for line in self.lines if line.system == "vna")
        for name in ("Patient ID", "Study UID"):
            full = by_name["vna", f"{name}, warm", most]
            self.figures[f"{name}, warm, ms"] = full.seconds * 1e3
            small = [line for line in self.lines if (line.system, line.workload) == ("vna small", f"{name}, warm")]
            if small:
                self.figures[f"growth of {name} look-ups"] = full.seconds / small[0].seconds
        figures = {name: round(value, 3) for name, value in self.figures.items()}
        if as_json:
            rows = [asdict(line) for line in self.lines]
            print(json.dumps({"name": "scale", "rows": rows, "ratios": figures, "goals": GOALS, "machine": machine()}))
            return
        print(f"scale: {machine()}")
        print(f"{'system':12}{'instances':>12}  {'look-up':30}{'median ms':>11}{'p99 ms':>10}{'CPU ms':>9}{'answers':>9}")
        for line in self.lines:
            times = f"{line.seconds * 1e3:11.2f}{line.p99_s * 1e3:10.2f}{line.cpu_s * 1e3:9.2f}"
            print(f"{line.system:12}{line.instances:>12,}  {line.workload:30}{times}{line.answers:>9,}")
        for name, value in figures.items():
            goal = f"  (required {GOALS[name][0]:g}, goal {GOALS[name][1]:g})" if name in GOALS else ""
            print(f"  {name}: {value:,.1f}{goal}")


def prepare(folder: Path, shape: Shape, comparison: Comparison, name: str = "") -> int:
    """Build the index of a shape in a folder, unless it is there; gives the number of instances."""
    if not (folder / "instances").exists():
        comparison.built(build(folder / "instances", shape), name)
    started, cpu = time.perf_counter(), time.process_time()
    with opened(folder) as catalogue:
        if catalogue.stale_studies != 0:
            catalogue.rewrite_studies()
            comparison.figures[f"{name}studies rolled up in s"] = time.perf_counter() - started
            comparison.figures[f"{name}studies rolled up in processor s"] = time.process_time() - cpu
    comparison.figures.setdefault(f"{name}peak MiB", peak_mib())
    return Table.open(folder / "instances").info().rows


def in_sqlite(folder: Path, shape: Shape, minutes: float, studies: list[Study], comparison: Comparison) -> None:
    """Load the same into SQLite, within so many minutes, and look up the same."""
    path = folder / "archive.sqlite"
    path.unlink(missing_ok=True)
    started = time.monotonic()
    loaded = Loaded(path, started + minutes * 60)
    is_whole = loaded.fill(instance_rows(shape, 500_000))
    comparison.figures["SQLite loaded in s" if is_whole else "SQLite not loaded after s"] = time.monotonic() - started
    comparison.figures["SQLite bytes a row"] = path.stat().st_size / shape.instances
    if is_whole:
        connection = sqlite3.connect(path)
        lookup = partial(sqlite_answer, connection)
        for _ in range(2):
            found = {name: timed(lookup, [keys(study) for study in studies]) for name, keys in LOOKUPS.items()}
        comparison.add("sqlite", shape.instances, found)
        connection.close()
    loaded.connection.close()
    path.unlink()


def with_peers(folder: Path, studies: list[Study], comparison: Comparison) -> None:
    """Ask Orthanc, dcmqrscp and an index of the same files the same."""
    from benchmarks.scale_peers import look_up, peers, write_studies

    paths = write_studies(folder / "files", studies)
    rows = [{**scan_file(path).row(), "path": str(path), "sha256": f"{at:064x}"} for at, path in enumerate(paths)]
    Table.create(folder / "instances").append(rows, "scan", 1)
    with opened(folder) as catalogue:
        catalogue.rewrite_studies()
    asked = studies[: comparison.looked_up]
    comparison.add("vna 2,000", len(studies), warm(folder, asked, page=None))  # C-FIND sends all
    with peers(folder, paths) as running:
        for name, (peer, number) in running.items():
            comparison.add(name, number, look_up(peer, asked))


def main(arguments: list[str] | None = None) -> None:
    """Run the comparison and print it."""
    made = parser(__doc__, PARTS)
    made.add_argument("--rows", type=int, metavar="N", help="at least N instances, studies whole (default: all 58.8 million)")
    made.add_argument("--quick", action="store_true", help="a few thousand made-up instances, without idc-index-data")
    made.add_argument("--lookups", type=int, default=100, metavar="N", help="look-ups of each kind (default 100)")
    made.add_argument("--dir", type=Path, metavar="D", help="build in D, or use what was built there; it stays")
    made.add_argument("--sqlite-minutes", type=float, default=30, metavar="N", help="give SQLite N minutes to load (default 30)")
    options = made.parse_args(arguments)
    parts: set[str] = set(options.only)
    shape = small_shape(400) if options.quick else real_shape()
    if options.rows:
        shape = shape.first(options.rows)
    comparison = Comparison(options.lookups)
    folder = options.dir or Path(tempfile.mkdtemp(prefix="bench-scale-", dir="/var/tmp"))
    try:
        run(folder, shape, parts, comparison, options)
    finally:
        if options.dir is None:
            shutil.rmtree(folder, ignore_errors=True)
    comparison.finish(as_json=options.json)


def run(folder: Path, shape: Shape, parts: set[str], comparison: Comparison, options: Any) -> None:
    """Run the parts that are wanted."""
    instances = prepare(folder / "full", shape, comparison)
    with opened(folder / "full") as catalogue:
        studies = sample(catalogue, max(options.lookups, _PEER_STUDIES))
    asked = studies[: options.lookups]
    comparison.add("vna", instances, warm(folder / "full", asked))
    if "cold" in parts:
        comparison.add("vna", instances, cold(folder / "full", asked[:10]), "cold")
    if "growth" in parts and shape.instances > _SMALL:
        count = prepare(folder / "small", shape.first(_SMALL), comparison, "at 1 million: ")
        with opened(folder / "small") as catalogue:
            comparison.add("vna small", count, warm(folder / "small", sample(catalogue, options.lookups)))
    if "peers" in parts:
        with tempfile.TemporaryDirectory(prefix="peers-", dir=folder) as scratch:
            with_peers(Path(scratch), studies[:_PEER_STUDIES], comparison)
    if "sqlite" in parts:
        with tempfile.TemporaryDirectory(prefix="sqlite-", dir=folder) as scratch:
            in_sqlite(Path(scratch), shape, options.sqlite_minutes, asked, comparison)


if __name__ == "__main__":
    main()
