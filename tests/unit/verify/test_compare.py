"""Two data sets are the same if they say the same, whatever their encoding; every difference is named without its value."""

from __future__ import annotations

import copy
import zlib
from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from tests.support.instances import data_set_of, make_instance, real_image_files
from vna.part10 import file_meta
from vna.verify.compare import UNREADABLE, differences, joined


def encoded(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> BytesIO:
    """Encode a data set in a transfer syntax, as a canonical file."""
    if syntax == ExplicitVRBigEndian:  # pydicom writes the words of OW as they are
        ds = copy.deepcopy(ds)
        for element in ds.iterall():
            if element.VR == "OW":
                element.value = b"".join(element.value[at : at + 2][::-1] for at in range(0, len(element.value), 2))
    buffer = DicomBytesIO()
    buffer.is_little_endian = syntax != ExplicitVRBigEndian
    buffer.is_implicit_VR = syntax == ImplicitVRLittleEndian
    write_dataset(buffer, ds)
    data = buffer.getvalue()
    if syntax == DeflatedExplicitVRLittleEndian:
        deflate = zlib.compressobj(wbits=-15)
        data = deflate.compress(data) + deflate.flush()
    return BytesIO(file_meta(str(ds.SOPClassUID), str(ds.SOPInstanceUID), syntax) + data)


def rich() -> Dataset:
    """Make an instance with sequences, private elements, numbers and text."""
    ds = make_instance(PatientName="Müller^Jürgen", ImageType=["ORIGINAL", "PRIMARY"], PixelSpacing=["0.5", "0.50"])
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.3", "1.2.3.4"
    nested = Dataset()
    nested.CodeMeaning = "Schädel"
    item.PurposeOfReferenceCodeSequence = Sequence([nested])
    ds.ReferencedImageSequence = Sequence([item, copy.deepcopy(item)])
    block = ds.private_block(0x0029, "ACME 1", create=True)
    block.add_new(0x01, "LO", "secret")
    block.add_new(0x02, "OW", b"\x01\x02\x03\x04")
    ds.RescaleSlope = "1.0"
    ds.add_new(0x00189087, "FD", 1.5)
    return ds


def compare(a: Dataset, b: Dataset, one: str = ExplicitVRLittleEndian, two: str = ExplicitVRLittleEndian) -> tuple[str, ...]:
    return differences(encoded(a, one), encoded(b, two))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_another_encoding_of_the_same_is_no_difference(syntax: str) -> None:
    assert compare(rich(), rich(), two=syntax) == ()


def test_undefined_lengths_are_no_difference() -> None:
    other = rich()
    other["ReferencedImageSequence"].is_undefined_length = True
    for item in other.ReferencedImageSequence:
        item.is_undefined_length_sequence_item = True
    assert encoded(rich()).getvalue() != encoded(other).getvalue()
    assert compare(rich(), other) == ()


def test_group_lengths_and_trailing_padding_are_no_difference() -> None:
    other = rich()
    other.add_new(0x00080000, "UL", 1234)
    other.add_new(0xFFFCFFFC, "OB", b"\0" * 10)
    assert compare(rich(), other) == ()


def test_another_character_set_of_the_same_text_is_no_difference() -> None:
    latin, unicode = rich(), rich()
    latin.SpecificCharacterSet = "ISO_IR 100"
    assert encoded(latin).getvalue() != encoded(unicode).getvalue()
    assert compare(latin, unicode) == ()


def test_the_same_bytes_in_another_character_set_are_a_difference() -> None:
    unicode = rich()
    data = encoded(unicode).getvalue().replace(b"ISO_IR 192", b"ISO_IR 100")
    found = differences(encoded(unicode), BytesIO(data))
    assert "PatientName" in found
    assert "ReferencedImageSequence.PurposeOfReferenceCodeSequence.CodeMeaning" in found


def test_a_private_block_at_another_place_is_no_difference() -> None:
    first, second = rich(), rich()
    del second[0x00290010], second[0x00291001], second[0x00291002]
    second.add_new(0x00290042, "LO", "ACME 1")
    second.add_new(0x00294201, "LO", "secret")
    second.add_new(0x00294202, "OW", b"\x01\x02\x03\x04")
    assert compare(first, second) == ()
    second[0x00290042].value = "OTHER"
    assert compare(first, second) == ("(0029,00xx)", "(0029,xx01)", "(0029,xx02)")


def test_numbers_written_differently_are_no_difference() -> None:
    other = rich()
    other.RescaleSlope = "1.000"
    assert compare(rich(), other) == ()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientName", "Secret^Other"),
        ("PatientID", "P2"),
        ("StudyDate", "20240201"),
        ("ImageType", ["ORIGINAL"]),
        ("RescaleSlope", "1.1"),
        ("Rows", 9),
        ("PixelData", bytes(128)),
        ("PatientBirthDate", None),
        ("InstitutionName", "New"),
    ],
)
def test_a_changed_added_or_removed_element_is_named_without_its_value(keyword: str, value: object) -> None:
    other = rich()
    if value is None:
        delattr(other, keyword)
    else:
        setattr(other, keyword, value)
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        assert compare(rich(), other, two=syntax) == (keyword,)


