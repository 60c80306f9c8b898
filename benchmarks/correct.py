"""Correct a header and write the object: this package against DCMTK's dcmodify and pydicom's read, modify, write.

All three give a new Patient ID, name and accession number to the same objects on the same file system, without forcing anything
to a disk: a RAM disk, or any other with ``--folder``. The main comparison is from file to file: this package opens the stored
object as it leaves and copies it to a new file, as materialise does; pydicom reads the file, sets the values and saves it to a
new file. dcmodify is one process for all files and changes them in place, without backups. Beside that stands what does not
write: this package reads the object as it leaves to its end, as a sender does, and pydicom writes into memory. Only this package
also records what it changed (Original Attributes and Contributing Equipment Sequence). Each system runs in a process of its own,
all in turn, many times; medians are shown.
"""

from __future__ import annotations

import gc
import io
import itertools
import os
import resource
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset

from benchmarks.report import Results, parser, show
from benchmarks.workloads import WORKLOADS, Workload, generate
from vna.archive import Archive
from vna.archive.revisions import ElementChange, Group, Revision, put_revision
from vna.ingest import IngestOptions
from vna.ingest import run as ingest
from vna.part10.original import Attribution

COUNTS = {"M": 200, "S": 50, "L": 1}
SETTINGS = {"PatientID": "NEW-1", "PatientName": "New^Name", "AccessionNumber": "ACC-1"}
CHANGES = (
    ElementChange((0x00100020,), "LO", {"vr": "LO", "Value": [SETTINGS["PatientID"]]}),
    ElementChange((0x00100010,), "PN", {"vr": "PN", "Value": [{"Alphabetic": SETTINGS["PatientName"]}]}),
    ElementChange((0x00080050,), "SH", {"vr": "SH", "Value": [SETTINGS["AccessionNumber"]]}),
)
REQUIRED = {"M": 8.0, "S": 5.0, "L": 2.0}
"""How many times pydicom's rate is asked of each workload, from file to file; dcmodify is to be outdone at each."""

OURS, OURS_TO_FILE = "vna, streamed", "vna, to a file"
PYDICOM, PYDICOM_TO_FILE = f"pydicom {pydicom.__version__}, in memory", f"pydicom {pydicom.__version__}, to a file"
DCMODIFY = "dcmodify, in place"


class Material:
    """One workload: an archive with a revision for each of its studies, and the same objects as plain files."""

    def __init__(self, workload: Workload, count: int, folder: Path) -> None:
        self.folder = folder
        self.files = generate(workload, count, folder / "in")
        self.archive = Archive.create(str(folder / "archive"))
        ingest(self.archive, folder / "in", IngestOptions(workers=1))
        self.rows = self.archive.select(columns=("path", "sha256", "received_StudyInstanceUID", "size"))
        by = Attribution("VNA", "20261124120000+0000", "CORRECT", "RIS")
        for study in sorted({row["received_StudyInstanceUID"] for row in self.rows}):
            objects = tuple(row["sha256"] for row in self.rows if row["received_StudyInstanceUID"] == study)
            put_revision(self.archive.store, Revision(study, 0, "", "bench", "bench", by, (Group(objects, CHANGES),)))

    @property
    def size(self) -> int:
        """The bytes of all objects."""
        return sum(row["size"] for row in self.rows)

    def prepare(self, *, copies: bool) -> None:
        """Make the output folder empty, and ``copies`` for what works in place."""
        for name in ("out", "place"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()
        for path in self.files if copies else ():
            shutil.copy(path, self.folder / "place" / path.name)

    def leaving(self) -> Iterator[tuple[str, BinaryIO]]:
        """Open every object as it leaves the archive, with its digest."""
        for study, rows in itertools.groupby(self.rows, key=lambda row: str(row["received_StudyInstanceUID"])):
            revisions = self.archive.revisions(study)
            for row in rows:
                _, file = self.archive.open_effective(row["path"], row["sha256"], study, revisions=revisions)
                with file:
                    yield row["sha256"], file

    def ours(self) -> None:
        """Read every object as it leaves to its end, into one buffer."""
        buffer = memoryview(bytearray(1 << 20))
        for _, file in self.leaving():
            while file.readinto(buffer):  # type: ignore[attr-defined]
                pass

    def ours_to_file(self) -> None:
        """Copy every object as it leaves to a new file."""
        for digest, file in self.leaving():
            target = os.open(f"{self.folder}/out/{digest}.dcm", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            file.copy_to(target)  # type: ignore[attr-defined]
            os.close(target)

    def modified(self) -> Iterator[tuple[str, Dataset]]:
        """Read and modify every object with pydicom."""
        for path in self.files:
            ds = pydicom.dcmread(path)
            for keyword, value in SETTINGS.items():
                setattr(ds, keyword, value)
            yield path.name, ds

    def pydicom(self) -> None:
        """Read, modify and write into memory."""
        for _, ds in self.modified():
            ds.save_as(io.BytesIO())

    def pydicom_to_file(self) -> None:
        """Read, modify and write to a new file."""
        for name, ds in self.modified():
            ds.save_as(f"{self.folder}/out/{name}")

    def dcmodify(self) -> None:
        """Let dcmodify change copies in place, all in one process."""
        settings = [part for keyword, value in SETTINGS.items() for part in ("-m", f"{keyword}={value}")]
        files = sorted((self.folder / "place").iterdir())
        subprocess.run(["dcmodify", "-nb", *settings, *files], check=True, capture_output=True)


_OURS_AND_CHILDREN = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _cpu_s() -> float:
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, _OURS_AND_CHILDREN))


