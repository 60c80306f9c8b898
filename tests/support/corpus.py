"""The corpus of bad inputs: generated files with one defect each, whose name begins with the code that the gatekeeper must give.

``CODE`` or ``CODE-suffix``; ``ACCEPTED-suffix`` names what looks odd and is none the worse. Every file is built on one small CT
object in explicit VR little endian. Nothing is random between runs.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.unit.indexer.corpus import (
    BASE,
    BIG,
    DEFLATED,
    EXPLICIT,
    IMAGE,
    IMPLICIT,
    ITEM_END,
    JPEG,
    PIXELS,
    PREAMBLE,
    SEQUENCE_END,
    UNDEFINED,
    bomb,
    encapsulated,
    explicit,
    fields,
    implicit,
    item,
    meta,
    nested,
    nested_defined,
    raw_deflate,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCE = b"1.2.3.4"
_ENHANCED_CT = b"1.2.840.10008.5.1.4.1.1.2.1"
NOISE = random.Random(7).randbytes(10_000)
WHOLE = BASE + IMAGE + PIXELS
_SEQUENCE = 0x00400260
_PRIVATE = 0x00291010


@dataclass(frozen=True)
class Fixture:
    """One file. ``data_set`` is what C-STORE can send, announced by ``instance`` and ``transfer_syntax``; None: a file only.

    ``before`` is a data set that came first under the same UIDs.
    """

    name: str
    content: bytes
    data_set: bytes | None = None
    transfer_syntax: str = EXPLICIT.decode()
    instance: str = INSTANCE.decode()
    before: bytes | None = None

    @property
    def code(self) -> str:
        """The code that the gatekeeper must give; empty for none."""
        return self.name.partition("-")[0].removeprefix("ACCEPTED")

    @property
    def can_travel(self) -> bool:
        """Whether C-STORE can carry it: fragments have an even length, and a UID in a command is printable text."""
        is_named = len(self.instance) <= 64 and self.instance.isascii() and self.instance.isprintable() and self.instance
        return bool(self.data_set) and len(self.data_set or b"") % 2 == 0 and bool(is_named)


def good(instance: bytes = INSTANCE) -> bytes:
    """Give a file without any defect."""
    return PREAMBLE + meta(EXPLICIT, instance) + good_data_set(instance)


def good_data_set(instance: bytes = INSTANCE) -> bytes:
    """Give its data set."""
    return b"".join(explicit(*field) for field in fields(instance)) + IMAGE + PIXELS


@cache
def fixtures() -> tuple[Fixture, ...]:
    """Build every file of the corpus; names are unique."""
    return tuple(_all())


def _all() -> Iterator[Fixture]:
    yield from _framing()
    yield from _preambles()
    yield from _encodings()
    yield from _elements()
    yield from _sequences()
    yield from _pixels()
    yield from _deflated()
    yield from _identity()
    yield from _uids()
    yield from _text()
    yield from _accepted()


def _file(name: str, content: bytes) -> Fixture:
    return Fixture(name, content)


def _of(
    name: str, data_set: bytes, syntax: bytes = EXPLICIT, instance: bytes = INSTANCE, *, before: bytes | None = None
) -> Fixture:
    content = PREAMBLE + meta(syntax, instance) + data_set
    return Fixture(name, content, data_set, syntax.decode(), instance.decode("latin-1"), before)


def _before_pixels(data: bytes) -> bytes:
    """Put elements between the image's description and its pixels, where tags of group 0040 and above belong."""
    return BASE + IMAGE + data + PIXELS


