"""C-STORE to a peer: headers and data sets straight from their files, one coded outcome an instance.

Presentation contexts come from the items alone, one per (SOP class, transfer syntax), so that a peer either takes an object in
the encoding it is stored in or refuses it; nothing is transcoded. While the peer works on one object the next is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Final, Self

from vna.dimse import commands, negotiation
from vna.dimse.association import Association
from vna.dimse.data_sets import CHUNK, DataSetReader, OddLengthError, fragment_size, frame
from vna.dimse.limits import CONTEXTS
from vna.dimse.negotiation import CONTEXT_RESULTS, Context
from vna.dimse.statuses import Service, StatusClass, classify
from vna.dimse.statuses import code as spell
from vna.dimse.transfer_syntaxes import DEFLATED
from vna.dimse.wire import Wire
from vna.errors import AssociationRejectedError, PeerError, StoreError, UnreachableError
from vna.model import Local, Node, Outcome

__all__ = ["SendItem", "Sender", "batches", "connection_code", "send", "sender"]

log = logging.getLogger(__name__)

SENT: Final = "sent"
WARNING: Final = "warning"
REFUSED: Final = "refused"
FAILED: Final = "failed"
"""The states of an outcome. ``refused`` is permanent; ``failed`` may go better another time."""

CONTEXT_REJECTED: Final = "CONTEXT_REJECTED"
BAD_UID: Final = "BAD_UID"
UNREADABLE: Final = "UNREADABLE"
ODD_LENGTH: Final = "ODD_LENGTH"
ASSOCIATION_LOST: Final = "ASSOCIATION_LOST"
UNREACHABLE: Final = "UNREACHABLE"
ASSOCIATION_REJECTED: Final = "ASSOCIATION_REJECTED"
"""Codes of outcomes that are no DIMSE status."""

_LOSSES_IN_A_ROW: Final = 3
_MAX_AGE_S: Final = 3600.0

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SendItem:
    """One object to send. ``key`` comes back in its outcome; ``open`` gives the file, which is closed after use.

    The data set begins at ``data_set_offset`` of the file and reaches to its end. ``size`` is the file's, if known.
    """

    key: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    open: Callable[[], BinaryIO]
    data_set_offset: int
    size: int = 0

    @property
    def pair(self) -> Pair:
        """The presentation context that this object needs."""
        return self.sop_class_uid, self.transfer_syntax_uid


OnOutcome = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An item whose request and first piece are ready to go, or the outcome that it has already."""

    reader: DataSetReader
    message_id: int = 0
    context_id: int = 0
    parts: Sequence[bytes | memoryview] = ()
    problem: Outcome | None = None


