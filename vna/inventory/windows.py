"""Windows: which part of a source's studies one C-FIND asks for, and how a window is cut into smaller ones.

StudyDate and StudyTime ranges match independently of each other (PS3.4 C.2.2.2.5), so time is used only inside one day. Ranges
include both ends; the halves of a window are disjoint down to the microsecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from string import ascii_lowercase, ascii_uppercase, digits

DAY_S = 24 * 3600
FIRST_DAY = date(1900, 1, 1)
MODALITIES = (
    *("AR", "AU", "BI", "BMD", "CR", "CT", "DG", "DOC", "DX", "ECG", "EPS", "ES", "GM", "HC", "HD", "IO", "IVUS", "KO", "LS"),
    *("M3D", "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPT", "OPV", "OSS", "OT", "PR", "PT", "PX", "REG", "RESP", "RF"),
    *("RG", "RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD", "RTSTRUCT", "SC", "SEG", "SM", "SMR", "SR", "SRF", "STAIN", "TG", "US"),
    *("VA", "XA", "XC"),
)
"""Defined terms of Modality (PS3.3 C.7.3.1.1.1) that a split by modality asks for, besides those that were seen."""

_PREFIX_CHARACTERS = digits + ascii_uppercase + ascii_lowercase + " -_./+#^:"
_LONGEST_PREFIX = 16
_MATCHING = "*?\\"


@dataclass(frozen=True, slots=True)
class Window:
    """A set of studies, by the matching keys that name it.

    Without ``first`` and ``last`` and with ``dated`` the window is open on that side; without ``dated`` there is no date key at
    all, so that studies without a StudyDate match too. Times are whole seconds of the day; ``last_s`` includes its second.
    """

    dated: bool = False
    first: date | None = None
    last: date | None = None
    first_s: int = 0
    last_s: int = DAY_S - 1
    prefix: str = ""
    is_exact: bool = False
    modality: str = ""

    def __str__(self) -> str:
        return self.text()

    @property
    def is_one_day(self) -> bool:
        """Whether the window is within one day."""
        return self.dated and self.first is not None and self.first == self.last

    @property
    def is_timed(self) -> bool:
        """Whether the window has a StudyTime key, which studies without a StudyTime never match."""
        return self.is_one_day and (self.first_s, self.last_s) != (0, DAY_S - 1)

    def keys(self) -> dict[str, str]:
        """Give the matching keys of the identifier; what is not restricted is left out (universal matching)."""
        keys: dict[str, str] = {}
        if self.dated:
            keys["StudyDate"] = self._dates()
        if self.is_timed:
            # No fraction in front: "120000" is below "120000.000000" where a source compares text.
            keys["StudyTime"] = f"{_time(self.first_s)}-{_time(self.last_s)}.999999"
        if self.prefix:
            keys["PatientID"] = self.prefix if self.is_exact else f"{self.prefix}*"
        if self.modality:
            keys["ModalitiesInStudy"] = self.modality
        return keys

    def text(self) -> str:
        """Describe the window for evidence: its keys, but of a PatientID only how many characters were given."""
        parts = [f"{keyword}={value}" for keyword, value in self.keys().items() if keyword != "PatientID"]
        if self.prefix:
            parts.append(f"PatientID={'exact' if self.is_exact else 'prefix'} of {len(self.prefix)} characters")
        return " ".join(parts) or "everything"

    def admits(self, record: Mapping[str, str]) -> bool:
        """Say whether a record matches the keys, as far as it has their attributes: a source may ignore keys."""
        day, seconds, patient = record.get("StudyDate", ""), record.get("StudyTime", ""), record.get("PatientID", "")
        modalities = record.get("ModalitiesInStudy", "").split("\\")
        if self.dated and day and not ((_day(self.first) or day) <= day <= (_day(self.last) or day)):
            return False
        if self.is_timed and seconds and not _time(self.first_s) <= seconds[:6].ljust(6, "0") <= _time(self.last_s):
            return False
        if self.prefix and patient and not patient.strip().casefold().startswith(self.prefix.strip().casefold()):
            return False
        return not self.modality or not any(modalities) or self.modality in modalities

    def date_halves(self) -> tuple[Window, ...]:
        """Cut a range of at least two days in two, or every date there is; nothing for a single day."""
        first, last = self.first or date.min, self.last or date.max
        if first >= last:
            return ()
        middle = first + (last - first) // 2
        return replace(self, dated=True, last=middle), replace(self, dated=True, first=middle + timedelta(days=1))

    def time_halves(self) -> tuple[Window, ...]:
        """Cut a day, or a part of one, in two; nothing for a range of days and for a single second."""
        if not self.is_one_day or self.first_s >= self.last_s:
            return ()
        middle = (self.first_s + self.last_s) // 2
        return replace(self, last_s=middle), replace(self, first_s=middle + 1)

    def prefixes(self, seen: Iterable[str]) -> tuple[Window, ...]:
        """Cut by the next character of PatientID; ``seen`` are PatientIDs known to be in the window.

        Studies without a PatientID are in none of the parts.
        """
        if self.is_exact or len(self.prefix) >= _LONGEST_PREFIX:
            return ()
        at = len(self.prefix)
        known = sorted({value[at] for value in seen if len(value) > at and value.startswith(self.prefix)} - set(_MATCHING))
        characters = dict.fromkeys([*known, *_PREFIX_CHARACTERS])
        parts = [replace(self, prefix=self.prefix + character) for character in characters if at or character != " "]
        return (*((replace(self, is_exact=True),) if self.prefix else ()), *parts)

    def by_modality(self, seen: Iterable[str]) -> tuple[Window, ...]:
        """Cut by ModalitiesInStudy; parts may overlap, and studies without a modality are in none."""
        if self.modality:
            return ()
        return tuple(replace(self, modality=modality) for modality in dict.fromkeys([*sorted(seen), *MODALITIES]))

    def _dates(self) -> str:
        if self.first is not None and self.first == self.last:
            return _day(self.first)
        return f"{_day(self.first)}-{_day(self.last)}"


EVERYTHING = Window()
"""Universal matching: the only window in which a study without a StudyDate can be seen."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A way to cut a window. ``covers`` says that the parts hold all of it; else studies without ``attribute`` are in none."""

    name: str
    attribute: str
    parts: tuple[Window, ...]
    covers: bool