def _framing() -> Iterator[Fixture]:
    yield _file("EMPTY", b"")
    yield _file("NO_META", PREAMBLE)
    yield _file("NO_META-preamble-used", b"x" * 128 + b"DICM")
    yield _file("NO_PREAMBLE", meta() + WHOLE)
    yield _file("NO_PREAMBLE-no-group-length", meta(has_length=True) + BASE)
    yield _file("NO_MAGIC", bytes(128) + b"XXXX" + meta() + BASE)
    yield _file("NO_MAGIC-nothing-else", bytes(128) + b"XXXX")
    yield _file("NO_MAGIC-lower-case", bytes(128) + b"dicm" + meta() + WHOLE)
    yield _file("NO_MAGIC-zeros", bytes(132) + meta() + WHOLE)
    for cut in (138, 144, 152, 160, 180, 200):
        yield _file(f"META_TRUNCATED-{cut}", good()[:cut])
    for length in (0, 4, 14, 0x7FFFFFFF, 0xFFFFFFF0):
        yield _file(f"META_GROUPLEN-{length}", PREAMBLE + meta(group_length=length) + WHOLE)
    yield _file("META_GROUPLEN-missing", PREAMBLE + meta(has_length=False) + WHOLE)
    yield _file("TS_MISSING-no-group-2", PREAMBLE + WHOLE)
    yield _file("TS_MISSING", PREAMBLE + meta(None) + WHOLE)
    yield _file("TS_MISSING-implicit", PREAMBLE + meta(None) + b"".join(implicit(*field) for field in fields()))
    yield _file("TS_MISSING-empty", PREAMBLE + meta(b"") + WHOLE)
    yield _file("NOT_DICOM-noise", NOISE)
    yield _file("NOT_DICOM-short-noise", NOISE[:5])
    for suffix, start in (
        ("zip", b"PK\x03\x04"),
        ("empty-zip", b"PK\x05\x06"),
        ("gzip", b"\x1f\x8b\x08\0"),
        ("seven-zip", b"7z\xbc\xaf\x27\x1c"),
        ("pdf", b"%PDF-1.7"),
        ("jpeg", b"\xff\xd8\xff\xe0"),
        ("png", b"\x89PNG\r\n\x1a\n"),
        ("gif", b"GIF89a"),
        ("tiff", b"II*\0"),
        ("big-tiff", b"MM\0*"),
        ("hdf5", b"\x89HDF\r\n"),
        ("sqlite", b"SQLite format 3\0"),
        ("elf", b"\x7fELF\2\1\1"),
        ("exe", b"MZ\x90\0"),
    ):
        yield _file(f"NOT_DICOM-{suffix}", start + NOISE)
    yield _file("NOT_DICOM-text", b"Dear colleague, " * 50)
    yield _file("NOT_DICOM-xml", b"<?xml version='1.0'?><NativeDicomModel/>" * 9)
    yield _file("NOT_DICOM-json", b'{"00080018": {"vr": "UI"}}' * 9)
    yield _file("NOT_DICOM-html", b"<html><body>404 not found</body></html>" * 9)
    yield _of("UNPARSEABLE", NOISE)
    yield _of("UNPARSEABLE-text", b"This is a text, no data set. " * 30)
    yield _of("UNPARSEABLE-ones", b"\xff" * 400)


def _preambles() -> Iterator[Fixture]:
    for suffix, start in (
        ("exe", b"MZ"),
        ("elf", b"\x7fELF"),
        ("mach-o", b"\xfe\xed\xfa\xce"),
        ("mach-o-64", b"\xfe\xed\xfa\xcf"),
        ("mach-o-swapped", b"\xcf\xfa\xed\xfe"),
        ("java", b"\xca\xfe\xba\xbe"),
        ("script", b"#!/bin/sh\n"),
        ("pdf", b"%PDF-1.7"),
        ("zip", b"PK\x03\x04"),
        ("doctype", b"<!DOCTYPE html>"),
        ("html", b"<html><script>"),
        ("indented-html", b"\n\n <html>"),
        ("javascript", b"<script>alert(1)"),
        ("svg", b"<svg onload="),
        ("php", b"<?php"),
    ):
        yield _file(f"PREAMBLE_EXEC-{suffix}", start.ljust(128, b"\0") + good()[128:])


