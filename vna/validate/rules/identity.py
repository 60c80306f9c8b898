"""Rules about who and what an object is: its UIDs and its patient.

Missing and malformed SOP, series and study instance UIDs, and a data set that disagrees with its file meta, are found on receipt
(``NO_SOP_INSTANCE_UID``, ``BAD_UID``, ``SOP_MISMATCH``, ...) and again whenever an object is validated.
"""

from __future__ import annotations

from collections.abc import Iterator

from vna.model import Severity
from vna.validate.instance import Instance
from vna.validate.registry import Found, rule

SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
PATIENT_ID = 0x00100020
STUDY_DATE = 0x00080020


@rule("UID_LEVELS", Severity.ERROR, "Study, series and SOP Instance UID are not three different UIDs.", "PS3.3 A.1.2; PS3.5 9")
def uid_levels(instance: Instance) -> Iterator[Found]:
    """Find one UID used for two levels: a peer files such a study under a name that means something else."""
    seen: dict[str, str] = {}
    for keyword, tag in (
        ("StudyInstanceUID", STUDY_INSTANCE_UID),
        ("SeriesInstanceUID", SERIES_INSTANCE_UID),
        ("SOPInstanceUID", SOP_INSTANCE_UID),
    ):
        uid = instance.text(tag)
        if uid and uid in seen:
            yield Found(keyword, (f"equals {seen[uid]}",))
        seen.setdefault(uid, keyword)


@rule("NO_PATIENT_ID", Severity.WARNING, "Patient ID is absent or empty: the study cannot be matched by it.", "PS3.3 C.7.1.1")
def no_patient_id(instance: Instance) -> Iterator[Found]:
    """Find objects without a Patient ID. Type 2: the Standard allows an empty one, matching does not."""
    if not instance.has(PATIENT_ID):
        yield Found("PatientID")


@rule("NO_STUDY_DATE", Severity.INFO, "Study Date is absent or empty: queries by date miss the study.", "PS3.3 C.7.2.1")
def no_study_date(instance: Instance) -> Iterator[Found]:
    """Find studies that any date filter hides (PS3.4 C.2.2.2.5: an empty value matches no range)."""
    if not instance.has(STUDY_DATE):
        yield Found("StudyDate")
