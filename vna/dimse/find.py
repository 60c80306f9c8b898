"""C-FIND (PS3.4 C.4.1): what the peer says it holds, as text. A truncated answer raises, it never looks like a short list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from vna.dimse import commands, identifiers, negotiation
from vna.dimse.association import Association
from vna.dimse.sop_classes import FIND
from vna.dimse.statuses import Service, Status, StatusClass, classify, code
from vna.dimse.transfer_syntaxes import NATIVE
from vna.errors import ConfigError, DimseStatusError, PeerError, QueryTruncatedError
from vna.model import Local, Node

__all__ = ["Finder", "find", "finder"]

_TRUNCATED = frozenset(range(0xA700, 0xA710)) | {0xB001, 0xFE00}
"""Statuses after which the matches received are not all there are."""


class Finder:
    """Queries one node over an association that stays open from one query to the next; opened by the first one.

    A query may begin while another one is still being read; it then has an association of its own. Not
    thread-safe. ``model`` is ``study`` or ``patient`` root. ``with finder(node, local) as find: find("STUDY", keys)``.
    """

    def __init__(self, node: Node, local: Local, *, model: str = "study") -> None:
        self._node = node
        self._local = local
        self._sop_class = FIND[model]
        self._idle: list[Association] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release what is open. Safe to repeat; the next query opens another association."""
        while self._idle:
            self._idle.pop().release()

    def __call__(self, level: str, keys: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """Query at a level: keyword -> value to match, '' for what is only to be returned. Yields matches as they come.

        Nothing is de-duplicated. The peer's answer is whole only if the iteration ends by itself: it raises QueryTruncatedError
        or DimseStatusError where the peer says that there is more or that it failed, other PeerErrors where the association
        breaks. An iterator that is closed early aborts the association, which is what stops a query.
        """
        assoc = self._open()
        is_over = False
        try:
            context = assoc.context_for(self._sop_class)
            identifier = _encode(level, keys, context.transfer_syntax)
            elements = {commands.AFFECTED_SOP_CLASS_UID: commands.uid(self._sop_class), commands.PRIORITY: commands.us(0)}
            message_id = assoc.request(context, commands.C_FIND_RQ, elements, identifier)
            while True:
                command, data = assoc.response(message_id)
                with assoc.ending("reading a match"):
                    number = command.number(commands.STATUS)
                    status = classify(Service.FIND, number)
                    match = {}
                    if status.status_class is StatusClass.PENDING:
                        match = identifiers.decode(data, context.transfer_syntax, keys)
                if status.status_class is not StatusClass.PENDING:
                    is_over = True
                    self._idle.append(assoc)
                    self._check_final(number, status)
                    return
                yield match
        finally:
            if not is_over:
                assoc.abort()

    def _open(self) -> Association:
        while self._idle:
            assoc = self._idle.pop()
            if not assoc.wire.has_ended():
                return assoc
            assoc.release()
        return Association(self._node, self._local, negotiation.contexts_for([(self._sop_class, NATIVE)]))

    def _check_final(self, number: int, status: Status) -> None:
        if status.status_class is StatusClass.SUCCESS:
            return
        what = f"{self._node.name}: C-FIND ended with {code(number)}: {status.text}"
        ae_title = self._node.ae_title
        error: PeerError
        if number in _TRUNCATED:
            error = QueryTruncatedError(what, ae_title=ae_title, hint="ask for less at a time: a shorter range of dates or times")
        else:
            error = DimseStatusError(what, ae_title=ae_title, status=number, transient=status.transient, hint=_hint(number))
        raise error


def _encode(level: str, keys: Mapping[str, str], transfer_syntax: str) -> bytes:
    try:
        return identifiers.encode(level, keys, transfer_syntax, asks_charset=True)
    except ValueError as exc:
        raise ConfigError(f"the query cannot be encoded: {exc}") from exc


def _hint(number: int) -> str:
    if number == 0x0124:
        return "have queries granted to our AE title at the peer"
    if number in (0xA900, 0x0120) or 0xC000 <= number <= 0xCFFF:
        return "the peer did not like the query: try the other model (patient or study root), or fewer keys"
    return ""


def finder(node: Node, local: Local, *, model: str = "study") -> Finder:
    """Make a query session for a ``with`` block; nothing is opened before the first query."""
    return Finder(node, local, model=model)


def find(node: Node, local: Local, level: str, keys: Mapping[str, str], *, model: str = "study") -> Iterator[dict[str, str]]:
    """Query once, on an association of its own. See :meth:`Finder.__call__`."""
    with Finder(node, local, model=model) as session:
        yield from session(level, keys)
