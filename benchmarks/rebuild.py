"""Compare ``vna index rebuild`` with ``sha256sum``: the same files, as many processes, by turns.

``scripts/bench rebuild [--quick] [--json]``. An archive of generated MR-like objects is filled through the archive's own sink, in
memory (``/dev/shm``). Then, in turn:

- ``sha256sum`` over every object (``xargs -P``), which reads and digests the bytes and does nothing else;
- ``vna index rebuild --digests``, which reads and digests them too, scans every header, and writes the index anew;
- ``vna index rebuild``, which takes the digests from the journal and reads headers only.

Each is a command of its own, start-up and imports included. After every rebuild the table must hold, row by row and column by
column, exactly what it held before. ``files_per_s_core`` is what one process does a second by the clock; ``files_per_cpu_s`` is
the same by processor time (of all processes, coordinator and kernel included), which a busy machine disturbs less.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Results, parser, show
from benchmarks.workloads import STUDY_INSTANCES, M, Workload, generate
from indexer.scan import read_file_meta
from vna.archive import Archive, Durability
from vna.archive.sink import ArchiveSink
from vna.model import Provenance

MR = Workload("N", M.sop_class_uid, 256, 256)
SIZES = {"22 KB": (M, 100_000), "132 KB": (MR, 20_000)}
GOALS = {"digests_vs_sha256sum": (0.6, 0.6), "files_per_s_core": (6_000.0, 6_000.0)}


def fill(root: Path, workload: Workload, count: int) -> Archive:
    """Make an archive of ``count`` objects, indexed; the source files go away as they are taken."""
    archive = Archive.create(str(root))
    with archive.sink(durability=Durability.STUDY) as sink, tempfile.TemporaryDirectory(dir=root.parent) as folder:
        for first in range(0, count, STUDY_INSTANCES):
            study = ""
            for path in generate(workload, min(STUDY_INSTANCES, count - first), Path(folder), seed=str(first + 1)):
                study = take(sink, path.read_bytes())
                path.unlink()
            sink.commit_study(study)
    archive.sync_index()
    return archive


def take(sink: ArchiveSink, data: bytes) -> str:
    """Hand a Part 10 file to a sink; gives its Study Instance UID."""
    meta = read_file_meta(data[:4096], len(data))
    incoming = sink(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, Provenance("bench"))
    incoming.write(memoryview(data)[meta.data_set_offset or 0 :])
    return incoming.commit().study_instance_uid


def logical_table(archive: Archive) -> str:
    """Digest every row and column of the index, whatever files hold them."""
    with archive.connect() as con:
        found = hashlib.sha256()
        for batch in con.sql("SELECT * FROM instances ORDER BY path, sha256").to_arrow_reader(10_000):
            found.update(repr(batch.to_pylist()).encode())
    return found.hexdigest()


def run(command: list[str], *, given: bytes = b"", folder: Path) -> tuple[float, float, bytes]:
    """Run a command; gives seconds, the processor time of it and all its children, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, cwd=folder, check=True)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def measure(results: Results, name: str, archive: Archive, workers: int, runs: int) -> None:
    """Let the commands take turns over one archive."""
    root = Path(archive.url)
    files = [str(path) for path in sorted(root.glob("instances/**/*.dcm"))]
    size = sum(Path(path).stat().st_size for path in files)
    folder = root.parent
    (folder / "vna.toml").write_text(f'[archive]\nurl = "{archive.url}"\n')
    before = logical_table(archive)
    rebuild = [sys.executable, "-m", "vna", "index", "rebuild", "--json", "--workers", str(workers)]
    systems = {
        "sha256sum": ["xargs", "-0", "-n", "500", "-P", str(workers), "sha256sum"],
        "rebuild --digests": [*rebuild, "--digests"],
        "rebuild": rebuild,
    }
    for _ in range(runs):
        for system, command in systems.items():
            given = "\0".join(files).encode() if system == "sha256sum" else b""
            seconds, cpu_s, printed = run(command, given=given, folder=folder)
            results.add(system, name, seconds, instances=len(files), size=size, cpu_s=cpu_s)
            if system == "sha256sum":
                assert printed.count(b"\n") == len(files)
            else:
                told = json.loads(printed)
                assert (told["rows"], told.get("differing", [])) == (len(files), []), told
                assert logical_table(archive) == before, "the rebuilt table is another one"


def main() -> None:
    """Run the comparison."""
    given = parser(__doc__.splitlines()[0] if __doc__ else "", list(SIZES))
    given.add_argument("--quick", action="store_true", help="a fiftieth of the files")
    given.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes; default: the cores")
    given.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where the archives are made; default: in memory")
    arguments = given.parse_args()
    results = Results()
    ratios: dict[str, float | None] = {}
    goals = {}
    for name in arguments.only:
        workload, count = SIZES[name]
        folder = Path(tempfile.mkdtemp(prefix="bench-rebuild-", dir=arguments.folder))
        try:
            archive = fill(folder / "archive", workload, count // 50 if arguments.quick else count)
            measure(results, name, archive, arguments.workers, arguments.runs)
        finally:
            shutil.rmtree(folder)
        rates = {row.system: row for row in results.rows() if row.workload == name}
        ratios[f"digests_vs_sha256sum {name}"] = results.ratio("rebuild --digests", "sha256sum", name)
        ratios[f"digests_vs_sha256sum_cpu {name}"] = round(rates["sha256sum"].cpu_us / rates["rebuild --digests"].cpu_us, 3)
        ratios[f"files_per_s_core {name}"] = round(rates["rebuild"].instances_per_s / arguments.workers)
        ratios[f"files_per_cpu_s {name}"] = round(1e6 / rates["rebuild"].cpu_us)
        goals |= {f"{key} {name}": goal for key, goal in GOALS.items()}
    show("rebuild", results.rows(), ratios, as_json=arguments.json, goals=goals)


if __name__ == "__main__":
    main()
