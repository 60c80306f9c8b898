"""Cutting headers into what matters and runs: the same pieces whatever other headers were cut before."""

from __future__ import annotations

import random
import struct
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from vna.part10.elements import EXPLICIT_LE, UNDEFINED, element_bytes, header_bytes, sequence_bytes
from vna.part10.raw import RawElement, read_elements
from vna.part10.runs import _MOST, RUN, _stretches, read_runs
from vna.part10.split import PIXELS

INTEREST = (0x00080050, 0x00100010, 0x00100020, 0x00280000, 0x00400275)
TAGS = [
    *range(0x00080010, 0x00080090, 0x10),
    *range(0x00100010, 0x00100060, 0x10),
    *range(0x00180010, 0x00180060, 0x10),
    0x00400275,
]
VRS = (b"LO", b"DS", b"SQ", b"UT", b"OB")
_fresh = count()


def element(tag: int, vr: bytes, length: int) -> bytes:
    value = b"7" * (2 * length)
    if vr != b"SQ":
        return element_bytes(tag, vr, value, EXPLICIT_LE)
    item = element_bytes(0x00080060, b"CS", value, EXPLICIT_LE)
    if length != 3:
        return sequence_bytes(tag, [item], EXPLICIT_LE)
    open_item = header_bytes(0xFFFEE000, b"", UNDEFINED, EXPLICIT_LE) + item + header_bytes(0xFFFEE00D, b"", 0, EXPLICIT_LE)
    return header_bytes(tag, b"SQ", UNDEFINED, EXPLICIT_LE) + open_item + header_bytes(0xFFFEE0DD, b"", 0, EXPLICIT_LE)


def expected(data: bytes, interest: tuple[int, ...]) -> list[RawElement]:
    """Cut element by element, then join what lies between."""
    pieces: list[RawElement] = []
    for each in read_elements(data, EXPLICIT_LE):
        last = pieces[-1] if pieces else None
        if each.tag in interest:
            pieces.append(each)
        elif last is None or last.vr != RUN or any(last.tag < tag < each.tag for tag in interest):
            pieces.append(RawElement(each.tag, RUN, each.raw, 0))
        else:
            pieces[-1] = RawElement(last.tag, RUN, last.raw + each.raw, 0)
    return pieces


def headers() -> st.SearchStrategy[list[bytes]]:
    """Give some headers that differ in few elements, in their lengths and in which elements there are."""
    one = st.dictionaries(st.sampled_from(TAGS), st.tuples(st.sampled_from(VRS), st.integers(0, 4)), min_size=4)
    changes = st.lists(
        st.dictionaries(st.sampled_from(TAGS), st.tuples(st.sampled_from(VRS), st.integers(0, 4)), max_size=3), max_size=6
    )

    def build(first: dict[int, tuple[bytes, int]], later: list[dict[int, tuple[bytes, int]]]) -> list[bytes]:
        found, told = dict(first), []
        for change in ({}, *later, {}):
            for tag, (vr, length) in change.items():
                if tag in found and length == 4:
                    del found[tag]
                else:
                    found[tag] = (vr, length)
            told.append(b"".join(element(tag, *found[tag]) for tag in sorted(found)))
        return told

    return st.builds(build, one, changes)


@given(headers())
def test_the_pieces_are_those_of_a_walk_whatever_was_learnt_before(told: list[bytes]) -> None:
    stops = frozenset((0x7FE00010, 0x7FE10000 + next(_fresh) % 0xFFFF))  # so that nothing is known at the beginning
    for data in told:
        for _ in range(2):
            assert read_runs(data, 0, INTEREST, stops, is_whole=True) == (expected(data, INTEREST), len(data))
    for at in range(len(told[0])):  # cut off anywhere
        found = read_runs(told[0][:at], 0, INTEREST, stops, is_whole=True)
        if found is not None:
            assert b"".join(piece.raw for piece in found[0]) == told[0][:at]


def test_what_is_alike_is_passed_over_at_once_and_what_varies_is_not() -> None:
    stops = frozenset((0x7FE00010, 0x7FE1FFFF))
    for number in range(30):
        data = b"".join(element(tag, b"LO", 1 + number % 3 if tag == 0x00180030 else 2) for tag in TAGS[:-1])
        assert read_runs(data, 0, INTEREST, stops, is_whole=True) == (expected(data, INTEREST), len(data))
    known = [stretch for stretch in _stretches(INTEREST, stops).known.values() if stretch]
    assert {(stretch.first, stretch.last) for stretch in known} >= {(0x00080010, 0x00080040), (0x00080060, 0x00080080)}
    assert not any(stretch.first < 0x00180030 < stretch.last for stretch in known)


def test_what_is_remembered_is_bounded() -> None:
    stops = frozenset((0x7FE00010, 0x7FE1FFFD))
    draw = random.Random(1)
    for _ in range(2 * _MOST):
        data = b"".join(element(tag, b"LO", draw.randrange(200)) for tag in TAGS[:-1])
        assert read_runs(data, 0, INTEREST, stops, is_whole=True) is not None
    assert len(_stretches(INTEREST, stops).known) <= _MOST


def test_what_needs_a_closer_look_is_left_to_the_walk() -> None:
    first, second = element(0x00100010, b"PN", 2), element(0x00180010, b"LO", 2)
    group_length = struct.pack("<HH2sHI", 0x0018, 0, b"UL", 4, len(second))
    for data in (second + first, first + first, first + group_length + second, first[:-1], first + b"\x18\0\x20\0\2\0\0\0ab"):
        assert read_runs(data, 0, INTEREST, PIXELS, is_whole=True) is None
    assert read_runs(first + second, 0, INTEREST, PIXELS, is_whole=False) is None
    pixels = element(0x7FE00010, b"OB", 1)
    assert read_runs(first + second + pixels, 0, INTEREST, PIXELS, is_whole=False) == (
        expected(first + second, INTEREST),
        len(first + second),
    )