def _encodings() -> Iterator[Fixture]:
    big = b"".join(explicit(*field, order=">") for field in fields())
    little = b"".join(implicit(*field) for field in fields())
    yield _of("TS_MISMATCH-explicit-labelled-implicit", BASE, IMPLICIT)
    yield _of("TS_MISMATCH-implicit-labelled-explicit", little)
    yield _of("TS_MISMATCH-little-labelled-big", BASE, BIG)
    yield _of("TS_MISMATCH-big-labelled-little", big)
    yield _of("TS_MISMATCH-big-labelled-implicit", big, IMPLICIT)
    yield _of("TS_MISMATCH-plain-labelled-deflated", BASE, DEFLATED)
    yield _of("TS_MISMATCH-native-labelled-jpeg", WHOLE, JPEG)
    yield _of("TS_MISMATCH-jpeg-labelled-native", BASE + IMAGE + encapsulated(b"\xff\xd8" * 8))
    yield _of("TS_UNKNOWN-private", BASE, b"1.2.840.113619.5.2")
    yield _of("TS_UNKNOWN-future", BASE, b"1.2.840.10008.1.2.99.1")
    yield _of("TS_UNKNOWN-with-pixels", WHOLE, b"1.2.3.4.5.6")


def _elements() -> Iterator[Fixture]:
    for vr, tag in ((b"OW", 0x00420011), (b"OB", 0x00420011), (b"UN", _PRIVATE), (b"UT", 0x00291001), (b"OF", 0x00640009)):
        yield _of(f"VALUE_OVERRUN-{vr.decode()}", BASE + IMAGE + explicit(tag, vr, bytes(16), 0xFFFFFFFE))
    yield _of("VALUE_OVERRUN-LO", BASE + IMAGE + explicit(0x00400254, b"LO", b"abcd", 4000))
    yield _of("VALUE_OVERRUN-first", explicit(0x00080005, b"CS", b"ISO_IR 100", 10_000))
    yield _of("VALUE_OVERRUN-one-byte", BASE + IMAGE + explicit(0x00400254, b"LO", b"abcd", 6))
    yield _of("VALUE_OVERRUN-pixel", BASE + IMAGE + explicit(0x7FE00010, b"OW", bytes(32), 0xFFFFFFFE))
    yield _of(
        "VALUE_OVERRUN-implicit",
        b"".join(implicit(*field) for field in fields()) + implicit(0x00400254, b"LO", b"ab", 98),
        IMPLICIT,
    )
    for count in (1, 3, 5, 7):
        yield _of(f"TRAILING_FRAGMENT-{count}", BASE + (b"\x28\0\x10\0US\2")[:count])
    yield _of("TRAILING_FRAGMENT-behind-pixels", WHOLE + b"\xfc\xff\xfc\xff")
    for suffix, data in (("few", bytes(50)), ("many", bytes(100_000)), ("one", b"\0"), ("megabytes", bytes(20 << 20))):
        yield _of(f"TRAILING_PADDING-{suffix}", WHOLE + data)
    yield _of("TRAILING_PADDING-without-pixels", BASE + bytes(5_000))
    yield _of("ILLEGAL_GROUP-2", explicit(0x00020010, b"UI", EXPLICIT) + BASE)
    yield _of("ILLEGAL_GROUP-0", explicit(0x00000002, b"UI", b"1.2") + BASE)
    yield _of("ILLEGAL_GROUP-1", explicit(0x00010010, b"LO", b"PRIVATE") + BASE)
    yield _of("ILLEGAL_GROUP-3", explicit(0x00030010, b"LO", b"PRIVATE") + BASE)
    yield _of("TAG_ORDER-swapped", BASE + explicit(0x00280011, b"US", b"\4\0") + explicit(0x00280010, b"US", b"\4\0"))
    yield _of("TAG_ORDER-pixels-first", PIXELS + BASE + IMAGE)
    yield _of("TAG_ORDER-twice", BASE + explicit(0x00280010, b"US", b"\4\0") * 2)
    yield _of("TAG_ORDER-patient-twice-alike", BASE.replace(*_again(0x00100020, b"LO", b"P1", b"P1")))
    yield _of(
        "TAG_ORDER-in-item",
        BASE + IMAGE + explicit(_SEQUENCE, b"SQ", item(explicit(0x00080104, b"LO", b"b") + explicit(0x00080100, b"SH", b"a"))),
    )
    for suffix, tag, vr, old, new in (
        ("patient-id", 0x00100020, b"LO", b"P1", b"P2"),
        ("patient-name", 0x00100010, b"PN", b"Doe^Jane", b"Doe^John"),
        ("study", 0x0020000D, b"UI", b"1.2.3", b"1.2.9"),
        ("series", 0x0020000E, b"UI", b"1.2.3.1", b"1.2.3.9"),
    ):
        yield _of(f"DUP_IDENTITY_TAG-{suffix}", BASE.replace(*_again(tag, vr, old, new)) + IMAGE + PIXELS)
    yield _of("DUP_IDENTITY_TAG-three-patients", BASE.replace(*_again(0x00100020, b"LO", b"P1", b"P2", b"P3")))
    for suffix, vr in (
        ("bytes", b"\0\1"),
        ("question-marks", b"??"),
        ("lower-case", b"us"),
        ("digits", b"12"),
        ("unknown", b"ZZ"),
    ):
        yield _of(f"BAD_VR-{suffix}", BASE + explicit(0x00280010, vr, b"\4\0"))
    for suffix, tag, vr, value in (
        ("CS", 0x00280004, b"CS", b"RGB"),
        ("LO", 0x00400254, b"LO", b"abc"),
        ("UI", 0x00400554, b"UI", b"1.2.3"),
        ("OB", 0x00420011, b"OB", b"%PD"),
        ("IS", 0x00280008, b"IS", b"1"),
    ):
        yield _of(f"ODD_LENGTH-{suffix}", BASE + explicit(tag, vr, value, pad=False))
    for vr in (b"OB", b"UT", b"UN", b"OW"):
        yield _of(f"VR_LENGTH_FORM-{vr.decode()}", BASE + struct.pack("<HH2sH", 0x28, 0x1201, vr, 4) + bytes(4))
    long_name = explicit(0x00100010, b"UN", b"x" * 1_000_000)
    yield _of(
        "OVERSIZE_VALUE-name", b"".join(long_name if tag == 0x00100010 else explicit(tag, vr, v) for tag, vr, v in fields())
    )
    yield _of("OVERSIZE_VALUE-description", explicit(0x00080005, b"CS", b"ISO_IR 100") + _described(b"x" * 60_000))
    yield _of("ELEMENT_LIMIT-items", BASE + explicit(_SEQUENCE, b"SQ", item() * 1_000_000))
    yield _of("ELEMENT_LIMIT-elements", BASE + _ascending(1_000_000))
    yield _of("ELEMENT_LIMIT-in-items", BASE + explicit(_SEQUENCE, b"SQ", item(explicit(0x00080100, b"SH", b"a")) * 400_000))


