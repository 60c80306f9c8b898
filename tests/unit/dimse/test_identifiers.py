"""Identifiers go out as the Standard says and come back as text in every character set."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from vna.dimse import identifiers
from vna.dimse.pdus import ProtocolError
from vna.dimse.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

SYNTAXES = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN]


def encoded(ds: Dataset, syntax: str) -> bytes:
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, syntax == IMPLICIT_VR_LITTLE_ENDIAN
    write_dataset(out, ds)
    return out.getvalue()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_keys_are_encoded_with_level_and_a_question_for_the_character_set(syntax: str) -> None:
    data = identifiers.encode(
        "STUDY", {"StudyDate": "20240101-", "PatientName": "", "StudyInstanceUID": ""}, syntax, asks_charset=True
    )
    ds = read_dataset(BytesIO(data), syntax == IMPLICIT_VR_LITTLE_ENDIAN, True)
    assert ds.QueryRetrieveLevel == "STUDY"
    assert ds.StudyDate == "20240101-"
    assert "SpecificCharacterSet" in ds
    assert not ds.SpecificCharacterSet
    assert not ds.PatientName


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_value_beyond_ascii_is_sent_as_utf_8(syntax: str) -> None:
    data = identifiers.encode("STUDY", {"PatientName": "Äneas*"}, syntax)
    assert identifiers.decode(data, syntax, ["PatientName"]) == {
        "SpecificCharacterSet": "ISO_IR 192",
        "QueryRetrieveLevel": "STUDY",
        "PatientName": "Äneas*",
    }


def test_a_list_of_uids_stays_a_list() -> None:
    data = identifiers.encode("IMAGE", {"SOPInstanceUID": "1.2\\1.3"}, EXPLICIT_VR_LITTLE_ENDIAN)
    assert identifiers.decode(data, EXPLICIT_VR_LITTLE_ENDIAN, ["SOPInstanceUID"])["SOPInstanceUID"] == "1.2\\1.3"


def test_an_unknown_level_is_named() -> None:
    with pytest.raises(ValueError, match="INSTANCE"):
        identifiers.encode("INSTANCE", {}, EXPLICIT_VR_LITTLE_ENDIAN)


def test_an_unknown_keyword_is_named() -> None:
    with pytest.raises(ValueError, match="StudyUID"):
        identifiers.encode("STUDY", {"StudyUID": "1"}, EXPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Buc^Jérôme"),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_names_are_decoded_by_the_responses_character_set(charset: str | list[str], name: str, syntax: str) -> None:
    ds = Dataset()
    ds.SpecificCharacterSet = charset
    ds.PatientName = name
    assert identifiers.decode(encoded(ds, syntax), syntax, ["PatientName"])["PatientName"] == name


@pytest.mark.parametrize(("raw", "text"), [("Jérôme".encode("latin-1"), "Jérôme"), ("山田".encode(), "山田")])
def test_a_missing_character_set_is_guessed(raw: bytes, text: str) -> None:
    raw += b" " * (len(raw) & 1)
    data = struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", len(raw)) + raw
    assert identifiers.decode(data, EXPLICIT_VR_LITTLE_ENDIAN, ["PatientName"]) == {"PatientName": text}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_numbers_lists_and_what_has_no_text(syntax: str) -> None:
    ds = Dataset()
    ds.NumberOfStudyRelatedInstances = "12"
    ds.ModalitiesInStudy = ["CT", "SR"]
    ds.Rows = 512
    ds.ProcedureCodeSequence = [Dataset()]
    ds.add_new(0x00091010, "LO", "private")
    asked = ["NumberOfStudyRelatedInstances", "ModalitiesInStudy", "Rows", "ProcedureCodeSequence", "StudyDate"]
    assert identifiers.decode(encoded(ds, syntax), syntax, asked) == {
        "NumberOfStudyRelatedInstances": "12",
        "ModalitiesInStudy": "CT\\SR",
        "Rows": "512",
    }


@pytest.mark.parametrize(
    ("keys", "level"),
    [
        ({"StudyInstanceUID": "1"}, "STUDY"),
        ({"StudyInstanceUID": "1", "SeriesInstanceUID": "2"}, "SERIES"),
        ({"StudyInstanceUID": "1", "SeriesInstanceUID": "2", "SOPInstanceUID": "3\\4"}, "IMAGE"),
        ({"PatientID": "P"}, "PATIENT"),
        ({"PatientID": "P", "StudyInstanceUID": "1"}, "STUDY"),
    ],
)
def test_the_level_is_that_of_the_deepest_unique_key(keys: dict[str, str], level: str) -> None:
    assert identifiers.level_of(keys) == level


@pytest.mark.parametrize("keys", [{}, {"StudyInstanceUID": ""}, {"AccessionNumber": "A"}])
def test_a_retrieve_without_a_unique_key_is_refused(keys: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="unique key"):
        identifiers.level_of(keys)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_identifier_that_is_cut_off_is_refused(syntax: str) -> None:
    ds = Dataset()
    ds.PatientName = "Secret^Canary"
    ds.StudyDate = "20240101"
    with pytest.raises(ProtocolError, match="IDENTIFIER") as caught:
        identifiers.decode(encoded(ds, syntax)[:-3], syntax, ["PatientName"])
    assert "Secret" not in str(caught.value)


def test_a_sequence_does_not_hide_what_follows_it() -> None:
    ds = Dataset()
    inner = Dataset()
    inner.CodeValue = "1"
    ds.ProcedureCodeSequence = [inner]
    ds.PatientID = "P1"
    data = encoded(ds, EXPLICIT_VR_LITTLE_ENDIAN)
    assert identifiers.decode(data, EXPLICIT_VR_LITTLE_ENDIAN, ["PatientID"]) == {"PatientID": "P1"}


@pytest.mark.parametrize("keys", [{"Rows": "512"}, {"SOPInstanceUID": "\\".join(["1.2.3"] * 20000)}])
def test_what_an_element_cannot_hold_is_refused(keys: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"text|several"):
        identifiers.encode("IMAGE", keys, EXPLICIT_VR_LITTLE_ENDIAN)


@given(st.binary(max_size=120), st.sampled_from(SYNTAXES))
def test_any_bytes_are_decoded_or_refused(data: bytes, syntax: str) -> None:
    try:
        decoded = identifiers.decode(data, syntax, ["PatientName", "StudyDate", "Rows"])
    except ProtocolError:
        return
    assert all(isinstance(value, str) for value in decoded.values())
