"""Association negotiation (PS3.8 9.3.2-9.3.4, PS3.7 Annex D.3), on pynetdicom's PDU classes.

Before those see bytes from the network, a linear walk checks every item's length and drops the items that are of no concern
here, known or not (PS3.8 9.3.1: unrecognised items are ignored).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pynetdicom import pdu as pynetdicom_pdu
from pynetdicom import pdu_items

from vna.dimse import limits
from vna.dimse.pdus import ProtocolError
from vna.dimse.sop_classes import APPLICATION_CONTEXT, VERIFICATION, is_storage
from vna.dimse.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from vna.part10 import IMPLEMENTATION_CLASS_UID

IMPLEMENTATION_VERSION_NAME: Final = "VNA_0.1"
"""Ours on the network (PS3.7 D.3.3.2.4); the one in files belongs to the archive's format and never changes."""

ACCEPTANCE: Final = 0
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4
CONTEXT_RESULTS: Final = {
    0: "accepted",
    1: "rejected by the user",
    2: "rejected without a reason",
    3: "abstract syntax not supported",
    4: "transfer syntaxes not supported",
}
"""Result/reason of a presentation context (PS3.8 Table 9-18)."""

_ITEM = struct.Struct(">BxH")
_TOP = frozenset((0x10, 0x20, 0x21, 0x50))
_USER = frozenset((0x51, 0x52, 0x53, 0x54, 0x55))
_ITEM_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, struct.error, NotImplementedError)
"""What pynetdicom's decoders were seen to raise for malformed items."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposed presentation context."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """One negotiated presentation context; ``transfer_syntax`` counts only where ``result`` is 0."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    result: int = ACCEPTANCE


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """What an A-ASSOCIATE-RQ says. ``max_pdu`` 0 means no limit; ``window`` is None where none was proposed."""

    calling_ae_title: str
    called_ae_title: str
    application_context: str
    protocol_version: int
    proposals: tuple[Proposal, ...]
    max_pdu: int
    window: int | None = None
    implementation: str = ""


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """What an A-ASSOCIATE-AC says. ``scp_roles`` are the SOP classes for which the requestor may be SCP (PS3.7 D.3.3.4)."""

    contexts: tuple[Context, ...]
    max_pdu: int
    window: int = 1
    scp_roles: frozenset[str] = field(default_factory=frozenset)


def contexts_for(pairs: Iterable[tuple[str, Sequence[str]]]) -> tuple[Proposal, ...]:
    """Number the proposals: odd context IDs from 1 (PS3.8 9.3.2.2). At most 128 may be given."""
    return tuple(Proposal(2 * n + 1, sop_class, tuple(syntaxes)) for n, (sop_class, syntaxes) in enumerate(pairs))


def is_proposable(uid: str) -> bool:
    """Say whether a UID can stand in a presentation context at all: 1 to 64 printable ASCII characters."""
    return 0 < len(uid) <= 64 and uid.isascii() and uid.isprintable() and " " not in uid


def accept_context(proposal: Proposal) -> Context:
    """Answer one proposal as the storage SCP does.

    Every storage class and every transfer syntax is accepted. Where several syntaxes stand in one context the acceptor picks
    (PS3.7 D.3.2), and what it picks decides whether the sender re-encodes: so the sender's first, unless that is the default
    implicit VR little endian, which everybody must list and which loses the VRs of private elements.
    """
    syntaxes = [uid for uid in proposal.transfer_syntaxes if uid]
    result = ACCEPTANCE
    if not is_storage(proposal.abstract_syntax) and proposal.abstract_syntax != VERIFICATION:
        result = ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif not syntaxes:
        result = TRANSFER_SYNTAXES_NOT_SUPPORTED
    first = next((uid for uid in syntaxes if uid != IMPLICIT_VR_LITTLE_ENDIAN), IMPLICIT_VR_LITTLE_ENDIAN)
    return Context(proposal.context_id, proposal.abstract_syntax, first, result)