def _described(value: bytes) -> bytes:
    description = explicit(0x00081030, b"LO", value)
    return b"".join(explicit(*field) + (description if field[0] == 0x00080018 else b"") for field in fields())


def _again(tag: int, vr: bytes, value: bytes, *more: bytes) -> tuple[bytes, bytes]:
    first = explicit(tag, vr, value)
    return first, first + b"".join(explicit(tag, vr, each) for each in more)


def _ascending(count: int) -> bytes:
    return b"".join(struct.pack("<HH2sHI", 0x29 + 2 * (i >> 15), i & 0x7FFF, b"UN", 0, 0) for i in range(count))


def _high(sequence: bytes) -> bytes:
    """Give a nest of sequences a tag behind those of the base."""
    return sequence.replace(b"\x08\0\x40\x11", b"\x40\0\x40\x11")


def _sequences() -> Iterator[Fixture]:
    for levels in (100, 240, 260, 1_000, 100_000):
        yield _of(f"DEPTH-{levels}", BASE + _high(nested(levels)))
    for levels in (100, 1_000):
        yield _of(f"DEPTH-defined-{levels}", BASE + _high(nested_defined(levels)))
    inner = explicit(0x00080100, b"SH", b"A1")
    yield _of("UNTERMINATED_SQ", BASE + explicit(_SEQUENCE, b"SQ", item(BASE), UNDEFINED))
    yield _of("UNTERMINATED_SQ-item", BASE + explicit(_SEQUENCE, b"SQ", item(inner, UNDEFINED), UNDEFINED))
    yield _of("UNTERMINATED_SQ-empty", BASE + explicit(_SEQUENCE, b"SQ", b"", UNDEFINED))
    yield _of(
        "UNTERMINATED_SQ-inner",
        BASE + explicit(_SEQUENCE, b"SQ", item(explicit(0x00081140, b"SQ", item(inner), UNDEFINED), UNDEFINED), UNDEFINED),
    )
    for vr in (b"UN", b"UT", b"OB", b"OW"):
        yield _of(
            f"UNDEFINED_ON_NON_SQ-{vr.decode()}", BASE + explicit(_PRIVATE, vr, b"some text, none of it an item" * 9, UNDEFINED)
        )
    yield _of("STRUCTURE-item-delimiter", BASE + ITEM_END)
    yield _of("STRUCTURE-sequence-delimiter", BASE + SEQUENCE_END)
    yield _of("STRUCTURE-item-too-long", BASE + explicit(_SEQUENCE, b"SQ", item(b"", 99)))
    yield _of("STRUCTURE-item-outside", BASE + item(BASE))
    yield _of("STRUCTURE-element-in-place-of-item", BASE + explicit(_SEQUENCE, b"SQ", inner))
    yield _of("STRUCTURE-element-across-item", BASE + explicit(_SEQUENCE, b"SQ", item(explicit(0x00080104, b"LO", b"abcd", 60))))
    yield _of("STRUCTURE-fragment-in-sequence", BASE + explicit(_SEQUENCE, b"SQ", item(inner) + b"\xfe\xff\0\xe0"))


