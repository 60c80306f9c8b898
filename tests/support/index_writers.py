"""Processes that append to one table at once, some of them killed and started again, and what the table holds in the end."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer.maintenance import optimize
from indexer.query import connect, query
from indexer.table import Table, TableInfo

_ROOT = Path(__file__).parents[2]
_KILLED = -9


@dataclass(frozen=True, slots=True)
class Job:
    """What every writer does: append so many rows, so many a commit, to the table at ``url``."""

    url: str
    rows: int
    rows_a_commit: int
    storage_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def commits(self) -> int:
        """Tell how many commits a writer makes."""
        return -(-self.rows // self.rows_a_commit)


@dataclass
class Outcome:
    """What came of it: the rows that the table holds, how many of them are distinct, and what the writers used."""

    rows: int = 0
    distinct: int = 0
    writers: dict[str, int] = field(default_factory=dict)
    killed: int = 0
    maintained: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_mib: float = 0.0
    info: TableInfo | None = None


def make_rows(writer: str, number: int, count: int) -> list[dict[str, object]]:
    """Make the rows of one commit; their paths tell them apart."""
    made: list[dict[str, object]] = []
    for at in range(count):
        study = f"1.2.826.0.1.3680043.10.9999.{int(writer[1:])}.{number * count + at:09d}"[:-2]
        path = f"instances/{writer}/{number:06d}/{at:06d}.dcm"
        made.append(
            {
                "path": path,
                "size": 526_000 + at,
                "sha256": hashlib.sha256(path.encode()).digest(),
                "StudyInstanceUID": study,
                "SeriesInstanceUID": f"{study}.1",
                "SOPInstanceUID": f"{study}.1.{at}",
                "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
                "TransferSyntaxUID": "1.2.840.10008.1.2.1",
                "PatientID": f"P{writer}{number:06d}",
                "PatientName": "Writers^Many",
                "StudyDate": "20260101",
                "Modality": "CT",
                "InstanceNumber": at,
                "status": "stored",
                "source": writer,
            }
        )
    return made


def append_all(job: Job, writer: str) -> Iterator[int]:
    """Append what this writer has not appended yet; gives the number of each commit once it is made."""
    table = Table.open(job.url, storage_options=job.storage_options)
    for number in range((table.transaction(writer) or 0) + 1, job.commits + 1):
        count = min(job.rows_a_commit, job.rows - (number - 1) * job.rows_a_commit)
        table.append(make_rows(writer, number, count), writer, number)
        yield number


class _Writer:
    """One process at a time, started again after it was killed; and the lines it prints."""

    def __init__(self, job: Job, name: str) -> None:
        self.name = name
        self.usage: dict[str, float] = {}
        self.number = 0
        self._command = [sys.executable, "-m", "tests.support.index_writers", _encode(job), name]
        self._progress = threading.Condition()
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line) if line.endswith("\n") else {}
            with self._progress:
                self.number = told.get("number", self.number)
                self.usage = told.get("usage", self.usage)
                self._progress.notify_all()
        process.wait()
        with self._progress:
            self._progress.notify_all()

    def kill_after(self, number: int, delay_s: float) -> bool:
        """Kill it some time after that commit, and start it again; False if it had ended before."""
        with self._progress:
            self._progress.wait_for(lambda: self.number >= number or self._process.poll() is not None)
        time.sleep(delay_s)  # so that it is hit anywhere, not only just after a commit
        self._process.kill()
        self._reader.join()
        killed = self._process.returncode == _KILLED
        if killed:
            self._start()
        return killed

    def join(self) -> None:
        """Wait for its end. Raises RuntimeError when it failed."""
        self._reader.join()
        if self._process.returncode:
            raise RuntimeError(f"writer {self.name} ended with {self._process.returncode}")

    def end(self) -> None:
        """Kill it if it still runs."""
        self._process.kill()
        self._reader.join()


def run_writers(
    job: Job, writers: int = 8, *, victims: int = 0, kills: int = 1, maintain: bool = False, seed: int = 1
) -> Outcome:
    """Create the table, let the writers loose on it, and count what it holds.

    ``victims`` of them are killed (SIGKILL) ``kills`` times each at a random moment, and started again; ``maintain`` optimises
    the table over and over meanwhile. Raises RuntimeError when a writer fails.
    """
    Table.create(job.url, storage_options=job.storage_options)
    rng, outcome, started = random.Random(seed), Outcome(), time.monotonic()
    running = [_Writer(job, f"w{number}") for number in range(writers)]
    try:
        with _maintained(job, outcome) if maintain else _left_alone():
            threads = []
            for victim in rng.sample(running, victims):
                moments = sorted((rng.randrange(job.commits), rng.random() * 0.2) for _ in range(kills))
                threads.append(threading.Thread(target=_hunt, args=(victim, moments, outcome)))
                threads[-1].start()
            for thread in threads:
                thread.join()
            for writer in running:
                writer.join()
    finally:
        for writer in running:
            writer.end()
    outcome.seconds = time.monotonic() - started
    outcome.cpu_s = sum(writer.usage["cpu_s"] for writer in running)
    outcome.peak_mib = max(writer.usage["peak_mib"] for writer in running)
    _count(job, outcome)
    return outcome


def _hunt(victim: _Writer, moments: list[tuple[int, float]], outcome: Outcome) -> None:
    for number, delay_s in moments:
        killed = victim.kill_after(number, delay_s)  # not in the sum itself, whose other half would be read before the wait
        outcome.killed += killed


@contextmanager
def _left_alone() -> Iterator[None]:
    yield


@contextmanager
def _maintained(job: Job, outcome: Outcome) -> Iterator[None]:
    done = threading.Event()

    def maintain() -> None:
        while not done.is_set():
            outcome.maintained += optimize(job.url, storage_options=job.storage_options, rows_a_file=8 * job.rows_a_commit).steps
            done.wait(0.5)

    thread = threading.Thread(target=maintain)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _count(job: Job, outcome: Outcome) -> None:
    con = connect(Table.open(job.url, storage_options=job.storage_options))
    try:
        sql = "SELECT source, count(*) AS rows, count(DISTINCT path) AS paths FROM received GROUP BY source"
        found = query(con, sql)
    finally:
        con.close()
    outcome.rows = sum(row["rows"] for row in found)
    outcome.distinct = sum(row["paths"] for row in found)
    outcome.writers = {row["source"]: row["paths"] for row in found}
    outcome.info = Table.open(job.url, storage_options=job.storage_options).info()


def _encode(job: Job) -> str:
    return json.dumps([job.url, job.rows, job.rows_a_commit, dict(job.storage_options)])


def _main() -> None:
    job, writer = Job(*json.loads(sys.argv[1])), sys.argv[2]
    for number in append_all(job, writer):
        print(json.dumps({"number": number}), flush=True)
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(json.dumps({"usage": {"cpu_s": time.process_time(), "peak_mib": int(peak) / 1024}}), flush=True)


if __name__ == "__main__":
    _main()
