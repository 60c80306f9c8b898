"""The columns of the index, in their order, and the hash that clusters it.

Columns that hold a DICOM attribute are named by its keyword; ours are in snake_case. Delta Lake keeps file statistics for the
first 32 columns only, so everything that a look-up filters by stands among those. docs/index-schema.md is the specification.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

SCHEMA_VERSION = 1
"""Raised when a column changes its meaning or type; adding a column at the end does not raise it."""


class Kind(StrEnum):
    """How a column is read from its element, and so what type it has."""

    UID = "uid"  # text, trailing NUL and space removed
    CODE = "code"  # text of the default repertoire: CS, DA, TM, DT, AE, AS
    TEXT = "text"  # text by Specific Character Set: LO, SH
    NAME = "name"  # PN: the same, all component groups kept
    INTEGER = "integer"  # IS: decimal text -> int64
    SHORT = "short"  # US -> int64
    HASH = "hash"  # int64, ours
    DIGEST = "digest"  # binary(32), ours
    STRING = "string"  # text, ours
    SIZE = "size"  # int64, ours
    TIME = "time"  # timestamp in microseconds, UTC, ours


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, the tag it is read from (0 for a column of ours), how, and what it means."""

    name: str
    tag: int
    kind: Kind
    text: str = ""

    @property
    def is_dicom(self) -> bool:
        """Tell whether the column holds a DICOM attribute."""
        return self.kind not in _OWN


_OWN = frozenset({Kind.HASH, Kind.DIGEST, Kind.STRING, Kind.SIZE, Kind.TIME})

TRANSFER_SYNTAX_UID = "TransferSyntaxUID"

COLUMNS: tuple[Column, ...] = (
    # what look-ups filter by: within the first 32, for Delta's file statistics
    Column("study_hash", 0, Kind.HASH, "first 8 bytes of SHA-256 of StudyInstanceUID, big endian, signed; clusters the table"),
    Column("PatientID", 0x00100020, Kind.TEXT),
    Column("IssuerOfPatientID", 0x00100021, Kind.TEXT),
    Column("StudyInstanceUID", 0x0020000D, Kind.UID),
    Column("SeriesInstanceUID", 0x0020000E, Kind.UID),
    Column("SOPInstanceUID", 0x00080018, Kind.UID),
    Column("AccessionNumber", 0x00080050, Kind.TEXT),
    Column("StudyDate", 0x00080020, Kind.CODE),
    Column("Modality", 0x00080060, Kind.CODE),
    Column("sha256", 0, Kind.DIGEST, "SHA-256 of the whole file; the key of the row"),
    Column("status", 0, Kind.STRING, "stored, flagged, variant or quarantined"),
    Column("source", 0, Kind.STRING, "the node that handed the object over, or the folder it was scanned in"),
    Column("received_at", 0, Kind.TIME, "when the object became durable; of a scanned file, when it was last modified"),
    Column("PatientName", 0x00100010, Kind.NAME),
    Column("PatientBirthDate", 0x00100030, Kind.CODE),
    Column("PatientSex", 0x00100040, Kind.CODE),
    Column("StudyTime", 0x00080030, Kind.CODE),
    Column("StudyID", 0x00200010, Kind.TEXT),
    Column("StudyDescription", 0x00081030, Kind.TEXT),
    Column("ReferringPhysicianName", 0x00080090, Kind.NAME),
    Column("InstitutionName", 0x00080080, Kind.TEXT),
    Column("SeriesNumber", 0x00200011, Kind.INTEGER),
    Column("SeriesDescription", 0x0008103E, Kind.TEXT),
    Column("SeriesDate", 0x00080021, Kind.CODE),
    Column("BodyPartExamined", 0x00180015, Kind.CODE),
    Column("SOPClassUID", 0x00080016, Kind.UID),
    Column(TRANSFER_SYNTAX_UID, 0x00020010, Kind.UID),
    Column("InstanceNumber", 0x00200013, Kind.INTEGER),
    Column("StationName", 0x00081010, Kind.TEXT),
    Column("Manufacturer", 0x00080070, Kind.TEXT),
    Column("path", 0, Kind.STRING, "where the object is, relative to the archive or the folder that was scanned"),
    Column("size", 0, Kind.SIZE, "bytes of the whole file"),
    # the rest
    Column(
        "codes", 0, Kind.STRING, "codes of the problems found, the deciding ones first, separated by a backslash; NULL if none"
    ),
    Column("ManufacturerModelName", 0x00081090, Kind.TEXT),
    Column("SeriesTime", 0x00080031, Kind.CODE),
    Column("ContentDate", 0x00080023, Kind.CODE),
    Column("ContentTime", 0x00080033, Kind.CODE),
    Column("ProtocolName", 0x00181030, Kind.TEXT),
    Column("NumberOfFrames", 0x00280008, Kind.INTEGER),
    Column("Rows", 0x00280010, Kind.SHORT),
    Column("Columns", 0x00280011, Kind.SHORT),
    Column("SamplesPerPixel", 0x00280002, Kind.SHORT),
    Column("BitsAllocated", 0x00280100, Kind.SHORT),
    Column("PhotometricInterpretation", 0x00280004, Kind.CODE),
    Column("ImageType", 0x00080008, Kind.CODE),
    Column("LossyImageCompression", 0x00282110, Kind.CODE),
    Column("BurnedInAnnotation", 0x00280301, Kind.CODE),
    Column("FrameOfReferenceUID", 0x00200052, Kind.UID),
    Column("SpecificCharacterSet", 0x00080005, Kind.CODE),
    Column("TimezoneOffsetFromUTC", 0x00080201, Kind.CODE),
)
"""Every column of the table ``instances``, in its order."""

DICOM_COLUMNS: tuple[Column, ...] = tuple(column for column in COLUMNS if column.is_dicom)
"""The columns that hold a DICOM attribute; :func:`indexer.scan.index_row` fills them."""

OWN_COLUMNS: tuple[Column, ...] = tuple(column for column in COLUMNS if not column.is_dicom)
"""The columns that whoever stores the object fills."""

WANTED_TAGS: frozenset[int] = frozenset(column.tag for column in DICOM_COLUMNS if column.tag >> 16 != 2)
"""The tags of the data set that a header scanner keeps."""

CLUSTER_COLUMN = "study_hash"
"""The column by which rows are clustered; never a UID, since UIDs share long roots."""

BLOOM_COLUMNS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "AccessionNumber")
"""The columns that get a bloom filter: many distinct values, looked up by equality."""


@lru_cache(maxsize=1024)
def study_hash(study_instance_uid: str | None) -> int:
    """Hash a Study Instance UID to the clustering column: first 8 bytes of SHA-256, big endian, signed; no UID hashes as ''."""
    digest = hashlib.sha256((study_instance_uid or "").encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
