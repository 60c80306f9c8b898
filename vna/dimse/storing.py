"""One C-STORE request into a sink: the path that the storage SCP and C-GET share."""

from __future__ import annotations

import errno
import logging
import traceback
from typing import Final, NamedTuple

from vna.dimse import commands
from vna.dimse.commands import Command
from vna.dimse.messages import MessageStream, discard
from vna.dimse.pdus import AssociationEnd
from vna.errors import StoreError, StoreFullError
from vna.model import Incoming, Provenance, Receipt, Sink

log = logging.getLogger(__name__)

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
"""What we answer to C-STORE (PS3.4 Table B.2-1). Anything kept, quarantined or not, is a success: the bytes are durable."""

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE))


class Stored(NamedTuple):
    """The answer that a C-STORE request gets, and what the sink took, with its receipt; :meth:`tidy` when it is sent."""

    status: int
    receipt: Receipt | None = None
    incoming: Incoming | None = None

    def tidy(self) -> None:
        """See :meth:`vna.model.Incoming.tidy`; nothing where nothing was taken."""
        if self.incoming is not None:
            self.incoming.tidy()


def store(
    stream: MessageStream,
    context_id: int,
    command: Command,
    transfer_syntax_uid: str,
    sink: Sink,
    provenance: Provenance,
    limit: int,
) -> Stored:
    """Stream the data set that follows ``command`` into the sink and say what to answer.

    Returns only when the data set has been read to its end; what the sink refuses is read and dropped, so that the association
    goes on. Raises AssociationEnd when that is over; the object is then aborted.
    """
    if not command.has_data_set:
        return Stored(CANNOT_UNDERSTAND)
    incoming: Incoming | None = None
    failure = SUCCESS
    try:
        try:
            incoming = sink(
                command.text(commands.AFFECTED_SOP_CLASS_UID),
                command.text(commands.AFFECTED_SOP_INSTANCE_UID),
                transfer_syntax_uid,
                provenance,
            )
            stream.read_data(context_id, incoming.write, limit)
        except AssociationEnd:
            raise
        except Exception as exc:  # noqa: BLE001 - the boundary of one object: whatever failed becomes its status
            failure = failure_status(exc)
            _abort(incoming)
            stream.read_data(context_id, discard, limit)
    except AssociationEnd:
        _abort(incoming)
        raise
    if failure or incoming is None:
        return Stored(failure)
    try:
        return Stored(SUCCESS, incoming.commit(), incoming)
    except Exception as exc:  # noqa: BLE001 - see above
        _abort(incoming)
        return Stored(failure_status(exc))


def failure_status(exc: Exception) -> int:
    """Choose the status for a failure of the sink, and log it: where it happened, never what it says (it may quote values)."""
    if isinstance(exc, StoreFullError) or (isinstance(exc, OSError) and exc.errno in _FULL):
        log.warning("an object was refused: out of resources")
        return OUT_OF_RESOURCES
    if isinstance(exc, StoreError):
        log.error("an object was refused: %s", type(exc).__name__)
    else:
        log.error("an object was refused: %s\n%s", type(exc).__name__, "".join(traceback.format_tb(exc.__traceback__)))
    return PROCESSING_FAILURE


def _abort(incoming: Incoming | None) -> None:
    if incoming is None:
        return
    try:
        incoming.abort()
    except Exception as exc:  # noqa: BLE001 - the object is lost already; its leftovers are swept at start
        log.error("an object could not be dropped: %s", type(exc).__name__)
