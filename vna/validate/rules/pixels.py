"""Rules about Pixel Data and the Image Pixel module that describes it (PS3.3 C.7.6.3; PS3.5 8 and Annex A.4)."""

from __future__ import annotations

from collections.abc import Iterator

from vna.model import Severity
from vna.validate.instance import Instance
from vna.validate.registry import Found, finds, rule

SAMPLES_PER_PIXEL = 0x00280002
PHOTOMETRIC_INTERPRETATION = 0x00280004
PLANAR_CONFIGURATION = 0x00280006
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
BITS_ALLOCATED = 0x00280100
BITS_STORED = 0x00280101
HIGH_BIT = 0x00280102
PIXEL_REPRESENTATION = 0x00280103
RED_PALETTE_DESCRIPTOR = 0x00281101
RED_PALETTE_DATA = 0x00281201
SEGMENTED_RED_PALETTE_DATA = 0x00281221
PALETTE_COLOR_LUT_UID = 0x00281199
PIXEL_DATA_PROVIDER_URL = 0x00287FE0
EXTENDED_OFFSET_TABLE = 0x7FE00001
PIXEL_DATA = 0x7FE00010

SAMPLES_OF = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_PARTIAL_422": 3,
    "YBR_PARTIAL_420": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
    "XYB": 3,
    "HSV": 3,
    "ARGB": 4,
    "CMYK": 4,
}
"""Photometric Interpretation -> Samples per Pixel (PS3.3 C.7.6.3.1.2), the retired ones included."""

_ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
_BITS_OF_FLOAT = {0x7FE00008: 32, 0x7FE00009: 64}


def frames_of(instance: Instance) -> int:
    """Number of Frames, which is 1 where it is absent, empty or no number (PS3.3 C.7.6.6.1.1)."""
    return max(1, instance.integer(NUMBER_OF_FRAMES) or 1)


def described_length(instance: Instance) -> int | None:
    """Compute how many bytes of native Pixel Data the description asks for, without the pad byte; None where it does not say."""
    rows, columns = instance.integer(ROWS), instance.integer(COLUMNS)
    bits = instance.integer(BITS_ALLOCATED)
    if instance.pixels is not None:
        bits = _BITS_OF_FLOAT.get(instance.pixels.tag, bits)
    samples = instance.integer(SAMPLES_PER_PIXEL) or 1
    if rows is None or columns is None or not bits:
        return None
    photometric = instance.text(PHOTOMETRIC_INTERPRETATION)
    pixels = rows * columns * frames_of(instance)
    if photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and samples == 3:
        return (pixels * 2 * bits + 7) // 8  # chrominance is sampled at half the columns (PS3.3 C.7.6.3.1.2)
    return (pixels * samples * bits + 7) // 8


@finds("PIXEL_SIZE_MISMATCH")
def pixel_data_too_short(instance: Instance) -> Iterator[Found]:
    """Find native Pixel Data with fewer bytes than Rows x Columns x Samples x Bits Allocated x Frames: nothing is decoded."""
    described = described_length(instance)
    if described is None or instance.pixels is None or instance.pixels.length is None:
        return
    if instance.pixels.length < described:
        yield Found("PixelData", (f"{instance.pixels.length} bytes", f"described {described}"))


@rule("PIXEL_EXCESS", Severity.WARNING, "Pixel Data is longer than its description asks for.", "PS3.5 8.1.1; PS3.3 C.7.6.3")
def pixel_data_too_long(instance: Instance) -> Iterator[Found]:
    """Find native Pixel Data with bytes that belong to no frame, beyond the one that pads it to an even length."""
    described = described_length(instance)
    if described is None or instance.pixels is None or instance.pixels.length is None:
        return
    if instance.pixels.length > described + described % 2:
        yield Found("PixelData", (f"{instance.pixels.length} bytes", f"described {described}"))


