"""Compare the header scanner with pydicom: the same files, the same values, in one run.

``python -m benchmarks.index [--json]``. Two workloads: generated CT-like and MR-like files of about 22 KB with some 80 header
elements, sequences and private blocks among them, and the real files that pydicom and pydicom-data ship. Each system has a
process of its own; they take turns on batches of files that are in the page cache, and what is reported is the sum of the
batches' medians over the rounds.

The scanner does what ``indexer scan`` does with a file: file meta, header, checks of the pixel data's length and of the UIDs, and
every DICOM column of the index decoded. pydicom does ``dcmread(stop_before_pixels=True)`` and reads the same elements' values; it
is spared turning them into columns.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median

WARM_UP = 300
BATCH = 100


def scan(paths: list[str]) -> int:
    """Scan every file with the indexer; gives how many values were read."""
    from indexer.scan import scan_file

    found = 0
    for path in paths:
        found += len(scan_file(path).row())
    return found


def dcmread(paths: list[str]) -> int:
    """Read the same values of every file with pydicom; gives how many were read."""
    import pydicom

    from indexer.schema import DICOM_COLUMNS

    names = [column.name for column in DICOM_COLUMNS if column.tag >> 16 != 2]
    found = 0
    for path in paths:
        ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for name in names:
            ds.get(name)
        found += len(names)
    return found


SYSTEMS = {"indexer": scan, "pydicom": dcmread}


def measure(system: str, paths: list[str]) -> tuple[float, float]:
    """Run one system over some files in this process; gives seconds and the process's peak memory in MiB."""
    started = time.perf_counter()
    SYSTEMS[system](paths)
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text()  # not getrusage, which inherits the parent's peak
    return seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1024


def warm_up(system: str, paths: list[str]) -> None:
    """Import what a system needs, and let it see every kind of file once."""
    warnings.simplefilter("ignore")
    SYSTEMS[system](paths)
    gc.collect()


