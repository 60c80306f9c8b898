"""The real images that pydicom ships with itself: what the demo migrates and what many tests are fed with."""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pydicom.data
from pydicom.errors import InvalidDicomError

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One Part 10 file and the UIDs by which a peer files it."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str


def shipped_images() -> list[ImageFile]:
    """List pydicom's own files that an archive can file, by path: about 160, of many modalities and transfer syntaxes.

    Several share a SOP Instance UID, as copies of one image in other transfer syntaxes.
    """
    return list(image_files(Path(pydicom.data.__file__).parent))


def image_files(root: Path) -> Iterator[ImageFile]:
    """Yield the files under ``root`` that are whole Part 10 objects with every UID, sorted by path.

    DICOMDIRs are left out, as are files without a preamble, a transfer syntax or one of the UIDs that a peer files by.
    """
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        image = read_image_file(path)
        if image is not None:
            yield image


def read_image_file(path: Path) -> ImageFile | None:
    """Read what a peer needs to file ``path``; None where that is not a DICOM object or lacks a UID."""
    try:
        with odd_values_allowed():
            ds = pydicom.dcmread(path, specific_tags=list(_UIDS), stop_before_pixels=True)
            sop_class, sop_instance, study, series = (str(ds.get(keyword) or "") for keyword in _UIDS)
    except (InvalidDicomError, EOFError, ValueError):
        return None
    transfer_syntax_uid = str(ds.file_meta.get("TransferSyntaxUID") or "")
    if not all((transfer_syntax_uid, sop_class, sop_instance, study, series)) or sop_class == MEDIA_STORAGE_DIRECTORY:
        return None
    return ImageFile(path, sop_class, sop_instance, study, series, transfer_syntax_uid)


@contextmanager
def odd_values_allowed() -> Iterator[None]:
    """Keep pydicom from warning of odd values while the block lasts: it quotes them, on stderr and in the log."""
    logger = logging.getLogger("pydicom")
    logger.addFilter(_nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False


def data_set_of(part10: bytes | Path) -> bytes:
    """Cut the data set's exact bytes out of a Part 10 file: what follows the last element of group 0002."""
    content = part10.read_bytes() if isinstance(part10, Path) else part10
    if content[128:132] != b"DICM":
        raise ValueError("not a Part 10 file")
    at = 132
    while content[at : at + 2] == b"\x02\x00":
        vr = content[at + 4 : at + 6]
        if vr in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
            at += 12 + struct.unpack_from("<I", content, at + 8)[0]
        else:
            at += 8 + struct.unpack_from("<H", content, at + 6)[0]
    return content[at:]


def can_travel(transfer_syntax_uid: str, data_set: bytes) -> bool:
    """Say whether a data set fits into P-DATA: it has even length (PS3.8 9.3.5.1), or may be padded (deflated: PS3.5 A.5)."""
    return len(data_set) % 2 == 0 or transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
