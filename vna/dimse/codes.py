"""Why the storage SCP turns a connection or an association away: stable codes, what is answered, and their texts.

The codes stand in ``rejected`` events and in the log; docs/conformance.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rejection:
    """One reason. ``answer`` is result, source and reason of the A-ASSOCIATE-RJ (PS3.8 Table 9-21), None where it is another."""

    text: str
    answer: tuple[int, int, int] | None = None


REJECTIONS: Final = {
    "PROTOCOL_VERSION": Rejection("the peer speaks another version of the protocol", (1, 2, 2)),
    "APPLICATION_CONTEXT": Rejection("the peer wants another application context", (1, 1, 2)),
    "CALLED_AE": Rejection("the peer calls an AE title that is not ours", (1, 1, 7)),
    "CALLING_AE": Rejection("the peer's AE title is not on the allow list with its address", (1, 1, 3)),
    "ASSOC_LIMIT": Rejection("this process has as many associations as it may, in total or from this address", (2, 3, 2)),
}
"""Answered with A-ASSOCIATE-RJ."""

ABORTS: Final = {
    "NOT_A_PDU": Rejection("what came is no PDU of the DICOM upper layer"),
    "PDU_LENGTH": Rejection("a PDU's length is not one that its type, or the agreed maximum, allows"),
    "PDU_PROTOCOL": Rejection("a PDU, item or presentation context is malformed, or stands where it must not"),
    "DIMSE_COMMAND": Rejection("a command set is malformed, too long, or lacks what an answer needs"),
    "DATASET_LIMIT": Rejection("a data set is longer than the limit"),
}
"""Answered with A-ABORT (source 2, service provider)."""

DROPS: Final = {
    "ACCEPT_DEADLINE": Rejection("no whole A-ASSOCIATE-RQ came in time"),
    "TLS_DEADLINE": Rejection("the TLS handshake was not over in time"),
    "TLS": Rejection("the TLS handshake failed"),
    "WAITING_LIMIT": Rejection("too many connections wait in this process for their first PDU, in total or from this address"),
    "CLOSED": Rejection("the peer closed the connection before its first PDU was whole"),
}
"""Closed without an answer."""

ALL: Final = {**REJECTIONS, **ABORTS, **DROPS}

SENDING: Final = {
    "CONTEXT_REJECTED": ("refused", "the peer does not take the SOP class in the transfer syntax that the object is stored in"),
    "BAD_UID": ("refused", "the object's SOP class or transfer syntax cannot stand in a presentation context"),
    "ODD_LENGTH": ("refused", "the data set has an odd length and cannot travel as it is"),
    "UNREADABLE": ("failed", "the file could not be read to its end"),
    "ASSOCIATION_LOST": ("failed", "the association ended before the answer came"),
    "UNREACHABLE": ("failed", "the peer could not be reached any more"),
    "ASSOCIATION_REJECTED": ("failed", "the peer turned a further association away"),
}
"""Outcomes of sending that are no DIMSE status: code -> state and text. ``refused`` is for good, ``failed`` not."""
