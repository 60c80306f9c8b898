"""Python names of DICOM keywords."""

from __future__ import annotations

import keyword as python_keyword

import pytest
from pydicom._dicom_dict import DicomDictionary

from vna.keywords import python_name


@pytest.mark.parametrize(
    ("keyword", "expected"),
    [
        ("StudyInstanceUID", "study_instance_uid"),
        ("SOPInstanceUID", "sop_instance_uid"),
        ("PatientID", "patient_id"),
        ("KVP", "kvp"),
        ("Rows", "rows"),
        ("OtherPatientIDs", "other_patient_ids"),
        ("OtherPatientIDsSequence", "other_patient_ids_sequence"),
        ("VOILUTSequence", "voi_lut_sequence"),
        ("CTDIvol", "ctdi_vol"),
        ("ReferencedSOPSequence", "referenced_sop_sequence"),
        ("DICOSVersion", "dicos_version"),
    ],
)
def test_a_keyword_is_spelled_in_one_way(keyword: str, expected: str) -> None:
    assert python_name(keyword) == expected


def test_no_two_keywords_of_the_standard_have_the_same_name_and_all_are_names() -> None:
    keywords = {entry[4] for entry in DicomDictionary.values() if entry[4]}
    names = {python_name(keyword) for keyword in keywords}
    assert len(keywords) > 5000
    assert len(names) == len(keywords)
    assert all(name.isidentifier() and not python_keyword.iskeyword(name) and name == name.lower() for name in names)
