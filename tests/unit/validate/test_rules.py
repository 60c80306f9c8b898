"""Every rule finds the defect that it is there for, and nothing else is found."""

from __future__ import annotations

import struct

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tests.support.instances import make_uid
from tests.unit.validate.seeded import Change, codes, findings, raw, set_raw, without

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
BASELINE, LOSSLESS_JPEG, JPEG_2000, RLE = (f"1.2.840.10008.1.2.{n}" for n in ("4.50", "4.70", "4.90", "5"))


def jpeg(
    rows: int = 8,
    columns: int = 8,
    *,
    sof: int = 0xC0,
    bits: int = 8,
    ids: bytes = b"\x01",
    sampling: int = 0x11,
    app: bytes = b"",
) -> bytes:
    """Write the markers of a JPEG frame up to its frame header, which is all that is read."""
    specs = b"".join(bytes((i, sampling if n == 0 else 0x11, 0)) for n, i in enumerate(ids))
    body = struct.pack(">BHHB", bits, rows, columns, len(ids)) + specs
    return b"\xff\xd8" + app + bytes((0xFF, sof)) + struct.pack(">H", len(body) + 2) + body + b"\xff\xda\x00\x02\xff\xd9"


def j2k(rows: int = 8, columns: int = 8, *, bits: int = 12, components: int = 1, mct: int = 0) -> bytes:
    """Write the main header of a JPEG 2000 codestream."""
    size = (
        struct.pack(">HIIIIIIIIH", 0, columns, rows, 0, 0, columns, rows, 0, 0, components) + bytes((bits - 1, 1, 1)) * components
    )
    cod = bytes((0, 0, 0, 1, mct, 5, 4, 4, 0, 1))
    return (
        b"\xff\x4f\xff\x51"
        + struct.pack(">H", len(size) + 2)
        + size
        + b"\xff\x52"
        + struct.pack(">H", len(cod) + 2)
        + cod
        + b"\xff\x90"
    )


ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
ADOBE_YBR = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"

GREY_8 = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
COLOUR = {**GREY_8, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}


def compressed(*frames: bytes, table: bool = True, **keywords: object) -> dict[str, object]:
    """Give the keywords of an encapsulated image."""
    padded = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    return {"PixelData": encapsulate(padded, has_bot=table), **keywords}


def nested(keyword: str, value: bytes) -> Change:
    """Put a bad value into an item of a sequence."""

    def change(ds: Dataset) -> None:
        item = Dataset()
        set_raw(item, keyword, value)
        ds.RequestAttributesSequence = [item]

    return change


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.1.99"])
def test_a_good_image_has_no_finding(syntax: str) -> None:
    assert findings(None, syntax) == []


def test_a_good_big_endian_image_is_only_told_to_be_retired() -> None:
    assert codes(None, "1.2.840.10008.1.2.2") == {"TS_RETIRED"}


