"""Paths: every name of a file or object has one of its own in the table."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from indexer.found import path_of

names = st.one_of(
    st.binary(max_size=20),
    st.lists(
        st.sampled_from([b"\\", b"x", b"5c", b"ff", b"8", b"e9", b"\xff", b"\xc3", "é".encode(), b"/", b"a"]), max_size=8
    ).map(b"".join),
)


def name_of(path: str) -> bytes:
    """Undo the escapes, as whoever looks for the file would."""
    parts = re.split(r"\\x([89a-f][0-9a-f]|5c)", path)
    return b"".join(bytes.fromhex(part) if number % 2 else part.encode() for number, part in enumerate(parts))


@given(names)
@example(b"\xff")
@example(rb"\xff")
@example(rb"\x5cxff")
@example(rb"\x5c")
@example(b"\\\xff")
@example(b"\\x\xff")
def test_a_path_gives_back_its_name_so_that_no_two_names_share_one(name: bytes) -> None:
    path = path_of(name)
    assert name_of(path) == name
    path.encode()  # it is text that any service takes


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
@example("it's \\ new_%")
@example(r"\x41 \xFF \x7f")
def test_a_name_without_anything_like_an_escape_is_its_own_path(name: str) -> None:
    if not re.search(r"\\x([89a-f][0-9a-f]|5c)", name):
        assert path_of(name.encode()) == name
