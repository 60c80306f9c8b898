"""Generated instances with any keyword set, and the real images that pydicom and pydicom-data ship."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pydicom
import pydicom.data
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

from vna.demo.images import ImageFile, image_files
from vna.demo.images import data_set_of as data_set_of

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
ENCAPSULATED_PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"


def make_uid(*parts: object) -> str:
    """Make a valid UID (root 2.25) that is the same for the same parts, in every run."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def make_instance(transfer_syntax_uid: str = ExplicitVRLittleEndian, /, **keywords: object) -> Dataset:
    """Make a small CT image (8 x 8, 16 bit) with file meta, whose elements ``keywords`` override; None removes one.

    UIDs left out are made from the others, so that ``make_instance(InstanceNumber=2)`` is another image of the same series.
    """
    rows, columns = int(keywords.get("Rows", 8) or 0), int(keywords.get("Columns", 8) or 0)  # type: ignore[call-overload]
    number = keywords.get("InstanceNumber", 1)
    study = keywords.get("StudyInstanceUID", make_uid("study", keywords.get("PatientID", "P1")))
    series = keywords.get("SeriesInstanceUID", make_uid("series", study, keywords.get("SeriesNumber", 1)))
    values: dict[str, object] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": CT_IMAGE_STORAGE,
        "SOPInstanceUID": make_uid("instance", series, number),
        "StudyDate": "20240131",
        "StudyTime": "081500",
        "AccessionNumber": "ACC1",
        "Modality": "CT",
        "Manufacturer": "Generated",
        "StudyDescription": "CT HEAD",
        "PatientName": "Test^Generated",
        "PatientID": "P1",
        "PatientBirthDate": "19700101",
        "PatientSex": "O",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "StudyID": "1",
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": bytes((7 * i) & 0x0F if i & 1 else i & 0xFF for i in range(rows * columns * 2)),
    }
    values.update(keywords)
    ds = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(ds, keyword, value)
    syntax = UID(transfer_syntax_uid)
    if "PixelData" in ds:
        compressed = syntax.is_transfer_syntax and syntax.is_compressed and not syntax.is_deflated
        if compressed and keywords.get("PixelData") is None:
            ds.PixelData = encapsulate([ds.PixelData])
        ds["PixelData"].VR = "OB" if compressed else "OW"
        ds["PixelData"].is_undefined_length = compressed
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(str(ds.get("SOPClassUID", CT_IMAGE_STORAGE)))
    ds.file_meta.MediaStorageSOPInstanceUID = UID(str(ds.get("SOPInstanceUID", make_uid("nameless"))))
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def make_study(instances: int = 3, *, series: int = 1, **keywords: object) -> list[Dataset]:
    """Make one study of ``series`` x ``instances`` images."""
    return [
        make_instance(**{"SeriesNumber": s, "InstanceNumber": i, **keywords})
        for s in range(1, series + 1)
        for i in range(1, instances + 1)
    ]


def part10_bytes(ds: Dataset) -> bytes:
    """Encode ``ds`` as a Part 10 file: preamble, file meta and data set (a private transfer syntax as explicit little endian)."""
    file = BytesIO()
    if ds.file_meta.TransferSyntaxUID.is_transfer_syntax:
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
    else:
        pydicom.dcmwrite(file, ds, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return file.getvalue()


def data_set_bytes(ds: Dataset) -> bytes:
    """Encode ``ds`` alone in its own transfer syntax, as it travels in a C-STORE."""
    return data_set_of(part10_bytes(ds))


def write_instance(path: Path, ds: Dataset) -> Path:
    """Write ``ds`` as a Part 10 file to ``path``, whose folder is made, and return ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(part10_bytes(ds))
    return path


def _roots() -> list[Path]:
    roots = [Path(pydicom.data.__file__).parent]
    spec = find_spec("data_store")
    if spec is not None and spec.origin is not None:
        roots.append(Path(spec.origin).parent / "data")
    return roots


@cache
def _image_files() -> tuple[ImageFile, ...]:
    return tuple(image for root in _roots() for image in image_files(root))


def real_image_files(*, unique: bool = False) -> list[ImageFile]:
    """List pydicom's and pydicom-data's usable images (227); ``unique`` keeps the first of each SOP Instance UID."""
    if not unique:
        return list(_image_files())
    first: dict[str, ImageFile] = {}
    for image in _image_files():
        first.setdefault(image.sop_instance_uid, image)
    return list(first.values())


def real_images(*, unique: bool = False) -> list[Path]:
    """List the paths of :func:`real_image_files`: Part 10 files with every UID that a peer files by."""
    return [image.path for image in real_image_files(unique=unique)]


def odd_files() -> list[Path]:
    """List what else pydicom and pydicom-data ship: no preamble, no meta, missing UIDs, DICOMDIRs, and things not DICOM."""
    usable = set(real_images())
    files = (path for root in _roots() for path in sorted(root.rglob("*")) if path.is_file())
    return [path for path in files if path not in usable and path.suffix not in {".py", ".pyc", ".json"}]


def real_image(name: str) -> Path:
    """Find one shipped file by its name, such as ``CT_small.dcm``."""
    for root in _roots():
        for path in root.rglob(name):
            return path
    raise FileNotFoundError(name)