@rule("FRAMES_MISSING", Severity.ERROR, "Encapsulated Pixel Data has fewer fragments than frames.", "PS3.5 A.4")
def frames_missing(instance: Instance) -> Iterator[Found]:
    """Find compressed images whose Number of Frames cannot be there: each frame has at least one fragment."""
    found = instance.fragments
    if found is None or instance.transfer_syntax_uid in _VIDEO:
        return
    if len(found.spans) < frames_of(instance):
        yield Found("PixelData", (f"{len(found.spans)} fragments", f"{frames_of(instance)} frames"))


_VIDEO = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 109)) | frozenset(
    f"1.2.840.10008.1.2.4.{n}.1" for n in range(100, 109)
)
"""MPEG-2, H.264 and HEVC: one fragment may hold every frame (PS3.5 A.4.5 and later)."""


@finds("OFFSET_TABLE")
def offset_table(instance: Instance) -> Iterator[Found]:
    """Find offset tables with another number of entries than frames, unsorted, or pointing where no fragment starts."""
    found = instance.fragments
    if found is None or not found.table or not found.spans:
        return
    if len(found.table) != frames_of(instance) and instance.transfer_syntax_uid not in _VIDEO:
        yield Found("PixelData", (f"{len(found.table)} entries", f"{frames_of(instance)} frames"))
    first = found.spans[0][0]
    starts = {at - first for at, _ in found.spans}
    if found.table[0] != 0 or list(found.table) != sorted(found.table) or not starts.issuperset(found.table):
        yield Found("PixelData", ("an entry is not the start of a fragment",))


@rule("NO_PIXEL_DATA", Severity.WARNING, "An image is described, but there is no Pixel Data.", "PS3.3 C.7.6.3")
def no_pixel_data(instance: Instance) -> Iterator[Found]:
    """Find objects with Rows, Columns and Bits Allocated that hold no pixel data of any kind, nor say where it is."""
    if instance.pixels is None and all(map(instance.has, (ROWS, COLUMNS, BITS_ALLOCATED))) and not _is_elsewhere(instance):
        yield Found("PixelData")
    elif instance.pixels is not None and instance.pixels.length == 0 and described_length(instance):
        yield Found("PixelData", ("empty",))


def _is_elsewhere(instance: Instance) -> bool:
    return instance.has(PIXEL_DATA_PROVIDER_URL) or PIXEL_DATA in instance.elements


@rule(
    "PIXEL_ATTR",
    Severity.ERROR,
    "The description of the pixels is incomplete or cannot be.",
    "PS3.3 C.7.6.3; PS3.5 8.1.1",
)
def pixel_attributes(instance: Instance) -> Iterator[Found]:
    """Find Image Pixel attributes without which the pixels cannot be read, or which cannot be true together."""
    if instance.pixels is None or instance.pixels.tag != PIXEL_DATA:
        return
    for keyword, tag in (("Rows", ROWS), ("Columns", COLUMNS), ("BitsAllocated", BITS_ALLOCATED)):
        if not instance.integer(tag):
            yield Found(keyword, ("absent or zero",))
    allocated, stored, high = (instance.integer(tag) for tag in (BITS_ALLOCATED, BITS_STORED, HIGH_BIT))
    if allocated and allocated != 1 and allocated % 8 and allocated != 12:
        yield Found("BitsAllocated", (str(allocated),))
    if allocated and stored is not None and not 0 < stored <= allocated:
        yield Found("BitsStored", (str(stored), f"allocated {allocated}"))
    elif allocated and high is not None and stored is not None and not stored - 1 <= high < allocated:
        yield Found("HighBit", (str(high), f"stored {stored}, allocated {allocated}"))
    representation = instance.integer(PIXEL_REPRESENTATION)
    if representation is not None and representation not in (0, 1):
        yield Found("PixelRepresentation", (str(representation),))


@rule("HIGH_BIT", Severity.WARNING, "High Bit is not Bits Stored - 1.", "PS3.5 8.1.1")
def high_bit(instance: Instance) -> Iterator[Found]:
    """Find pixel cells whose bits lie elsewhere than the Standard now demands: old software wrote, new viewers misread them."""
    allocated, stored, high = (instance.integer(tag) for tag in (BITS_ALLOCATED, BITS_STORED, HIGH_BIT))
    if instance.pixels is None or allocated is None or stored is None or high is None:
        return
    if high != stored - 1 and stored - 1 <= high < allocated:
        yield Found("HighBit", (str(high), f"stored {stored}"))