def test_nested_differences_are_named_by_their_path() -> None:
    other = rich()
    other.ReferencedImageSequence[1].ReferencedSOPInstanceUID = "1.2.3.5"
    assert compare(rich(), other) == ("ReferencedImageSequence.ReferencedSOPInstanceUID",)
    del other.ReferencedImageSequence[1]
    assert compare(rich(), other) == ("ReferencedImageSequence",)


def test_a_private_difference_is_named_by_its_tag() -> None:
    other = rich()
    other[0x00291001].value = "other"
    other[0x00291002].value = b"\x01\x02\x03\x05"
    assert compare(rich(), other) == ("(0029,xx01)", "(0029,xx02)")


def test_a_private_element_of_unknown_vr_is_compared_by_its_bytes() -> None:
    explicit, implicit = encoded(rich()), encoded(rich(), ImplicitVRLittleEndian)
    assert differences(explicit, implicit) == ()


def test_fragments_are_no_difference_and_frames_are() -> None:
    def jpeg(frames: list[bytes], fragments: int) -> Dataset:
        pixels = encapsulate(frames, fragments_per_frame=fragments)
        ds = make_instance(JPEGBaseline8Bit, NumberOfFrames=len(frames), PixelData=pixels)
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        return ds

    first, second = [b"\xff\xd8" + bytes(range(98)) for _ in range(2)], [b"\xff\xd8" + bytes(range(1, 99)) for _ in range(2)]
    assert len(list(generate_frames(jpeg(first, 2).PixelData, number_of_frames=2))) == 2
    assert compare(jpeg(first, 1), jpeg(first, 2), JPEGBaseline8Bit, JPEGBaseline8Bit) == ()
    assert compare(jpeg(first, 1), jpeg(second, 1), JPEGBaseline8Bit, JPEGBaseline8Bit) == ("PixelData",)


def test_a_lossless_transfer_syntax_is_decoded_to_compare() -> None:
    pytest.importorskip("numpy")
    plain = make_instance()
    packed = copy.deepcopy(plain)
    packed.compress(RLELossless, generate_instance_uid=False)
    assert compare(plain, packed, ExplicitVRLittleEndian, RLELossless) == ()
    plain.PixelData = bytes(len(plain.PixelData))
    assert compare(plain, packed, ExplicitVRLittleEndian, RLELossless) == ("PixelData",)


def test_what_cannot_be_parsed_is_not_the_same() -> None:
    good = encoded(rich()).getvalue()
    for broken in (good[:-10], good[: len(good) // 2], good[:400], good.replace(b"\x08\x00\x18\x00", b"\x08\x00\x19\x00")):
        assert differences(BytesIO(good), BytesIO(broken)) != ()
    assert differences(BytesIO(good[:300]), BytesIO(good[:310])) == (UNREADABLE,)


def test_a_deflated_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vna.verify.compare._MOST_INFLATED", 1 << 22)
    deflate = zlib.compressobj(9, wbits=-15)
    data = deflate.compress(bytes(1 << 23)) + deflate.flush()
    bomb = BytesIO(file_meta("1.2", "1.2.3", DeflatedExplicitVRLittleEndian) + data)
    assert differences(bomb, encoded(rich())) == (UNREADABLE,)


@pytest.mark.parametrize("image", real_image_files(unique=True)[::4], ids=lambda image: image.path.name)
def test_a_real_image_equals_itself_read_and_written_by_pydicom(image) -> None:  # type: ignore[no-untyped-def]
    meta = file_meta(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid)
    received = BytesIO(meta + data_set_of(image.path))
    written = BytesIO()
    try:
        pydicom.dcmread(image.path).save_as(written)
        rewritten = data_set_of(written.getvalue())
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
        pytest.skip("pydicom cannot write it")
    found = differences(received, BytesIO(meta + rewritten))
    assert found in ((), (UNREADABLE,))
    if found:
        assert differences(received, received) == (UNREADABLE,)


def test_many_names_are_cut() -> None:
    assert joined(["A", "B"]) == "A, B"
    assert joined([str(n) for n in range(25)]).endswith("and 5 more")
