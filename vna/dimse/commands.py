"""DIMSE command sets (PS3.7 6.3.1 and Annex E): implicit VR little endian, group 0000 only.

The codec is strict, since command sets come from strangers: no element twice, no length beyond the end, the group length right
where it is given.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from vna.dimse.pdus import COMMAND, LAST, P_DATA_HEADER, P_DATA_TF, ProtocolError

C_STORE_RQ: Final = 0x0001
C_GET_RQ: Final = 0x0010
C_FIND_RQ: Final = 0x0020
C_MOVE_RQ: Final = 0x0021
C_ECHO_RQ: Final = 0x0030
C_CANCEL_RQ: Final = 0x0FFF
RESPONSE: Final = 0x8000
"""The bit that makes a response's Command Field of its request's."""

GROUP_LENGTH: Final = 0x0000
AFFECTED_SOP_CLASS_UID: Final = 0x0002
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_RESPONDED_TO: Final = 0x0120
MOVE_DESTINATION: Final = 0x0600
PRIORITY: Final = 0x0700
COMMAND_DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
REMAINING_SUBOPERATIONS: Final = 0x1020
COMPLETED_SUBOPERATIONS: Final = 0x1021
FAILED_SUBOPERATIONS: Final = 0x1022
WARNING_SUBOPERATIONS: Final = 0x1023
MOVE_ORIGINATOR_AE_TITLE: Final = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID: Final = 0x1031
"""Element numbers within group 0000 (PS3.7 Table E.1-1)."""

NO_DATA_SET: Final = 0x0101
_ELEMENT = struct.Struct("<HHI")
_US = struct.Struct("<H")
_HAS_DATA_SET = _US.pack(1)
_HAS_NO_DATA_SET = _US.pack(NO_DATA_SET)
_GROUP_LENGTH_HEAD = _ELEMENT.pack(0, GROUP_LENGTH, 4)
_ELEMENTS_MAX = 64


@dataclass(frozen=True, slots=True)
class Command:
    """One command set as it came: element number -> raw value."""

    elements: dict[int, bytes]

    def number(self, element: int) -> int:
        """Return a US value. Raises ProtocolError (``DIMSE_COMMAND``) where it is missing or has another length."""
        value = self.elements.get(element, b"")
        if len(value) != 2:
            raise ProtocolError("DIMSE_COMMAND", f"(0000,{element:04X}) is missing or not a US value")
        return value[0] | value[1] << 8

    def optional_number(self, element: int) -> int:
        """Return a US value, 0 where the peer left it out."""
        return self.number(element) if self.elements.get(element) else 0

    def text(self, element: int) -> str:
        """Return a UI or AE value without its padding, '' where it is missing. Odd bytes survive as Latin-1."""
        return self.elements.get(element, b"").rstrip(b"\0 ").decode("latin-1")

    @property
    def field(self) -> int:
        """The Command Field: which request or response this is."""
        return self.number(COMMAND_FIELD)

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows (PS3.7 E.1: any type but 0101)."""
        return self.number(COMMAND_DATA_SET_TYPE) != NO_DATA_SET


def parse(data: bytes) -> Command:
    """Parse a whole command set. Raises ProtocolError (``DIMSE_COMMAND``) for anything malformed.

    Elements of other groups behind it are passed over: Orthanc puts Failed SOP Instance UID List (0008,0058) there.
    """
    elements: dict[int, bytes] = {}
    position, end = 0, len(data)
    size = end
    unpack = _ELEMENT.unpack_from
    while position < end:
        if end - position < 8:
            raise ProtocolError("DIMSE_COMMAND", "the command set ends inside an element")
        group, element, length = unpack(data, position)
        position += 8
        if length > end - position or len(elements) == _ELEMENTS_MAX:
            raise ProtocolError("DIMSE_COMMAND", f"({group:04X},{element:04X}) does not fit")
        if group:
            size = min(size, position - _ELEMENT.size)
        elif size < end or element in elements:
            raise ProtocolError("DIMSE_COMMAND", f"(0000,{element:04X}) is not in its place")
        else:
            elements[element] = data[position : position + length]
        position += length
    declared = elements.get(GROUP_LENGTH)
    if declared is not None and declared != (size - 12).to_bytes(4, "little", signed=size < 12):
        raise ProtocolError("DIMSE_COMMAND", "the group length does not fit")
    return Command(elements)


def uid(value: str) -> bytes:
    """Encode a UID, padded with one NUL to an even length (PS3.5 6.2)."""
    raw = value.encode("latin-1")
    return raw + b"\0" if len(raw) & 1 else raw


def ae(value: str) -> bytes:
    """Encode an AE title, padded with one space to an even length."""
    raw = value.encode("latin-1")
    return raw + b" " if len(raw) & 1 else raw


def us(value: int) -> bytes:
    """Encode a US value."""
    return _US.pack(value)


