"""``python -m benchmarks.transfer``: C-STORE in both directions and whole pulls, side by side in one run."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.report import Results, parser, show
from benchmarks.transfer import receive as receiving

COUNTS = {"S": 400, "M": 2000, "L": 6}


def main() -> None:
    """Measure what was asked for and show it."""
    arguments = parser(__doc__, ("receive",))
    arguments.add_argument("--disk", type=Path, metavar="DIR", help="measure on this disk instead of in memory")
    arguments.add_argument("--workloads", nargs="+", choices=list(COUNTS), default=list(COUNTS))
    arguments.add_argument("--systems", nargs="+", choices=list(receiving.SYSTEMS), default=list(receiving.SYSTEMS))
    options = arguments.parse_args()
    results = Results("transfer")
    counts = {name: COUNTS[name] for name in options.workloads}
    base = options.disk or Path("/dev/shm")
    scratch = Path(tempfile.mkdtemp(prefix="vna-bench-", dir=base))
    try:
        if "receive" in options.only:
            receiving.receive(results, scratch, counts, options.runs, systems=options.systems)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    show("transfer", results.rows(), _ratios(results), as_json=options.json)


def _ratios(results: Results) -> dict[str, float | None]:
    ours = receiving.OURS
    return {
        f"receive, {workload}: {ours} / {other}": results.ratio(ours, other, workload)
        for workload in results.sizes
        for other in receiving.SYSTEMS
        if not other.startswith(ours)
    }


if __name__ == "__main__":
    main()
