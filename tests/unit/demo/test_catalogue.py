"""What queries match, by PS3.4 C.2.2.2."""

from __future__ import annotations

import pytest

from tests.support.instances import data_set_bytes, make_instance, make_study
from vna.demo.catalogue import Catalogue, matches, missing_unique_keys, read_object


def _catalogue(*instances: object) -> Catalogue:
    catalogue = Catalogue()
    for ds in instances:
        syntax = str(ds.file_meta.TransferSyntaxUID)  # type: ignore[attr-defined]
        uids = (str(ds.SOPClassUID), str(ds.SOPInstanceUID))  # type: ignore[attr-defined]
        catalogue.add(read_object(*uids, syntax, data_set_bytes(ds)))  # type: ignore[arg-type]
    return catalogue


@pytest.mark.parametrize(
    ("keyword", "key", "values", "expected"),
    [
        ("PatientID", "", (), True),
        ("PatientID", "*", (), True),
        ("PatientID", "A1", ("A1",), True),
        ("PatientID", "a1", ("A1",), False),
        ("PatientID", "A?", ("A1",), True),
        ("PatientID", "A.", ("A1",), False),
        ("PatientName", "müller*", ("Müller^Jörg",), True),
        ("StudyInstanceUID", "1.2\\1.3", ("1.3",), True),
        ("StudyInstanceUID", "1.*", ("1.3",), False),
        ("StudyDate", "20240101-20240131", ("20240131",), True),
        ("StudyDate", "20240101-20240131", ("20240201",), False),
        ("StudyDate", "20240101-", ("20240201",), True),
        ("StudyDate", "-20240101", ("20231231",), True),
        ("StudyDate", "-20240101", ("20240102",), False),
        ("StudyDate", "20240101-20240131", (), False),
        ("StudyDate", "20240119", ("2024.01.19",), True),
        ("StudyTime", "000000-235959.999999", ("235959.9",), True),
        ("StudyTime", "08-0930", ("093059.5",), True),
        ("StudyTime", "08-0930", ("0931",), False),
        ("StudyTime", "000000-235959.999999", (), False),
        ("ModalitiesInStudy", "MR", ("CT", "MR"), True),
        ("ModalitiesInStudy", "US", ("CT", "MR"), False),
    ],
)
def test_one_key_matches_by_its_value_representation(keyword: str, key: str, values: tuple[str, ...], expected: bool) -> None:
    assert matches(keyword, key, values) is expected


def test_each_level_answers_once_for_each_of_its_entities() -> None:
    catalogue = _catalogue(*make_study(3, series=2), *make_study(1, PatientID="P2"))
    study = {"StudyInstanceUID": "", "NumberOfStudyRelatedInstances": "", "NumberOfStudyRelatedSeries": ""}
    counts = sorted(answer["NumberOfStudyRelatedInstances"] for answer in catalogue.find("STUDY", study))
    assert counts == ["1", "6"]
    assert len(catalogue.find("SERIES", {"SeriesInstanceUID": ""})) == 3
    assert len(catalogue.find("IMAGE", {"SOPInstanceUID": ""})) == 7
    assert len(catalogue.find("PATIENT", {"PatientID": ""})) == 2


def test_an_answer_holds_the_asked_keys_of_its_level_and_those_above_only() -> None:
    catalogue = _catalogue(make_instance(Modality="CT"))
    (answer,) = catalogue.find(
        "STUDY", {"PatientName": "", "StudyDate": "", "Modality": "", "SOPInstanceUID": "", "PatientAge": ""}
    )
    assert answer == {"PatientName": "Test^Generated", "StudyDate": "20240131"}


def test_a_study_without_a_date_is_found_by_no_date_range() -> None:
    catalogue = _catalogue(make_instance(StudyDate=""))
    assert catalogue.find("STUDY", {"StudyDate": "19000101-29991231"}) == []
    assert len(catalogue.find("STUDY", {"StudyDate": ""})) == 1


def test_names_of_any_character_set_are_text() -> None:
    catalogue = _catalogue(make_instance(SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг"))
    (answer,) = catalogue.find("STUDY", {"PatientName": "люк*"})
    assert answer["PatientName"] == "Люкceмбypг"


def test_a_retrieve_selects_by_lists_of_unique_keys() -> None:
    images = make_study(3)
    catalogue = _catalogue(*images)
    uids = [str(ds.SOPInstanceUID) for ds in images[:2]]
    selected = catalogue.select({"StudyInstanceUID": str(images[0].StudyInstanceUID), "SOPInstanceUID": "\\".join(uids)})
    assert [stored.sop_instance_uid for stored in selected] == uids
    assert catalogue.select({"PatientName": "Test*"}) == []


def test_a_hierarchical_query_needs_one_value_of_every_unique_key_above() -> None:
    assert missing_unique_keys("STUDY", {}, patient_root=False) == []
    assert missing_unique_keys("STUDY", {}, patient_root=True) == ["PatientID"]
    assert missing_unique_keys("IMAGE", {"StudyInstanceUID": "1\\2"}, patient_root=False) == [
        "StudyInstanceUID",
        "SeriesInstanceUID",
    ]


def test_what_has_no_study_cannot_be_filed() -> None:
    with pytest.raises(ValueError, match="no Study Instance UID"):
        _catalogue(make_instance(StudyInstanceUID=None))
