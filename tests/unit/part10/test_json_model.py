"""The DICOM JSON Model, both ways, against pydicom's own."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from tests.unit.part10.test_edit import BY_US, header_of, read, real_headers, sample
from vna.part10.edit import Change, edit_header
from vna.part10.elements import EXPLICIT_LE, encoding_of
from vna.part10.json_model import element_json, json_values
from vna.part10.raw import read_elements

_NOT_COMPARED = {"IS", "DS", "UN"}  # pydicom makes numbers of decimal text, and cleans what is private


def test_real_elements_come_out_as_pydicom_writes_them() -> None:
    compared = 0
    for path, raw, start, pixels, syntax in real_headers():
        elements = read_elements(raw[start:pixels], encoding_of(syntax))
        charset = next((each.value.rstrip(b" \0") for each in elements if each.tag == 0x00080005), b"")
        theirs = pydicom.dcmread(path)
        for element in elements:
            if element.tag & 0x10000 or element.tag & 0xFFFF == 0 or theirs[element.tag].VR in _NOT_COMPARED | {"SQ"}:
                continue
            ours = element_json(element, encoding_of(syntax), charset)
            expected = theirs[element.tag].to_json_dict(None, 1 << 20)
            if ours["vr"] == expected["vr"] and not _has_padding(expected):
                assert ours == expected, (Path(path).name, element.tag)
                compared += 1
    assert compared > 2500


def _has_padding(expected: dict[str, object]) -> bool:
    return any(value is None or (isinstance(value, str) and value != value.rstrip(" \0")) for value in expected.get("Value", []))


@pytest.mark.parametrize("keyword", ["RequestAttributesSequence", "PatientName", "PixelSpacing", "Rows", "FrameIncrementPointer"])
def test_what_json_says_can_be_set_again(keyword: str) -> None:
    request = pydicom.Dataset()
    request.RequestedProcedureID, request.PatientName = "RP1", "Inner^Name"
    source = sample(
        RequestAttributesSequence=pydicom.Sequence([request, request]),
        PatientName="Yamada^Tarou=山田^太郎",
        SpecificCharacterSet="ISO_IR 192",
        PixelSpacing=["0.5", "0.5"],
        Rows=7,
        FrameIncrementPointer=0x00181063,
    )
    tag = int(pydicom.datadict.tag_for_keyword(keyword) or 0)
    element = next(each for each in read_elements(header_of(source), EXPLICIT_LE) if each.tag == tag)
    model = element_json(element, EXPLICIT_LE, b"ISO_IR 192")
    bare = sample(SpecificCharacterSet="ISO_IR 192")
    edited = edit_header(header_of(bare), EXPLICIT_LE, [Change((tag,), model["vr"], json_values(model))], BY_US)
    assert read(edited.data)[tag] == source[tag]
