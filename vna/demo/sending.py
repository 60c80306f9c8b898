"""C-STORE of exact bytes over a pynetdicom association, as requestor of one or as the acceptor that answers a C-GET; responses.

pynetdicom's own ``send_c_store`` would decode and encode the data set again.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from io import BytesIO

from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_GET, C_MOVE, C_STORE
from pynetdicom.presentation import PresentationContext

from vna.demo.images import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN

DimseMessage = C_ECHO | C_STORE | C_FIND | C_MOVE | C_GET


class NoContextError(Exception):
    """The peer accepted no presentation context for this SOP class and transfer syntax; nothing was sent."""


class NoAnswerError(Exception):
    """The association ended, or its DIMSE timeout passed, before the peer answered."""


class _Checkpoint(threading.Event):
    """Where the reactor of an association waits; it says when the reactor really does."""

    is_reached = False

    def wait(self, timeout: float | None = None) -> bool:
        while not self.is_set():
            self.is_reached = True
            super().wait(timeout)
        return True


def associate(ae: AE, host: str, port: int, ae_title: str, pairs: Iterable[tuple[str, str]]) -> Association:
    """Ask for an association with one presentation context per (SOP class, transfer syntax), for :func:`send_data_set`.

    Its reactor thread is stopped for good: pynetdicom stops and starts it around each message, and now and then it takes the
    response for itself, so that the sender waits for its timeout. Look at ``is_established`` and release it as usual.
    """
    contexts = [build_context(*pair) for pair in dict.fromkeys(pairs)]
    assoc = ae.associate(host, port, contexts, ae_title=ae_title, evt_handlers=[(evt.EVT_CONN_OPEN, _open)])
    checkpoint = assoc._reactor_checkpoint
    if assoc.is_established and isinstance(checkpoint, _Checkpoint):
        checkpoint.clear()
        while not checkpoint.is_reached and assoc.is_alive():
            time.sleep(0.0005)
    return assoc


def _open(event: evt.Event) -> None:
    set_nodelay(event)
    checkpoint = _Checkpoint()
    checkpoint.set()
    event.assoc._reactor_checkpoint = checkpoint


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

    ``assoc`` comes from :func:`associate`, or is one whose reactor thread is the caller, as while it answers a C-GET.
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
    assoc.dimse.send_msg(request, context_id)
    _, response = assoc.dimse.get_msg(block=True)
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


def send_response(
    assoc: Association, request: DimseMessage, context: PresentationContext, response: DimseMessage, status: int
) -> None:
    """Send ``response`` with ``status`` to ``request``, on the context that it came by."""
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.Status = status
    assoc.dimse.send_msg(response, int(context.context_id or 0))
