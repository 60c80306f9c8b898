"""PS3.15 Table E.1-1 as data, and its compilation into one opcode for each tag.

``ps315_e1_1.csv`` states the table's facts: a line a tag (``50xxxxxx``, ``60xx3000`` and ``ggggeeee`` are the masks), the Basic
Profile's action and one column for each option. ``iod_types.csv`` states for each SOP class which of these attributes its IOD
requires (PS3.3: type 1, type 2), which settles compound actions such as X/Z/D. ``ps315_e3_10_1.csv`` lists the private
elements that the Standard calls safe.

Nouns: action (a cell of the table: X, Z, D, U, K, C and their compounds), option (a column), opcode (what the engine does).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cache
from importlib.resources import files

from pydicom._dicom_dict import DicomDictionary

from vna.part10.elements import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, PIXEL_DATA, vr_of

EDITION = "2026c"
"""The edition of PS3.15 whose Basic Profile column the table states; the option columns are those of 2025b."""


class Profile(StrEnum):
    """The Basic Profile and its options, named as the columns of the table."""

    BASIC = "basic"
    CLEAN_PIXELS = "clean_pixels"
    CLEAN_RECOGNIZABLE = "clean_recognizable"
    CLEAN_GRAPHICS = "clean_graphics"
    CLEAN_STRUCTURED = "clean_structured"
    CLEAN_DESCRIPTORS = "clean_descriptors"
    RETAIN_FULL_DATES = "retain_full_dates"
    RETAIN_MODIFIED_DATES = "retain_modified_dates"
    RETAIN_PATIENT_CHARACTERISTICS = "retain_patient_characteristics"
    RETAIN_DEVICE = "retain_device"
    RETAIN_UIDS = "retain_uids"
    RETAIN_SAFE_PRIVATE = "retain_safe_private"
    RETAIN_INSTITUTION = "retain_institution"


METHOD_CODES: dict[Profile, tuple[str, str]] = {
    Profile.BASIC: ("113100", "Basic Application Confidentiality Profile"),
    Profile.CLEAN_PIXELS: ("113101", "Clean Pixel Data Option"),
    Profile.CLEAN_RECOGNIZABLE: ("113102", "Clean Recognizable Visual Features Option"),
    Profile.CLEAN_GRAPHICS: ("113103", "Clean Graphics Option"),
    Profile.CLEAN_STRUCTURED: ("113104", "Clean Structured Content Option"),
    Profile.CLEAN_DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Profile.RETAIN_FULL_DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    Profile.RETAIN_MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    Profile.RETAIN_PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Profile.RETAIN_DEVICE: ("113109", "Retain Device Identity Option"),
    Profile.RETAIN_UIDS: ("113110", "Retain UIDs Option"),
    Profile.RETAIN_SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Profile.RETAIN_INSTITUTION: ("113112", "Retain Institution Identity Option"),
}
"""Profile or option -> DCM code value and meaning of CID 7050 (PS3.16)."""

COLUMNS = (
    Profile.RETAIN_UIDS,
    Profile.RETAIN_DEVICE,
    Profile.RETAIN_INSTITUTION,
    Profile.RETAIN_PATIENT_CHARACTERISTICS,
    Profile.RETAIN_FULL_DATES,
    Profile.RETAIN_MODIFIED_DATES,
    Profile.CLEAN_DESCRIPTORS,
    Profile.CLEAN_STRUCTURED,
    Profile.CLEAN_GRAPHICS,
)


class Op(IntEnum):
    """What the engine does with an element. ``KEEP`` copies its bytes; items of a kept sequence are edited in their turn."""

    KEEP = 0
    REMOVE = 1
    EMPTY = 2
    DUMMY = 3
    REMAP_UID = 4
    SHIFT = 5
    CLEAN_TEXT = 6
    AGE = 7
    PATIENT_PSEUDONYM = 8
    PSEUDONYM = 9
    SETTLE = 10
    REPLACE = 11


@dataclass(frozen=True, slots=True)
class Row:
    """One line of Table E.1-1: a tag mask, the keyword, the Basic Profile's action and those of the options."""

    tag: str
    keyword: str
    basic: str
    options: dict[Profile, str]


@cache
def rows() -> tuple[Row, ...]:
    """Read the table."""
    return tuple(
        Row(line["tag"], line["keyword"], line["basic"], {column: line[column] for column in COLUMNS if line[column]})
        for line in _lines("ps315_e1_1.csv")
    )