def encode_request(
    calling: str,
    called: str,
    proposals: Sequence[Proposal],
    *,
    max_pdu: int,
    scp_roles: Iterable[str] = (),
    window: int | None = None,
) -> bytes:
    """Build an A-ASSOCIATE-RQ. Raises ValueError for an AE title or UID that cannot be encoded."""
    pdu = pynetdicom_pdu.A_ASSOCIATE_RQ()
    pdu.called_ae_title = called
    pdu.calling_ae_title = calling
    pdu.variable_items = [_application_context(), *map(_proposed, proposals)]
    pdu.variable_items.append(_user_information(max_pdu, window, dict.fromkeys(scp_roles, (0, 1))))
    return bytes(pdu.encode())


def encode_accept(request: AssociateRequest, contexts: Sequence[Context], *, max_pdu: int, window: int) -> bytes:
    """Build an A-ASSOCIATE-AC; AE titles are returned as they came (PS3.8 9.3.3). ``window`` 1 is the default and not sent."""
    pdu = pynetdicom_pdu.A_ASSOCIATE_AC()
    pdu.reserved_aet = request.called_ae_title
    pdu.reserved_aec = request.calling_ae_title
    pdu.variable_items = [_application_context(), *map(_answered, contexts)]
    pdu.variable_items.append(_user_information(max_pdu, None if request.window is None else window, {}))
    return bytes(pdu.encode())


