"""The scanner keeps what is wanted, passes over the rest without holding it, and stops at its limits."""

import struct
from pathlib import Path

import pytest

from indexer.encodings import Encoding, declared_encoding, is_known, is_native, sniff
from indexer.header import Header, HeaderScanner, Limits
from indexer.scan import scan_file
from indexer.sequences import SEQUENCE_TAGS
from tests.unit.indexer.corpus import (
    BASE,
    BIG,
    CT,
    DEFLATED,
    IMAGE,
    ITEM_END,
    PIXELS,
    SEQUENCE_END,
    UNDEFINED,
    encapsulated,
    explicit,
    fields,
    implicit,
    item,
    meta,
    nested,
    nested_defined,
    part10,
    raw_deflate,
)

EXPLICIT_UID = "1.2.840.10008.1.2.1"


def scan(data_set: bytes, transfer_syntax_uid: str = EXPLICIT_UID, **options: object) -> Header:
    scanner = HeaderScanner(transfer_syntax_uid, **options)  # type: ignore[arg-type]
    scanner.feed(data_set)
    return scanner.close()


def codes(header: Header) -> list[str]:
    return [problem.code for problem in header.problems]


def test_pixel_data_end_the_scan_and_are_located() -> None:
    scanner = HeaderScanner(EXPLICIT_UID)
    assert scanner.feed(BASE + IMAGE + PIXELS) is True
    header = scanner.close()
    assert header.pixel is not None
    assert (header.pixel.vr, header.pixel.length, header.pixel.value_offset) == ("OW", 32, len(BASE + IMAGE) + 12)
    assert header.uid(0x0020000D) == "1.2.3"
    assert header.number(0x00280010) == 4


