"""Association negotiation (PS3.8 9.3.2-9.3.4, PS3.7 Annex D.3): A-ASSOCIATE PDUs written and read.

Reading is strict about structure, since requests come from strangers: every item's length is checked against what holds it.
It is lenient about content, since an archive must take what devices send: items of no concern here, known or not, are passed
over (PS3.8 9.3.1), and any text may stand for a UID. The tests hold both directions to pynetdicom's PDU classes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from vna.dimse import limits, pdus
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
_FIXED = struct.Struct(">HH16s16s32x")
"""Protocol version, reserved, called and calling AE title, reserved (PS3.8 Table 9-11)."""

_APPLICATION_CONTEXT, _PROPOSED, _ANSWERED, _ABSTRACT, _SYNTAX, _USER = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50
_MAX_LENGTH, _CLASS_UID, _WINDOW, _ROLE, _VERSION_NAME = 0x51, 0x52, 0x53, 0x54, 0x55
"""Item types (PS3.8 9.3.2-9.3.3 and Annex D.1, PS3.7 Annex D.3.3)."""


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
    """What an A-ASSOCIATE-AC says. ``window`` is how many operations may be under way at once, 1 where nothing is said."""

    contexts: tuple[Context, ...]
    max_pdu: int
    window: int = 1


def contexts_for(pairs: Iterable[tuple[str, Sequence[str]]]) -> tuple[Proposal, ...]:
    """Number the proposals: odd context IDs from 1 (PS3.8 9.3.2.2). At most 128 may be given."""
    return tuple(Proposal(2 * n + 1, sop_class, tuple(syntaxes)) for n, (sop_class, syntaxes) in enumerate(pairs))


@lru_cache(maxsize=1024)
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
    contexts = b"".join(
        _item(
            _PROPOSED,
            bytes((proposal.context_id, 0, 0, 0))
            + _item(_ABSTRACT, _text(proposal.abstract_syntax))
            + b"".join(_item(_SYNTAX, _text(syntax)) for syntax in proposal.transfer_syntaxes),
        )
        for proposal in proposals
    )
    return _associate(pdus.A_ASSOCIATE_RQ, _title(called), _title(calling), contexts, _user_items(max_pdu, window, scp_roles))


def encode_accept(request: AssociateRequest, contexts: Sequence[Context], *, max_pdu: int, window: int) -> bytes:
    """Build an A-ASSOCIATE-AC; AE titles are returned as they came (PS3.8 9.3.3). A window is told only to who proposed one."""
    answers = b"".join(
        _item(
            _ANSWERED,
            bytes((context.context_id, 0, context.result, 0))
            + _item(_SYNTAX, (context.transfer_syntax or IMPLICIT_VR_LITTLE_ENDIAN).encode("latin-1")),
        )
        for context in contexts
    )
    user = _user_items(max_pdu, None if request.window is None else window, ())
    called, calling = (title.encode("latin-1").ljust(16) for title in (request.called_ae_title, request.calling_ae_title))
    return _associate(pdus.A_ASSOCIATE_AC, called, calling, answers, user)


def decode_request(data: bytes) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ, header included. Raises ProtocolError for anything malformed."""
    version, _, called, calling = _FIXED.unpack_from(data, pdus.HEADER.size)
    application_context = ""
    proposals: list[Proposal] = []
    user = _UserInformation()
    for kind, body in _items(data[pdus.HEADER.size + _FIXED.size :]):
        if kind == _APPLICATION_CONTEXT:
            application_context = _read(body)
        elif kind == _PROPOSED:
            if len(proposals) == limits.CONTEXTS:
                raise ProtocolError("PDU_PROTOCOL", f"more than {limits.CONTEXTS} presentation contexts")
            proposals.append(_proposal(body))
        elif kind == _USER:
            user = _user_information(body)
    _check_ids(proposals)
    calling_ae_title, called_ae_title = _read_title(calling), _read_title(called)
    return AssociateRequest(
        calling_ae_title, called_ae_title, application_context, version, tuple(proposals), user.max_pdu, user.window, user.version
    )


def decode_accept(data: bytes, proposals: Sequence[Proposal]) -> AssociateAccept:
    """Read an A-ASSOCIATE-AC as the answer to ``proposals``. Raises ProtocolError for anything malformed."""
    asked = {proposal.context_id: proposal for proposal in proposals}
    contexts: list[Context] = []
    user = _UserInformation()
    for kind, body in _items(data[pdus.HEADER.size + _FIXED.size :]):
        if kind == _ANSWERED:
            contexts.append(_answer(body, asked))
        elif kind == _USER:
            user = _user_information(body)
    contexts += (Context(proposal.context_id, proposal.abstract_syntax, "", 2) for proposal in asked.values())
    window = 1 if user.window is None else user.window
    return AssociateAccept(tuple(contexts), user.max_pdu, window)


@dataclass(slots=True)
class _UserInformation:
    max_pdu: int = 0
    window: int | None = None
    version: str = ""