def decode_request(data: bytes) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ, header included. Raises ProtocolError for anything malformed."""
    pdu = pynetdicom_pdu.A_ASSOCIATE_RQ()
    try:
        pdu.decode(data[:74] + _known_items(data[74:]))
        proposals = tuple(
            Proposal(item.presentation_context_id or 0, str(item.abstract_syntax or ""), tuple(map(str, item.transfer_syntax)))
            for item in pdu.presentation_context
        )
        user = pdu.user_information
        request = AssociateRequest(
            calling_ae_title=pdu.calling_ae_title,
            called_ae_title=pdu.called_ae_title,
            application_context=str(pdu.application_context_name or ""),
            protocol_version=pdu.protocol_version,
            proposals=proposals,
            max_pdu=(user.maximum_length or 0) if user else 0,
            window=_invoked(user),
            implementation=(user.implementation_version_name or "") if user else "",
        )
    except _ITEM_ERRORS as exc:
        raise ProtocolError("PDU_PROTOCOL", f"a malformed A-ASSOCIATE-RQ ({type(exc).__name__})") from exc
    _check_proposals(proposals)
    return request


def decode_accept(data: bytes, proposals: Sequence[Proposal]) -> AssociateAccept:
    """Read an A-ASSOCIATE-AC as the answer to ``proposals``. Raises ProtocolError for anything malformed."""
    asked = {proposal.context_id: proposal for proposal in proposals}
    pdu = pynetdicom_pdu.A_ASSOCIATE_AC()
    try:
        pdu.decode(data[:74] + _known_items(data[74:]))
        contexts = []
        for item in pdu.presentation_context:
            proposal = asked.pop(item.presentation_context_id or 0, None)
            if proposal is None:
                raise ProtocolError("PDU_PROTOCOL", "an answer to a presentation context that was not proposed")
            syntax = str(item.transfer_syntax or "") if item.result == ACCEPTANCE else ""
            if item.result == ACCEPTANCE and syntax not in proposal.transfer_syntaxes:
                raise ProtocolError("PDU_PROTOCOL", "a context accepted with a transfer syntax that was not proposed")
            contexts.append(Context(proposal.context_id, proposal.abstract_syntax, syntax, item.result or ACCEPTANCE))
        user = pdu.user_information
        roles = user.role_selection if user else {}
        return AssociateAccept(
            contexts=(*contexts, *(Context(p.context_id, p.abstract_syntax, "", 2) for p in asked.values())),
            max_pdu=(user.maximum_length or 0) if user else 0,
            window=1 if (window := _invoked(user)) is None else window,
            scp_roles=frozenset(str(uid) for uid, role in roles.items() if role.scp_role),
        )
    except _ITEM_ERRORS as exc:
        raise ProtocolError("PDU_PROTOCOL", f"a malformed A-ASSOCIATE-AC ({type(exc).__name__})") from exc


def _check_proposals(proposals: Sequence[Proposal]) -> None:
    ids = {proposal.context_id for proposal in proposals}
    if not 0 < len(proposals) <= limits.CONTEXTS or len(ids) != len(proposals) or not all(number & 1 for number in ids):
        raise ProtocolError("PDU_PROTOCOL", "presentation context IDs are the odd numbers from 1 to 255, each once")
    if any(len(proposal.transfer_syntaxes) > limits.TRANSFER_SYNTAXES for proposal in proposals):
        raise ProtocolError("PDU_PROTOCOL", f"more than {limits.TRANSFER_SYNTAXES} transfer syntaxes in one context")


def _known_items(data: bytes) -> bytes:
    """Check the lengths of all variable items and keep those that are read here."""
    pieces = []
    for kind, item in _items(data):
        if kind == 0x50:
            kept = b"".join(sub for sub_kind, sub in _items(item[4:]) if sub_kind in _USER)
            pieces.append(_ITEM.pack(kind, len(kept)) + kept)
        elif kind in _TOP:
            if kind == 0x20:
                list(_items(item[8:]))
            pieces.append(item)
    return b"".join(pieces)


def _items(data: bytes) -> Iterable[tuple[int, bytes]]:
    position, end = 0, len(data)
    while position < end:
        if end - position < _ITEM.size:
            raise ProtocolError("PDU_PROTOCOL", "an item's header is cut off")
        kind, length = _ITEM.unpack_from(data, position)
        after = position + _ITEM.size + length
        if after > end:
            raise ProtocolError("PDU_PROTOCOL", "an item is longer than what holds it")
        yield kind, data[position:after]
        position = after


def _application_context() -> pdu_items.ApplicationContextItem:
    item = pdu_items.ApplicationContextItem()
    item.application_context_name = APPLICATION_CONTEXT
    return item


def _proposed(proposal: Proposal) -> pdu_items.PresentationContextItemRQ:
    item = pdu_items.PresentationContextItemRQ()
    item.presentation_context_id = proposal.context_id
    abstract = pdu_items.AbstractSyntaxSubItem()
    abstract.abstract_syntax_name = proposal.abstract_syntax
    item.abstract_transfer_syntax_sub_items = [abstract, *map(_syntax, proposal.transfer_syntaxes)]
    return item


def _answered(context: Context) -> pdu_items.PresentationContextItemAC:
    item = pdu_items.PresentationContextItemAC()
    item.presentation_context_id = context.context_id
    item.result_reason = context.result
    item.transfer_syntax_sub_item = [_syntax(context.transfer_syntax)]
    return item


def _syntax(uid: str) -> pdu_items.TransferSyntaxSubItem:
    item = pdu_items.TransferSyntaxSubItem()
    item.transfer_syntax_name = uid
    return item


def _user_information(max_pdu: int, window: int | None, roles: Mapping[str, tuple[int, int]]) -> pdu_items.UserInformationItem:
    longest = pdu_items.MaximumLengthSubItem()
    longest.maximum_length_received = max_pdu
    class_uid = pdu_items.ImplementationClassUIDSubItem()
    class_uid.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = pdu_items.ImplementationVersionNameSubItem()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    item = pdu_items.UserInformationItem()
    item.user_data = [longest, class_uid]
    if window is not None:
        operations = pdu_items.AsynchronousOperationsWindowSubItem()
        operations.maximum_number_operations_invoked = window
        operations.maximum_number_operations_performed = 1
        item.user_data.append(operations)
    for sop_class, (scu, scp) in roles.items():
        role = pdu_items.SCP_SCU_RoleSelectionSubItem()
        role.sop_class_uid = sop_class
        role.scu_role, role.scp_role = scu, scp
        item.user_data.append(role)
    item.user_data.append(version)
    return item


def _invoked(user: pdu_items.UserInformationItem | None) -> int | None:
    """The number of operations that the sender of this user information invokes at once (0 = no limit); None = not said."""
    window = user.async_ops_window if user else None
    return window.max_operations_invoked if window else None