def test_values_in_items_are_not_those_of_the_data_set() -> None:
    inner = explicit(0x00080018, b"UI", b"9.9") + explicit(0x0020000D, b"UI", b"9.9.9")
    for sequence in (
        explicit(0x00081140, b"SQ", item(inner)),
        explicit(0x00081140, b"SQ", item(inner + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED),
        explicit(0x00090010, b"UN", item(implicit(0x00080018, b"UI", b"9.9")) + SEQUENCE_END, UNDEFINED),
        explicit(0x00090010, b"SQ", item(explicit(0x7FE00010, b"OB", b"icon")) * 2 + item()),
        explicit(0x00880200, b"SQ", item(encapsulated(b"ab", b"cdef") + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED),
    ):
        header = scan(sequence + BASE)
        assert header.uid(0x00080018) == "1.2.3.4", sequence
        assert header.uid(0x0020000D) == "1.2.3"
        assert set(codes(header)) <= {"TAG_ORDER"}


def test_a_defined_sequence_in_implicit_vr_is_walked_when_the_dictionary_knows_it() -> None:
    content = implicit(0x00081140, b"", item(implicit(0x00081155, b"UI", b"1.2") + implicit(0x00081150, b"UI", b"1.3")))
    header = scan(content + b"".join(implicit(*field) for field in fields()[2:]), "1.2.840.10008.1.2")
    assert codes(header) == ["TAG_ORDER"]
    private = implicit(0x00091010, b"", item(implicit(0x00081155, b"UI", b"1.2") + implicit(0x00081150, b"UI", b"1.3")))
    assert codes(scan(private, "1.2.840.10008.1.2")) == []


def test_unwanted_values_are_passed_over_without_being_held() -> None:
    scanner = HeaderScanner(EXPLICIT_UID)
    large = 500 << 20
    assert scanner.feed(explicit(0x00080016, b"UI", CT) + explicit(0x00091010, b"OB", b"", large)) is False
    assert scanner.skippable == large
    piece = bytes(1 << 20)
    for _ in range(10):
        scanner.feed(piece)
    assert scanner.skippable == large - (10 << 20)
    assert len(scanner._carry) == 0
    scanner.skip(scanner.skippable)
    scanner.feed(explicit(0x00100020, b"LO", b"P1"))
    header = scanner.close()
    assert header.elements[0x00100020] == b"P1"
    assert header.end_offset == 34 + 12 + large + 10


def test_a_chunk_is_not_kept_nor_changed_values_seen() -> None:
    buffer = bytearray(BASE)
    scanner = HeaderScanner(EXPLICIT_UID)
    scanner.feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert scanner.close().uid(0x0020000D) == "1.2.3"


def test_the_wanted_tags_can_be_chosen() -> None:
    header = scan(BASE, wanted=frozenset({0x00100020}))
    assert header.elements == {0x00100020: b"P1"}


@pytest.mark.parametrize("data_set", [nested(64), nested_defined(64)])
def test_depth_64_is_allowed(data_set: bytes) -> None:
    assert codes(scan(data_set)) == []


@pytest.mark.parametrize("data_set", [nested(65), nested_defined(65)])
def test_depth_65_is_not_but_what_follows_is_read(data_set: bytes) -> None:
    header = scan(data_set + explicit(0x00100020, b"LO", b"P1"))
    assert codes(header) == ["DEPTH"]
    assert header.elements[0x00100020] == b"P1"


def test_the_element_limit_holds_to_the_element() -> None:
    elements = b"".join(explicit(0x00090000 + number, b"LO", b"x ") for number in range(100))
    assert codes(scan(elements, limits=Limits(elements=101))) == []
    header = scan(elements, limits=Limits(elements=99))
    assert codes(header) == ["ELEMENT_LIMIT"]
    assert not header.has_header_end


def test_multi_frame_objects_may_have_more_elements() -> None:
    groups = item(explicit(0x00189074, b"DT", b"2026")) * 300
    body = explicit(0x52009230, b"SQ", groups)
    limits = Limits(elements=500, elements_multiframe=5_000)
    enhanced = explicit(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.4.1")
    assert codes(scan(enhanced + body, limits=limits)) == []
    assert codes(scan(explicit(0x00080016, b"UI", CT) + body, limits=limits)) == ["ELEMENT_LIMIT"]


def test_a_long_value_of_an_index_column_is_left_out() -> None:
    limits = Limits(value_bytes=8)
    header = scan(explicit(0x00100020, b"LO", b"12345678") + explicit(0x00100021, b"LO", b"1234567890"), limits=limits)
    assert header.elements == {0x00100020: b"12345678"}
    assert codes(header) == ["OVERSIZE_VALUE"]


def test_a_broken_sequence_of_defined_length_is_left_by_it() -> None:
    broken = explicit(0x00081140, b"SQ", item(explicit(0x00081155, b"UI", b"", 60)) + b"rubbish!")
    header = scan(broken + BASE[BASE.index(b"\x10\0\x10\0") :])
    assert codes(header) == ["STRUCTURE"]
    assert header.uid(0x0020000D) == "1.2.3"


def test_broken_sequences_are_not_followed_for_ever() -> None:
    broken = explicit(0x00081140, b"SQ", b"rubbish!" * 2)
    scanner = HeaderScanner(EXPLICIT_UID)
    assert scanner.feed(broken * 1_000) is True
    assert set(codes(scanner.close())) <= {"STRUCTURE", "TAG_ORDER"}


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_a_deflated_data_set_is_inflated_piece_by_piece(size: int) -> None:
    data_set = BASE + IMAGE + explicit(0x7FE00010, b"OW", bytes(32)) + explicit(0xFFFCFFFC, b"OB", bytes(40))
    deflated = raw_deflate(data_set)
    scanner = HeaderScanner(DEFLATED.decode())
    for at in range(0, len(deflated), size):
        if scanner.feed(deflated[at : at + size]):
            break
    header = scanner.close()
    assert header.problems == []
    assert (header.inflated_length, header.deflated_length) == (len(data_set), len(deflated))
    assert header.pixel is not None and header.pixel.length == 32
    assert header.elements == scan(data_set, through=True).elements


def test_a_truncated_deflated_image_is_found(tmp_path: Path) -> None:
    data_set = BASE + IMAGE + explicit(0x7FE00010, b"OW", bytes(16), 32)
    (tmp_path / "f").write_bytes(part10(raw_deflate(data_set), DEFLATED))
    assert scan_file(tmp_path / "f").codes == ("TRUNCATED_PIXEL",)


def test_inflation_is_limited_by_ratio_and_size() -> None:
    zeros = explicit(0x00091010, b"OB", bytes(4 << 20))
    deflated = raw_deflate(explicit(0x00080016, b"UI", CT) + zeros)
    for limits in (Limits(inflate_free_bytes=1 << 20), Limits(inflated_bytes=1 << 20)):
        header = scan(deflated, DEFLATED.decode(), limits=limits)
        assert codes(header) == ["INFLATE_LIMIT"]
        assert header.inflated_length is not None and header.inflated_length < 3 << 20
    assert codes(scan(deflated, DEFLATED.decode())) == []


def test_big_endian_numbers_are_read_as_such(tmp_path: Path) -> None:
    data_set = b"".join(explicit(*field, order=">") for field in fields())
    data_set += explicit(0x00280010, b"US", struct.pack(">H", 512), order=">")
    (tmp_path / "f").write_bytes(part10(data_set, BIG))
    found = scan_file(tmp_path / "f")
    assert found.problems == []
    assert found.header.encoding is Encoding.EXPLICIT_BIG
    assert found.row()["Rows"] == 512


def test_elements_behind_the_pixel_data_fill_the_row_too(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(part10(PIXELS + BASE + IMAGE))
    found = scan_file(tmp_path / "f")
    assert found.codes == ("TAG_ORDER",)
    assert found.row()["PatientName"] == "Doe^Jane"


def test_large_meta_information_is_read(tmp_path: Path) -> None:
    private = explicit(0x00020102, b"OB", bytes(50_000))
    body = meta()[12:] + private
    content = bytes(128) + b"DICM" + explicit(0x00020000, b"UL", struct.pack("<I", len(body))) + body + BASE
    (tmp_path / "f").write_bytes(content)
    found = scan_file(tmp_path / "f")
    assert found.problems == []
    assert len(found.meta.elements[0x00020102]) == 50_000
    (tmp_path / "f").write_bytes(content[:30_000])
    assert scan_file(tmp_path / "f").codes == ("META_TRUNCATED",)


@pytest.mark.parametrize(
    ("uid", "encoding", "native"),
    [
        ("1.2.840.10008.1.2", Encoding.IMPLICIT_LITTLE, True),
        ("1.2.840.10008.1.2.1", Encoding.EXPLICIT_LITTLE, True),
        ("1.2.840.10008.1.2.2", Encoding.EXPLICIT_BIG, True),
        ("1.2.840.10008.1.2.4.50", Encoding.EXPLICIT_LITTLE, False),
        ("1.2.840.10008.1.2.4.201", Encoding.EXPLICIT_LITTLE, False),
        ("1.2.840.10008.1.2.5", Encoding.EXPLICIT_LITTLE, False),
        ("1.2.840.113619.5.2", None, False),
        ("", None, False),
        ("1.2.840.10008.1.2.4.5", None, False),
    ],
)
def test_transfer_syntaxes_are_known(uid: str, encoding: Encoding | None, native: bool) -> None:
    assert declared_encoding(uid) is encoding
    assert is_known(uid) is (encoding is not None)
    assert is_native(uid) is native


def test_every_transfer_syntax_of_pydicom_is_known() -> None:
    from pydicom._uid_dict import UID_dictionary

    uids = [uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"]
    assert [uid for uid in uids if not is_known(uid)] == []


def test_the_sequences_are_those_of_the_data_dictionary() -> None:
    from pydicom.datadict import DicomDictionary

    known = {tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ"}
    assert known >= SEQUENCE_TAGS
    assert len(known - SEQUENCE_TAGS) < 0.05 * len(known)  # a newer dictionary may have a few more


def test_the_first_element_shows_the_encoding() -> None:
    assert sniff(explicit(0x00080005, b"CS", b"ISO_IR 100")) is Encoding.EXPLICIT_LITTLE
    assert sniff(explicit(0x00080005, b"CS", b"ISO_IR 100", order=">")) is Encoding.EXPLICIT_BIG
    assert sniff(implicit(0x00080005, b"CS", b"ISO_IR 100")) is Encoding.IMPLICIT_LITTLE
    assert sniff(b"rubbish!") is None
    assert sniff(b"\x08\0") is None