def _image(rows: int = 4, columns: int = 4, frames: bytes = b"", bits: int = 16) -> bytes:
    return (
        explicit(0x00280002, b"US", b"\1\0")
        + (explicit(0x00280008, b"IS", frames) if frames else b"")
        + explicit(0x00280010, b"US", struct.pack("<H", rows))
        + explicit(0x00280011, b"US", struct.pack("<H", columns))
        + explicit(0x00280100, b"US", struct.pack("<H", bits))
    )


def _pixels() -> Iterator[Fixture]:
    for claimed in (34, 1_000, 100_000, 0x7FFFFFFE):
        yield _of(f"TRUNCATED_PIXEL-{claimed}", BASE + IMAGE + explicit(0x7FE00010, b"OW", bytes(32), claimed))
    yield _of("TRUNCATED_PIXEL-float", BASE + explicit(0x7FE00008, b"OF", bytes(32), 4_000))
    four = explicit(0x7FE00010, b"OW", bytes(4))
    yield _of("PIXEL_SIZE_MISMATCH-huge", BASE + _image(65535, 65535, b"2147483647") + four)
    yield _of("PIXEL_SIZE_MISMATCH-frames", BASE + _image(frames=b"3") + PIXELS)
    yield _of("PIXEL_SIZE_MISMATCH-rows", BASE + _image(rows=512) + PIXELS)
    yield _of("PIXEL_SIZE_MISMATCH-bits", BASE + _image(bits=32) + PIXELS)
    yield _of("PIXEL_SIZE_MISMATCH-empty", BASE + IMAGE + explicit(0x7FE00010, b"OW"))
    yield _of("UNTERMINATED_PIXEL", BASE + encapsulated(b"\xff\xd8" * 50, end=b""), JPEG)
    yield _of("UNTERMINATED_PIXEL-table-only", BASE + encapsulated(end=b""), JPEG)
    yield _of(
        "UNTERMINATED_PIXEL-element-follows", BASE + encapsulated(b"\xff\xd8", end=explicit(0xFFFCFFFC, b"OB", bytes(8))), JPEG
    )
    for length in (0xFFFFFFF0, 0x7FFFFFFE, 1_000):
        yield _of(f"FRAGMENT_OVERRUN-{length}", BASE + encapsulated(end=item(bytes(10), length)), JPEG)
    for suffix, table in (
        ("outside", struct.pack("<II", 0, 99)),
        ("unsorted", struct.pack("<III", 0, 20, 10)),
        ("not-zero", struct.pack("<I", 10)),
        ("between", struct.pack("<II", 0, 3)),
        ("half", struct.pack("<IH", 0, 10)),
    ):
        yield _of(f"OFFSET_TABLE-{suffix}", BASE + encapsulated(b"ab", b"cd", b"ef", table=table), JPEG)
    extended = explicit(0x7FE00001, b"OV", struct.pack("<QQ", 0, 99)) + explicit(0x7FE00002, b"OV", struct.pack("<QQ", 2, 2))
    yield _of("OFFSET_TABLE-extended", BASE + extended + encapsulated(b"ab", b"cd"), JPEG)
    unequal = explicit(0x7FE00001, b"OV", struct.pack("<QQ", 0, 10)) + explicit(0x7FE00002, b"OV", struct.pack("<Q", 2))
    yield _of("OFFSET_TABLE-extended-lengths", BASE + unequal + encapsulated(b"ab", b"cd"), JPEG)