VALUES = [
    ("BAD_DATE", raw("StudyDate", b"20241345")),
    ("BAD_DATE", raw("StudyDate", b"00000000")),
    ("BAD_DATE", raw("SeriesDate", b"2004.01.19")),
    ("BAD_DATE", raw("SeriesDate", b"20240101-20240201 ")),
    ("BAD_DATE", raw("StudyTime", b"246060")),
    ("BAD_DATE", raw("StudyTime", b"08:15:00")),
    ("BAD_DATE", raw("AcquisitionDateTime", b"2024013108150x")),
    ("BAD_DATE", nested("ScheduledProcedureStepStartDate", b"20240230")),
    ("BAD_NUMBER", raw("InstanceNumber", b"1e9999")),
    ("BAD_NUMBER", raw("SeriesNumber", b"99999999999 ")),
    ("BAD_NUMBER", raw("SliceThickness", b"NaN;DROP")),
    ("BAD_NUMBER", raw("WindowWidth", b"1,5 ")),
    ("BAD_NUMBER", raw("ImagesInAcquisition", b"\xb2 ")),
    ("BAD_NUMBER", raw("SimpleFrameList", b"\x00\x00\x00\x00\x00\x00", "UL")),
    ("BAD_CODE_STRING", raw("BodyPartExamined", b"Chest ")),
    ("BAD_CODE_STRING", raw("PatientSex", b"f ")),
    ("BAD_AGE", raw("PatientAge", b"45")),
    ("BAD_AGE", raw("PatientAge", b"045X")),
    ("BAD_AE_TITLE", raw("RetrieveAETitle", b"PACS\x07\x08")),
    ("BAD_UID", raw("FrameOfReferenceUID", b"1.02.3")),
    ("UID_ROOT", raw("FrameOfReferenceUID", b"9.8.7.6\0")),
    ("UID_ROOT", raw("FrameOfReferenceUID", b"1.40.1")),
    ("BAD_UID", nested("ReferencedSOPInstanceUID", b"1.2.x\0")),
    ("VALUE_TOO_LONG", raw("StationName", b"A STATION WITH A LONG NAME")),
    ("VALUE_TOO_LONG", raw("BodyPartExamined", b"ABDOMEN AND PELVIS")),
    ("VALUE_TOO_LONG", raw("SliceThickness", b"1.23456789012345678 ")),
    ("BAD_PERSON_NAME", raw("ReferringPhysicianName", b"A^B^C^D^E^F^")),
    ("BAD_PERSON_NAME", raw("ReferringPhysicianName", b"A=B=C=D ")),
    ("BAD_PERSON_NAME", raw("ReferringPhysicianName", b"A" * 66)),
    ("VALUE_MULTIPLICITY", raw("PatientID", b"P1\\P2 ")),
    ("VALUE_MULTIPLICITY", raw("ImagePositionPatient", b"1\\2 ")),
    ("VR_MISMATCH", raw("StationName", b"STATION1", "LO")),
    ("CHARSET", raw("StudyDescription", b"Sch\xe4del ")),
    ("CHARSET_TERM", raw("SpecificCharacterSet", b"ISO_IR 9999 ")),
    ("CHARSET_TERM", raw("SpecificCharacterSet", b"ISO 2022 IR 6 ")),
    ("UNSAFE_TEXT", raw("StudyDescription", b"CT\x0aHEAD ")),
    ("UNSAFE_TEXT", raw("StudyDescription", b"=cmd|' /C calc'!A0")),
    ("UNSAFE_TEXT", raw("StudyDescription", b"${jndi:ldap://x}")),
    ("UNSAFE_TEXT", raw("PatientID", b"../../etc ")),
    ("UNSAFE_TEXT", raw("StudyDescription", "CT \u202ehead".encode())),
    ("DATE_IMPLAUSIBLE", raw("SeriesDate", b"99990101")),
    ("DATE_IMPLAUSIBLE", raw("ContentDate", b"18000101")),
    ("BIRTH_DATE_IMPLAUSIBLE", raw("PatientBirthDate", b"20240301")),
    ("BIRTH_DATE_IMPLAUSIBLE", raw("PatientBirthDate", b"17890714")),
    ("AGE_MISMATCH", raw("PatientAge", b"020Y")),
    ("NO_PATIENT_ID", raw("PatientID", b"")),
    ("NO_PATIENT_ID", without("PatientID")),
    ("NO_STUDY_DATE", raw("StudyDate", b"")),
]


