"""What an archive holds, and the matching of queries against it (PS3.4 C.2.2.2): pure, without any network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import groupby

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from vna.demo.images import odd_values_allowed
from vna.part10 import file_meta

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE_KEYS = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
KEYS: Mapping[str, tuple[str, ...]] = {
    "PATIENT": ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDs"),
    "STUDY": (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyID",
        "StudyInstanceUID",
        "StudyDescription",
        "ReferringPhysicianName",
        "InstitutionName",
        "TimezoneOffsetFromUTC",
    ),
    "SERIES": (
        "Modality",
        "SeriesNumber",
        "SeriesInstanceUID",
        "SeriesDescription",
        "SeriesDate",
        "SeriesTime",
        "BodyPartExamined",
        "Manufacturer",
        "StationName",
    ),
    "IMAGE": (
        "SOPInstanceUID",
        "SOPClassUID",
        "InstanceNumber",
        "Rows",
        "Columns",
        "NumberOfFrames",
        "ContentDate",
        "ContentTime",
    ),
}
"""The attributes that answers may hold, by the level to which they belong (PS3.4 C.6.1.1)."""

_WILDCARD_VRS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
_RANGE_VRS = {"DA", "TM", "DT"}

Values = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as it was received: the exact encoded data set, and the decoded values of the keys that queries match."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes
    values: Values

    def value(self, keyword: str) -> str:
        """Return the first value of an attribute, or an empty text."""
        return next(iter(self.values.get(keyword, ())), "")


def read_object(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, data_set: bytes) -> StoredObject:
    """Read the keys of a data set. Raises ValueError for what cannot be parsed or has no Study or Series Instance UID."""
    head = file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
    keywords = [keyword for keys in KEYS.values() for keyword in keys]
    with odd_values_allowed():
        ds = pydicom.dcmread(
            BytesIO(head + data_set), specific_tags=["SpecificCharacterSet", *keywords], stop_before_pixels=True, force=True
        )
        values = {keyword: _texts(ds, keyword) for keyword in keywords if keyword in ds}
    values["SOPInstanceUID"], values["SOPClassUID"] = (sop_instance_uid,), (sop_class_uid,)
    if not all(values.get(UNIQUE_KEYS[level]) for level in ("STUDY", "SERIES")):
        raise ValueError("no Study Instance UID or no Series Instance UID")
    return StoredObject(sop_class_uid, sop_instance_uid, transfer_syntax_uid, data_set, values)


def _texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    try:
        value = ds[keyword].value
    except (ValueError, OverflowError):  # a number that is none: stored, but not to be found by it
        return ()
    many = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    return tuple(text for text in (str(item).strip(" \0") for item in many if item is not None) if text)


class Catalogue:
    """Objects by SOP Instance UID, in the order in which they came. Not thread-safe: the PACS holds a lock."""

    def __init__(self) -> None:
        self._objects: dict[str, StoredObject] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, sop_instance_uid: object) -> bool:
        return sop_instance_uid in self._objects

    def __iter__(self) -> Iterator[StoredObject]:
        return iter(list(self._objects.values()))

    def add(self, stored: StoredObject) -> None:
        """Keep an object; another one with the same SOP Instance UID is replaced."""
        self._objects[stored.sop_instance_uid] = stored

    def objects(self) -> dict[str, StoredObject]:
        """Return everything by SOP Instance UID."""
        return dict(self._objects)

    def find(self, level: str, keys: Mapping[str, str], hidden: frozenset[str] = frozenset()) -> list[dict[str, str]]:
        """Answer a query: one mapping of keyword to text for each match, holding the keys that were asked for.

        Values of one attribute are joined by backslashes. An attribute that is unknown here is left out of the answer.
        """
        visible = [stored for stored in self._objects.values() if stored.sop_instance_uid not in hidden]
        answers = []
        for group in _entities(level, visible):
            values = {**group[0].values, **_derived(level, group)}
            if all(matches(keyword, key, values.get(keyword, ())) for keyword, key in keys.items() if _is_known(keyword, level)):
                answers.append({keyword: "\\".join(values.get(keyword, ())) for keyword in keys if _is_known(keyword, level)})
        return answers

    def select(self, keys: Mapping[str, str]) -> list[StoredObject]:
        """List the objects that a retrieve names by its unique keys, each a value or a list of them (PS3.4 C.4.2.2.1)."""
        wanted = {keyword: set(key.split("\\")) for keyword, key in keys.items() if keyword in UNIQUE_KEYS.values() and key}
        if not wanted:
            return []
        return [stored for stored in self if all(stored.value(keyword) in uids for keyword, uids in wanted.items())]


def missing_unique_keys(level: str, keys: Mapping[str, str], *, patient_root: bool) -> list[str]:
    """List the unique keys above ``level`` that a hierarchical query must give one value of and does not (PS3.4 C.4.1.3.1.1)."""
    first = 0 if patient_root else 1
    above = LEVELS[first : LEVELS.index(level)]
    return [UNIQUE_KEYS[name] for name in above if not keys.get(UNIQUE_KEYS[name]) or "\\" in keys[UNIQUE_KEYS[name]]]


def _entities(level: str, objects: Iterable[StoredObject]) -> list[list[StoredObject]]:
    """Group objects into the patients, studies, series or images that they belong to."""
    names = [UNIQUE_KEYS[name] for name in LEVELS[1 : LEVELS.index(level) + 1]] or ["PatientID"]

    def path(stored: StoredObject) -> tuple[str, ...]:
        return tuple(stored.value(name) for name in names)

    return [list(group) for _, group in groupby(sorted(objects, key=path), key=path)]


_DERIVED = {
    "PATIENT": ("NumberOfPatientRelatedStudies", "NumberOfPatientRelatedInstances"),
    "STUDY": ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy", "SOPClassesInStudy"),
    "SERIES": ("NumberOfSeriesRelatedInstances",),
    "IMAGE": ("AvailableTransferSyntaxUID",),
}


def _derived(level: str, group: list[StoredObject]) -> dict[str, tuple[str, ...]]:
    """Count what a patient, study or series holds; other levels have nothing of it."""

    def distinct(keyword: str) -> tuple[str, ...]:
        return tuple(sorted({stored.value(keyword) for stored in group} - {""}))

    if level == "PATIENT":
        return {
            "NumberOfPatientRelatedStudies": (str(len(distinct("StudyInstanceUID"))),),
            "NumberOfPatientRelatedInstances": (str(len(group)),),
        }
    if level == "STUDY":
        return {
            "NumberOfStudyRelatedSeries": (str(len(distinct("SeriesInstanceUID"))),),
            "NumberOfStudyRelatedInstances": (str(len(group)),),
            "ModalitiesInStudy": distinct("Modality"),
            "SOPClassesInStudy": distinct("SOPClassUID"),
        }
    if level == "SERIES":
        return {"NumberOfSeriesRelatedInstances": (str(len(group)),)}
    return {"AvailableTransferSyntaxUID": (group[0].transfer_syntax_uid,)}


def _is_known(keyword: str, level: str) -> bool:
    """Whether an attribute may appear in an answer of this level: its own or that of a level above."""
    return keyword in _DERIVED[level] or any(keyword in KEYS[name] for name in LEVELS[: LEVELS.index(level) + 1])


def matches(keyword: str, key: str, values: tuple[str, ...]) -> bool:
    """Match one key (PS3.4 C.2.2.2): universal, list of UIDs, range, wildcard, single value; any value of several may match.

    Names match without regard to case. An empty date or time matches no range.
    """
    if not key or key == "*":
        return True
    vr = "CS" if keyword == "ModalitiesInStudy" else _vr(keyword)
    if vr == "UI":
        return any(value in key.split("\\") for value in values)
    if vr in _RANGE_VRS and "-" in key.lstrip("-+"):
        low, _, high = key.partition("-")
        return any(_in_range(vr, value, low, high) for value in values)
    if vr in _RANGE_VRS and key.startswith("-"):
        return any(_in_range(vr, value, "", key[1:]) for value in values)
    if vr in ("DA", "TM"):
        return any(_in_range(vr, value, key, key) for value in values)
    pattern = _pattern(key, is_wild=vr in _WILDCARD_VRS, ignore_case=vr == "PN")
    return any(pattern.fullmatch(value) for value in values)


@lru_cache(maxsize=4096)
def _vr(keyword: str) -> str:
    return dictionary_VR(keyword)


@lru_cache(maxsize=1024)
def _pattern(key: str, *, is_wild: bool, ignore_case: bool) -> re.Pattern[str]:
    text = re.escape(key)
    if is_wild:
        text = text.replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(text, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _in_range(vr: str, value: str, low: str, high: str) -> bool:
    """Compare dates and times as text of full length: an end that names no seconds includes that whole minute."""
    if vr == "DA":
        value = value.replace(".", "")  # the form of ACR-NEMA (PS3.5 6.2)
    if vr == "TM":
        value, low = _time(value, "000000.000000"), _time(low, "000000.000000")
        high = _time(high, "235959.999999") if high else ""
    return (not low or low <= value) and (not high or value <= high)


def _time(text: str, rest: str) -> str:
    digits = text.replace(":", "").strip()
    return digits + rest[len(digits) :]