def partitions(window: Window, patient_ids: Iterable[str], modalities: Iterable[str]) -> list[Partition]:
    """List the ways to cut a window, the cheapest and surest first; the values are those known to be in it.

    A window by modality is not cut further, and one by patient only by more of the PatientID until that is whole: cutting every
    part by everything else as well would ask the same question again and again.
    """
    if window.modality:
        return []
    by_patient = Partition("patient", "PatientID", window.prefixes(patient_ids), covers=bool(window.prefix))
    by_modality = Partition("modality", "ModalitiesInStudy", window.by_modality(modalities), covers=False)
    by_date = Partition("date", "StudyDate", window.date_halves(), covers=window.dated)
    by_time = Partition("time", "StudyTime", window.time_halves(), covers=window.is_timed)
    ways = [by_patient] if window.prefix and not window.is_exact else [by_date, by_time, by_patient, by_modality]
    return [way for way in ways if way.parts]


def dated_windows(today: date) -> tuple[Window, ...]:
    """Cover every date: all before 1900, from 1900 to tomorrow, and whatever lies in the future."""
    tomorrow = today + timedelta(days=1)
    return (
        Window(dated=True, last=FIRST_DAY - timedelta(days=1)),
        Window(dated=True, first=FIRST_DAY, last=tomorrow),
        Window(dated=True, first=tomorrow + timedelta(days=1)),
    )


def _day(day: date | None) -> str:
    return "" if day is None else f"{day.year:04d}{day.month:02d}{day.day:02d}"


def _time(seconds: int) -> str:
    return f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"
