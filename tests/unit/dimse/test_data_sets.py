"""Data sets are read and framed for the wire byte by byte as they are in their files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import pytest

from vna.dimse import data_sets
from vna.dimse.data_sets import DataSetReader, OddLengthError, fragment_size, frame
from vna.dimse.pdus import LAST, P_DATA_HEADER


@pytest.mark.parametrize(
    ("maximum", "size"), [(0, data_sets.CHUNK), (16384, 16378), (16383, 16376), (8, 2), (7, 2), (1 << 31, data_sets.CHUNK)]
)
def test_fragments_fit_the_peers_maximum(maximum: int, size: int) -> None:
    assert fragment_size(maximum) == size


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("length", [2, 1000, 4096, 10_000])
def test_a_data_set_is_read_from_its_offset_to_its_end(tmp_path: Path, length: int, in_memory: bool) -> None:
    content = bytes(i % 251 for i in range(length))
    path = tmp_path / "a.dcm"
    path.write_bytes(b"head" + content)
    file: BinaryIO = io.BytesIO(b"head" + content) if in_memory else path.open("rb")
    reader = DataSetReader()
    reader.load(file, 4, may_pad=False)
    got = b""
    while reader.left:
        got += reader.read(4096)
    assert got == content
    reader.close()
    assert file.closed


def test_the_frames_of_several_pieces_make_one_data_set() -> None:
    content = bytes(range(250))
    pdus_ = b"".join(frame(memoryview(content)[:100], 60, 7, is_end=False) + frame(memoryview(content)[100:], 60, 7, is_end=True))
    got, at, flags = b"", 0, []
    while at < len(pdus_):
        kind, length, value_length, context_id, flag = P_DATA_HEADER.unpack_from(pdus_, at)
        assert (kind, context_id, value_length) == (4, 7, length - 4)
        got += pdus_[at + 12 : at + 6 + length]
        flags.append(flag)
        at += 6 + length
    assert got == content
    assert flags == [0] * (len(flags) - 1) + [LAST]


def test_a_deflated_data_set_of_odd_length_gets_a_nul() -> None:
    reader = DataSetReader()
    reader.load(io.BytesIO(b"headabc"), 4, may_pad=True)
    assert reader.left == 4
    assert bytes(reader.read(1 << 20)) == b"abc\0"
    assert not reader.left


def test_the_nul_does_not_come_before_the_end() -> None:
    reader = DataSetReader()
    reader.load(io.BytesIO(b"abcde"), 0, may_pad=True)
    assert [bytes(reader.read(2)) for _ in range(3)] == [b"ab", b"cd", b"e\0"]


def test_any_other_data_set_of_odd_length_is_refused() -> None:
    with pytest.raises(OddLengthError):
        DataSetReader().load(io.BytesIO(b"headabc"), 4, may_pad=False)


@pytest.mark.parametrize("content", [b"", b"head"])
def test_a_file_without_data_set_is_refused(content: bytes) -> None:
    with pytest.raises(OSError, match="no data set"):
        DataSetReader().load(io.BytesIO(content), 4, may_pad=False)


def test_a_file_that_shrinks_is_an_error_and_not_a_shorter_data_set(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(10_000))
    reader = DataSetReader()
    reader.load(path.open("rb"), 0, may_pad=False)
    reader.read(4096)
    path.write_bytes(bytes(100))
    with pytest.raises(OSError, match="shorter"):
        reader.read(4096)
    reader.close()