@rule("PHOTOMETRIC_UNKNOWN", Severity.WARNING, "Photometric Interpretation is absent or not a defined term.", "PS3.3 C.7.6.3.1.2")
def photometric_unknown(instance: Instance) -> Iterator[Found]:
    """Find images for which no viewer can know what a sample means."""
    if instance.pixels is not None and instance.pixels.tag == PIXEL_DATA:
        photometric = instance.text(PHOTOMETRIC_INTERPRETATION)
        if photometric not in SAMPLES_OF:
            yield Found("PhotometricInterpretation", (photometric,))


@rule("PHOTOMETRIC_SAMPLES", Severity.ERROR, "Samples per Pixel does not fit Photometric Interpretation.", "PS3.3 C.7.6.3.1.1")
def photometric_samples(instance: Instance) -> Iterator[Found]:
    """Find colour images described with one sample, and grey ones with three."""
    photometric, samples = instance.text(PHOTOMETRIC_INTERPRETATION), instance.integer(SAMPLES_PER_PIXEL)
    if instance.pixels is None or photometric not in SAMPLES_OF:
        return
    if samples is not None and samples != SAMPLES_OF[photometric]:
        yield Found("SamplesPerPixel", (str(samples), photometric))


@rule(
    "PLANAR_CONFIGURATION",
    Severity.WARNING,
    "A colour image has no usable Planar Configuration.",
    "PS3.3 C.7.6.3.1.3",
)
def planar_configuration(instance: Instance) -> Iterator[Found]:
    """Find colour images of which a reader must guess whether the samples are interleaved (type 1C)."""
    samples = instance.integer(SAMPLES_PER_PIXEL)
    if instance.pixels is None or samples is None or samples < 2:
        return
    if instance.integer(PLANAR_CONFIGURATION) not in (0, 1):
        yield Found("PlanarConfiguration")


@rule("PALETTE_MISSING", Severity.ERROR, "A PALETTE COLOR image has no palette.", "PS3.3 C.7.9")
def palette_missing(instance: Instance) -> Iterator[Found]:
    """Find palette images without descriptor and data of the red table (or a well-known palette's UID)."""
    if instance.pixels is None or instance.text(PHOTOMETRIC_INTERPRETATION) != "PALETTE COLOR":
        return
    data = RED_PALETTE_DATA in instance.elements or SEGMENTED_RED_PALETTE_DATA in instance.elements
    if not (RED_PALETTE_DESCRIPTOR in instance.elements and data) and not instance.has(PALETTE_COLOR_LUT_UID):
        yield Found("RedPaletteColorLookupTableDescriptor")


@rule("PHOTOMETRIC_SYNTAX", Severity.WARNING, "The Photometric Interpretation is not one for that transfer syntax.", "PS3.5 8.2")
def photometric_for_syntax(instance: Instance) -> Iterator[Found]:
    """Find colour models that the transfer syntax cannot carry: YBR_ICT outside JPEG 2000, a palette in lossy JPEG, and so on."""
    if instance.pixels is None or instance.pixels.tag != PIXEL_DATA:
        return
    photometric, syntax = instance.text(PHOTOMETRIC_INTERPRETATION), instance.transfer_syntax_uid
    is_native = instance.pixels.length is not None or syntax == _ENCAPSULATED_UNCOMPRESSED
    wavelet = {"YBR_ICT", "YBR_RCT"}
    if (photometric in wavelet and (is_native or syntax not in _JPEG_2000)) or (
        photometric == "PALETTE COLOR" and syntax in _LOSSY_ONLY
    ):
        yield Found("PhotometricInterpretation", (photometric, syntax))


_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 92, 93, 201, 202, 203, 204, 205, 94, 95))
_LOSSY_ONLY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55))
