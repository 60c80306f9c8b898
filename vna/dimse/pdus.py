"""Upper layer PDUs (PS3.8 9.3): the fixed parts, their lengths checked by type before anything more is read."""

from __future__ import annotations

import struct
from typing import Final

from vna.dimse import limits

A_ASSOCIATE_RQ: Final = 1
A_ASSOCIATE_AC: Final = 2
A_ASSOCIATE_RJ: Final = 3
P_DATA_TF: Final = 4
A_RELEASE_RQ: Final = 5
A_RELEASE_RP: Final = 6
A_ABORT: Final = 7

HEADER: Final = struct.Struct(">BxI")
"""PDU type and length."""

PDV_HEADER: Final = struct.Struct(">IBB")
"""Item length, presentation context ID, message control header (PS3.8 9.3.5.1 and Annex E.2)."""

P_DATA_HEADER: Final = struct.Struct(">BxIIBB")
"""The header of a P-DATA-TF PDU with that of its first presentation data value."""

COMMAND: Final = 1
LAST: Final = 2
"""Bits of the message control header."""

RELEASE_RQ: Final = HEADER.pack(A_RELEASE_RQ, 4) + bytes(4)
RELEASE_RP: Final = HEADER.pack(A_RELEASE_RP, 4) + bytes(4)

BY_USER: Final = 0
BY_PROVIDER: Final = 2
"""Who aborts (PS3.8 Table 9-26)."""


class AssociationEnd(Exception):  # noqa: N818 - most ends are not errors
    """The association is over. Internal to this package: its borders turn it into vna.errors."""


class Released(AssociationEnd):
    """The peer asked for release; the acceptor still owes it the answer."""


class Aborted(AssociationEnd):
    """The peer sent A-ABORT."""

    def __init__(self, source: int, reason: int) -> None:
        super().__init__(f"A-ABORT from the peer (source {source}, reason {reason})")
        self.source, self.reason = source, reason


class ConnectionLost(AssociationEnd):
    """The connection was closed or reset without release."""


class TimedOut(AssociationEnd):
    """The peer was silent for too long, or too slow."""


class ProtocolError(AssociationEnd):
    """The peer broke the protocol or a bound. ``code`` is stable; ``reason`` goes into the A-ABORT (PS3.8 Table 9-26)."""

    def __init__(self, code: str, detail: str, *, reason: int = 6) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.reason = code, detail, reason


def abort(source: int, reason: int = 0) -> bytes:
    """Build an A-ABORT PDU (PS3.8 9.3.8)."""
    return HEADER.pack(A_ABORT, 4) + bytes((0, 0, source, reason))


def reject(result: int, source: int, reason: int) -> bytes:
    """Build an A-ASSOCIATE-RJ PDU (PS3.8 9.3.4)."""
    return HEADER.pack(A_ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def check_length(pdu_type: int, length: int, max_pdu: int) -> None:
    """Refuse a PDU whose length no PDU of its type can have, before a byte of its body is read.

    Raises ProtocolError: ``NOT_A_PDU`` for an unknown type, ``PDU_LENGTH`` for an impossible length.
    """
    if pdu_type == P_DATA_TF:
        if not 6 <= length <= max_pdu:
            raise ProtocolError("PDU_LENGTH", f"a P-DATA-TF PDU of {length} bytes, agreed were at most {max_pdu}")
    elif pdu_type in (A_ASSOCIATE_RQ, A_ASSOCIATE_AC):
        if not 68 <= length <= limits.ASSOCIATE_BYTES:
            raise ProtocolError("PDU_LENGTH", f"an A-ASSOCIATE PDU of {length} bytes")
    elif pdu_type in (A_ASSOCIATE_RJ, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT):
        if length != 4:
            raise ProtocolError("PDU_LENGTH", f"a PDU of type {pdu_type} with {length} bytes, it has 4")
    else:
        raise ProtocolError("NOT_A_PDU", f"no PDU has type {pdu_type}", reason=1)