@pytest.mark.parametrize(("code", "change"), VALUES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_bad_value_is_found_by_its_code_and_no_other(code: str, change: Change) -> None:
    assert codes(change) == {code}


@pytest.mark.parametrize(
    "change",
    [
        raw("StudyTime", b"0815"),
        raw("StudyTime", b"081500.123456 "),
        raw("AcquisitionDateTime", b"20240131081500.1+0100 "),
        raw("InstanceNumber", b" +12"),
        raw("SliceThickness", b"-1.5E-3 "),
        raw("WindowWidth", b".5"),
        raw("PatientName", "Müller^Jörg=山田^太郎=やまだ^たろう".encode() + b"^"),
        raw("StudyDescription", ("ä" * 63).encode()),
        raw("ImageComments", b"two\r\nlines"),
        raw("PatientAge", b"054Y"),
        raw("FrameOfReferenceUID", b"1.2.3\0"),
        raw("FrameOfReferenceUID", b"2.25.0"),
    ],
)
def test_an_unusual_value_that_is_right_is_not_found(change: Change) -> None:
    assert codes(change) == set()


def test_text_beyond_ascii_needs_a_character_set() -> None:
    assert codes(raw("PatientName", b"M\xfcller"), SpecificCharacterSet=None) == {"CHARSET_UNDECLARED"}


def test_utf_8_under_a_latin_label_is_suspect() -> None:
    assert codes(raw("PatientName", "Müller^".encode()), SpecificCharacterSet="ISO_IR 100") == {"CHARSET_SUSPECT"}


def test_windows_punctuation_under_a_latin_label_is_suspect() -> None:
    assert codes(raw("StudyDescription", b"\x93CT\x94"), SpecificCharacterSet="ISO_IR 100") == {"CHARSET_SUSPECT"}


def test_one_uid_for_two_levels_is_found() -> None:
    uid = make_uid("same")
    assert codes(None, StudyInstanceUID=uid, SeriesInstanceUID=uid) == {"UID_LEVELS"}


CLASSES = [
    ("SOP_CLASS_UNKNOWN", "1.2.840.10008.5.1.4.1.1.9999"),
    ("SOP_CLASS_PRIVATE", "1.2.840.113619.4.30"),
    ("SOP_CLASS_RETIRED", "1.2.840.10008.5.1.4.1.1.6"),
    ("SOP_CLASS_NOT_STORAGE", "1.2.840.10008.5.1.4.31"),
]


@pytest.mark.parametrize(("code", "sop_class_uid"), CLASSES)
def test_an_odd_sop_class_is_found(code: str, sop_class_uid: str) -> None:
    assert codes(None, SOPClassUID=sop_class_uid) == {code}


def test_a_private_transfer_syntax_is_found_by_the_code_of_the_receipt() -> None:
    assert codes(None, "1.2.840.113619.5.2") == {"TS_UNKNOWN"}


PIXELS = [
    ("PIXEL_SIZE_MISMATCH", {"PixelData": bytes(126)}),
    ("PIXEL_SIZE_MISMATCH", {"NumberOfFrames": 2}),
    ("PIXEL_EXCESS", {"PixelData": bytes(130)}),
    ("NO_PIXEL_DATA", {"PixelData": None}),
    ("PIXEL_ATTR", {"BitsStored": 17, "HighBit": 16}),
    ("PIXEL_ATTR", {"HighBit": 16}),
    ("PIXEL_ATTR", {"PixelRepresentation": 2}),
    ("HIGH_BIT", {"HighBit": 15}),
    ("PHOTOMETRIC_UNKNOWN", {"PhotometricInterpretation": "MONOCHROME3"}),
    ("PHOTOMETRIC_SAMPLES", {"PhotometricInterpretation": "RGB", "PixelData": bytes(128)}),
    ("PLANAR_CONFIGURATION", {**COLOUR, "PlanarConfiguration": None, "PixelData": bytes(192)}),
    ("PALETTE_MISSING", {"PhotometricInterpretation": "PALETTE COLOR"}),
    ("PHOTOMETRIC_SYNTAX", {**COLOUR, "PhotometricInterpretation": "YBR_RCT", "PixelData": bytes(192)}),
]


@pytest.mark.parametrize(("code", "keywords"), PIXELS)
def test_a_wrong_description_of_native_pixels_is_found(code: str, keywords: dict[str, object]) -> None:
    assert codes(None, **keywords) == {code}


GOOD_PIXELS = [
    {**COLOUR, "PixelData": bytes(192)},
    {**COLOUR, "PhotometricInterpretation": "YBR_FULL_422", "PixelData": bytes(128)},
    {**GREY_8, "Rows": 5, "Columns": 5, "PixelData": bytes(26)},
    {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "Rows": 3, "Columns": 3, "PixelData": bytes(2)},
    {"NumberOfFrames": 3, "PixelData": bytes(384)},
]


@pytest.mark.parametrize("keywords", GOOD_PIXELS)
def test_native_pixels_of_the_right_length_are_not_found(keywords: dict[str, object]) -> None:
    assert codes(None, **keywords) == set()


STREAMS = [
    ("FRAMES_MISSING", BASELINE, compressed(jpeg(), NumberOfFrames=2, table=False, **GREY_8)),
    ("OFFSET_TABLE", BASELINE, compressed(jpeg(), jpeg(), NumberOfFrames=1, **GREY_8)),
    ("CODESTREAM_TS", BASELINE, compressed(j2k(bits=8), **GREY_8)),
    ("CODESTREAM_TS", BASELINE, compressed(jpeg(sof=0xC3), **GREY_8)),
    ("CODESTREAM_TS", RLE, compressed(jpeg(), **GREY_8)),
    ("CODESTREAM_TS", JPEG_2000, compressed(b"no codestream at all", **GREY_8)),
    ("CODESTREAM_DIM_MISMATCH", BASELINE, compressed(jpeg(65535, 8), **GREY_8)),
    ("CODESTREAM_DIM_MISMATCH", JPEG_2000, compressed(j2k(8, 9))),
    ("CODESTREAM_BITS", JPEG_2000, compressed(j2k(bits=10))),
    ("CODESTREAM_SAMPLES", BASELINE, compressed(jpeg(ids=b"\1\2\3"), **GREY_8)),
    ("CODESTREAM_SAMPLES", RLE, compressed(struct.pack("<16I", 1, 64, *[0] * 14))),
    ("PHOTOMETRIC_CODESTREAM", BASELINE, compressed(jpeg(ids=b"\1\2\3", app=JFIF), **COLOUR)),
    ("PHOTOMETRIC_CODESTREAM", BASELINE, compressed(jpeg(ids=b"\1\2\3", app=ADOBE_YBR), **COLOUR)),
    ("PHOTOMETRIC_CODESTREAM", BASELINE, compressed(jpeg(ids=b"\1\2\3", sampling=0x21), **COLOUR)),
    (
        "PHOTOMETRIC_CODESTREAM",
        BASELINE,
        compressed(jpeg(ids=b"RGB"), **{**COLOUR, "PhotometricInterpretation": "YBR_FULL"}),
    ),
    (
        "PHOTOMETRIC_CODESTREAM",
        BASELINE,
        compressed(jpeg(ids=b"\1\2\3", app=ADOBE_RGB), **{**COLOUR, "PhotometricInterpretation": "YBR_FULL_422"}),
    ),
    ("PHOTOMETRIC_CODESTREAM", JPEG_2000, compressed(j2k(bits=8, components=3, mct=1), **COLOUR)),
    (
        "CHROMA_SUBSAMPLING",
        BASELINE,
        compressed(jpeg(ids=b"\1\2\3", sampling=0x21), **{**COLOUR, "PhotometricInterpretation": "YBR_FULL"}),
    ),
    ("PHOTOMETRIC_SYNTAX", BASELINE, compressed(jpeg(ids=b"\1\2\3"), **{**COLOUR, "PhotometricInterpretation": "YBR_ICT"})),
]


@pytest.mark.parametrize(("code", "syntax", "keywords"), STREAMS)
def test_frames_that_disagree_with_their_description_are_found(code: str, syntax: str, keywords: dict[str, object]) -> None:
    assert codes(None, syntax, **keywords) == {code}


GOOD_STREAMS = [
    (BASELINE, compressed(jpeg(), jpeg(), NumberOfFrames=2, **GREY_8)),
    (BASELINE, compressed(jpeg(ids=b"\1\2\3", app=ADOBE_RGB), **COLOUR)),
    (BASELINE, compressed(jpeg(ids=b"RGB"), **COLOUR)),
    (BASELINE, compressed(jpeg(ids=b"\1\2\3", sampling=0x21), **{**COLOUR, "PhotometricInterpretation": "YBR_FULL_422"})),
    (LOSSLESS_JPEG, compressed(jpeg(sof=0xC3, bits=16))),
    (LOSSLESS_JPEG, compressed(jpeg(sof=0xC3, ids=b"\1\2\3", app=JFIF), **COLOUR)),
    (JPEG_2000, compressed(j2k())),
    (JPEG_2000, compressed(j2k(bits=8, components=3, mct=1), **{**COLOUR, "PhotometricInterpretation": "YBR_RCT"})),
    (RLE, compressed(struct.pack("<16I", 2, 64, 64, *[0] * 13))),
]


@pytest.mark.parametrize(("syntax", "keywords"), GOOD_STREAMS)
def test_frames_that_agree_with_their_description_are_not_found(syntax: str, keywords: dict[str, object]) -> None:
    assert codes(None, syntax, **keywords) == set()


def test_a_finding_names_the_element_within_its_sequence() -> None:
    (found,) = findings(nested("ScheduledProcedureStepStartDate", b"20240230"))
    assert found.where == "RequestAttributesSequence[1].ScheduledProcedureStepStartDate"
    assert found.values == ("20240230",)


def test_an_object_with_thousands_of_bad_values_keeps_few_places() -> None:
    def change(ds: Dataset) -> None:
        items = []
        for _ in range(500):
            item = Dataset()
            set_raw(item, "ScheduledProcedureStepStartDate", b"20240230")
            items.append(item)
        ds.RequestAttributesSequence = items

    assert len(findings(change)) == 20
