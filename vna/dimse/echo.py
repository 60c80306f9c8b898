"""C-ECHO (PS3.4 Annex A): is the peer there, and does it know us?"""

from __future__ import annotations

import time

from vna.dimse import commands, negotiation
from vna.dimse.association import Association
from vna.dimse.sop_classes import VERIFICATION
from vna.dimse.statuses import Service, StatusClass, classify, code
from vna.dimse.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from vna.errors import DimseStatusError
from vna.model import Local, Node


def echo(node: Node, local: Local) -> float:
    """Verify the node and return how long the whole association took, in seconds.

    Raises UnreachableError, AssociationRejectedError, AssociationAbortedError or DimseStatusError; ``hint`` says what to do.
    """
    started = time.monotonic()
    proposals = negotiation.contexts_for([(VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,))])
    with Association(node, local, proposals) as assoc:
        elements = {commands.AFFECTED_SOP_CLASS_UID: commands.uid(VERIFICATION)}
        message_id = assoc.request(assoc.context_for(VERIFICATION), commands.C_ECHO_RQ, elements)
        command, _ = assoc.response(message_id)
        with assoc.ending("reading an answer"):
            number = command.number(commands.STATUS)
    status = classify(Service.ECHO, number)
    if status.status_class is not StatusClass.SUCCESS:
        raise DimseStatusError(
            f"{node.name}: C-ECHO answered {code(number)}: {status.text}",
            ae_title=node.ae_title,
            status=number,
            transient=status.transient,
        )
    return time.monotonic() - started
