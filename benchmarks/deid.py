"""Compare the de-identification engine with the packages that do the same: header only, the same files, in one run.

``python -m benchmarks.deid [--json]``. Every system reads a file's header (no pixel data), de-identifies it in its usual
configuration and encodes the result in memory. Workloads: generated CT-like and MR-like files with some 80 header elements; the
real files that pydicom and pydicom-data ship, as far as every system takes them; and one object with a functional group sequence
of 200 and of 800 frames, which shows how a system scales. Each system has a process of its own; they take turns on batches of
files that are in the page cache, and medians of the rounds are reported.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, redirect_stdout
from functools import cache
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

BATCH = 25


@cache
def _maker() -> Any:
    from vna.deid.engine import Engine
    from vna.deid.objects import Maker
    from vna.deid.pixels import PixelPolicy
    from vna.deid.recipe import load_recipe
    from vna.deid.values import Key

    return Maker(Engine(load_recipe("basic"), Key(b"a key for the benchmark, 32 bytes")), PixelPolicy(), None)


def ours(path: str) -> int:
    """De-identify by the Basic Profile; gives the encoded header's size."""
    with Path(path).open("rb") as file:
        made = _maker().make(file)
    return len(made.edited.data)


def _header(path: str) -> Any:
    import pydicom

    return pydicom.dcmread(path, stop_before_pixels=True)


def _encoded(ds: Any) -> int:
    out = io.BytesIO()
    ds.save_as(out)
    return out.tell()


@cache
def _deid_recipe() -> Any:
    from deid.config import DeidRecipe

    return DeidRecipe("dicom")


def deid(path: str) -> int:
    """Run the recipe that the deid package ships, private elements removed."""
    from deid.dicom.parser import DicomParser

    parser = DicomParser(_header(path), recipe=_deid_recipe())
    parser.parse(strip_sequences=False, remove_private=True)
    return _encoded(parser.dicom)


@cache
def _dicognito() -> Any:
    from dicognito.anonymizer import Anonymizer

    return Anonymizer(seed="bench")


def dicognito(path: str) -> int:
    """Run dicognito."""
    ds = _header(path)
    _dicognito().anonymize(ds)
    return _encoded(ds)


def dicom_anonymizer(path: str) -> int:
    """Run dicom-anonymizer's default rules (Table E.1-1)."""
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset

    ds = _header(path)
    anonymize_dataset(ds)
    return _encoded(ds)


SYSTEMS: dict[str, Callable[[str], int]] = {
    "vna": ours,
    "deid": deid,
    "dicognito": dicognito,
    "dicom-anonymizer": dicom_anonymizer,
}


def measure(system: str, paths: list[str]) -> tuple[float, float]:
    """Run one system over some files in this process; gives seconds and the process's peak memory in MiB."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    function = SYSTEMS[system]
    gc.collect()
    started = time.perf_counter()
    with redirect_stdout(io.StringIO()):
        for path in paths:
            function(path)
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text()  # not getrusage, which inherits the parent's peak
    return seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1024


def taken(system: str, paths: list[str]) -> list[str]:
    """List the files that a system takes without an exception."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    good = []
    with redirect_stdout(io.StringIO()):
        for path in paths:
            try:
                SYSTEMS[system](path)
            except Exception:  # noqa: BLE001 - whatever another package raises, the file is none for the comparison
                continue
            good.append(path)
    return good


