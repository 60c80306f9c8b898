"""C-MOVE to our own receiver and C-GET into a sink (PS3.4 C.4.2, C.4.3).

What the peer says about a retrieve is returned and proves nothing: peers answer Success with nothing sent, before sending, or
with counts of their own making. The truth is the set of receipts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vna.dimse import commands, identifiers, negotiation
from vna.dimse.association import Association
from vna.dimse.commands import Command
from vna.dimse.limits import CONTEXTS, ScpLimits
from vna.dimse.sop_classes import GET, MOVE
from vna.dimse.statuses import Service, StatusClass, classify, code
from vna.dimse.storing import store
from vna.dimse.transfer_syntaxes import COMMON, NATIVE
from vna.errors import ConfigError, DimseStatusError
from vna.model import Local, Node, Provenance, Sink

__all__ = ["RetrieveResult", "SubOperations", "get", "move"]

log = logging.getLogger(__name__)

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class SubOperations:
    """Counts of a pending response, as the peer tells them."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0


@dataclass(frozen=True, slots=True)
class RetrieveResult:
    """What the final response said. ``status`` is success, warning (B000) or cancel.

    Of C-GET only: ``received`` is our own count of objects that the sink took, ``missing_contexts`` are the pairs of SOP class
    and transfer syntax that the peer would not negotiate.
    """

    status: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    remaining: int = 0
    failed_uids: tuple[str, ...] = ()
    received: int = 0
    missing_contexts: Pairs = ()


OnPending = Callable[[SubOperations], None]


def move(
    node: Node,
    local: Local,
    keys: Mapping[str, str],
    destination: str = "",
    on_pending: OnPending | None = None,
    *,
    on_waiting: OnPending | None = None,
    model: str = "study",
) -> RetrieveResult:
    """Have the node send what ``keys`` name to the AE title ``destination`` (default: ours), and wait for its final response.

    ``keys`` are unique keys only (StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID; UID lists joined by backslashes); the
    level is that of the deepest one. ``on_pending`` is told every pending response, ``on_waiting`` those behind which nothing has
    come yet: it is told before a wait, and not for each of many responses that are there already.

    Raises DimseStatusError for a final status of the failure class, with a hint for A801 (the source does not know the
    destination) and A702; some objects may have arrived all the same. PeerErrors as always.
    """
    sop_class = MOVE[model]
    with Association(node, local, negotiation.contexts_for([(sop_class, NATIVE)]), timeout_s=node.retrieve_timeout_s) as assoc:
        context = assoc.context_for(sop_class)
        elements = {
            commands.AFFECTED_SOP_CLASS_UID: commands.uid(sop_class),
            commands.PRIORITY: commands.us(0),
            commands.MOVE_DESTINATION: commands.ae(destination or local.ae_title),
        }
        message_id = assoc.request(context, commands.C_MOVE_RQ, elements, _identifier(keys, context.transfer_syntax))

        def tell(counts: SubOperations) -> None:
            if on_pending is not None:
                on_pending(counts)
            if on_waiting is not None and not assoc.wire.has_unread():
                on_waiting(counts)

        while True:
            command, data = assoc.response(message_id)
            with assoc.ending("reading an answer"):
                result = _result(command, data, context.transfer_syntax, Service.MOVE, tell)
            if result is not None:
                break
    return _checked(result, Service.MOVE, node, destination or local.ae_title)


def get(
    node: Node,
    local: Local,
    keys: Mapping[str, str],
    contexts: Mapping[str, Sequence[str]] | Iterable[str],
    sink: Sink,
    provenance: Provenance,
    *,
    on_pending: OnPending | None = None,
    model: str = "study",
    limits: ScpLimits | None = None,
) -> RetrieveResult:
    """Retrieve what ``keys`` name over our own association, each object into ``sink`` with ``provenance``.

    ``contexts`` maps SOP classes to their transfer syntaxes; without any the common ones are proposed, each in a context of its
    own, and we are SCP of each class (role selection, PS3.7 D.3.3.4). Where they need more than 127 contexts the request is made
    again on further associations, each with other SOP classes: what was completed is then a sum, failed is only what failed on
    all of them. Raises as :func:`move` does, if every association ended so.
    """
    wanted = {uid: tuple(contexts[uid]) for uid in contexts} if isinstance(contexts, Mapping) else dict.fromkeys(contexts, ())
    if not wanted:
        raise ConfigError("a C-GET needs the SOP classes of what it retrieves")
    results = [
        _get_batch(node, local, keys, batch, sink, provenance, on_pending, GET[model], limits or ScpLimits())
        for batch in _batches(wanted)
    ]
    usable = [result for result in results if not _is_failure(Service.GET, result.status)]
    worst = max(usable or results, key=lambda result: result.status)
    return _checked(
        RetrieveResult(
            status=worst.status if len(usable) in (0, len(results)) else max(worst.status, 0xB000),
            completed=sum(result.completed for result in results),
            failed=min(result.failed for result in results),
            warning=sum(result.warning for result in results),
            remaining=sum(result.remaining for result in results),
            failed_uids=_in_all([result.failed_uids for result in results]),
            received=sum(result.received for result in results),
            missing_contexts=tuple(pair for result in results for pair in result.missing_contexts),
        ),
        Service.GET,
        node,
        "",
    )


_FAILED: Final = "FailedSOPInstanceUIDList"
_ROOM: Final = CONTEXTS - 1
"""Contexts left for storage beside that of the C-GET itself."""


