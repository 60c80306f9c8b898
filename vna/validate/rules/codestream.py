"""Rules that hold the description of the pixels against what the compressed frames say of themselves; nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterator

from vna.model import Severity
from vna.validate.instance import Instance
from vna.validate.markers import rle_segments
from vna.validate.registry import Found, rule
from vna.validate.rules.pixels import (
    BITS_ALLOCATED,
    BITS_STORED,
    COLUMNS,
    PHOTOMETRIC_INTERPRETATION,
    ROWS,
    SAMPLES_PER_PIXEL,
)

_JPEG = "1.2.840.10008.1.2.4."
JPEG_PROCESSES: dict[str, frozenset[int]] = {
    _JPEG + "50": frozenset({0}),
    _JPEG + "51": frozenset({0, 1}),  # an extended decoder reads baseline (T.81 4.11); 8 bits of Process 2 & 4 are written so
    _JPEG + "53": frozenset({2}),
    _JPEG + "55": frozenset({2}),
    _JPEG + "57": frozenset({3}),
    _JPEG + "70": frozenset({3}),
}
"""Transfer syntax -> SOF markers that its frames may have (PS3.5 A.4.1; T.81 Table B.1)."""

KINDS: dict[str, str] = {
    **dict.fromkeys(JPEG_PROCESSES, "jpeg"),
    **dict.fromkeys((_JPEG + n for n in ("80", "81")), "jpegls"),
    **dict.fromkeys((_JPEG + n for n in ("90", "91", "92", "93", "201", "202", "203")), "jpeg2000"),
    "1.2.840.10008.1.2.5": "rle",
}
"""Transfer syntax -> the kind of codestream that its frames must be (PS3.5 A.4)."""


@rule("CODESTREAM_TS", Severity.ERROR, "The compressed frames are not of the declared transfer syntax.", "PS3.5 A.4")
def codestream_of_syntax(instance: Instance) -> Iterator[Found]:
    """Find frames of another codec or JPEG process: decoders chosen by the transfer syntax fail, or show something else."""
    expected = KINDS.get(instance.transfer_syntax_uid)
    if expected is None or not instance.first_frame:
        return
    stream = instance.codestream
    if stream is None or stream.kind != expected:
        yield Found("PixelData", (f"{stream.kind if stream else 'no known'} codestream", f"declared {expected}"))
    elif stream.process is not None and stream.process not in JPEG_PROCESSES[instance.transfer_syntax_uid]:
        yield Found("PixelData", (f"JPEG SOF{stream.process}", f"declared {instance.transfer_syntax_uid}"))


@rule("CODESTREAM_DIM_MISMATCH", Severity.WARNING, "The compressed frames have other Rows or Columns.", "PS3.5 8.2")
def codestream_dimensions(instance: Instance) -> Iterator[Found]:
    """Find frames whose own header gives another size: a viewer may allocate by the one and decode by the other."""
    stream = instance.codestream
    if stream is None:
        return
    for keyword, tag, own in (("Rows", ROWS, stream.rows), ("Columns", COLUMNS, stream.columns)):
        described = instance.integer(tag)
        if own and described is not None and own != described:
            yield Found(keyword, (f"frame {own}", f"described {described}"))


@rule("CODESTREAM_SAMPLES", Severity.ERROR, "The compressed frames have another number of samples than described.", "PS3.5 8.2")
def codestream_samples(instance: Instance) -> Iterator[Found]:
    """Find frames with another number of components (for RLE: of segments) than Samples per Pixel says."""
    stream, samples = instance.codestream, instance.integer(SAMPLES_PER_PIXEL)
    if stream is None or samples is None:
        return
    if stream.components is not None and stream.components != samples:
        yield Found("SamplesPerPixel", (f"frame {stream.components}", f"described {samples}"))
    allocated = instance.integer(BITS_ALLOCATED)
    if stream.kind == "rle" and allocated and allocated % 8 == 0:
        segments = rle_segments(instance.first_frame)
        if segments != samples * allocated // 8:
            yield Found("PixelData", (f"{segments} RLE segments", f"described {samples * allocated // 8}"))


@rule("CODESTREAM_BITS", Severity.WARNING, "The compressed frames have more or fewer bits than described.", "PS3.5 8.2")
def codestream_bits(instance: Instance) -> Iterator[Found]:
    """Find frames with fewer bits than Bits Stored (values were lost) or more than Bits Allocated (they do not fit)."""
    stream = instance.codestream
    stored, allocated = instance.integer(BITS_STORED), instance.integer(BITS_ALLOCATED)
    if stream is None or stream.precision is None or stored is None or allocated is None:
        return
    if stream.precision < stored or stream.precision > allocated:
        yield Found("BitsStored", (f"frame {stream.precision}", f"stored {stored}, allocated {allocated}"))


@rule(
    "PHOTOMETRIC_CODESTREAM",
    Severity.WARNING,
    "The Photometric Interpretation is not what the compressed frames' own markers say.",
    "PS3.5 8.2.1, 8.2.4; PS3.3 C.7.6.3.1.2",
)
def photometric_of_codestream(instance: Instance) -> Iterator[Found]:
    """Find colour images labelled RGB whose frames are YCbCr, and the reverse: viewers show false colours.

    JPEG: an Adobe or JFIF marker, the component ids, or subsampled chrominance tell. JPEG 2000: the multiple component transform.
    """
    stream = instance.codestream
    if stream is None or stream.components != 3 or stream.is_ybr is None:
        return
    photometric = instance.text(PHOTOMETRIC_INTERPRETATION)
    if stream.kind == "jpeg2000":
        labelled = photometric in ("YBR_RCT", "YBR_ICT")
        is_wrong = labelled != stream.is_ybr and (labelled or photometric == "RGB")
    elif stream.process == 3:
        return  # lossless JPEG applies no colour transform; encoders write a JFIF head all the same
    else:
        is_wrong = (photometric == "RGB" and stream.is_ybr) or (photometric.startswith("YBR_") and not stream.is_ybr)
    if is_wrong:
        yield Found("PhotometricInterpretation", (photometric, "frame is " + ("YCbCr" if stream.is_ybr else "RGB")))


@rule(
    "CHROMA_SUBSAMPLING",
    Severity.INFO,
    "The frames are subsampled, Photometric Interpretation says not.",
    "PS3.5 8.2.1",
)
def chroma_subsampling(instance: Instance) -> Iterator[Found]:
    """Find JPEG images labelled YBR_FULL whose chrominance is subsampled, which is what YBR_FULL_422 is for."""
    stream = instance.codestream
    if stream is not None and stream.kind == "jpeg" and stream.is_subsampled:
        photometric = instance.text(PHOTOMETRIC_INTERPRETATION)
        if photometric == "YBR_FULL":
            yield Found("PhotometricInterpretation", (photometric,))
