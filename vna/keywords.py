"""DICOM keywords and the Python names made of them, by one mechanical rule.

``StudyInstanceUID`` is ``study_instance_uid`` in Python and ``StudyInstanceUID`` in a Parquet column; nothing invents a third
form. The rule holds without collision over all keywords of PS3.6; :data:`EXCEPTIONS` lists the few that it would make ugly.
"""

from __future__ import annotations

import re

EXCEPTIONS = {
    "OtherPatientIDs": "other_patient_ids",
    "OtherPatientIDsSequence": "other_patient_ids_sequence",
    "VOILUTSequence": "voi_lut_sequence",
    "VOILUTFunction": "voi_lut_function",
    "CTDIvol": "ctdi_vol",
}
"""Keyword -> Python name, where the mechanical rule gives something nobody would write."""

_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def python_name(keyword: str) -> str:
    """Spell a DICOM keyword as a Python name: ``SOPInstanceUID`` -> ``sop_instance_uid``."""
    return EXCEPTIONS.get(keyword) or _BOUNDARY.sub("_", keyword).lower()
