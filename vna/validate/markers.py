"""What a compressed frame says of itself: the markers at the head of JPEG, JPEG-LS, JPEG 2000 and RLE codestreams.

Nothing is decoded. Sources: ITU-T T.81 Annex B (JPEG), ISO/IEC 14495-1 Annex C (JPEG-LS), ISO/IEC 15444-1 Annex A (JPEG 2000),
ISO/IEC 15444-15 (HTJ2K), PS3.5 Annex G (RLE).
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD = 128 * 1024
"""Bytes of a frame that are looked at: application segments (ICC profiles) may stand before the frame header."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """What the head of a frame says. ``kind`` is ``jpeg``, ``jpegls``, ``jpeg2000`` or ``rle``; None means: it does not say."""

    kind: str
    rows: int | None = None
    columns: int | None = None
    precision: int | None = None
    components: int | None = None
    process: int | None = None
    """The SOF marker's number: 0 baseline, 1 extended, 3 lossless, ... (T.81 Table B.1)."""
    is_ybr: bool | None = None
    """Whether the samples are luminance and chrominance: by Adobe or JFIF marker, component ids, subsampling, MCT."""
    is_subsampled: bool = False
    is_reversible: bool | None = None
    """For JPEG 2000: the 5-3 wavelet."""


def read_codestream(head: bytes) -> Codestream | None:
    """Read the head of one frame; None where it is no codestream known here. Never raises for bad content."""
    if head[:4] == b"\xff\x4f\xff\x51":
        return _jpeg_2000(head)
    if head[4:8] == b"jP  ":  # a JP2 file where PS3.5 A.4.4 wants the bare codestream
        at = head.find(b"\xff\x4f\xff\x51")
        return _jpeg_2000(head[at:]) if at >= 0 else Codestream("jpeg2000")
    if head[:2] == b"\xff\xd8":
        return _jpeg(head)
    segments = int.from_bytes(head[:4], "little")
    if 1 <= segments <= 15 and len(head) >= 64 and head[4:8] == b"\x40\0\0\0":
        return Codestream("rle")
    return None


def rle_segments(head: bytes) -> int:
    """Read the number of segments of an RLE frame (PS3.5 G.5)."""
    return int.from_bytes(head[:4], "little")


def _jpeg_2000(head: bytes) -> Codestream:
    if len(head) < 44:
        return Codestream("jpeg2000")
    width, height, x, y = (int.from_bytes(head[at : at + 4], "big") for at in (8, 12, 16, 20))
    components = int.from_bytes(head[40:42], "big")
    precision = (head[42] & 0x7F) + 1
    mct, reversible = _coding_style(head)
    steps = [(head[at], head[at + 1]) for at in range(43, min(len(head) - 1, 43 + 3 * components), 3)]
    return Codestream(
        "jpeg2000",
        rows=max(0, height - y),
        columns=max(0, width - x),
        precision=precision,
        components=components,
        is_ybr=mct,
        is_subsampled=len(set(steps)) > 1,
        is_reversible=reversible,
    )


def _coding_style(head: bytes) -> tuple[bool | None, bool | None]:
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF and head[at + 1] != 0x90:
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        if head[at + 1] == 0x52 and at + 14 <= len(head):  # COD
            return head[at + 8] == 1, head[at + 13] == 1
        at += 2 + length
    return None, None


def _jpeg(head: bytes) -> Codestream:
    adobe: int | None = None
    is_jfif = False
    at = 2
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:  # fill byte (T.81 B.1.1.2)
            at += 1
            continue
        if marker == 0xDA:
            break
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        body = head[at + 4 : at + 2 + length]
        if marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            adobe = body[11]
        elif marker == 0xE0 and body[:4] == b"JFIF":
            is_jfif = True
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return _frame_header(marker, body, adobe, is_jfif=is_jfif)
        at += 2 + length
    return Codestream("jpeg")


def _frame_header(marker: int, body: bytes, adobe: int | None, *, is_jfif: bool) -> Codestream:
    kind = "jpegls" if marker == 0xF7 else "jpeg"
    if len(body) < 6:
        return Codestream(kind)
    components = body[5]
    specs = [body[at : at + 3] for at in range(6, min(len(body) - 2, 6 + 3 * components), 3)]
    ids = bytes(spec[0] for spec in specs)
    is_subsampled = len({spec[1] for spec in specs}) > 1
    is_ybr: bool | None = None
    if components == 3:
        if adobe is not None:
            is_ybr = adobe == 1
        elif is_jfif or is_subsampled:
            is_ybr = True
        elif ids.upper() == b"RGB":
            is_ybr = False
    return Codestream(
        kind,
        rows=int.from_bytes(body[1:3], "big"),
        columns=int.from_bytes(body[3:5], "big"),
        precision=body[0],
        components=components,
        process=None if marker == 0xF7 else marker - 0xC0,
        is_ybr=is_ybr,
        is_subsampled=is_subsampled,
    )