def real_files() -> list[str]:
    """List pydicom's and pydicom-data's Part 10 files of up to a megabyte."""
    import pydicom

    roots = [Path(pydicom.__file__).parent / "data"]
    spec = find_spec("data_store")
    if spec is not None and spec.origin:
        roots.append(Path(spec.origin).parent / "data")
    found = []
    for path in sorted(path for root in roots for path in root.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            if file.read(132)[128:] == b"DICM" and path.stat().st_size <= 2**20:
                found.append(str(path))
    return found


def multi_frame(folder: Path, frames: int) -> str:
    """Write an object with a functional group item a frame."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4.1", f"1.2.826.0.1.3680043.10.9999.9.{frames}"
    ds.PatientName, ds.PatientID, ds.Modality = "Patient^Number1", "P0000001", "MR"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.1.3680043.10.9999.7", "1.2.826.0.1.3680043.10.9999.8"
    items = []
    for number in range(frames):
        content, position, item = Dataset(), Dataset(), Dataset()
        content.FrameAcquisitionDateTime, content.DimensionIndexValues = "20240131081500", [1, number + 1]
        position.ImagePositionPatient = ["1", "2", str(number)]
        item.FrameContentSequence, item.PlanePositionSequence = [content], [position]
        items.append(item)
    ds.PerFrameFunctionalGroupsSequence = items
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"frames-{frames}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return str(path)


def compare(workload: str, paths: list[str], rounds: int, systems: list[str]) -> list[dict[str, Any]]:
    """Measure the systems, ``rounds`` times, in turn on each batch of files they all take; gives a row a system."""
    figures: dict[str, list[float]] = {system: [] for system in systems}
    peak: dict[str, float] = {}
    with ExitStack() as stack:
        pools = {system: stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for system in systems}
        for system, pool in pools.items():
            paths = pool.submit(taken, system, paths).result()
        for system, pool in pools.items():
            pool.submit(measure, system, paths[:BATCH]).result()
        for _ in range(rounds):
            seconds = dict.fromkeys(systems, 0.0)
            for at in range(0, len(paths), BATCH):
                for system, pool in pools.items():
                    took, peak[system] = pool.submit(measure, system, paths[at : at + BATCH]).result()
                    seconds[system] += took
            for system in systems:
                figures[system].append(seconds[system])
    size = sum(Path(path).stat().st_size for path in paths)
    return [
        {
            "system": system,
            "workload": workload,
            "seconds": round(median(taken_s), 4),
            "instances_per_s": round(len(paths) / median(taken_s), 1),
            "mib_per_s": round(size / median(taken_s) / 2**20, 1),
            "peak_mib": round(peak[system], 1),
        }
        for system, taken_s in figures.items()
    ]


def run(files: int = 200, rounds: int = 3) -> dict[str, Any]:
    """Run the whole comparison; gives the object that ``--json`` prints."""
    from benchmarks.index import generate

    modules = {"vna": "vna", "deid": "deid.dicom", "dicognito": "dicognito", "dicom-anonymizer": "dicomanonymizer"}
    systems = [system for system in SYSTEMS if find_spec(modules[system].partition(".")[0])]
    with tempfile.TemporaryDirectory(prefix="bench-deid-") as name:
        folder = Path(name)
        rows = compare("generated", generate(folder, files), rounds, systems)
        rows += compare("real", real_files(), rounds, systems)
        for frames in (200, 800):
            rows += compare(f"frames-{frames}", [multi_frame(folder, frames)] * 5, rounds, systems)
    speed = {(row["system"], row["workload"]): row["instances_per_s"] for row in rows}
    seconds = {(row["system"], row["workload"]): row["seconds"] for row in rows}
    others = [system for system in systems if system != "vna"]
    ratios: dict[str, float] = {}
    for workload in ("generated", "real"):
        for system in others:
            ratios[f"vna_vs_{system}_{workload}"] = round(speed["vna", workload] / speed[system, workload], 1)
        if others:
            fastest = max(speed[system, workload] for system in others)
            ratios[f"vna_vs_fastest_{workload}"] = round(speed["vna", workload] / fastest, 1)
    for system in systems:
        ratios[f"{system}_800_frames_vs_200"] = round(seconds[system, "frames-800"] / seconds[system, "frames-200"], 1)
    return {"name": "deid", "rows": rows, "ratios": ratios}


def main(arguments: list[str] | None = None) -> None:
    """Run the comparison and print it as a table, or as JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.deid", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--files", type=int, default=200, help="how many files to generate (default 200)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each system runs (default 3)")
    options = parser.parse_args(arguments)
    result = run(options.files, options.rounds)
    if options.json:
        json.dump(result, sys.stdout, indent=2)
        print()
        return
    print(f"{'system':<18}{'workload':<12}{'seconds':>9}{'files/s':>10}{'MiB/s':>9}{'peak MiB':>10}")
    for row in result["rows"]:
        print(
            f"{row['system']:<18}{row['workload']:<12}{row['seconds']:>9.4f}{row['instances_per_s']:>10,.0f}"
            f"{row['mib_per_s']:>9.1f}{row['peak_mib']:>10.1f}"
        )
    for name, ratio in result["ratios"].items():
        print(f"{name}: {ratio}")


if __name__ == "__main__":
    main()