def encode(field: int, elements: dict[int, bytes], *, data_set: bool) -> bytes:
    """Encode a command set in ascending order, with its group length."""
    whole = {**elements, COMMAND_FIELD: us(field), COMMAND_DATA_SET_TYPE: _HAS_DATA_SET if data_set else _HAS_NO_DATA_SET}
    body = b"".join(_ELEMENT.pack(0, number, len(whole[number])) + whole[number] for number in sorted(whole))
    return _ELEMENT.pack(0, 0, 4) + len(body).to_bytes(4, "little") + body


@lru_cache(maxsize=256)
def _store_head(sop_class_uid: str) -> bytes:
    """Build what stands before the Message ID of a C-STORE request: alike for one object after the other."""
    value = uid(sop_class_uid)
    return _ELEMENT.pack(0, AFFECTED_SOP_CLASS_UID, len(value)) + value + _ELEMENT.pack(0, COMMAND_FIELD, 2) + us(C_STORE_RQ)


_STORE_TAIL = struct.Struct("<HHIHHHIHHHIHHHI")
"""Message ID, Priority and Command Data Set Type, and the head of Affected SOP Instance UID."""


def store_request(sop_class_uid: str, sop_instance_uid: str, message_id: int) -> bytes:
    """Encode a C-STORE request of medium priority: what :func:`encode` gives, at a fraction of its price."""
    value = uid(sop_instance_uid)
    head = _store_head(sop_class_uid)
    tail = _STORE_TAIL.pack(
        *(0, MESSAGE_ID, 2, message_id),
        *(0, PRIORITY, 2, 0),
        *(0, COMMAND_DATA_SET_TYPE, 2, 1),
        *(0, AFFECTED_SOP_INSTANCE_UID, len(value)),
    )
    return b"".join((_GROUP_LENGTH_HEAD, (len(head) + len(tail) + len(value)).to_bytes(4, "little"), head, tail, value))


_STORED_TAIL = struct.Struct("<HHIHHHIHHHIHHHI")
"""Message ID Being Responded To, Command Data Set Type and Status, and the head of Affected SOP Instance UID."""


@lru_cache(maxsize=256)
def _stored_head(sop_class: bytes) -> bytes:
    """Build what stands before the Message ID of a C-STORE response: alike for one object after the other."""
    before = _ELEMENT.pack(0, AFFECTED_SOP_CLASS_UID, len(sop_class)) + sop_class
    return before + _ELEMENT.pack(0, COMMAND_FIELD, 2) + us(C_STORE_RQ | RESPONSE)


def response(request: Command, status: int) -> bytes:
    """Encode the response to ``request`` without a data set, echoing its UIDs as they came (PS3.7 9.3)."""
    field, message_id = request.field, request.number(MESSAGE_ID)
    sop_class = request.elements.get(AFFECTED_SOP_CLASS_UID)
    sop_instance = request.elements.get(AFFECTED_SOP_INSTANCE_UID)
    if field == C_STORE_RQ and sop_class is not None and sop_instance is not None:
        head = _stored_head(sop_class)
        tail = _STORED_TAIL.pack(
            *(0, MESSAGE_ID_RESPONDED_TO, 2, message_id),
            *(0, COMMAND_DATA_SET_TYPE, 2, NO_DATA_SET),
            *(0, STATUS, 2, status),
            *(0, AFFECTED_SOP_INSTANCE_UID, len(sop_instance)),
        )
        length = len(head) + len(tail) + len(sop_instance)
        return b"".join((_GROUP_LENGTH_HEAD, length.to_bytes(4, "little"), head, tail, sop_instance))
    echoed = {AFFECTED_SOP_CLASS_UID: sop_class, AFFECTED_SOP_INSTANCE_UID: sop_instance}
    elements = {number: value for number, value in echoed.items() if value is not None}
    elements |= {MESSAGE_ID_RESPONDED_TO: us(message_id), STATUS: us(status)}
    return encode(field | RESPONSE, elements, data_set=False)


def fragments(data: bytes, context_id: int, kind: int, max_pdu: int) -> bytes:
    """Frame a short command or identifier as P-DATA-TF PDUs of at most ``max_pdu`` bytes (0 = no limit)."""
    size = max((max_pdu or len(data) + 6) - 6, 2) & ~1
    if len(data) <= size:
        return P_DATA_HEADER.pack(P_DATA_TF, len(data) + 6, len(data) + 2, context_id, kind | LAST) + data
    pieces = []
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        last = LAST if start + size >= len(data) else 0
        pieces.append(P_DATA_HEADER.pack(P_DATA_TF, len(piece) + 6, len(piece) + 2, context_id, kind | last) + piece)
    return b"".join(pieces)


def command_pdu(command: bytes, context_id: int, max_pdu: int = 0) -> bytes:
    """Frame a command set, in one PDU where the peer's maximum allows it."""
    return fragments(command, context_id, COMMAND, max_pdu)
