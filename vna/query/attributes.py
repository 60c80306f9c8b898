"""The attributes that can be asked about: at which level each belongs, how it is matched, and where its value is found.

PS3.4 C.6.1.1 and C.6.2.1 (the Query/Retrieve information models); the levels are named as there, so that an instance is an IMAGE.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vna.errors import ConfigError


class Level(StrEnum):
    """A query level, PS3.4 C.6: what one answer describes."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    @property
    def depth(self) -> int:
        """Tell how far below the patient the level is."""
        return list(Level).index(self)


class Kind(StrEnum):
    """How the value of an attribute is matched, which follows from its value representation."""

    UID = "uid"  # UI: a value, or a list of values
    TEXT = "text"  # LO, SH, CS: wildcards; letters count as they are
    NAME = "name"  # PN: wildcards; neither case nor accents count
    DATE = "date"  # DA: ranges
    TIME = "time"  # TM: ranges
    INTEGER = "integer"  # IS, US
    COUNT = "count"  # told and never matched


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: its keyword, its level, how it is matched, and whether it has several values (backslashes between them)."""

    keyword: str
    level: Level
    kind: Kind
    is_multiple: bool = False


UNIQUE_KEYS = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}
"""What identifies an entity of each level, PS3.4 C.6.1.1."""

PAIRED_TIMES = {"StudyDate": "StudyTime", "SeriesDate": "SeriesTime", "ContentDate": "ContentTime"}
"""Dates and times that a combined range takes together, PS3.4 C.2.2.2.5.4."""

_TABLE: dict[Level, dict[Kind, tuple[str, ...]]] = {
    Level.PATIENT: {
        Kind.TEXT: ("PatientID", "IssuerOfPatientID", "PatientSex"),
        Kind.NAME: ("PatientName",),
        Kind.DATE: ("PatientBirthDate",),
        Kind.COUNT: ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"),
    },
    Level.STUDY: {
        Kind.UID: ("StudyInstanceUID", "SOPClassesInStudy"),
        Kind.DATE: ("StudyDate",),
        Kind.TIME: ("StudyTime",),
        Kind.TEXT: ("AccessionNumber", "StudyID", "StudyDescription", "ModalitiesInStudy"),
        Kind.NAME: ("ReferringPhysicianName",),
        Kind.COUNT: ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    },
    Level.SERIES: {
        Kind.UID: ("SeriesInstanceUID", "FrameOfReferenceUID"),
        Kind.TEXT: (
            "Modality",
            "SeriesDescription",
            "BodyPartExamined",
            "ProtocolName",
            "StationName",
            "InstitutionName",
            "Manufacturer",
            "ManufacturerModelName",
        ),
        Kind.INTEGER: ("SeriesNumber",),
        Kind.DATE: ("SeriesDate",),
        Kind.TIME: ("SeriesTime",),
        Kind.COUNT: ("NumberOfSeriesRelatedInstances",),
    },
    Level.IMAGE: {
        Kind.UID: ("SOPInstanceUID", "SOPClassUID", "TransferSyntaxUID"),
        Kind.INTEGER: ("InstanceNumber", "NumberOfFrames", "Rows", "Columns", "BitsAllocated"),
        Kind.DATE: ("ContentDate",),
        Kind.TIME: ("ContentTime",),
        Kind.TEXT: ("ImageType", "PhotometricInterpretation", "LossyImageCompression", "BurnedInAnnotation"),
    },
}
_MULTIPLE = frozenset({"ModalitiesInStudy", "SOPClassesInStudy", "ImageType"})

ATTRIBUTES = {
    keyword: Attribute(keyword, level, kind, keyword in _MULTIPLE)
    for level, kinds in _TABLE.items()
    for kind, keywords in kinds.items()
    for keyword in keywords
}
"""Every attribute by its keyword, level after level."""


def attribute(keyword: str) -> Attribute:
    """Give an attribute by its keyword. Raises ConfigError, with the nearest one, for what cannot be asked about."""
    found = ATTRIBUTES.get(keyword)
    if found is None:
        import difflib

        near = difflib.get_close_matches(keyword, ATTRIBUTES, n=1)
        hint = f"did you mean {near[0]}?" if near else "docs/query.md lists them"
        raise ConfigError(f"the index cannot be asked about {keyword}", hint=hint)
    return found