@cache
def iod_types() -> dict[str, dict[int, int]]:
    """Give for each SOP class the attributes of the table that its IOD requires at the top level: tag -> type 1 or 2."""
    return {
        line["sop_class_uid"]: {int(tag, 16): kind for kind in (2, 1) for tag in line[f"type_{kind}"].split()}
        for line in _lines("iod_types.csv")
    }


@cache
def safe_private() -> frozenset[tuple[str, int, int]]:
    """Give the private elements of PS3.15 Table E.3.10-1: (private creator, group, low byte of the element)."""
    return frozenset((line["creator"], int(line["group"], 16), int(line["element"], 16)) for line in _lines("ps315_e3_10_1.csv"))


def _lines(name: str) -> Iterator[dict[str, str]]:
    text = files("vna.deid").joinpath(name).read_text(encoding="utf-8")
    return iter(csv.DictReader(text.splitlines()))


def action(row: Row, options: Iterable[Profile]) -> str:
    """Compose a row's action: an option's column overrides the Basic Profile, and of several, clean beats retain."""
    cells = {row.options[option] for option in options if option in row.options}
    for code in ("C", "X", "K"):
        if code in cells:
            return code
    return row.basic


# Beyond the table. Each is an attribute that carries identity or a reference, but that Table E.1-1 does not list.
_REFERENCES = (
    "MultiFrameSourceSOPInstanceUID RadiopharmaceuticalAdministrationEventUID TargetFrameOfReferenceUID ModelGroupUID "
    "SOPInstanceUIDOfConcatenationSource VolumeFrameOfReferenceUID TableFrameOfReferenceUID ReferencedColorPaletteInstanceUID "
    "FindingsGroupUIDTrial ReferencedFindingsGroupUIDTrial RetrieveLocationUID RepositoryUniqueID HomeCommunityID AssertionUID "
    "ReferencedAssertionUID ReferencedFiducialUID VolumetricPresentationInputSetUID ReferencedContentItem SelectorUIValue "
    "EquipmentFrameOfReferenceUID SegmentationTemplateUID PrivateRecordUID"
)
_REMOVED = (
    "PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar BreedRegistrationNumber ContactDisplayName "
    "ContactURI OwnerID BoardingPassID ItineraryID ItineraryIDAssigningAuthority PlacerOrderNumberProcedure "
    "FillerOrderNumberProcedure PlacerOrderNumberImagingServiceRequestRetired FillerOrderNumberImagingServiceRequestRetired "
    "AssignedLocation SubstanceAdministrationNotes CommentsOnTheScheduledProcedureStep RetrieveURL RetrieveURI StorageURL "
    "StoredInstanceBaseURI FolderAccessURI FileAccessURI FilenameInContainer NTPSourceAddress PrintJobID "
    "HL7InstanceIdentifier RouteSegmentStartLocationID RouteSegmentEndLocationID LengthToEnd SelectorPNValue "
    "EncryptedAttributesSequence EncryptedContent CommentsOnPatientPerformanceOfVisualField "
    "ReportStatusCommentTrial IdentificationDescriptionTrial SpecimenDescriptionTrial"
)
_PSEUDONYMS = ("AccessionNumber", "StudyID", "ContainerIdentifier", "SpecimenIdentifier")
_PATIENT_PSEUDONYMS = ("PatientID", "PatientName")
_EDITED_SEQUENCES = ("ContentSequence", "FlowIdentifierSequence", "VerifyingObserverSequence")


@cache
def _keywords() -> dict[str, int]:
    return {entry[4]: tag for tag, entry in DicomDictionary.items() if entry[4]}


def tag_of(keyword: str) -> int | None:
    """Give the tag of a DICOM keyword, None for one that PS3.6 does not know."""
    return _keywords().get(keyword)


@dataclass(frozen=True, slots=True)
class Actions:
    """The compiled table: ``ops`` has an opcode for every tag that PS3.6 or the table knows, ``codes`` the composed action.

    Private groups, curves (50xx), overlays (60xx) and tags unknown to PS3.6 are not in ``ops``: the engine removes them, save
    the private elements in ``safe_private``.
    """

    options: frozenset[Profile]
    ops: dict[int, Op]
    codes: dict[int, str]
    safe_private: frozenset[tuple[str, int, int]]


