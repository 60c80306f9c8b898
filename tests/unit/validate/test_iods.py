"""Attributes that an IOD requires."""

from __future__ import annotations

import io
import time

import pytest
from pydicom.dataset import Dataset

from tests.support.instances import data_set_of, make_instance, real_image_files
from tests.support.peers import skip_unless_ci
from tests.unit.validate.seeded import as_instance, check_bytes, codes, findings, without
from vna.part10 import file_meta
from vna.validate.check import read_instance
from vna.validate.iods import Requirements, load_requirements, requirements_of, use_tables
from vna.validate.rules.modules import type_1_empty, type_1_missing, type_2_missing

CT = "1.2.840.10008.5.1.4.1.1.2"
SEQUENCE, ITEM = 0x00400275, 0x00080100
TABLES: dict[str, Requirements] = {
    CT: {
        0x00080060: ("1", {}),
        0x00100010: ("2", {}),
        0x7FE00010: ("1", {}),
        SEQUENCE: ("", {ITEM: ("1", {})}),
    }
}


@pytest.fixture
def tables() -> None:
    use_tables(TABLES)


@pytest.fixture
def real_tables() -> None:
    if not load_requirements():
        skip_unless_ci("highdicom is not installed: pip install 'vna[objects]'")
    use_tables(load_requirements())


@pytest.mark.usefixtures("tables")
def test_an_object_with_all_it_needs_has_no_finding() -> None:
    assert codes() == set()


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("code", "where", "keywords"),
    [
        ("TYPE1_MISSING", "Modality", {"Modality": None}),
        ("TYPE1_EMPTY", "Modality", {"Modality": ""}),
        ("TYPE2_MISSING", "PatientName", {"PatientName": None}),
    ],
)
def test_what_is_required_is_missed_by_its_type(code: str, where: str, keywords: dict[str, object]) -> None:
    assert [(found.code, found.where) for found in findings(None, **keywords)] == [(code, where)]


@pytest.mark.usefixtures("tables")
def test_an_empty_type_2_attribute_is_all_right() -> None:
    assert codes(None, PatientName="") == set()


@pytest.mark.usefixtures("tables")
def test_a_required_attribute_within_a_sequence_is_missed_in_its_item() -> None:
    def change(ds: Dataset) -> None:
        good, bad = Dataset(), Dataset()
        good.CodeValue = "X"
        ds.RequestAttributesSequence = [good, bad]

    assert [(found.code, found.where) for found in findings(change)] == [
        ("TYPE1_MISSING", "RequestAttributesSequence[2].CodeValue"),
    ]


@pytest.mark.usefixtures("tables")
def test_a_sop_class_without_a_table_is_not_judged() -> None:
    assert codes(without("Modality"), SOPClassUID="1.2.840.113619.4.30") == {"SOP_CLASS_PRIVATE"}


@pytest.mark.usefixtures("real_tables")
def test_the_tables_of_highdicom_know_what_a_ct_image_requires() -> None:
    required = requirements_of(CT)
    assert required[0x00080060][0] == "1", "Modality: type 1 in General Series"
    assert required[0x00080008][0] == "1", "Image Type: type 3 in General Image, type 1 in CT Image"
    assert required[0x00100010][0] == "2"
    missing = {found.where for found in type_1_missing(as_instance(make_instance()))}
    assert {"ImageType", "KVP", "PixelSpacing"} - missing == {"KVP"}, "KVP is type 2"


@pytest.mark.usefixtures("real_tables")
def test_real_objects_are_judged_in_a_tenth_of_a_millisecond() -> None:
    instances = []
    for image in real_image_files(unique=True):
        content = file_meta(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid) + data_set_of(image.path)
        assert "CHECK_FAILED" not in {found.code for found in check_bytes(content).findings}
        instances.append(read_instance(io.BytesIO(content), len(content))[0])
    begun = time.process_time()
    for instance in instances:
        for rule in (type_1_missing, type_1_empty, type_2_missing):
            list(rule(instance))
    assert (time.process_time() - begun) / len(instances) < 0.0005, (
        "0.05 ms were measured; a slow machine may take ten times as long"
    )
