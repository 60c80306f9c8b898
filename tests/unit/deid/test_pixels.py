"""Burned-in text: held by default, blanked where a rule says where, and nothing else of the image changes."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from tests.support.instances import make_instance, part10_bytes, real_image, real_image_files
from vna.deid.catalogue import load_catalogue
from vna.deid.engine import Engine
from vna.deid.objects import Made, Maker
from vna.deid.pixels import PixelPolicy
from vna.deid.recipe import load_recipe, parse_recipe
from vna.deid.values import Key

US, US_MULTI, SC = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.7"
BOX = "FORMAT dicom\n%filter graylist\nLABEL box\n  equals Modality US\n  coordinates 0,0,4,2\n"


def deid_data_files() -> list[Path]:
    package = pytest.importorskip("deid_data")
    return sorted(Path(package.__file__).parent.rglob("*.dcm"))


def make(content: bytes | Path, key: Key, target: Path, policy: PixelPolicy | None = None) -> Made:
    data = content.read_bytes() if isinstance(content, Path) else content
    return Maker(Engine(load_recipe("basic"), key), policy or PixelPolicy(), target).make(io.BytesIO(data))


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({}, None),
        ({"SOPClassUID": US, "Modality": "US"}, "PIXELS_CLASS"),
        ({"SOPClassUID": US, "Modality": "US", "BurnedInAnnotation": "NO"}, "PIXELS_CLASS"),
        ({"SOPClassUID": SC, "Modality": "OT"}, "PIXELS_CLASS"),
        ({"BurnedInAnnotation": "YES"}, "BURNED_IN"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, "PIXELS_SCREEN"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "SCREEN SAVE"]}, "PIXELS_SCREEN"),
        ({"ConversionType": "DF"}, "PIXELS_SCREEN"),
        ({"PhotometricInterpretation": "RGB"}, "PIXELS_SCREEN"),
        ({"SOPClassUID": "1.3.12.2.1107.5.9.1"}, "PRIVATE_SOP_CLASS"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1", "PixelData": None}, "ENCAPSULATED_DOCUMENT"),
    ],
)
def test_what_may_carry_text_is_held(values: dict[str, object], code: str | None, key: Key, tmp_path: Path) -> None:
    made = make(part10_bytes(make_instance(**values)), key, tmp_path)
    assert (made.hold.code if made.hold else None) == code
    assert bool(list(tmp_path.rglob("*.dcm"))) is (code is None)


def test_no_real_image_of_a_class_with_text_passes_unflagged(key: Key, tmp_path: Path) -> None:
    policy = PixelPolicy(load_catalogue("deid"))
    seen = 0
    for path in [image.path for image in real_image_files() if image.sop_class_uid in (US, US_MULTI, SC)] + deid_data_files():
        made = make(path, key, tmp_path, policy)
        if made.edited is not None and made.edited.modality in ("US", "OT", ""):
            seen += 1
            assert made.hold is not None or made.cleaned, path.name
    assert seen > 30


def test_the_ultrasounds_of_deid_data_lose_their_banner_and_nothing_else(key: Key, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    policy = PixelPolicy(load_catalogue("deid"))
    cleaned = 0
    for path in [path for path in deid_data_files() if "ultrasounds" in str(path)]:
        made = make(path, key, tmp_path, policy)
        if made.hold is not None:
            continue
        cleaned += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before, after = pydicom.dcmread(path), pydicom.dcmread(tmp_path / made.path)
        assert after.BurnedInAnnotation == "NO" and "113101" in [
            code.CodeValue for code in after.DeidentificationMethodCodeSequence
        ]
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
        old, new = before.pixel_array, after.pixel_array
        changed = numpy.argwhere(old != new)
        assert changed[:, 0].max() < 60 and numpy.all(new[:40, :1000] == 0)
        assert numpy.array_equal(old[60:], new[60:])
    assert cleaned == 2


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2", "RGB"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("frames", [1, 2])
def test_outside_of_the_box_every_bit_stays(syntax: str, photometric: str, frames: int, key: Key, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    samples = 3 if photometric == "RGB" else 1
    raw = bytes((7 * i + i // 64) & 0xFF for i in range(64 * 64 * samples * frames))
    size = len(raw) // frames
    if syntax == JPEG2000Lossless:
        pytest.importorskip("openjpeg")
    ds = make_instance(
        syntax,
        SOPClassUID=US,
        Modality="US",
        Rows=64,
        Columns=64,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        SamplesPerPixel=samples,
        PlanarConfiguration=0 if samples == 3 else None,
        PhotometricInterpretation=photometric,
        NumberOfFrames=frames if frames > 1 else None,
        PixelData=raw,
    )
    if syntax != ExplicitVRLittleEndian:
        from pydicom.pixels.encoders.base import get_encoder

        options = {
            "rows": 64,
            "columns": 64,
            "samples_per_pixel": samples,
            "bits_allocated": 8,
            "bits_stored": 8,
            "pixel_representation": 0,
            "photometric_interpretation": photometric,
            "number_of_frames": 1,
            "planar_configuration": 0,
        }
        encoder = get_encoder(pydicom.uid.UID(syntax))
        ds.PixelData = encapsulate([encoder.encode(raw[at : at + size], **options) for at in range(0, len(raw), size)])
    made = make(part10_bytes(ds), key, tmp_path, PixelPolicy(parse_recipe(BOX, "box").pixel_rules))
    assert made.hold is None and made.cleaned
    after = pydicom.dcmread(tmp_path / made.path)
    assert after.file_meta.TransferSyntaxUID == syntax
    new = after.pixel_array.reshape(frames, 64, 64, samples)
    old = numpy.frombuffer(raw, numpy.uint8).reshape(frames, 64, 64, samples)
    assert numpy.all(new[:, :2, :4] == (255 if photometric == "MONOCHROME1" else 0))
    assert numpy.array_equal(new[:, 2:], old[:, 2:]) and numpy.array_equal(new[:, :, 4:], old[:, :, 4:])


def test_a_signed_image_is_blanked_to_its_lowest_value(key: Key, tmp_path: Path) -> None:
    ds = make_instance(SOPClassUID=US, Modality="US", PixelRepresentation=1)
    made = make(part10_bytes(ds), key, tmp_path, PixelPolicy(parse_recipe(BOX, "box").pixel_rules))
    assert pydicom.dcmread(tmp_path / made.path).PixelData[:8] == (-2048).to_bytes(2, "little", signed=True) * 4


def test_lossy_pixels_are_held_rather_than_encoded_again(key: Key, tmp_path: Path) -> None:
    policy = PixelPolicy(parse_recipe(BOX, "box").pixel_rules)
    made = make(real_image("examples_ybr_color.dcm"), key, tmp_path, policy)
    assert made.hold is not None and made.hold.code in ("PIXELS_LOSSY", "PIXELS_LAYOUT")
    assert list(tmp_path.rglob("*.dcm")) == []


def test_an_extended_offset_table_is_not_left_pointing_nowhere(key: Key, tmp_path: Path) -> None:
    ds = make_instance(RLELossless, SOPClassUID=US, Modality="US", BitsAllocated=8, BitsStored=8, HighBit=7)
    ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = bytes(8), bytes(8)
    made = make(part10_bytes(ds), key, tmp_path, PixelPolicy(parse_recipe(BOX, "box").pixel_rules))
    assert made.hold is not None and made.hold.code == "PIXELS_LAYOUT"


def test_only_the_declared_ultrasound_regions_stay(key: Key, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    rule = "FORMAT dicom\n%filter graylist\nLABEL regions\n  present SequenceOfUltrasoundRegions\n"
    rule += "  coordinates all\n  keepcoordinates from:SequenceOfUltrasoundRegions\n"
    path = next(path for path in deid_data_files() if path.name == "RGB_IMAGE.dcm")
    made = make(path, key, tmp_path, PixelPolicy(parse_recipe(rule, "regions").pixel_rules))
    assert made.hold is None
    before = pydicom.dcmread(path)
    old, new = before.pixel_array, pydicom.dcmread(tmp_path / made.path).pixel_array
    region = before.SequenceOfUltrasoundRegions[0]
    top, left = int(region.RegionLocationMinY0), int(region.RegionLocationMinX0)
    assert numpy.all(new[:top] == 0)
    assert numpy.array_equal(new[top : top + 50, left : left + 50], old[top : top + 50, left : left + 50])


def test_a_person_releases_and_a_blacklist_overrules_coordinates(key: Key, tmp_path: Path) -> None:
    ds = make_instance(SOPClassUID=US, Modality="US")
    content = part10_bytes(ds)
    released = make(content, key, tmp_path / "a", PixelPolicy((), frozenset((str(ds.SeriesInstanceUID),))))
    assert released.hold is None and released.released and not released.cleaned
    black = BOX + "%filter blacklist\nLABEL never\n  equals Modality US\n"
    made = make(content, key, tmp_path / "b", PixelPolicy(parse_recipe(black, "black").pixel_rules))
    assert made.hold is not None and (made.hold.code, made.hold.detail) == ("PIXELS_RULE", "never")


def test_an_overlay_in_spare_bits_is_held(key: Key, tmp_path: Path) -> None:
    ds = make_instance()
    ds.add_new(0x60000102, "US", 12)
    made = make(part10_bytes(ds), key, tmp_path)
    assert made.hold is not None and made.hold.code == "EMBEDDED_OVERLAY"


def test_what_stands_behind_the_pixels_is_edited_too(key: Key, tmp_path: Path) -> None:
    ds = make_instance()
    ds.add_new(0xFFFCFFFC, "OB", b"Generated")
    made = make(part10_bytes(ds), key, tmp_path)
    content = (tmp_path / made.path).read_bytes()
    assert b"Generated" not in content and content.endswith(ds.PixelData)


def test_deflated_and_fragmented_objects_stay_what_they_are(key: Key, tmp_path: Path) -> None:
    for name in ("image_dfl.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm"):
        source = real_image(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = pydicom.dcmread(source)
            made = make(source, key, tmp_path, PixelPolicy((), frozenset((str(before.SOPInstanceUID),))))
            assert made.hold is None, name
            after = pydicom.dcmread(tmp_path / made.path)
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
        assert after.PixelData == before.PixelData, name
