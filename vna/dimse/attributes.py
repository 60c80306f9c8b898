"""The attributes of queries and retrieves: keyword, tag and value representation (PS3.6).

Those that are asked for again and again are written out, so that a command need not import a whole data dictionary for them; a
test compares them with pydicom's, which knows all others.
"""

from __future__ import annotations

from typing import Final

USUAL: Final = (
    ("SpecificCharacterSet", 0x00080005, "CS"),
    ("SOPClassUID", 0x00080016, "UI"),
    ("SOPInstanceUID", 0x00080018, "UI"),
    ("StudyDate", 0x00080020, "DA"),
    ("SeriesDate", 0x00080021, "DA"),
    ("StudyTime", 0x00080030, "TM"),
    ("SeriesTime", 0x00080031, "TM"),
    ("AccessionNumber", 0x00080050, "SH"),
    ("QueryRetrieveLevel", 0x00080052, "CS"),
    ("RetrieveAETitle", 0x00080054, "AE"),
    ("InstanceAvailability", 0x00080056, "CS"),
    ("FailedSOPInstanceUIDList", 0x00080058, "UI"),
    ("Modality", 0x00080060, "CS"),
    ("ModalitiesInStudy", 0x00080061, "CS"),
    ("ReferringPhysicianName", 0x00080090, "PN"),
    ("TimezoneOffsetFromUTC", 0x00080201, "SH"),
    ("StudyDescription", 0x00081030, "LO"),
    ("SeriesDescription", 0x0008103E, "LO"),
    ("PatientName", 0x00100010, "PN"),
    ("PatientID", 0x00100020, "LO"),
    ("IssuerOfPatientID", 0x00100021, "LO"),
    ("PatientBirthDate", 0x00100030, "DA"),
    ("PatientSex", 0x00100040, "CS"),
    ("OtherPatientIDs", 0x00101000, "LO"),
    ("BodyPartExamined", 0x00180015, "CS"),
    ("StudyInstanceUID", 0x0020000D, "UI"),
    ("SeriesInstanceUID", 0x0020000E, "UI"),
    ("StudyID", 0x00200010, "SH"),
    ("SeriesNumber", 0x00200011, "IS"),
    ("InstanceNumber", 0x00200013, "IS"),
    ("NumberOfStudyRelatedSeries", 0x00201206, "IS"),
    ("NumberOfStudyRelatedInstances", 0x00201208, "IS"),
    ("NumberOfSeriesRelatedInstances", 0x00201209, "IS"),
)
"""Keyword, tag, value representation (PS3.4 C.4, C.6)."""

_TAGS: Final = {keyword: tag for keyword, tag, _ in USUAL}
_VRS: Final = {tag: vr for _, tag, vr in USUAL}
_KEYWORDS: Final = {tag: keyword for keyword, tag, _ in USUAL}


def tag_of(keyword: str) -> int:
    """Give the tag of a keyword. Raises ValueError where the dictionary does not know it."""
    tag: int | None = _TAGS.get(keyword)
    if tag is None:
        from pydicom.datadict import tag_for_keyword

        tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword!r} is no DICOM keyword")
    return tag


def vr_of(tag: int) -> str:
    """Give the value representation of a tag of the dictionary; "US or SS" and the like where it has several."""
    vr = _VRS.get(tag)
    if vr is None:
        from pydicom.datadict import dictionary_VR

        vr = dictionary_VR(tag)
    return vr


def keyword_of(tag: int) -> str:
    """Give the keyword of a tag of the dictionary."""
    keyword = _KEYWORDS.get(tag)
    if keyword is None:
        from pydicom.datadict import keyword_for_tag

        keyword = keyword_for_tag(tag)
    return keyword
