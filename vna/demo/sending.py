"""C-STORE of exact bytes over a pynetdicom association, as requestor of one or as the acceptor that answers a C-GET.

pynetdicom's own ``send_c_store`` would decode and encode the data set again.
"""

from __future__ import annotations

import socket
import time
from io import BytesIO

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"


class NoContextError(Exception):
    """The peer accepted no presentation context for this SOP class and transfer syntax; nothing was sent."""


class NoAnswerError(Exception):
    """The association ended, or its DIMSE timeout passed, before the peer answered."""


def set_nodelay(event: evt.Event) -> None:
    """Switch on TCP_NODELAY when an association has its socket: bind to ``EVT_CONN_OPEN``; pynetdicom has no option for it."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def send_data_set(
    assoc: Association,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    data_set: bytes,
    *,
    message_id: int = 1,
    move_originator: tuple[str, int] | None = None,
) -> int:
    """Send one data set and return the status of the response (PS3.7 9.1.1).

    A deflated data set of odd length gets the padding byte that PS3.5 A.5 asks for. Raises NoContextError or NoAnswerError.
    """
    context_id = find_context(assoc, sop_class_uid, transfer_syntax_uid)
    request = C_STORE()
    request.MessageID = message_id
    request.Priority = 0
    request.AffectedSOPClassUID = sop_class_uid
    request.AffectedSOPInstanceUID = sop_instance_uid
    if move_originator is not None:
        request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID = move_originator
    padding = b"\0" if len(data_set) % 2 and transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN else b""
    request.DataSet = BytesIO(data_set + padding)
    assoc._reactor_checkpoint.clear()  # as send_c_store does: the reactor must not take our response
    try:
        while not assoc._is_paused:
            time.sleep(0.0001)
        assoc.dimse.send_msg(request, context_id)
        _, response = assoc.dimse.get_msg(block=True)
    finally:
        assoc._reactor_checkpoint.set()
    status = getattr(response, "Status", None)
    if status is None:
        if assoc.is_established:
            assoc.abort()
        raise NoAnswerError(f"no answer to C-STORE of {sop_instance_uid}")
    return int(status)


def find_context(assoc: Association, sop_class_uid: str, transfer_syntax_uid: str) -> int:
    """Find the accepted presentation context by which we may send this (role SCU), or raise NoContextError."""
    for context in assoc.accepted_contexts:
        if context.as_scu and context.abstract_syntax == sop_class_uid and context.transfer_syntax[0] == transfer_syntax_uid:
            return int(context.context_id or 0)
    raise NoContextError(f"no context for {sop_class_uid} in {transfer_syntax_uid}")
