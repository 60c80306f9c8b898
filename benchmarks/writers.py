"""Eight processes append 200,000 rows each to one table at once, on local disk and on S3, also with two of them killed.

``scripts/bench writers [--json] [--rows N] [--only local s3]``. A killed writer (SIGKILL, twice, at random moments) is started
again and goes on after the last number that the table has of it. While two are killed, a maintainer optimises the table over and
over, which the time includes. The ratios say how many of the rows that were to be there are there, and how many of those are
distinct: both must be exactly 1. S3 is SeaweedFS on this machine, which takes its share of the processors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Results, parser, show
from tests.support.index_writers import Job, run_writers
from tests.support.s3 import s3_service

WRITERS = 8
VICTIMS = 2
KILLS = 2


@contextmanager
def place(name: str, folder: Path, rows: int, rows_a_commit: int) -> Iterator[Job]:
    """Give the job on a new table of this place."""
    if name == "local":
        yield Job(str(folder / "table"), rows, rows_a_commit)
        return
    with s3_service("seaweedfs", folder / "s3") as service:
        yield Job(f"{service.url()}/table", rows, rows_a_commit, service.storage_options())


def main() -> None:
    """Run it and print the figures."""
    arguments = parser(__doc__, ("local", "s3"))
    arguments.set_defaults(runs=1)
    arguments.add_argument("--rows", type=int, default=200_000, metavar="N", help="rows of each writer")
    arguments.add_argument("--rows-a-commit", type=int, default=5_000, metavar="N", help="rows of each commit")
    options = arguments.parse_args()
    results, ratios = Results(), {}
    expected = WRITERS * options.rows
    for _ in range(options.runs):
        for name in options.only:
            for killing in (False, True):
                workload = f"{name}, {VICTIMS} killed, optimised" if killing else name
                with (
                    tempfile.TemporaryDirectory() as folder,
                    place(name, Path(folder), options.rows, options.rows_a_commit) as job,
                ):
                    outcome = run_writers(job, WRITERS, victims=VICTIMS * killing, kills=KILLS, maintain=killing)
                assert outcome.info is not None
                results.add(
                    f"{WRITERS} writers",
                    workload,
                    outcome.seconds,
                    instances=outcome.rows,
                    size=outcome.info.bytes,
                    peak_mib=outcome.peak_mib,
                    cpu_s=outcome.cpu_s,
                )
                ratios[f"{workload}: rows / expected"] = outcome.rows / expected
                ratios[f"{workload}: distinct / expected"] = outcome.distinct / expected
                ratios[f"{workload}: kills"] = float(outcome.killed)
                ratios[f"{workload}: bytes a row"] = round(outcome.info.bytes / outcome.rows, 1)
                ratios[f"{workload}: files"] = float(outcome.info.files)
    show("writers", results.rows(), ratios, as_json=options.json)


if __name__ == "__main__":
    main()