def generate(folder: Path, count: int) -> list[str]:
    """Write ``count`` CT-like and MR-like files, series of 100 slices, each with values of its own."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    rng, paths, root = random.Random(1), [], "1.2.826.0.1.3680043.10.9999"
    for number in range(count):
        series, slice_number = divmod(number, 100)
        modality = ("CT", "MR")[series % 2]
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1." + ("2" if modality == "CT" else "4")
        ds.SOPInstanceUID = f"{root}.{series}.{slice_number}.{rng.randrange(10**12)}"
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = f"2026{series % 12 + 1:02d}15"
        ds.StudyTime = f"{series % 24:02d}1500"
        ds.SeriesTime = f"{series % 24:02d}2000.120000"
        ds.AcquisitionTime = ds.ContentTime = f"{series % 24:02d}{slice_number % 60:02d}12.{rng.randrange(10**6):06d}"
        ds.AccessionNumber = f"ACC{series:08d}"
        ds.Modality = modality
        ds.Manufacturer, ds.ManufacturerModelName = "Generated Systems", f"Scanner {series % 7}"
        ds.InstitutionName, ds.InstitutionAddress = "General Hospital", "1 Main Street"
        ds.ReferringPhysicianName, ds.OperatorsName = "Müller^Anna", "Tech^One"
        ds.StationName, ds.StudyDescription = f"{modality}{series % 9}", f"{modality} Head w/o contrast"
        ds.SeriesDescription = f"Axial {series}"
        ds.ProcedureCodeSequence = [code("HEAD", "Head")]
        ds.ReferencedImageSequence = [reference(f"{root}.{series}.{i}") for i in range(3)]
        ds.PatientName, ds.PatientID = f"Patient^Number{series // 4}", f"P{series // 4:07d}"
        ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19600101", "MF"[series % 2], "066Y"
        ds.PatientWeight = "75.5"
        block = ds.private_block(0x0029, "GENERATED CSA", create=True)
        block.add_new(0x10, "OB", rng.randbytes(1_200))
        block.add_new(0x11, "SQ", [reference(f"{root}.5.{i}") for i in range(2)])
        for element in range(0x20, 0x30):
            block.add_new(element, "LO", f"private value {element}")
        ds.BodyPartExamined, ds.ProtocolName = "HEAD", "Head routine"
        ds.SliceThickness, ds.KVP, ds.SpacingBetweenSlices = "2.5", "120", "2.5"
        ds.SoftwareVersions, ds.DeviceSerialNumber = "v1.2.3", f"SN{series % 7}"
        ds.PatientPosition = "HFS"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{root}.1.{series // 4}", f"{root}.2.{series}"
        ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber = str(series // 4), series % 4 + 1, 1
        ds.InstanceNumber = slice_number + 1
        ds.ImagePositionPatient = ["-125.0", "-120.5", f"{slice_number * 2.5:.2f}"]
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        ds.FrameOfReferenceUID = f"{root}.3.{series}"
        ds.SliceLocation = f"{slice_number * 2.5:.2f}"
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows = ds.Columns = 100
        ds.PixelSpacing = ["0.5", "0.5"]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.WindowCenter, ds.WindowWidth, ds.RescaleIntercept, ds.RescaleSlope = "40", "400", "-1024", "1"
        ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepID = ds.StudyDate, "PPS1"
        ds.RequestAttributesSequence = [code("REQ", "Request")]
        ds.add_new(0x7FE00010, "OW", bytes(20_000))
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{number:06d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(str(path))
    return paths


def code(value: str, meaning: str):  # type: ignore[no-untyped-def]
    """Make a code sequence item."""
    from pydicom.dataset import Dataset

    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, "99GEN", meaning
    return ds


def reference(uid: str):  # type: ignore[no-untyped-def]
    """Make a reference to an instance."""
    from pydicom.dataset import Dataset

    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", uid
    return ds


def real_files() -> list[str]:
    """List the files of pydicom and pydicom-data that pydicom reads as DICOM files."""
    import pydicom

    roots = [Path(pydicom.__file__).parent / "data"]
    spec = find_spec("data_store")
    if spec is not None and spec.origin:
        roots.append(Path(spec.origin).parent / "data")
    found = []
    for path in sorted(path for root in roots for path in root.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            if file.read(132)[128:] == b"DICM":
                found.append(str(path))
    return found


def compare(workload: str, paths: list[str], rounds: int) -> list[dict[str, object]]:
    """Measure all systems, ``rounds`` times, in turn on each batch of files; gives a row a system."""
    for path in paths:
        Path(path).read_bytes()
    batches = [paths[at : at + BATCH] for at in range(0, len(paths), BATCH)]
    taken: dict[str, list[list[float]]] = {system: [[] for _ in batches] for system in SYSTEMS}
    peak: dict[str, float] = {}
    with ExitStack() as stack:
        pools = {system: stack.enter_context(ProcessPoolExecutor(1, mp_context=get_context("spawn"))) for system in SYSTEMS}
        for system, pool in pools.items():
            pool.submit(warm_up, system, paths[:WARM_UP]).result()
        for _ in range(rounds):
            for number, batch in enumerate(batches):
                for system, pool in pools.items():
                    seconds, peak[system] = pool.submit(measure, system, batch).result()
                    taken[system][number].append(seconds)
    size = sum(Path(path).stat().st_size for path in paths)
    rows: list[dict[str, object]] = []
    for system, figures in taken.items():
        middle = sum(median(rounds_of_batch) for rounds_of_batch in figures)
        rows.append(
            {
                "system": system,
                "workload": workload,
                "seconds": round(middle, 4),
                "instances_per_s": round(len(paths) / middle),
                "mib_per_s": round(size / middle / 2**20, 1),
                "peak_mib": round(peak[system], 1),
            }
        )
    return rows


def run(files: int = 2_000, rounds: int = 5) -> dict[str, object]:
    """Run the whole comparison; gives the object that ``--json`` prints."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="bench-index-") as folder:
        generated = generate(Path(folder), files)
        rows = compare("generated", generated, rounds)
    real = real_files()
    rows += compare("real", real * 4, rounds)
    speed = {(row["system"], row["workload"]): float(str(row["instances_per_s"])) for row in rows}
    ratios = {
        f"indexer_vs_pydicom_{workload}": round(speed["indexer", workload] / speed["pydicom", workload], 2)
        for workload in ("generated", "real")
    }
    return {"name": "index", "rows": rows, "ratios": ratios}


def main(arguments: list[str] | None = None) -> None:
    """Run the comparison and print it as a table, or as JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.index", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--files", type=int, default=2_000, help="how many files to generate (default 2000)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each system runs (default 5)")
    options = parser.parse_args(arguments)
    result = run(options.files, options.rounds)
    if options.json:
        json.dump(result, sys.stdout, indent=2)
        print()
        return
    print(f"{'system':<10}{'workload':<12}{'seconds':>9}{'files/s':>10}{'MiB/s':>9}{'peak MiB':>10}")
    for row in result["rows"]:  # type: ignore[attr-defined]
        print(
            f"{row['system']:<10}{row['workload']:<12}{row['seconds']:>9.3f}{row['instances_per_s']:>10,}"
            f"{row['mib_per_s']:>9.1f}{row['peak_mib']:>10.1f}"
        )
    for name, ratio in result["ratios"].items():  # type: ignore[attr-defined]
        print(f"{name}: {ratio}")


if __name__ == "__main__":
    main()