def _deflated() -> Iterator[Fixture]:
    packed = raw_deflate(BASE + explicit(0x00420011, b"OB", NOISE))
    yield _of("INFLATE_LIMIT-bomb", bomb() + b"\0" * (len(bomb()) % 2), DEFLATED)
    yield _of("INFLATE_ERROR-noise", NOISE, DEFLATED)
    yield _of("INFLATE_ERROR-cut", packed[:5_000], DEFLATED)
    yield _of("INFLATE_ERROR-zlib-header", zlib.compress(BASE), DEFLATED)
    yield _of("INFLATE_ERROR-cut-early", packed[:60], DEFLATED)
    whole = raw_deflate(WHOLE)
    yield _of("INFLATE_TRAILER-noise", whole + NOISE[: 1000 + len(whole) % 2], DEFLATED)
    yield _of("INFLATE_TRAILER-second-stream", whole + whole, DEFLATED)
    yield _of("INFLATE_TRAILER-zeros", whole + bytes(100 + len(whole) % 2), DEFLATED)


def _identity() -> Iterator[Fixture]:
    def base(drop: int, value: bytes | None = None) -> bytes:
        kept = [(tag, vr, value if tag == drop else old) for tag, vr, old in fields() if tag != drop or value is not None]
        return b"".join(explicit(tag, vr, each or b"") for tag, vr, each in kept) + IMAGE + PIXELS

    for name, tag in (("SOP", 0x00080018), ("STUDY", 0x0020000D), ("SERIES", 0x0020000E)):
        yield _of(f"NO_{name}_INSTANCE_UID", base(tag))
    yield _of("SOP_MISMATCH-instance", WHOLE, instance=b"9.9.9")
    yield _of("SOP_MISMATCH-class", base(0x00080016, b"1.2.840.10008.5.1.4.1.1.4"))
    yield _of("SOP_MISMATCH-longer", WHOLE, instance=b"1.2.3.4.5")
    other = BASE.replace(explicit(0x00100010, b"PN", b"Doe^Jane"), explicit(0x00100010, b"PN", b"Roe^Mary"))
    yield _of("UID_CONFLICT-pixels", BASE + IMAGE + explicit(0x7FE00010, b"OW", b"\1" * 32), before=WHOLE)
    yield _of("UID_CONFLICT-name", other + IMAGE + PIXELS, before=WHOLE)
    yield _of("UID_CONFLICT-encoding", b"".join(implicit(*field) for field in fields()), IMPLICIT, before=WHOLE)


def _uids() -> Iterator[Fixture]:
    for suffix, value in (
        ("path", b"../../../x/y"),
        ("absolute-path", b"/etc/passwd"),
        ("drive", b"C:/x"),
        ("nul-inside", b"1.2\0.3"),
        ("too-long", b"1." * 100 + b"1"),
        ("65-characters", b"1" * 65),
        ("two-values", b"1.2\\1.3"),
        ("leading-zero", b"1.02.3"),
        ("first-dot", b".1.2"),
        ("last-dot", b"1.2."),
        ("two-dots", b"1..2"),
        ("letters", b"1.2.abc"),
        ("minus", b"1.-2.3"),
        ("space-inside", b"1.2 .3"),
        ("full-width-digits", "１.２".encode()),
        ("wildcard", b"1.2.*"),
    ):
        yield _of(f"BAD_UID-{suffix}", good_data_set(value), instance=value)
    for suffix, tag, old in (("study", 0x0020000D, b"1.2.3"), ("series", 0x0020000E, b"1.2.3.1")):
        for kind, value in (("path", b"../../.."), ("leading-zero", b"1.02.3")):
            bad = WHOLE.replace(explicit(tag, b"UI", old), explicit(tag, b"UI", value))
            yield _of(f"BAD_UID-{suffix}-{kind}", bad)
    padded = WHOLE.replace(explicit(0x0020000D, b"UI", b"1.2.3"), explicit(0x0020000D, b"UI", b"1.2.3 "))
    yield _of("BAD_UID-padded-with-a-space", padded)


