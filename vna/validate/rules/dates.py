"""Rules about dates that are written well and cannot be true."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from vna.model import Severity
from vna.validate.instance import Instance, name_of
from vna.validate.registry import Found, rule
from vna.validate.rules.values import is_date

STUDY_DATE = 0x00080020
SERIES_DATE = 0x00080021
ACQUISITION_DATE = 0x00080022
CONTENT_DATE = 0x00080023
PATIENT_BIRTH_DATE = 0x00100030
PATIENT_AGE = 0x00101010

FIRST_XRAY = date(1895, 11, 8)
OLDEST = timedelta(days=130 * 366)
_DAYS = {"D": 1.0, "W": 7.0, "M": 30.44, "Y": 365.25}


def day_of(instance: Instance, tag: int) -> date | None:
    """Read a DA value; None where it is absent or no date."""
    text = instance.text(tag)
    return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if text and is_date(text) else None


@rule(
    "DATE_IMPLAUSIBLE",
    Severity.WARNING,
    "A date lies in the future, or before the first X-ray image.",
    "PS3.3 C.7.2.1",
)
def date_implausible(instance: Instance) -> Iterator[Found]:
    """Find study, series, acquisition and content dates after tomorrow or before 8 November 1895."""
    latest = datetime.now(UTC).date() + timedelta(days=1)
    for tag in (STUDY_DATE, SERIES_DATE, ACQUISITION_DATE, CONTENT_DATE):
        day = day_of(instance, tag)
        if day is not None and not FIRST_XRAY <= day <= latest:
            yield Found(name_of(tag), (day.isoformat(),))


@rule(
    "BIRTH_DATE_IMPLAUSIBLE",
    Severity.WARNING,
    "The birth date does not go with the study date.",
    "PS3.3 C.7.1.1",
)
def birth_date_implausible(instance: Instance) -> Iterator[Found]:
    """Find birth dates that do not go with the study date: a typing error, or another patient."""
    born, day = day_of(instance, PATIENT_BIRTH_DATE), day_of(instance, STUDY_DATE)
    if born is None or day is None:
        return
    if born > day:
        yield Found("PatientBirthDate", ("after the study",))
    elif day - born > OLDEST:
        yield Found("PatientBirthDate", ("over 130 years before the study",))


@rule("AGE_MISMATCH", Severity.INFO, "The age is not that between birth date and study date.", "PS3.3 C.7.2.2")
def age_mismatch(instance: Instance) -> Iterator[Found]:
    """Find ages off by more than a year and a tenth: often a sign of two patients' data in one object."""
    born, day = day_of(instance, PATIENT_BIRTH_DATE), day_of(instance, STUDY_DATE)
    age = instance.text(PATIENT_AGE)
    if born is None or day is None or len(age) != 4 or not age[:3].isdecimal() or age[3] not in _DAYS:
        return
    stated, computed = int(age[:3]) * _DAYS[age[3]], (day - born).days
    if computed >= 0 and abs(stated - computed) > 366 + 0.1 * computed:
        yield Found("PatientAge", (f"{abs(stated - computed) / 365.25:.0f} years apart",))