class Worker:
    """A forked process that does one system's work whenever it is asked to, and tells how long that took."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._ours, theirs = socket.socketpair()
        self._process = os.fork()
        if self._process:
            theirs.close()
            return
        self._ours.close()
        gc.freeze()  # what the parent holds is not looked through again and again
        status = 1
        try:
            while theirs.recv(1) == b"!":
                begun, cpu = time.perf_counter(), _cpu_s()
                work()
                seconds = time.perf_counter() - begun
                peak = max(resource.getrusage(who).ru_maxrss for who in _OURS_AND_CHILDREN)
                theirs.send(struct.pack("ddd", seconds, peak / 1024, _cpu_s() - cpu))
            status = 0
        finally:
            os._exit(status)

    def run(self) -> tuple[float, float, float]:
        """Let it work once; give the seconds, the peak of its (or its child's) memory in MiB, and the processor's seconds."""
        self._ours.send(b"!")
        told = self._ours.recv(24)
        if len(told) < 24:
            raise SystemExit("a run failed")
        seconds, peak, cpu = struct.unpack("ddd", told)
        return seconds, peak, cpu

    def end(self) -> None:
        """End it."""
        self._ours.send(b".")
        os.waitpid(self._process, 0)
        self._ours.close()


def compare(names: Sequence[str], runs: int, parent: str | None) -> Results:
    """Run all systems on the workloads, with all files below ``parent`` (None: where temporary files go)."""
    results = Results()
    for name in names:
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            material = Material(WORKLOADS[name], COUNTS[name], Path(folder))
            systems = {
                OURS_TO_FILE: material.ours_to_file,
                PYDICOM_TO_FILE: material.pydicom_to_file,
                OURS: material.ours,
                PYDICOM: material.pydicom,
            }
            if shutil.which("dcmodify"):
                systems[DCMODIFY] = material.dcmodify
            workers = {system: Worker(work) for system, work in systems.items()}
            for turn in range(runs + 1):
                for system, worker in workers.items():
                    material.prepare(copies=system == DCMODIFY)
                    seconds, peak, cpu = worker.run()
                    if turn:  # the first is to warm up
                        moved = {"instances": len(material.rows), "size": material.size}
                        results.add(system, name, seconds, **moved, peak_mib=peak, cpu_s=cpu)
            for worker in workers.values():
                worker.end()
    return results


def main() -> None:
    """Compare, and show."""
    arguments = parser(__doc__, list(COUNTS))
    arguments.add_argument("--folder", default="/dev/shm" if os.path.isdir("/dev/shm") else None, help="where all files are")
    arguments.set_defaults(runs=15)
    options = arguments.parse_args()
    results = compare(options.only, options.runs, options.folder)
    ratios, goals = {}, {}
    for name in options.only:
        ratios[f"{name}_vs_pydicom"] = results.ratio(OURS_TO_FILE, PYDICOM_TO_FILE, name)
        ratios[f"{name}_vs_dcmodify"] = results.ratio(OURS_TO_FILE, DCMODIFY, name)
        ratios[f"{name}_streamed_vs_pydicom_in_memory"] = results.ratio(OURS, PYDICOM, name)
        goals[f"{name}_vs_pydicom"], goals[f"{name}_vs_dcmodify"] = (REQUIRED[name],) * 2, (1.0, 1.0)
    show("correct", results.rows(), ratios, as_json=options.json, goals=goals)


if __name__ == "__main__":
    main()