def _batches(wanted: Mapping[str, Sequence[str]]) -> Iterator[dict[str, tuple[str, ...]]]:
    """Pack SOP classes into associations, one class never split, so that no object comes twice."""
    batch: dict[str, tuple[str, ...]] = {}
    used = 0
    for sop_class, syntaxes in wanted.items():
        proposed = tuple(dict.fromkeys(syntaxes or COMMON))[:_ROOM]
        if used + len(proposed) > _ROOM:
            yield batch
            batch, used = {}, 0
        batch[sop_class] = proposed
        used += len(proposed)
    yield batch


def _get_batch(
    node: Node,
    local: Local,
    keys: Mapping[str, str],
    batch: Mapping[str, Sequence[str]],
    sink: Sink,
    provenance: Provenance,
    on_pending: OnPending | None,
    sop_class: str,
    limits: ScpLimits,
) -> RetrieveResult:
    pairs = [(sop_class, NATIVE), *((uid, (syntax,)) for uid, syntaxes in batch.items() for syntax in syntaxes)]
    with Association(
        node,
        local,
        negotiation.contexts_for(pairs),
        scp_roles=tuple(batch),
        max_pdu=limits.max_pdu,
        timeout_s=node.retrieve_timeout_s,
    ) as assoc:
        context = assoc.context_for(sop_class)
        elements = {commands.AFFECTED_SOP_CLASS_UID: commands.uid(sop_class), commands.PRIORITY: commands.us(0)}
        message_id = assoc.request(context, commands.C_GET_RQ, elements, _identifier(keys, context.transfer_syntax))
        received = 0
        while True:
            context_id, command = assoc.receive()
            with assoc.ending("retrieving"):
                if command.field == commands.C_STORE_RQ:
                    received += _take(assoc, context_id, command, sink, provenance, limits)
                    continue
                assoc.check_response(command, message_id)
                data = assoc.read_identifier(context_id, command)
                result = _result(command, data, context.transfer_syntax, Service.GET, on_pending)
            if result is not None:
                break
        missing = tuple((c.abstract_syntax, p[1][0]) for c, p in zip(assoc.contexts, pairs, strict=False) if c.result)
    return RetrieveResult(
        result.status, result.completed, result.failed, result.warning, result.remaining, result.failed_uids, received, missing
    )


def _take(assoc: Association, context_id: int, command: Command, sink: Sink, provenance: Provenance, limits: ScpLimits) -> int:
    """Answer one C-STORE sub-operation; return 1 when the sink took it."""
    command.number(commands.MESSAGE_ID)
    syntax = assoc.accepted[context_id].transfer_syntax
    stored = store(assoc.stream, context_id, command, syntax, sink, provenance, limits.object_bytes)
    answer = commands.response(command, stored.status)
    try:
        assoc.wire.send(commands.command_pdu(answer, context_id, assoc.peer_max_pdu))
    finally:
        stored.tidy()
    return int(stored.receipt is not None)


def _identifier(keys: Mapping[str, str], transfer_syntax: str) -> bytes:
    try:
        return identifiers.encode(identifiers.level_of(keys), keys, transfer_syntax)
    except ValueError as exc:
        raise ConfigError(f"the retrieve cannot be encoded: {exc}") from exc


def _result(
    command: Command, data: bytes, transfer_syntax: str, service: Service, on_pending: OnPending | None
) -> RetrieveResult | None:
    """Make a result of a final response, or tell a pending one and return None."""
    number = command.number(commands.STATUS)
    counts = SubOperations(
        remaining=command.optional_number(commands.REMAINING_SUBOPERATIONS),
        completed=command.optional_number(commands.COMPLETED_SUBOPERATIONS),
        failed=command.optional_number(commands.FAILED_SUBOPERATIONS),
        warning=command.optional_number(commands.WARNING_SUBOPERATIONS),
    )
    if classify(service, number).status_class is StatusClass.PENDING:
        if on_pending is not None:
            on_pending(counts)
        return None
    failed = identifiers.decode(data, transfer_syntax, [_FAILED]).get(_FAILED, "") if data else ""
    return RetrieveResult(
        number,
        counts.completed,
        counts.failed,
        counts.warning,
        counts.remaining,
        tuple(uid for uid in failed.split("\\") if uid),
    )


def _checked(result: RetrieveResult, service: Service, node: Node, destination: str) -> RetrieveResult:
    if not _is_failure(service, result.status):
        return result
    status = classify(service, result.status)
    raise DimseStatusError(
        f"{node.name}: {service.value} ended with {code(result.status)}: {status.text} "
        f"({result.completed} completed, {result.failed} failed)",
        ae_title=node.ae_title,
        status=result.status,
        transient=status.transient,
        hint=_hint(service, result.status, node, destination),
    )


def _is_failure(service: Service, status: int) -> bool:
    return classify(service, status).status_class is StatusClass.FAILURE


def _hint(service: Service, status: int, node: Node, destination: str) -> str:
    if status == 0xA801:
        return (
            f"{node.name} does not know the AE title {destination!r} as a destination: have it registered there with this "
            "machine's address and the port of [local]"
        )
    if status == 0xA702:
        return (
            f"{node.name} could not reach the destination {destination!r} (check the address and port that it has for us and any "
            "firewall between), has too many associations open, or proposes no transfer syntax in which it can send these objects"
        )
    if service is Service.MOVE and 0xC000 <= status <= 0xCFFF:
        return (
            f"some peers (Orthanc) answer so where they do not know the AE title {destination!r} as a destination: have it "
            "registered there; else the peer's log says why"
        )
    if status == 0x0124:
        return "have retrieval granted to our AE title at the peer"
    return ""


def _in_all(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """UIDs that every association failed to deliver: on each of several only some SOP classes can come."""
    first, *others = lists
    return tuple(uid for uid in first if all(uid in set(other) for other in others))