class Sender:
    """Sends objects to one node over an association that stays open from one call of :meth:`send` to the next.

    Not thread-safe: each thread has its own. The association is opened by the first call, opened anew with more contexts when
    other kinds of objects come, and released at the end of the ``with`` block.
    """

    def __init__(self, node: Node, local: Local) -> None:
        self._node = node
        self._local = local
        self._assoc: Association | None = None
        self._contexts: dict[Pair, Context] = {}
        self._opened_at = 0.0
        self._opening: Wire | None = None
        self._is_cancelled = False
        self._readers = (DataSetReader(), DataSetReader())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if exc is None:
            self.release()
        else:
            self.abort()

    def covers(self, pairs: Iterable[Pair]) -> bool:
        """Say whether an association is open that has a context, granted or not, for every one of ``pairs``."""
        assoc = self._assoc
        if assoc is None or not assoc.is_open or time.monotonic() - self._opened_at >= _MAX_AGE_S:
            return False
        return self._contexts.keys() >= set(pairs) and not assoc.wire.has_ended()

    def open(self, pairs: Iterable[Pair]) -> None:
        """Have an association that covers ``pairs``, at most 128 of them. Raises PeerError."""
        self._open_for(dict.fromkeys(pairs))

    def cancel(self) -> None:
        """Make what is under way fail soon, and every later attempt to open an association. For other threads."""
        self._is_cancelled = True
        assoc, wire = self._assoc, self._opening
        if wire is not None:
            wire.interrupt()
        if assoc is not None:
            assoc.wire.interrupt()

    def release(self) -> None:
        """Release the association, if any; the next call opens another. Safe to repeat."""
        assoc, self._assoc = self._assoc, None
        if assoc is not None:
            assoc.release()

    def abort(self) -> None:
        """Abort the association, if any. Safe to repeat."""
        assoc, self._assoc = self._assoc, None
        if assoc is not None:
            assoc.abort()

    def send(self, items: Iterable[SendItem], on_outcome: OnOutcome | None = None) -> list[Outcome]:
        """Send all items and return one outcome for each; ``on_outcome`` gets it as soon as it is known.

        The order is kept unless more than 128 contexts are needed. An object in flight when the association breaks has failed;
        the association is opened anew for the rest, which gives up after three losses in a row. Raises PeerError only when the
        peer cannot be reached, or turns us away, before anything was settled by this call.
        """
        outcomes: list[Outcome] = []

        def settle(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)

        for batch in batches(items, settle):
            try:
                self._send_batch(batch, settle)
            except PeerError as exc:
                if not outcomes:
                    raise
                for item in batch:
                    settle(Outcome(item.key, FAILED, connection_code(exc), str(exc)))
        return outcomes

    def _send_batch(self, rest: list[SendItem], settle: OnOutcome) -> None:
        """Send items that fit into one association, over as many as it takes; ``rest`` shrinks as they are settled."""
        pairs = dict.fromkeys(item.pair for item in rest)
        losses = 0
        while rest:
            if losses == _LOSSES_IN_A_ROW:
                for item in rest:
                    settle(
                        Outcome(item.key, FAILED, ASSOCIATION_LOST, "not tried: the peer ends one association after the other")
                    )
                return
            done = self._send_on_one(self._open_for(pairs), rest, settle)
            del rest[:done]
            losses = losses + 1 if done <= 1 else 1

    def _open_for(self, pairs: Collection[Pair]) -> Association:
        """Have an association whose contexts cover ``pairs``; a new one proposes what the last one did as well, if it fits."""
        if self._assoc is not None and self.covers(pairs):
            return self._assoc
        self.release()
        wanted = list(dict.fromkeys((*pairs, *self._contexts)))[:CONTEXTS]
        proposals = negotiation.contexts_for((sop_class, (syntax,)) for sop_class, syntax in wanted)
        try:
            assoc = Association(self._node, self._local, proposals, on_wire=self._begin)
        finally:
            self._opening = None
        answers = {context.context_id: context for context in assoc.contexts}
        self._contexts = {pair: answers[proposal.context_id] for pair, proposal in zip(wanted, proposals, strict=True)}
        self._assoc, self._opened_at = assoc, time.monotonic()
        return assoc

    def _begin(self, wire: Wire) -> None:
        self._opening = wire
        if self._is_cancelled:
            wire.interrupt()

    def _send_on_one(self, assoc: Association, items: Sequence[SendItem], settle: OnOutcome) -> int:
        """Send until the end or until the association is lost; return how many items are settled.

        The peer never waits for us: what was read ahead goes out first, then the outcome of the object before is told.
        """
        fragment = fragment_size(assoc.peer_max_pdu)
        prepared = self._prepare(assoc, items[0], fragment, 0)
        known: Outcome | None = None
        try:
            for number, item in enumerate(items):
                if prepared.problem is None:
                    self._transmit(assoc, prepared, fragment)
                if known is not None:
                    before, known = known, None
                    settle(before)
                message_id, problem = prepared.message_id, prepared.problem
                if number + 1 < len(items):
                    prepared = self._prepare(assoc, items[number + 1], fragment, number + 1)
                known = problem or self._answer(assoc, message_id, item)
            assert known is not None
            settle(known)
        except (PeerError, _UnreadableError) as exc:
            if known is not None:
                settle(known)
            if isinstance(exc, _UnreadableError):
                assoc.abort()  # half an object is out: nothing else keeps the peer from taking it for whole
            lost = ASSOCIATION_LOST if isinstance(exc, PeerError) else UNREADABLE
            settle(Outcome(item.key, FAILED, lost, str(exc)))
        finally:
            for reader in self._readers:
                reader.close()
        return number + 1

    def _prepare(self, assoc: Association, item: SendItem, fragment: int, number: int) -> _Prepared:
        """Read an item's first piece and frame it, unless its context was rejected or its file cannot be read."""
        reader = self._readers[number & 1]
        reader.close()
        context = self._contexts[item.pair]
        if context.result != negotiation.ACCEPTANCE:
            detail = CONTEXT_RESULTS.get(context.result, f"result {context.result}")
            return _Prepared(reader, problem=Outcome(item.key, REFUSED, CONTEXT_REJECTED, detail))
        try:
            reader.load(item.open(), item.data_set_offset, may_pad=item.transfer_syntax_uid in DEFLATED)
            piece = reader.read(CHUNK // fragment * fragment)
        except OddLengthError:
            detail = "a data set of odd length cannot travel as it is (PS3.8 9.3.5.1)"
            return _Prepared(reader, problem=Outcome(item.key, REFUSED, ODD_LENGTH, detail))
        except (OSError, StoreError) as exc:
            return _Prepared(reader, problem=Outcome(item.key, FAILED, UNREADABLE, _reason(exc)))
        message_id, context_id = assoc.next_message_id(), context.context_id
        request = commands.store_request(item.sop_class_uid, item.sop_instance_uid, message_id)
        command = commands.command_pdu(request, context_id, assoc.peer_max_pdu)
        parts = [command, *frame(piece, fragment, context_id, is_end=not reader.left)]
        return _Prepared(reader, message_id, context_id, parts)

    def _transmit(self, assoc: Association, prepared: _Prepared, fragment: int) -> None:
        """Send a C-STORE request and its data set."""
        reader, parts = prepared.reader, prepared.parts
        with assoc.ending("sending an object"):
            while True:
                assoc.wire.send_parts(parts)
                if not reader.left:
                    return
                try:
                    piece = reader.read(CHUNK // fragment * fragment)
                except (OSError, StoreError) as exc:
                    raise _UnreadableError(_reason(exc)) from exc
                parts = frame(piece, fragment, prepared.context_id, is_end=not reader.left)

    def _answer(self, assoc: Association, message_id: int, item: SendItem) -> Outcome:
        """Wait for the response and make the outcome of it. The peer's error comment is left out: it may name a patient."""
        command, _ = assoc.response(message_id)
        with assoc.ending("reading an answer"):
            number = command.number(commands.STATUS)
        status = classify(Service.STORE, number)
        if status.status_class is StatusClass.SUCCESS:
            return Outcome(item.key, SENT, spell(number))
        if status.status_class is StatusClass.WARNING:
            return Outcome(item.key, WARNING, spell(number), status.text)
        return Outcome(item.key, FAILED if status.transient else REFUSED, spell(number), status.text)


class _UnreadableError(Exception):
    """A file failed after its first piece was out."""


def _reason(exc: OSError | StoreError) -> str:
    what = type(exc).__name__ if isinstance(exc, StoreError) else exc.strerror or exc
    return f"the file could not be read ({what})"


def connection_code(exc: PeerError) -> str:
    """Name the reason why a peer could not be sent anything."""
    if isinstance(exc, AssociationRejectedError):
        return ASSOCIATION_REJECTED
    return UNREACHABLE if isinstance(exc, UnreachableError) else ASSOCIATION_LOST


def batches(items: Iterable[SendItem], settle: OnOutcome) -> Iterator[list[SendItem]]:
    """Group the items so that no group needs more than 128 contexts; what cannot be proposed at all is settled at once."""
    groups: dict[Pair, int] = {}
    batches: list[list[SendItem]] = []
    for item in items:
        if not (negotiation.is_proposable(item.sop_class_uid) and negotiation.is_proposable(item.transfer_syntax_uid)):
            settle(Outcome(item.key, REFUSED, BAD_UID, "its SOP class or transfer syntax UID cannot be proposed"))
            continue
        group = groups.setdefault(item.pair, len(groups) // CONTEXTS)
        if group == len(batches):
            batches.append([])
        batches[group].append(item)
    return iter(batches)


def sender(node: Node, local: Local) -> Sender:
    """Make a sender for a ``with`` block; nothing is opened before its first ``send``."""
    return Sender(node, local)


def send(node: Node, local: Local, items: Iterable[SendItem], on_outcome: OnOutcome | None = None) -> list[Outcome]:
    """Send all items to ``node`` on associations of their own. See :meth:`Sender.send`."""
    with Sender(node, local) as session:
        return session.send(items, on_outcome)
