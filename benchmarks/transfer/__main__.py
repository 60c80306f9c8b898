"""``python -m benchmarks.transfer``: C-STORE in both directions and whole pulls, side by side in one run.

Ours always computes the digest, scans the header, writes the journal with its fsync and commits the index within the time that
is measured. In memory (``/dev/shm``) unless ``--disk`` says where; the part ``disk`` is skipped without it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from benchmarks.report import Results, parser, show
from benchmarks.transfer import distance, load, pull, ratios, receive, send

PARTS = ("receive", "untouched", "disk", "send", "forward", "pull", "distance", "load")
COUNTS = {"S": 1600, "M": 6000, "L": 6}
QUICK = {"S": 24, "M": 80, "L": 1}
_DISK_SYSTEMS = ("Orthanc", receive.OURS, f"{receive.OURS} --workers 2")


def main() -> None:
    """Measure what was asked for and show it."""
    arguments = parser(__doc__, PARTS)
    arguments.add_argument("--disk", type=Path, metavar="DIR", help="a folder on a real disk, for the parts disk and load")
    arguments.add_argument("--quick", action="store_true", help="a few objects once: does it work, not how fast it is")
    arguments.add_argument("--workloads", nargs="+", choices=list(COUNTS), default=list(COUNTS))
    arguments.add_argument("--systems", nargs="+", choices=list(receive.SYSTEMS), default=list(receive.SYSTEMS))
    options = arguments.parse_args()
    results = Results()
    scratch = Path(tempfile.mkdtemp(prefix="vna-bench-", dir="/dev/shm"))
    try:
        extra = _measure(options, results, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    found, goals = ratios.of(results)
    show("transfer", results.rows(), {**found, **extra}, as_json=options.json, goals={**goals, **ratios.LOAD_GOALS})


def _measure(options: argparse.Namespace, results: Results, scratch: Path) -> dict[str, float | None]:
    runs = 1 if options.quick else options.runs
    counts = {name: (QUICK if options.quick else COUNTS)[name] for name in options.workloads}
    extra: dict[str, float | None] = {}
    if "receive" in options.only:
        receive.receive(results, scratch, counts, runs, systems=options.systems)
    if "untouched" in options.only:
        receive.untouched(results, scratch, counts, runs)
    if "send" in options.only:
        send.send_side(results, scratch, counts, runs)
    if "forward" in options.only:
        send.forward_side(results, scratch, 100 if options.quick else 5000, runs)
    if "pull" in options.only:
        pull.pull(results, scratch, counts, runs)
    if "distance" in options.only:
        distance.distance(results, scratch, 40 if options.quick else 2000, runs)
    if options.disk is not None or options.quick:
        extra |= _on_disk(options, results, scratch, counts, runs)
    return extra


def _on_disk(
    options: argparse.Namespace, results: Results, scratch: Path, counts: dict[str, int], runs: int
) -> dict[str, float | None]:
    """Run the parts that need a disk."""
    disk = Path(tempfile.mkdtemp(prefix="vna-bench-", dir=options.disk))
    try:
        if "disk" in options.only:
            some = {name: count for name, count in counts.items() if name != "L"}
            receive.receive(results, disk, some, runs, systems=_DISK_SYSTEMS, suffix=", on disk")
        if "load" in options.only:
            many = load.many_associations(results, scratch, disk / "files", 4 if options.quick else 50)
            ours = many.pop(load.OURS)
            extra: dict[str, float | None] = {
                "load: MiB of all processes": ours.peak_mib,
                "load: C-ECHO p99 in seconds": ours.echo_p99_s,
                "load: associations lost": ours.lost,
            }
            for system, found in many.items():
                extra[f"load: C-ECHO p99 in seconds, {system}"] = found.echo_p99_s
                extra[f"load: associations lost, {system}"] = found.lost
            return extra
    finally:
        shutil.rmtree(disk, ignore_errors=True)
    return {}


if __name__ == "__main__":
    main()