def _text() -> Iterator[Fixture]:
    for suffix, charset, name in (
        ("unknown-term", b"ISO_IR 9999", b"M\xfcller^J\xf6rg"),
        ("not-utf-8", b"ISO_IR 192", b"M\xfcller^J\xf6rg"),
        ("bad-escape", b"\\ISO 2022 IR 87", b"\x1b$Q??^x"),
        ("undeclared-escape", b"ISO_IR 100", b"Yamada^Tarou=\x1b$B;3ED\x1b(B"),
        ("gb18030-cut", b"GB18030", b"Wang^X=\xcd"),
        ("not-korean", b"\\ISO 2022 IR 149", b"Hong=\x1b$)C\xff\xff"),
    ):
        start = explicit(0x00080005, b"CS", charset)
        body = BASE.replace(explicit(0x00100010, b"PN", b"Doe^Jane"), explicit(0x00100010, b"PN", name))
        yield _of(f"CHARSET-{suffix}", start + body + IMAGE + PIXELS)
    for suffix, tag, vr, value in (
        ("exponent", 0x00280008, b"IS", b"1e9999"),
        ("words", 0x00280008, b"IS", b"NaN;DROP"),
        ("decimal", 0x00280008, b"IS", b"1.5"),
        ("too-long", 0x00280008, b"IS", b"9" * 20),
    ):
        yield _of(f"BAD_NUMBER-{suffix}", BASE + explicit(tag, vr, value))


def _accepted() -> Iterator[Fixture]:
    yield _of("ACCEPTED", WHOLE)
    yield _of("ACCEPTED-without-pixels", BASE)
    yield _of("ACCEPTED-trailing-padding-element", WHOLE + explicit(0xFFFCFFFC, b"OB", bytes(50)))
    inner = item(implicit(0x00080100, b"SH", b"A1"))
    yield _of("ACCEPTED-implicit-sequence-inside", BASE + explicit(_PRIVATE, b"UN", inner + SEQUENCE_END, UNDEFINED))
    yield _file("ACCEPTED-tiff-preamble", b"II*\0" + bytes(124) + good()[128:])
    for suffix, name in (("html", b"<script>alert(1)</script>"), ("sql", b"x'; DROP TABLE--"), ("format", b"%s{0}%n^")):
        yield _of(
            f"ACCEPTED-name-{suffix}", BASE.replace(explicit(0x00100010, b"PN", b"Doe^Jane"), explicit(0x00100010, b"PN", name))
        )
    yield _of(
        "ACCEPTED-path-as-patient-id",
        BASE.replace(explicit(0x00100020, b"LO", b"P1"), explicit(0x00100020, b"LO", b"../../etc/passwd")),
    )
    yield _of("ACCEPTED-64-levels", BASE + _high(nested(60)))
    yield _of("ACCEPTED-many-frames", BASE + IMAGE + encapsulated(*[b"ab"] * 50_000), JPEG)
    many = item(explicit(0x00209113, b"SQ", item(explicit(0x00200032, b"DS", b"0\\0\\0"))))
    old, new = (explicit(0x00020002, b"UI", uid) for uid in (CT.encode(), _ENHANCED_CT))
    group = meta(has_length=False).replace(old, new)
    enhanced = BASE.replace(explicit(0x00080016, b"UI", CT.encode()), explicit(0x00080016, b"UI", _ENHANCED_CT))
    content = enhanced + explicit(0x52009230, b"SQ", many * 200_000)
    length = explicit(0x00020000, b"UL", struct.pack("<I", len(group)))
    yield _file("ACCEPTED-functional-groups", PREAMBLE + length + group + content)
