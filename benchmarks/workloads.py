"""Generated objects for the comparisons: distinct instances with about 80 header elements, explicit VR little endian.

S is CT-like (512 x 512 x 16 bit, 0.53 MB), M is MR-like (22 KB), L is a multi-frame object of 105 MB. Pixel bytes are random, so
that nothing that compresses or de-duplicates has an advantage.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

_ROOT = "1.2.826.0.1.3680043.10.9999"
_PLACE = "8888888888"
STUDY_INSTANCES = 100
_WIDTH = 48


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of object: its SOP class, rows, columns and frames of 16 bit."""

    name: str
    sop_class_uid: str
    rows: int
    columns: int
    frames: int = 1


S = Workload("S", "1.2.840.10008.5.1.4.1.1.2", 512, 512)
M = Workload("M", "1.2.840.10008.5.1.4.1.1.4", 100, 100)
L = Workload("L", "1.2.840.10008.5.1.4.1.1.4", 512, 512, 200)
WORKLOADS = {workload.name: workload for workload in (S, M, L)}


def generate(workload: Workload, count: int, folder: Path, *, seed: str = "1") -> list[Path]:
    """Write ``count`` files of a workload into ``folder``, a study of 100 instances each; ``seed`` makes other UIDs."""
    folder.mkdir(parents=True, exist_ok=True)
    template = _template(workload)
    prefix = f"{_ROOT}.{seed}.{ord(workload.name)}"
    pixels = os.urandom(workload.rows * workload.columns * workload.frames * 2)
    paths = []
    for number in range(count):
        path = folder / f"{workload.name}{seed}-{number:06d}.dcm"
        study = number // STUDY_INSTANCES
        header = template
        for mark, root, count_of in (("S", f"{prefix}.1", study), ("R", f"{prefix}.2", study), ("I", f"{prefix}.3", number)):
            header = header.replace(_mark(mark), _uid(root, count_of))
        turn = number * 2 % 4096
        path.write_bytes(header + pixels[turn:] + pixels[:turn])
        paths.append(path)
    return paths


def _uid(root: str, number: int) -> bytes:
    """Make a valid UID of the marks' length: nothing but digits fills it up."""
    return f"{root}.1{number:0{_WIDTH - len(root) - 2}d}".encode("ascii")


def _mark(letter: str) -> bytes:
    return f"1.2.{_PLACE}.{ord(letter)}".ljust(_WIDTH, "7").encode("ascii")


def _template(workload: Workload) -> bytes:
    """Encode everything before the pixel bytes, with marks of 48 characters where the UIDs belong."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = workload.sop_class_uid
    ds.file_meta.MediaStorageSOPInstanceUID = _mark("I").decode()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = workload.sop_class_uid, _mark("I").decode()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _mark("S").decode(), _mark("R").decode()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.AccessionNumber, ds.StudyID = "BENCH1", "1"
    ds.Modality = "CT" if workload is S else "MR"
    ds.Manufacturer, ds.InstitutionName, ds.StationName = "BENCH", "Bench Hospital", "STATION1"
    ds.StudyDescription, ds.SeriesDescription = "Generated study", "Generated series"
    ds.ManufacturerModelName, ds.ReferringPhysicianName = "Generator", "Referring^Doctor"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Bench^Mark", "BENCH", "19700101", "O"
    ds.ReferencedStudySequence = Sequence([_reference("1.2.840.10008.3.1.2.3.1"), _reference("1.2.840.10008.3.1.2.3.1")])
    ds.RequestAttributesSequence = Sequence([_request()])
    for number, keyword in enumerate(
        ("SliceThickness", "KVP", "SpacingBetweenSlices", "DataCollectionDiameter", "ReconstructionDiameter", "FlipAngle")
    ):
        setattr(ds, keyword, str(number + 1))
    ds.ProtocolName, ds.PatientPosition, ds.BodyPartExamined = "BENCH PROTOCOL", "HFS", "HEAD"
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = "1", "1", "1"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.FrameOfReferenceUID = f"{_ROOT}.4"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    if workload.frames > 1:
        ds.NumberOfFrames = workload.frames
    ds.Rows, ds.Columns, ds.PixelSpacing = workload.rows, workload.columns, [0.5, 0.5]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth, ds.RescaleIntercept, ds.RescaleSlope = "40", "400", "-1024", "1"
    block = ds.private_block(0x0029, "BENCH PRIVATE", create=True)
    for number in range(16):
        block.add_new(number, "LO", f"private value {number}")
    ds.add_new(0x7FE00010, "OW", bytes(workload.rows * workload.columns * workload.frames * 2))
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()[: -len(ds.PixelData)]


def _reference(sop_class_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, f"{_ROOT}.5"
    return item


def _request() -> Dataset:
    item = Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = "RP1", "SPS1"
    item.ScheduledProcedureStepDescription = "Generated procedure"
    return item
