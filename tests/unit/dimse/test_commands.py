"""Command sets are encoded as PS3.7 says and read back strictly."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode as pynetdicom_decode

from vna.dimse import commands
from vna.dimse.pdus import COMMAND, LAST, P_DATA_HEADER, ProtocolError

WITH_STATUS = commands.encode(0x8001, {0x0120: commands.us(7), 0x0900: commands.us(0xA700)}, data_set=False)


def test_an_encoded_command_reads_back_with_its_group_length() -> None:
    data = commands.encode(1, {0x1000: commands.uid("1.2.3"), 0x0002: commands.uid("1.2"), 0x0110: commands.us(5)}, data_set=True)
    command = commands.parse(data)
    assert list(command.elements) == sorted(command.elements)
    assert int.from_bytes(command.elements[0], "little") == len(data) - 12
    assert (command.field, command.number(0x0110), command.text(0x1000), command.text(0x0002)) == (1, 5, "1.2.3", "1.2")
    assert command.has_data_set


def test_pynetdicom_reads_what_we_encode() -> None:
    from io import BytesIO

    ds: Dataset = pynetdicom_decode(BytesIO(WITH_STATUS), True, True)
    assert (ds.CommandField, ds.MessageIDBeingRespondedTo, ds.Status, ds.CommandDataSetType) == (0x8001, 7, 0xA700, 0x0101)


def test_a_response_echoes_the_request_and_its_uids_as_they_came() -> None:
    request = commands.parse(commands.encode(1, {0x0002: b"1.2\0", 0x0110: commands.us(9), 0x1000: b"1.2.3 "}, data_set=True))
    response = commands.parse(commands.response(request, 0x0110))
    assert response.field == 0x8001
    assert response.number(commands.MESSAGE_ID_RESPONDED_TO) == 9
    assert response.elements[0x1000] == b"1.2.3 "
    assert not response.has_data_set


def element(number: int, value: bytes, *, group: int = 0, length: int | None = None) -> bytes:
    return struct.pack("<HHI", group, number, len(value) if length is None else length) + value


@pytest.mark.parametrize(
    "data",
    [
        element(0x0100, b"\x01\x00")[:7],
        element(0x0100, b"\x01\x00") + b"\x00",
        element(0x0100, b"\x01\x00", length=3),
        element(0x0100, b"\x01\x00", length=0xFFFFFFFF),
        element(0x0058, b"1.2", group=8) + element(0x0100, b"\x01\x00"),
        element(0, (10).to_bytes(4, "little")) + element(0x0058, b"", group=8),
        element(0x0100, b"\x01\x00") * 2,
        b"".join(element(n, b"") for n in range(1, 80)),
        element(0, (4).to_bytes(4, "little")) + element(0x0100, b"\x01\x00"),
        element(0, b"\x0a\x00") + element(0x0100, b"\x01\x00"),
    ],
    ids=[
        "cut off",
        "trailing byte",
        "too long",
        "4 GiB",
        "other group first",
        "other group counted",
        "twice",
        "too many",
        "group length lies",
        "group length US",
    ],
)
def test_malformed_command_sets_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="DIMSE_COMMAND"):
        commands.parse(data)


def test_elements_of_other_groups_behind_the_command_are_passed_over() -> None:
    data = element(0, (10).to_bytes(4, "little")) + element(0x0100, b"\x01\x00") + element(0x0058, b"1.2.3\0", group=8)
    assert commands.parse(data).elements == {0: b"\x0a\0\0\0", 0x0100: b"\x01\0"}


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x01\x00\x00\x00"])
def test_a_number_of_another_length_is_refused_where_it_is_needed(value: bytes) -> None:
    with pytest.raises(ProtocolError, match="DIMSE_COMMAND"):
        commands.parse(element(0x0110, value)).number(0x0110)


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        parsed = commands.parse(data)
    except ProtocolError:
        return
    assert all(isinstance(value, bytes) for value in parsed.elements.values())


@given(st.integers(0, len(WITH_STATUS) - 1), st.integers(0, 255))
def test_a_command_with_one_byte_changed_is_parsed_or_refused(at: int, value: int) -> None:
    mutated = bytearray(WITH_STATUS)
    mutated[at] = value
    try:
        command = commands.parse(bytes(mutated))
        command.number(commands.STATUS)
    except ProtocolError:
        return


@pytest.mark.parametrize(
    ("length", "max_pdu", "pieces"), [(10, 0, 1), (10, 16, 1), (10, 14, 2), (0, 16384, 1), (26, 16, 3), (26, 15, 4)]
)
def test_fragments_are_even_and_fit_the_peers_maximum(length: int, max_pdu: int, pieces: int) -> None:
    data = bytes(range(length))
    framed = commands.fragments(data, 5, COMMAND, max_pdu)
    got, at, flags = b"", 0, []
    while at < len(framed):
        kind, pdu_length, pdv_length, context_id, flag = P_DATA_HEADER.unpack_from(framed, at)
        assert (kind, context_id, pdv_length) == (4, 5, pdu_length - 4)
        assert not max_pdu or pdu_length <= max_pdu
        piece = framed[at + 12 : at + 6 + pdu_length]
        assert len(piece) % 2 == 0
        flags.append(flag)
        got += piece
        at += 6 + pdu_length
    assert got == data
    assert len(flags) == pieces
    assert [flag & LAST for flag in flags] == [0] * (pieces - 1) + [LAST]


@pytest.mark.parametrize("sop_instance_uid", ["1.2.3", "1.2.34", "1.2.840.113619.2.404.3.1.5"])
def test_a_store_request_is_what_the_general_encoder_makes(sop_instance_uid: str) -> None:
    values = {
        commands.AFFECTED_SOP_CLASS_UID: commands.uid("1.2.840.10008.5.1.4.1.1.2"),
        commands.MESSAGE_ID: commands.us(65535),
        commands.PRIORITY: commands.us(0),
        commands.AFFECTED_SOP_INSTANCE_UID: commands.uid(sop_instance_uid),
    }
    expected = commands.encode(commands.C_STORE_RQ, values, data_set=True)
    assert commands.store_request("1.2.840.10008.5.1.4.1.1.2", sop_instance_uid, 65535) == expected


@pytest.mark.parametrize("status", [0, 0xA700])
@pytest.mark.parametrize("value", [b"1.2.3 ", b"", b"1.2.840.113619.2.404.3.1.5\0", b"odd"])
def test_a_store_response_is_what_the_general_encoder_makes(value: bytes, status: int) -> None:
    uids = {commands.AFFECTED_SOP_CLASS_UID: value, commands.AFFECTED_SOP_INSTANCE_UID: value + b"\0"}
    request = commands.Command({**uids, commands.COMMAND_FIELD: commands.us(1), commands.MESSAGE_ID: commands.us(65535)})
    echoed = {commands.MESSAGE_ID_RESPONDED_TO: commands.us(65535), commands.STATUS: commands.us(status), **uids}
    assert commands.response(request, status) == commands.encode(0x8001, echoed, data_set=False)
