"""The corpus of bad files: for each, what is wrong with it, built on a small good CT object in explicit little endian."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass

UNDEFINED = 0xFFFFFFFF
LONG = {b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"OV"}
CT = b"1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = b"1.2.840.10008.1.2.1"
IMPLICIT = b"1.2.840.10008.1.2"
BIG = b"1.2.840.10008.1.2.2"
DEFLATED = b"1.2.840.10008.1.2.1.99"
JPEG = b"1.2.840.10008.1.2.4.50"


def even(value: bytes, vr: bytes) -> bytes:
    return value + (b"\0" if vr in (b"UI", b"OB", b"UN") else b" ") * (len(value) % 2)


def explicit(tag: int, vr: bytes, value: bytes = b"", length: int | None = None, *, pad: bool = True, order: str = "<") -> bytes:
    value = even(value, vr) if pad else value
    length = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr
    return head + (struct.pack(order + "HI", 0, length) if vr in LONG else struct.pack(order + "H", length)) + value


def implicit(tag: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    value = even(value, vr)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content) if length is None else length) + content


ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def meta(
    transfer_syntax: bytes | None = EXPLICIT,
    instance: bytes = b"1.2.3.4",
    group_length: int | None = None,
    has_length: bool = True,
) -> bytes:
    body = explicit(0x00020001, b"OB", b"\0\1") + explicit(0x00020002, b"UI", CT) + explicit(0x00020003, b"UI", instance)
    body += explicit(0x00020010, b"UI", transfer_syntax) if transfer_syntax is not None else b""
    body += explicit(0x00020012, b"UI", b"1.2.3")
    length = len(body) if group_length is None else group_length
    return (explicit(0x00020000, b"UL", struct.pack("<I", length)) if has_length else b"") + body


PREAMBLE = bytes(128) + b"DICM"


def fields(sop_instance: bytes | None = b"1.2.3.4") -> list[tuple[int, bytes, bytes]]:
    found = [(0x00080016, b"UI", CT), (0x00080018, b"UI", sop_instance or b""), (0x00100010, b"PN", b"Doe^Jane")]
    found += [(0x00100020, b"LO", b"P1"), (0x0020000D, b"UI", b"1.2.3"), (0x0020000E, b"UI", b"1.2.3.1")]
    return [field for field in found if sop_instance is not None or field[0] != 0x00080018]


BASE = b"".join(explicit(*field) for field in fields())
IMAGE = b"".join(
    explicit(tag, b"US", struct.pack("<H", value))
    for tag, value in ((0x00280002, 1), (0x00280010, 4), (0x00280011, 4), (0x00280100, 16))
)
PIXELS = explicit(0x7FE00010, b"OW", bytes(32))


def part10(data_set: bytes, transfer_syntax: bytes | None = EXPLICIT) -> bytes:
    return PREAMBLE + meta(transfer_syntax) + data_set


def good() -> bytes:
    return part10(BASE + IMAGE + PIXELS)


def nested(levels: int, content: bytes = b"") -> bytes:
    opening = explicit(0x00081140, b"SQ", b"", UNDEFINED) + item(length=UNDEFINED)
    return opening * levels + content + (ITEM_END + SEQUENCE_END) * levels


def nested_defined(levels: int) -> bytes:
    content = b""
    for _ in range(levels):
        content = explicit(0x00081140, b"SQ", item(content))
    return content


def encapsulated(*fragments: bytes, table: bytes = b"", end: bytes = SEQUENCE_END) -> bytes:
    return explicit(0x7FE00010, b"OB", b"", UNDEFINED) + item(table) + b"".join(item(piece) for piece in fragments) + end


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def bomb() -> bytes:
    """600 MiB of zeros in one value."""
    stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = stream.compress(BASE + explicit(0x00420011, b"OB", b"", 600 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
    piece = stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
    return head + piece * 600 + stream.flush()


def without_sop_instance(value: bytes | None) -> bytes:
    return part10(b"".join(explicit(*field) for field in fields(value)) + IMAGE + PIXELS)


def uid(value: bytes) -> bytes:
    body = b"".join(explicit(*field) for field in fields(value)) + IMAGE + PIXELS
    return PREAMBLE + meta(instance=value) + body


@dataclass(frozen=True)
class BadFile:
    name: str
    content: bytes
    codes: tuple[str, ...]
    fills_row: bool = True


def _files() -> list[BadFile]:
    rng = random.Random(7)
    noise = rng.randbytes(10_000)
    big = b"".join(explicit(*field, order=">") for field in fields())
    after_patient = explicit(0x00100010, b"PN", b"Doe^Jane")
    head, _, rest = BASE.partition(after_patient)
    return [
        # 4a: the file and its elements
        BadFile("1 empty", b"", ("EMPTY",), False),
        BadFile("2 prefix only", PREAMBLE, ("NO_META",), False),
        BadFile("3 no preamble", meta() + BASE + IMAGE + PIXELS, ("NO_PREAMBLE",)),
        BadFile("4 other prefix", bytes(128) + b"XXXX" + meta() + BASE, ("NO_MAGIC",), False),
        BadFile("4 other prefix and nothing else", bytes(128) + b"XXXX", ("NO_MAGIC",), False),
        BadFile("5 meta cut", good()[:160], ("META_TRUNCATED",), False),
        BadFile("6 group length huge", PREAMBLE + meta(group_length=0xFFFFFFF0) + BASE, ("META_GROUPLEN",)),
        BadFile("7 group length 4", PREAMBLE + meta(group_length=4) + BASE, ("META_GROUPLEN",)),
        BadFile("7 group length at a boundary", PREAMBLE + meta(group_length=14) + BASE, ("META_GROUPLEN",)),
        BadFile("7 no group length", PREAMBLE + meta(has_length=False) + BASE, ("META_GROUPLEN",)),
        BadFile("8 no group 2", PREAMBLE + BASE, ("TS_MISSING",)),
        BadFile("8 no transfer syntax", PREAMBLE + meta(None) + BASE, ("TS_MISSING",)),
        BadFile("9 private transfer syntax", part10(BASE, b"1.2.840.113619.5.2"), ("TS_UNKNOWN",)),
        BadFile("10 implicit label", part10(BASE, IMPLICIT), ("TS_MISMATCH",)),
        BadFile("10 explicit label", part10(b"".join(implicit(*f) for f in fields())), ("TS_MISMATCH",)),
        BadFile("11 big endian label", part10(BASE, BIG), ("TS_MISMATCH",)),
        BadFile("11 little endian label", part10(big), ("TS_MISMATCH",)),
        BadFile("11 deflated label", part10(BASE, DEFLATED), ("TS_MISMATCH",)),
        BadFile("12 value overrun", part10(BASE + explicit(0x00420011, b"OW", bytes(16), 0xFFFFFFFE)), ("VALUE_OVERRUN",)),
        BadFile("12 pixel overrun", part10(BASE + explicit(0x7FE00010, b"OW", bytes(16), 0xFFFFFFFE)), ("VALUE_OVERRUN",)),
        BadFile("13 private overrun", part10(BASE + explicit(0x00291001, b"UT", b"ab", 0xFFFFFFF0)), ("VALUE_OVERRUN",)),
        BadFile("14 pixel truncated", part10(BASE + explicit(0x7FE00010, b"OW", bytes(100), 100_000)), ("TRUNCATED_PIXEL",)),
        BadFile("15 header fragment", part10(BASE + b"\x28\x00\x10"), ("TRAILING_FRAGMENT",)),
        BadFile("15 fragment after pixels", good() + b"\xfc\xff\xfc", ("TRAILING_FRAGMENT",)),
        BadFile("16 trailing zeros", good() + bytes(100_000), ("TRAILING_PADDING",)),
        BadFile("16 trailing zeros without pixels", part10(BASE + bytes(5_000)), ("TRAILING_PADDING",)),
        BadFile("16 one trailing zero", good() + b"\0", ("TRAILING_PADDING",)),
        BadFile("17 trailing padding element", good() + explicit(0xFFFCFFFC, b"OB", bytes(50)), ()),
        BadFile("18 noise", noise, ("NOT_DICOM",), False),
        BadFile("19 noise after prefix", PREAMBLE + noise, ("UNPARSEABLE",), False),
        BadFile("20 zip", b"PK\x03\x04" + noise, ("NOT_DICOM",), False),
        BadFile("20 text", b"Dear colleague, " * 50, ("NOT_DICOM",), False),
        BadFile("21 group 2 in data set", part10(explicit(0x00020010, b"UI", EXPLICIT) + BASE), ("ILLEGAL_GROUP",)),
        BadFile("22 group 0 in data set", part10(explicit(0x00000002, b"UI", CT) + BASE), ("ILLEGAL_GROUP",)),
        BadFile("23 pixels first", part10(PIXELS + BASE + IMAGE), ("TAG_ORDER",)),
        BadFile("23 out of order", part10(rest + after_patient + head), ("TAG_ORDER",)),
        BadFile("24 three patients", part10(BASE.replace(*_more_patients())), ("DUP_IDENTITY_TAG",)),
        BadFile("24 one patient twice", part10(BASE.replace(*_more_patients(b"P1"))), ("TAG_ORDER",)),
        BadFile("25 bad VR", part10(BASE + explicit(0x00280010, b"\0\1", b"\4\0")), ("BAD_VR",)),
        BadFile("26 odd length", part10(BASE + explicit(0x00280004, b"CS", b"RGB", pad=False)), ("ODD_LENGTH",)),
        BadFile(
            "27 short length of OB", part10(BASE + struct.pack("<HH2sH", 0x28, 0x1201, b"OB", 4) + bytes(4)), ("VR_LENGTH_FORM",)
        ),
        BadFile(
            "28 implicit sequence inside explicit",
            part10(BASE + explicit(0x00291010, b"UN", item(implicit(0x00080100, b"SH", b"A1")) + SEQUENCE_END, UNDEFINED)),
            (),
        ),
        # 4b: nesting and counts
        BadFile("29 100 levels", part10(nested(100) + BASE), ("DEPTH", "TAG_ORDER")),
        BadFile("30 240 levels", part10(BASE + nested(240).replace(b"\x08\0\x40\x11", b"\x40\0\x40\x11")), ("DEPTH",)),
        BadFile("32 1,000 levels", part10(BASE + nested(1_000).replace(b"\x08\0\x40\x11", b"\x40\0\x40\x11")), ("DEPTH",)),
        BadFile("33 100,000 levels", part10(BASE + nested(100_000).replace(b"\x08\0\x40\x11", b"\x40\0\x40\x11")), ("DEPTH",)),
        BadFile("34 1,000 defined levels", part10(BASE + _high(nested_defined(1_000))), ("DEPTH",)),
        BadFile(
            "35 sequence not closed", part10(BASE + explicit(0x00400260, b"SQ", item(BASE), UNDEFINED)), ("UNTERMINATED_SQ",)
        ),
        BadFile(
            "36 undefined text", part10(BASE + explicit(0x00291010, b"UN", b"some text" * 9, UNDEFINED)), ("UNDEFINED_ON_NON_SQ",)
        ),
        BadFile(
            "36 undefined UT", part10(BASE + explicit(0x00291010, b"UT", b"some text" * 9, UNDEFINED)), ("UNDEFINED_ON_NON_SQ",)
        ),
        BadFile("37 no delimiter", part10(BASE + encapsulated(b"\xff\xd8" * 50, end=b""), JPEG), ("UNTERMINATED_PIXEL",)),
        BadFile("38 fragment overrun", part10(BASE + encapsulated(end=item(b"\0" * 9, 0xFFFFFFF0)), JPEG), ("FRAGMENT_OVERRUN",)),
        BadFile("39 a million items", part10(BASE + explicit(0x00400260, b"SQ", item() * 1_000_000)), ("ELEMENT_LIMIT",)),
        BadFile("40 a million elements", part10(BASE + _ascending(1_000_000)), ("ELEMENT_LIMIT",)),
        BadFile("41 item delimiter", part10(BASE + ITEM_END), ("STRUCTURE",)),
        BadFile("42 sequence delimiter", part10(BASE + SEQUENCE_END), ("STRUCTURE",)),
        BadFile("43 item too long", part10(BASE + explicit(0x00400260, b"SQ", item(b"", 99))), ("STRUCTURE",)),
        BadFile("44 item outside", part10(BASE + item(BASE)), ("STRUCTURE",)),
        BadFile(
            "45 offset table", part10(BASE + encapsulated(b"ab", b"cd", table=struct.pack("<II", 0, 99)), JPEG), ("OFFSET_TABLE",)
        ),
        # 4c: compression and pixels
        BadFile("47 bomb", part10(bomb(), DEFLATED), ("INFLATE_LIMIT",)),
        BadFile("48 garbage", part10(noise, DEFLATED), ("INFLATE_ERROR",), False),
        BadFile(
            "49 deflate cut", part10(raw_deflate(BASE + explicit(0x00420011, b"OB", noise))[:5_000], DEFLATED), ("INFLATE_ERROR",)
        ),
        BadFile("50 deflate trailer", part10(raw_deflate(BASE) + noise, DEFLATED), ("INFLATE_TRAILER",)),
        BadFile("50 zlib header", part10(zlib.compress(BASE), DEFLATED), ("INFLATE_ERROR",)),
        BadFile("51 huge image", part10(BASE + _huge() + explicit(0x7FE00010, b"OW", bytes(4))), ("PIXEL_SIZE_MISMATCH",)),
        # 4d: identity
        BadFile("56 path", uid(b"../../../x/y"), ("BAD_UID",)),
        BadFile("57 absolute path", uid(b"/etc/passwd"), ("BAD_UID",)),
        BadFile("58 NUL inside", uid(b"1.2\0.3"), ("BAD_UID",)),
        BadFile("59 too long", uid(b"1." * 100 + b"1"), ("BAD_UID",)),
        BadFile("60 empty", without_sop_instance(b""), ("NO_SOP_INSTANCE_UID", "BAD_UID")),
        BadFile("60 missing", without_sop_instance(None), ("NO_SOP_INSTANCE_UID",)),
        BadFile("61 two values", uid(b"1.2\\1.3"), ("BAD_UID",)),
        BadFile("62 leading zero", uid(b"1.02.3"), ("BAD_UID",)),
        BadFile("62 first dot", uid(b".1"), ("BAD_UID",)),
        BadFile("62 last dot", uid(b"1."), ("BAD_UID",)),
        BadFile("62 padded with a space", without_sop_instance(b"1.2.3.4 "), ("BAD_UID",)),
        BadFile("62 full-width digits", uid("１.２".encode()), ("BAD_UID",)),
        BadFile("62 letters", uid(b"1.2.abc"), ("BAD_UID",)),
        BadFile("63 other instance in meta", PREAMBLE + meta(instance=b"9.9.9") + BASE, ("SOP_MISMATCH",)),
        BadFile("73 Windows executable", b"MZ" + bytes(126) + good()[128:], ("PREAMBLE_EXEC",)),
        BadFile("74 ELF", b"\x7fELF" + bytes(124) + good()[128:], ("PREAMBLE_EXEC",)),
        BadFile("75 HTML", b"<html><script>".ljust(128) + good()[128:], ("PREAMBLE_EXEC",)),
        BadFile("76 TIFF", b"II*\0" + bytes(124) + good()[128:], ()),
        BadFile("78 a megabyte of PN", part10(_long_name()), ("OVERSIZE_VALUE",)),
    ]


def _more_patients(*more: bytes) -> tuple[bytes, bytes]:
    first = explicit(0x00100020, b"LO", b"P1")
    return first, first + b"".join(explicit(0x00100020, b"LO", value) for value in more or (b"P2", b"P3"))


def _high(sequence: bytes) -> bytes:
    return sequence.replace(b"\x08\0\x40\x11", b"\x40\0\x40\x11")


def _ascending(count: int) -> bytes:
    return b"".join(struct.pack("<HH2sHI", 0x29 + 2 * (i >> 15), i & 0x7FFF, b"UN", 0, 0) for i in range(count))


def _huge() -> bytes:
    return (
        explicit(0x00280002, b"US", b"\1\0")
        + explicit(0x00280008, b"IS", b"2147483647")
        + explicit(0x00280010, b"US", b"\xff\xff")
        + explicit(0x00280011, b"US", b"\xff\xff")
        + explicit(0x00280100, b"US", b"\x10\0")
    )


def _long_name() -> bytes:
    name = explicit(0x00100010, b"UN", b"x" * 1_000_000)
    return b"".join(name if tag == 0x00100010 else explicit(tag, vr, value) for tag, vr, value in fields())


BAD_FILES = _files()
