"""Blank rectangles of pixels: uncompressed, RLE and the lossless transfer syntaxes, which stay what they are.

Everything outside of the rectangles is bit for bit what it was, which is checked by decoding again what was encoded. Lossy
pixels are not touched: re-encoding would change the rest of the image.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Any

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from vna.deid.filters import Coordinates
from vna.deid.top_level import TopLevel

_NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
_LOSSLESS = (RLELossless, JPEG2000Lossless, JPEGLSLossless)
_EXTENDED_OFFSET_TABLE = (0x7FE00001, 0x7FE00002)
_REGION_BOUNDS = (0x00186018, 0x0018601A, 0x0018601C, 0x0018601E)


class UncleanableError(Exception):
    """These pixels cannot be cleaned; ``code`` is a hold code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Layout:
    """How the pixels of one image are laid out (PS3.3 C.7.6.3.1)."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    planar: bool
    photometric: str
    frames: int

    @property
    def sample_bytes(self) -> int:
        """Give the bytes of one sample."""
        return self.bits_allocated // 8

    @property
    def frame_bytes(self) -> int:
        """Give the bytes of one frame."""
        return self.rows * self.columns * self.samples * self.sample_bytes

    def black(self) -> list[bytes]:
        """Give the bytes of each sample of a black pixel."""
        lowest = -(1 << (self.bits_stored - 1)) if self.signed else 0
        highest = (1 << (self.bits_stored - 1)) - 1 if self.signed else (1 << self.bits_stored) - 1
        values = [lowest] * self.samples
        if self.photometric == "MONOCHROME1":
            values = [highest]
        elif self.photometric.startswith("YBR"):
            values = [0, 1 << (self.bits_stored - 1), 1 << (self.bits_stored - 1)]
        return [value.to_bytes(self.sample_bytes, "little", signed=self.signed) for value in values]


def layout_of(top: TopLevel) -> Layout:
    """Read the layout. Raises UncleanableError for one that is not a whole number of bytes a sample, or not understood."""
    layout = Layout(
        top.number("Rows"),
        top.number("Columns"),
        top.number("SamplesPerPixel", 1),
        top.number("BitsAllocated"),
        top.number("BitsStored"),
        bool(top.number("PixelRepresentation")),
        bool(top.number("PlanarConfiguration")),
        top.text("PhotometricInterpretation"),
        max(1, top.number("NumberOfFrames", 1)),
    )
    is_known = (
        layout.bits_allocated in (8, 16, 32) and layout.samples in (1, 3) and 0 < layout.bits_stored <= layout.bits_allocated
    )
    if not is_known or not layout.rows or not layout.columns or layout.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        raise UncleanableError("PIXELS_LAYOUT")
    return layout


def blanked_rows(coordinates: tuple[Coordinates, ...], layout: Layout, regions: list[tuple[int, int, int, int]]) -> list[bytes]:
    """Draw the rectangles, in their order, into a mask: one bytes a row, 1 where a pixel is blanked."""
    mask = [bytearray(layout.columns) for _ in range(layout.rows)]
    for each in coordinates:
        whole = (0, 0, layout.columns, layout.rows)
        rectangles = {"all": [whole], "regions": regions}.get(each.where) or ([each.rectangle] if each.rectangle else [])
        for x0, y0, x1, y1 in rectangles:
            x0, x1 = min(x0, layout.columns), min(x1, layout.columns)
            for row in mask[y0:y1]:
                row[x0:x1] = bytes([0 if each.keep else 1]) * max(0, x1 - x0)
    return [bytes(row) for row in mask]


def clean_native(pixels: bytes, layout: Layout, mask: list[bytes]) -> bytes:
    """Blank the masked pixels of every frame of uncompressed pixel data; a padding byte at its end stays."""
    if len(pixels) < layout.frame_bytes * layout.frames:
        raise UncleanableError("PIXELS_LAYOUT")
    out = bytearray(pixels)
    runs = [(y, start, end) for y, row in enumerate(mask) for start, end in _runs(row)]
    black = layout.black()
    for frame in range(layout.frames):
        base = frame * layout.frame_bytes
        for y, start, end in runs:
            _blank(out, base, y, start, end, layout, black)
    return bytes(out)


def _runs(row: bytes) -> list[tuple[int, int]]:
    runs = []
    start = row.find(1)
    while start >= 0:
        end = row.find(0, start)
        end = len(row) if end < 0 else end
        runs.append((start, end))
        start = row.find(1, end)
    return runs


def _blank(out: bytearray, base: int, y: int, start: int, end: int, layout: Layout, black: list[bytes]) -> None:
    size, width = layout.sample_bytes, end - start
    if layout.samples > 1 and not layout.planar:
        at = base + (y * layout.columns + start) * layout.samples * size
        out[at : at + width * layout.samples * size] = b"".join(black) * width
        return
    for plane, value in enumerate(black):
        at = base + ((plane * layout.rows + y) * layout.columns + start) * size
        out[at : at + width * size] = value * width


def clean(
    pixels: bytes, top: TopLevel, transfer_syntax_uid: str, coordinates: tuple[Coordinates, ...], *, encapsulated: bool
) -> bytes:
    """Blank what the coordinates say and give the new value of Pixel Data, in the same transfer syntax.

    Raises UncleanableError when that is not possible without changing anything else.
    """
    layout = layout_of(top)
    mask = blanked_rows(coordinates, layout, ultrasound_regions(top))
    if not any(1 in row for row in mask):
        return pixels
    if not encapsulated:
        if transfer_syntax_uid not in _NATIVE:
            raise UncleanableError("PIXELS_LAYOUT")
        return clean_native(pixels, layout, mask)
    if any(tag in top.found for tag in _EXTENDED_OFFSET_TABLE):
        raise UncleanableError("PIXELS_LAYOUT")  # its offsets stand before the pixels and would point nowhere
    if transfer_syntax_uid not in _LOSSLESS:
        lossless = transfer_syntax_uid in ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.201")
        raise UncleanableError("PIXELS_NO_CODEC" if lossless else "PIXELS_LOSSY")
    return _clean_encapsulated(pixels, layout, mask, UID(transfer_syntax_uid))


def _clean_encapsulated(pixels: bytes, layout: Layout, mask: list[bytes], syntax: UID) -> bytes:
    """Decode, blank and encode every frame, and decode again to prove that nothing else changed."""
    from pydicom.encaps import encapsulate, parse_basic_offsets
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.encoders.base import get_encoder

    decoder, encoder = get_decoder(syntax), get_encoder(syntax)
    if not decoder.is_available or not encoder.is_available:
        raise UncleanableError("PIXELS_NO_CODEC")
    frames = []
    # The decoders give colour by pixel or by plane as they like and say so for each frame.
    for decoded, meta in _decoded(decoder, pixels, layout):
        shape = replace(
            layout,
            bits_allocated=int(meta["bits_allocated"]),
            planar=bool(meta.get("planar_configuration", 0)),
            photometric=str(meta["photometric_interpretation"]),
            frames=1,
        )
        blanked = clean_native(decoded, shape, mask)
        by_pixel = _by_pixel(blanked, shape)
        try:
            frames.append(encoder.encode(by_pixel, **_options(shape, planar=0)))
        except (RuntimeError, ValueError, NotImplementedError) as exc:
            raise UncleanableError("PIXELS_NO_CODEC") from exc
        again, meta_again = next(iter(_decoded(decoder, encapsulate([frames[-1]], has_bot=False), replace(layout, frames=1))))
        if _by_pixel(again, replace(shape, planar=bool(meta_again.get("planar_configuration", 0)))) != by_pixel:
            raise UncleanableError("PIXELS_NO_CODEC")
    return encapsulate(frames, has_bot=bool(parse_basic_offsets(pixels)))


def _decoded(decoder: Any, pixels: bytes, layout: Layout) -> Any:
    try:
        yield from decoder.iter_buffer(pixels, raw=True, **_options(layout, planar=int(layout.planar)))
    except (RuntimeError, ValueError, NotImplementedError, AttributeError, struct.error) as exc:
        raise UncleanableError("PIXELS_NO_CODEC") from exc


def _options(layout: Layout, *, planar: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "number_of_frames": layout.frames,
        "pixel_keyword": "PixelData",
    }
    return options | ({"planar_configuration": planar} if layout.samples > 1 else {})


def _by_pixel(frame: bytes, layout: Layout) -> bytes:
    """Give a frame colour by pixel, which is what encoders take."""
    if not layout.planar or layout.samples == 1:
        return frame
    size = layout.rows * layout.columns * layout.sample_bytes
    out = bytearray(len(frame))
    step = layout.samples * layout.sample_bytes
    for plane in range(layout.samples):
        for byte in range(layout.sample_bytes):
            part = frame[plane * size + byte : (plane + 1) * size : layout.sample_bytes]
            out[plane * layout.sample_bytes + byte :: step] = part
    return bytes(out)


def ultrasound_regions(top: TopLevel) -> list[tuple[int, int, int, int]]:
    """Read the rectangles of Sequence of Ultrasound Regions (PS3.3 C.8.5.5): x0, y0, x1, y1, the last ones exclusive."""
    from vna.deid.items import items_of

    regions = []
    for item in items_of(top, 0x00186011):
        bounds = [int.from_bytes(item.get(tag, b"")[:4], "little") for tag in _REGION_BOUNDS]
        if bounds[2] > bounds[0] and bounds[3] > bounds[1]:
            regions.append((bounds[0], bounds[1], bounds[2] + 1, bounds[3] + 1))
    return regions
