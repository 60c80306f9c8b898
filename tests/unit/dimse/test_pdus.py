"""No PDU is read whose length its type cannot have."""

from __future__ import annotations

import pytest

from vna.dimse import limits, pdus
from vna.dimse.pdus import ProtocolError

MAX = 16384


@pytest.mark.parametrize(
    ("kind", "length"),
    [(1, 68), (1, limits.ASSOCIATE_BYTES), (2, 68), (3, 4), (4, 6), (4, MAX - 1), (4, MAX), (5, 4), (6, 4), (7, 4)],
)
def test_possible_lengths_are_let_through(kind: int, length: int) -> None:
    pdus.check_length(kind, length, MAX)


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        (1, 67),
        (1, limits.ASSOCIATE_BYTES + 1),
        (1, 0xFFFFFFFF),
        (2, 0),
        (3, 3),
        (3, 5),
        (4, 0),
        (4, 5),
        (4, MAX + 1),
        (4, 1 << 30),
        (4, 0xFFFFFFFF),
        (5, 0),
        (6, 5),
        (7, 0xFFFFFFFF),
    ],
)
def test_impossible_lengths_are_refused(kind: int, length: int) -> None:
    with pytest.raises(ProtocolError, match="PDU_LENGTH"):
        pdus.check_length(kind, length, MAX)


@pytest.mark.parametrize("header", [b"SSH-2.", b"GET / ", b"\x16\x03\x01\x02\x00\x01", b"\x00" * 6, b"\x08" + b"\x00" * 5])
def test_what_is_no_pdu_is_refused(header: bytes) -> None:
    with pytest.raises(ProtocolError, match="NOT_A_PDU"):
        kind, length = pdus.HEADER.unpack(header)
        pdus.check_length(kind, length, MAX)


def test_abort_and_reject_have_the_bytes_of_the_standard() -> None:
    assert pdus.abort(2, 6) == b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x06"
    assert pdus.reject(2, 3, 2) == b"\x03\x00\x00\x00\x00\x04\x00\x02\x03\x02"