def _proposal(body: bytes) -> Proposal:
    abstract = ""
    syntaxes: list[str] = []
    for kind, value in _items(_after(body, 4)):
        if kind == _ABSTRACT:
            abstract = _read(value)
        elif kind == _SYNTAX:
            syntaxes.append(_read(value))
    if len(syntaxes) > limits.TRANSFER_SYNTAXES:
        raise ProtocolError("PDU_PROTOCOL", f"more than {limits.TRANSFER_SYNTAXES} transfer syntaxes in one context")
    return Proposal(body[0], abstract, tuple(syntaxes))


def _answer(body: bytes, asked: dict[int, Proposal]) -> Context:
    """Read one answer and strike its proposal off ``asked``."""
    syntaxes = [_read(value) for kind, value in _items(_after(body, 4)) if kind == _SYNTAX]
    proposal, result = asked.pop(body[0], None), body[2]
    if proposal is None:
        raise ProtocolError("PDU_PROTOCOL", "an answer to a presentation context that was not proposed")
    if result != ACCEPTANCE:  # the syntax is not significant then (PS3.8 9.3.3.2)
        return Context(proposal.context_id, proposal.abstract_syntax, "", result)
    if len(syntaxes) != 1 or syntaxes[0] not in proposal.transfer_syntaxes:
        raise ProtocolError("PDU_PROTOCOL", "a context accepted with a transfer syntax that was not proposed")
    return Context(proposal.context_id, proposal.abstract_syntax, syntaxes[0])


def _user_information(body: bytes) -> _UserInformation:
    found = _UserInformation()
    for kind, value in _items(body):
        if kind == _MAX_LENGTH and len(value) == 4:
            found.max_pdu = int.from_bytes(value, "big")
        elif kind == _WINDOW and len(value) == 4:
            found.window = int.from_bytes(value[:2], "big")  # operations invoked by who says so; 0 = no limit
        elif kind == _VERSION_NAME:
            found.version = _read(value)
    if 0 < found.max_pdu < 8:
        raise ProtocolError("PDU_PROTOCOL", "a maximum PDU length in which nothing fits")
    return found


def _check_ids(proposals: Sequence[Proposal]) -> None:
    ids = {proposal.context_id for proposal in proposals}
    if not ids or len(ids) != len(proposals) or not all(number & 1 for number in ids):
        raise ProtocolError("PDU_PROTOCOL", "presentation context IDs are the odd numbers from 1 to 255, each once")


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position, end = 0, len(data)
    while position < end:
        if end - position < _ITEM.size:
            raise ProtocolError("PDU_PROTOCOL", "an item's header is cut off")
        kind, length = _ITEM.unpack_from(data, position)
        start = position + _ITEM.size
        position = start + length
        if position > end:
            raise ProtocolError("PDU_PROTOCOL", "an item is longer than what holds it")
        yield kind, data[start:position]


def _after(body: bytes, count: int) -> bytes:
    if len(body) < max(count, 2):
        raise ProtocolError("PDU_PROTOCOL", "an item is too short")
    return body[count:]


def _read(value: bytes) -> str:
    return value.decode("latin-1").strip("\0 ")


def _read_title(value: bytes) -> str:
    """Read an AE title; spaces around it are not significant, and it holds no control characters (PS3.8 9.3.2, PS3.5 6.2)."""
    title = value.decode("latin-1").strip(" \0")
    if not title or not title.isprintable():
        raise ProtocolError("PDU_PROTOCOL", "an AE title that is none")
    return title


def _title(title: str) -> bytes:
    if not 0 < len(title.strip()) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError(f"an AE title has 1 to 16 printable characters, {title!r} has not")
    return title.strip().encode("ascii").ljust(16)


def _text(uid: str) -> bytes:
    if not is_proposable(uid):
        raise ValueError(f"{uid[:80]!r} cannot be proposed")
    return uid.encode("ascii")


def _item(kind: int, body: bytes) -> bytes:
    return _ITEM.pack(kind, len(body)) + body


def _user_items(max_pdu: int, window: int | None, scp_roles: Iterable[str]) -> bytes:
    pieces = [_item(_MAX_LENGTH, max_pdu.to_bytes(4, "big")), _item(_CLASS_UID, IMPLEMENTATION_CLASS_UID.encode("ascii"))]
    if window is not None:
        pieces.append(_item(_WINDOW, window.to_bytes(2, "big") + b"\0\1"))
    for sop_class in scp_roles:
        name = _text(sop_class)
        pieces.append(_item(_ROLE, len(name).to_bytes(2, "big") + name + b"\0\1"))  # we are SCP, and not SCU
    pieces.append(_item(_VERSION_NAME, IMPLEMENTATION_VERSION_NAME.encode("ascii")))
    return b"".join(pieces)


def _associate(kind: int, called: bytes, calling: bytes, contexts: bytes, user: bytes) -> bytes:
    body = _FIXED.pack(1, 0, called, calling) + _item(_APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode("ascii"))
    body += contexts + _item(_USER, user)
    return pdus.HEADER.pack(kind, len(body)) + body
