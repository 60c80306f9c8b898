"""A header read by a layout that is known is the header that the walk would have read, whatever the bytes are."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.header import HeaderScanner
from indexer.layout import LastLayout, Layouts
from indexer.record import Header, Limits
from tests.unit.indexer.corpus import CT, ITEM_END, SEQUENCE_END, UNDEFINED, encapsulated, explicit, implicit, item

EXPLICIT_UID = "1.2.840.10008.1.2.1"
PIXELS = explicit(0x7FE00010, b"OW", bytes(40))


def data_set(
    instance: bytes = b"1.2.3.4", number: bytes = b"1 ", position: bytes = b"0.5 ", comment: bytes = b"ab", pixels: bytes = PIXELS
) -> bytes:
    """An object with everything that stands in a usual header: sequences of both kinds, private elements, long ones."""
    icon = explicit(0x00280010, b"US", b"\1\0") + explicit(0x7FE00010, b"OW", bytes(6))
    return b"".join(
        (
            explicit(0x00080005, b"CS", b"ISO_IR 100"),
            explicit(0x00080016, b"UI", CT),
            explicit(0x00080018, b"UI", instance),
            explicit(0x00081110, b"SQ", item(explicit(0x00081150, b"UI", CT) + explicit(0x00081155, b"UI", b"1.2"))),
            explicit(0x00081140, b"SQ", item(explicit(0x00081150, b"UI", CT) + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED),
            explicit(0x00081199, b"SQ", b""),
            explicit(0x00100010, b"PN", b"Doe^Jane"),
            explicit(0x00100020, b"LO", b""),
            explicit(0x00104000, b"LT", comment),
            explicit(0x0020000D, b"UI", b"1.2.3"),
            explicit(0x0020000E, b"UI", b"1.2.3.1"),
            explicit(0x00200013, b"IS", number),
            explicit(0x00200032, b"DS", position),
            *(explicit(tag, b"US", b"\4\0") for tag in (0x00280010, 0x00280011, 0x00280100)),
            explicit(0x00290010, b"LO", b"PRIVATE"),
            explicit(0x00291001, b"OB", b"\1\2\3\4"),
            explicit(0x00291002, b"UN", b""),
            explicit(0x00880200, b"SQ", item(icon)),
            pixels,
        )
    )


def scan(data: bytes, last: LastLayout | None, pieces: tuple[int, ...] = (), uid: str = EXPLICIT_UID) -> Header:
    scanner = HeaderScanner(uid, last=last)
    at = 0
    for size in (*pieces, len(data)):
        if scanner.feed(memoryview(data)[at : at + size]):
            break
        at += size
    return scanner.close()


def taught(*examples: bytes) -> LastLayout:
    last = LastLayout()
    for example in examples:
        scan(example, last)
    return last


def is_known(last: LastLayout, data: bytes, uid: str = EXPLICIT_UID) -> bool:
    header = Header(uid)
    found = last.read(data, header)
    assert found or header == Header(uid)
    return found > 0


def test_the_next_object_of_a_series_is_read_by_the_layout_of_the_one_before() -> None:
    last = taught(data_set())
    following = data_set(instance=b"1.2.3.5", number=b"2 ", position=b"-1.5")
    assert is_known(last, following)
    assert scan(following, last) == scan(following, None)


def test_a_length_that_differs_is_learned_and_what_follows_is_found_further_on() -> None:
    last = taught(data_set(), data_set(number=b"100 ", instance=b"1.2.3.444", comment=b"four"))
    for following in (
        data_set(instance=b"1.2.3.444.5", comment=b"", number=b"1000"),
        data_set(instance=b"1", comment=b"x" * 300, number=b"10"),
    ):
        assert is_known(last, following)
        assert scan(following, last) == scan(following, None)


def test_nothing_is_known_where_something_else_than_a_length_differs() -> None:
    last = taught(data_set(), data_set(instance=b"1.2.3.444"))
    plain = data_set()
    assert is_known(last, plain)
    for other in (
        plain.replace(explicit(0x00100020, b"LO"), b""),
        plain.replace(explicit(0x00100020, b"LO"), explicit(0x00100020, b"LO") + explicit(0x00100021, b"LO", b"A")),
        plain.replace(b"\x20\x00\x13\x00IS", b"\x20\x00\x13\x00XX"),
        plain.replace(explicit(0x00081155, b"UI", b"1.2"), explicit(0x00081155, b"UI", b"1.2.3.4")),
        plain.replace(PIXELS, encapsulated(b"ab")),
        plain.replace(PIXELS, explicit(0x7FE00010, b"OW", bytes(42))),
        data_set(instance=b"1" * 17, number=b"1 ").replace(b"1" * 17 + b"\0", b"1" * 17),
        plain[: len(plain) - len(PIXELS) + 8],
    ):
        assert not is_known(last, other)
        assert scan(other, last) == scan(other, None)


def test_a_wanted_value_longer_than_the_limit_is_left_to_the_walk() -> None:
    short, long = data_set(instance=b"1.2"), data_set(instance=b"1" * 20_000)
    last = taught(data_set(), short)
    assert is_known(last, short)
    assert not is_known(last, long)


def test_another_transfer_syntax_is_another_layout() -> None:
    assert not is_known(taught(data_set()), data_set(), "1.2.840.10008.1.2")


def test_what_is_not_plain_explicit_little_endian_or_has_a_problem_is_not_remembered() -> None:
    twice = explicit(0x00200013, b"IS", b"1")
    cases = [
        (data_set().replace(twice, twice + twice), EXPLICIT_UID),
        (data_set(comment=b"odd").replace(b"odd ", b"od ").replace(b"LT\x04", b"LT\x03"), EXPLICIT_UID),
        (implicit(0x00080016, b"UI", CT) + implicit(0x7FE00010, b"OW", bytes(40)), "1.2.840.10008.1.2"),
        (data_set(pixels=explicit(0x7FE00001, b"OV", bytes(8)) + encapsulated(b"ab")), "1.2.840.10008.1.2.4.50"),
        (explicit(0x00080016, b"UN", item() + SEQUENCE_END, UNDEFINED) + PIXELS, EXPLICIT_UID),
        (data_set(pixels=b""), EXPLICIT_UID),
        (data_set(), "1.2.3.4"),
    ]
    for data, uid in cases:
        last = LastLayout()
        scan(data, last, uid=uid)
        assert not is_known(last, data, uid)


def test_other_limits_and_a_header_that_spans_pieces_do_without() -> None:
    last = taught(data_set())
    limited = HeaderScanner(EXPLICIT_UID, Limits(value_bytes=4), last=last)
    limited.feed(data_set())
    assert [problem.code for problem in limited.close().problems] == ["OVERSIZE_VALUE"]
    assert scan(data_set(), last, (30, 100)) == scan(data_set(), None)


def test_where_no_two_objects_are_alike_comparing_is_given_up_for_a_while_and_taken_up_again() -> None:
    last = LastLayout()
    unlike = [data_set(), data_set().replace(explicit(0x00100020, b"LO"), b"")]
    for turn in range(5):
        scan(unlike[turn % 2], last)
    assert not is_known(last, unlike[1])
    for _ in range(34):
        scan(unlike[0], last)
    assert is_known(last, unlike[0])


def test_a_few_kinds_of_objects_are_remembered() -> None:
    layouts = Layouts()
    scan(data_set(), layouts.of("a"))
    assert is_known(layouts.of("a"), data_set())
    for kind in "bcdef":
        scan(data_set(), layouts.of(kind))
    assert not is_known(layouts.of("a"), data_set())


EXAMPLES = (
    data_set(),
    data_set(instance=b"1.2.3.444", comment=b"four", number=b"100 "),
    data_set(pixels=encapsulated(b"abcd")),
    data_set().replace(explicit(0x00100020, b"LO"), b""),
)
MUTATION = st.tuples(st.sampled_from(["flip", "drop", "put", "length"]), st.integers(0, 900), st.integers(0, 255))


def mutated(data: bytes, mutations: list[tuple[str, int, int]]) -> bytes:
    changed = bytearray(data)
    for kind, place, value in mutations:
        at = place % len(changed)
        if kind == "flip":
            changed[at] = value
        elif kind == "drop":
            del changed[at : at + 1 + value % 8]
        elif kind == "put":
            changed[at:at] = bytes([value]) * (1 + value % 8)
        elif (found := changed.find(b"\x10\x00\x20\x00LO", at % 200)) >= 0:
            changed[found + 6 : found + 8] = struct.pack("<H", value)
            changed[found + 8 : found + 8] = b"y" * value
    return bytes(changed)


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(st.sampled_from(EXAMPLES), min_size=1, max_size=4),
    st.sampled_from(EXAMPLES),
    st.lists(MUTATION, max_size=3),
    st.lists(st.integers(1, 600), max_size=2),
)
def test_with_any_layouts_known_any_bytes_read_as_without(
    before: list[bytes], example: bytes, mutations: list[tuple[str, int, int]], pieces: list[int]
) -> None:
    data = mutated(example, mutations)
    last = taught(*before, example)
    assert scan(data, last, tuple(pieces)) == scan(data, None, tuple(pieces))