def compile_actions(options: Iterable[Profile]) -> Actions:
    """Compile the table for the Basic Profile with ``options`` into one opcode for each known tag."""
    chosen = frozenset(options)
    ops = {tag: _beyond_the_table(tag, entry[0], chosen) for tag, entry in DicomDictionary.items()}
    for keywords, op in ((_REFERENCES, Op.REMAP_UID), (_REMOVED, Op.REMOVE)):
        for keyword in keywords.split():
            tag = _keywords().get(keyword)
            if tag is not None:
                ops[tag] = Op.KEEP if op is Op.REMAP_UID and Profile.RETAIN_UIDS in chosen else op
    codes: dict[int, str] = {}
    for row in rows():
        if "x" not in row.tag and row.tag != "ggggeeee":
            tag = int(row.tag, 16)
            codes[tag] = action(row, chosen)
            ops[tag] = _opcode(tag, codes[tag])
    ops.update(_special(chosen))
    for tag in (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA):
        ops[tag] = Op.REMOVE  # inside items: an icon is an image too. The image itself is none of this table's business
    private = safe_private() if Profile.RETAIN_SAFE_PRIVATE in chosen else frozenset()
    return Actions(chosen, ops, codes, private)


def _beyond_the_table(tag: int, vr: str, options: frozenset[Profile]) -> Op:
    """Say what becomes of a known attribute that the table does not list: it is kept, unless its VR alone makes it identity."""
    if tag >> 16 in (0x0000, 0x0002, 0x0004) or tag & 0xFFFF == 0:
        return Op.REMOVE  # command, file meta, directory and group length elements have no place in a data set's output
    if vr == "PN":
        return Op.EMPTY
    if vr in ("DA", "DT"):
        return Op.SHIFT if options & {Profile.RETAIN_MODIFIED_DATES, Profile.RETAIN_FULL_DATES} else Op.DUMMY
    return Op.KEEP


_SIMPLE = {"X": Op.REMOVE, "Z": Op.EMPTY, "D": Op.DUMMY, "U": Op.REMAP_UID, "K": Op.KEEP, "X/Z/U*": Op.KEEP}


def _opcode(tag: int, code: str) -> Op:
    if code in ("C", "K") and vr_of(tag) in (b"DA", b"DT", b"TM"):
        return Op.SHIFT  # by 0 days where full dates are retained: what is no date must not stay either way
    if code == "C":
        return Op.KEEP if vr_of(tag) == b"SQ" else Op.CLEAN_TEXT
    return _SIMPLE.get(code, Op.SETTLE)


def _special(options: frozenset[Profile]) -> dict[int, Op]:
    """Give the attributes whose opcode says more than the table's letter does."""
    special = {_keywords()[keyword]: Op.PSEUDONYM for keyword in _PSEUDONYMS}
    special |= {_keywords()[keyword]: Op.PATIENT_PSEUDONYM for keyword in _PATIENT_PSEUDONYMS}
    for keyword in _EDITED_SEQUENCES:
        special[_keywords()[keyword]] = Op.KEEP
    special[_keywords()["TextValue"]] = Op.DUMMY
    special[_keywords()["WaveformAnnotationSequence"]] = Op.REMOVE
    special[_keywords()["GraphicAnnotationSequence"]] = Op.REMOVE
    if Profile.CLEAN_GRAPHICS in options:
        special[_keywords()["GraphicAnnotationSequence"]] = Op.KEEP
        special[_keywords()["TextObjectSequence"]] = Op.REMOVE
        special[_keywords()["CompoundGraphicSequence"]] = Op.REMOVE
    if Profile.RETAIN_PATIENT_CHARACTERISTICS in options:
        special[_keywords()["PatientAge"]] = Op.AGE
    return special


def settle(code: str, required: int | None, *, is_sequence: bool) -> Op:
    """Resolve a compound action by what the IOD requires: 1, 2, 0 (nothing) or None (unknown: a nested or private IOD).

    An unknown requirement is met in any case: a dummy stands where one is allowed, since it satisfies type 1, 2 and 3 alike.
    A sequence has no dummy value; it goes, or stays empty where its IOD wants it present (PS3.15 E.1.1).
    """
    letters = code.split("/")
    if is_sequence:
        return Op.EMPTY if required == 2 or "X" not in letters else Op.REMOVE
    if required in (1, None):
        return Op.DUMMY if "D" in letters else Op.EMPTY
    if required == 2 or "X" not in letters:
        return Op.EMPTY if "Z" in letters else Op.DUMMY
    return Op.REMOVE
