"""What follows the header is checked by lengths alone."""

import struct

import pytest

from indexer.header import Header, HeaderScanner, Limits
from indexer.scan import check_tail, expected_pixel_bytes
from tests.unit.indexer.corpus import BASE, SEQUENCE_END, encapsulated, explicit

EXPLICIT_UID, JPEG_UID = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"


def image(
    rows: int = 4, columns: int = 4, bits: int = 16, samples: int = 1, frames: bytes = b"", photometric: bytes = b""
) -> bytes:
    parts = [explicit(0x00280002, b"US", struct.pack("<H", samples)), explicit(0x00280004, b"CS", photometric or b"MONOCHROME2")]
    parts += [explicit(0x00280008, b"IS", frames)] if frames else []
    for tag, value in ((0x00280010, rows), (0x00280011, columns), (0x00280100, bits)):
        parts.append(explicit(tag, b"US", struct.pack("<H", value)))
    return BASE + b"".join(parts)


def tail(data_set: bytes, transfer_syntax_uid: str = EXPLICIT_UID, limits: Limits | None = None) -> tuple[Header, list[str]]:
    scanner = HeaderScanner(transfer_syntax_uid)
    scanner.feed(data_set)
    header = scanner.close()
    found = check_tail(header, len(data_set), lambda at, length: data_set[at : at + length], limits or Limits())
    assert all(problem in header.problems for problem in found)
    return header, [problem.code for problem in header.problems]


@pytest.mark.parametrize(
    ("attributes", "needed"),
    [
        (image(), 32),
        (image(frames=b"3"), 96),
        (image(frames=b"0"), 32),
        (image(frames=b"many"), 32),
        (image(5, 5, bits=1, frames=b"3"), 10),  # 75 bits, packed across frames (PS3.5 8.1.1)
        (image(bits=8, samples=3, photometric=b"RGB"), 48),
        (image(bits=8, samples=3, photometric=b"YBR_FULL_422"), 32),
        (image(bits=8, samples=3, photometric=b"YBR_PARTIAL_420"), 24),
        (image(3, 3, bits=8), 9),
        (image(bits=32), 64),
        (image(65535, 65535, frames=b"2147483647"), 65535 * 65535 * 2147483647 * 2),
    ],
)
def test_native_pixel_data_must_be_as_long_as_the_attributes_say(attributes: bytes, needed: int) -> None:
    header, _ = tail(attributes + explicit(0x7FE00010, b"OW", b""))
    assert expected_pixel_bytes(header) == needed
    if needed < 1_000:
        assert tail(attributes + explicit(0x7FE00010, b"OW", bytes(needed)))[1] == []
        assert tail(attributes + explicit(0x7FE00010, b"OW", bytes(needed + 20)))[1] == []
        assert "PIXEL_SIZE_MISMATCH" in tail(attributes + explicit(0x7FE00010, b"OW", bytes(needed - 1), pad=False))[1]


def test_without_attributes_nothing_is_said() -> None:
    assert tail(BASE + explicit(0x7FE00010, b"OW", bytes(4)))[1] == []


@pytest.mark.parametrize(
    ("pixels", "codes"),
    [
        (encapsulated(b"ab", b"cdef"), []),
        (encapsulated(b"ab", b"cdef", table=struct.pack("<II", 0, 10)), []),
        (encapsulated(b"ab", b"cdef", table=struct.pack("<I", 0)), []),
        (encapsulated(b"ab", b"cdef", table=struct.pack("<II", 0, 8)), ["OFFSET_TABLE"]),
        (encapsulated(b"ab", b"cdef", table=struct.pack("<II", 10, 0)), ["OFFSET_TABLE"]),
        (encapsulated(b"ab", b"cdef", table=b"\0\0"), ["OFFSET_TABLE"]),
        (encapsulated(b"ab", end=SEQUENCE_END[:5]), ["UNTERMINATED_PIXEL"]),
        (encapsulated(b"ab", end=b""), ["UNTERMINATED_PIXEL"]),
        (encapsulated(b"ab", end=b"rubbish!rubbish!"), ["UNTERMINATED_PIXEL"]),
        (encapsulated(b"a" * 50)[:-20], ["FRAGMENT_OVERRUN"]),
        (encapsulated(b"ab") + explicit(0xFFFCFFFC, b"OB", bytes(9)), []),
        (encapsulated(b"ab") + bytes(40), ["TRAILING_PADDING"]),
        (encapsulated(b"ab") + b"\0", ["TRAILING_PADDING"]),
        (encapsulated(b"ab") + b"\x01\x02\x03", ["TRAILING_FRAGMENT"]),
        (explicit(0x7FE00010, b"OB", b"plain pixels"), ["TS_MISMATCH"]),
    ],
)
def test_fragments_are_walked_by_their_headers(pixels: bytes, codes: list[str]) -> None:
    assert tail(BASE + pixels, JPEG_UID)[1] == codes


def test_encapsulated_pixels_under_a_native_label_are_a_mismatch() -> None:
    assert tail(BASE + encapsulated(b"ab"))[1] == ["TS_MISMATCH"]


@pytest.mark.parametrize(
    ("offsets", "lengths", "codes"),
    [([0, 10], [2, 4], []), ([0, 11], [2, 4], ["OFFSET_TABLE"]), ([0, 10], [2], ["OFFSET_TABLE"])],
)
def test_extended_offset_tables_are_compared(offsets: list[int], lengths: list[int], codes: list[str]) -> None:
    table = explicit(0x7FE00001, b"OV", struct.pack(f"<{len(offsets)}Q", *offsets))
    table += explicit(0x7FE00002, b"OV", struct.pack(f"<{len(lengths)}Q", *lengths))
    assert tail(BASE + table + encapsulated(b"ab", b"cdef"), JPEG_UID)[1] == codes


def test_the_number_of_fragments_is_limited() -> None:
    assert tail(BASE + encapsulated(*[b"ab"] * 20), JPEG_UID, Limits(elements=10))[1] == ["ELEMENT_LIMIT"]


def test_data_behind_zeros_are_not_taken_for_padding() -> None:
    assert tail(BASE + bytes(4_000) + BASE)[1] == ["TRAILING_PADDING", "STRUCTURE"]
    assert tail(image() + explicit(0x7FE00010, b"OW", bytes(32)) + bytes(4_000) + BASE)[1] == ["TRAILING_PADDING", "STRUCTURE"]
