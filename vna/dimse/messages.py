"""The P-DATA engine: commands and data sets read from a wire as they come, never held whole.

A message is a command set and, where that says so, a data set in the same presentation context, each in any number of fragments
(PS3.7 6.3.1, PS3.8 Annex E). Nothing is read beyond what has been checked: a PDU's length by its type and the maximum that was
agreed, an item's length against its PDU, the context against what was negotiated, the total against the caller's limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container

from vna.dimse import commands, limits, pdus
from vna.dimse.commands import Command
from vna.dimse.pdus import COMMAND, LAST, P_DATA_HEADER, P_DATA_TF, PDV_HEADER, ProtocolError, Released, TimedOut
from vna.dimse.turns import BULK, BULK_BYTES
from vna.dimse.wire import Wire, aborted

Write = Callable[[memoryview], None]


def discard(piece: memoryview) -> None:
    """Take a piece of a data set that nobody wants."""


class MessageStream:
    """What the peer sends on one established association.

    ``contexts`` are the accepted presentation context IDs. ``stall_s`` bounds the time in which a command set must be whole;
    the wire's own timeout bounds each silence. Ends of the association come as subclasses of AssociationEnd.
    """

    __slots__ = (
        "_context_id",
        "_contexts",
        "_flags",
        "_max_pdu",
        "_min_rate",
        "_pdu_left",
        "_pdv_left",
        "_rate_after_s",
        "_stall_s",
        "_wire",
    )

    def __init__(
        self,
        wire: Wire,
        contexts: Container[int],
        *,
        max_pdu: int,
        stall_s: float,
        min_rate: int = 0,
        min_rate_after_s: float = 60,
    ) -> None:
        self._wire = wire
        self._contexts = contexts
        self._max_pdu = max_pdu
        self._stall_s = stall_s
        self._min_rate = min_rate
        self._rate_after_s = min_rate_after_s
        self._pdu_left = self._pdv_left = 0
        self._context_id = self._flags = 0

    def wait(self, idle_s: float) -> None:
        """Wait for the first byte of the next message. Raises TimedOut after ``idle_s``, counted in the wire's own timeouts."""
        if self._pdu_left or self._wire.have > self._wire.position:
            return
        end = time.monotonic() + idle_s
        while True:
            try:
                self._wire.fill(between_messages=True)
            except TimedOut:
                if time.monotonic() >= end:
                    raise
            else:
                return

    def read_command(self) -> tuple[int, Command]:
        """Read the next command set: its context ID and its elements.

        Raises Released or Aborted where the peer ends the association instead.
        """
        wire = self._wire
        wire.deadline = time.monotonic() + self._stall_s
        self._next_value(between_messages=True)
        context_id = self._context_id
        if not self._flags & COMMAND:
            raise ProtocolError("PDU_PROTOCOL", "a data set without a command", reason=2)
        if context_id not in self._contexts:
            raise ProtocolError("PDU_PROTOCOL", f"presentation context {context_id} was not accepted")
        data = b""
        while True:
            if len(data) + self._pdv_left > limits.COMMAND_BYTES:
                raise ProtocolError("DIMSE_COMMAND", f"a command set of more than {limits.COMMAND_BYTES} bytes")
            data += wire.take(self._pdv_left)
            self._pdv_left = 0
            if self._flags & LAST:
                break
            self._next_value()
            if not self._flags & COMMAND or self._context_id != context_id:
                raise ProtocolError("PDU_PROTOCOL", "the command set is interrupted", reason=2)
        wire.deadline = float("inf")
        return context_id, commands.parse(data)

    def read_data(self, context_id: int, write: Write, limit: int) -> int:
        """Hand the data set that follows to ``write``, piece by piece, and return its length.

        The views are valid during the call only. An exception of ``write`` leaves the rest unread: call again to drain it.
        Raises ProtocolError (``DATASET_LIMIT``) beyond ``limit`` bytes, TimedOut below the minimum rate.
        """
        if not self._pdv_left and self._flags & (COMMAND | LAST) == LAST:
            return 0  # write failed on the very last piece
        wire = self._wire
        total = 0
        started = time.monotonic() if self._min_rate else 0.0
        while True:
            if not self._pdv_left:
                self._next_value()
                if self._flags & COMMAND or self._context_id != context_id:
                    raise ProtocolError("PDU_PROTOCOL", "the data set is interrupted", reason=2)
            while self._pdv_left:
                if wire.position == wire.have:
                    wire.fill(self._pdv_left + self._sure_to_follow())
                    if self._min_rate:
                        self._check_rate(total, started)
                start = wire.position
                end = min(wire.have, start + self._pdv_left)
                total += end - start
                if total > limit:
                    raise ProtocolError("DATASET_LIMIT", f"a data set of more than {limit} bytes")
                self._pdv_left -= end - start
                wire.position = end
                if total <= BULK_BYTES:
                    write(wire.view[start:end])
                else:
                    with BULK:
                        write(wire.view[start:end])
            if self._flags & LAST:
                return total
            if self._min_rate:
                self._check_rate(total, started)

    def _sure_to_follow(self) -> int:
        """How many bytes come behind the present value in any case, short of an abort: the next header, if it is not the last."""
        if self._flags & LAST:
            return 0
        return PDV_HEADER.size if self._pdu_left else P_DATA_HEADER.size

    def _check_rate(self, total: int, started: float) -> None:
        elapsed = time.monotonic() - started
        if elapsed > self._rate_after_s and total < elapsed * self._min_rate:
            raise TimedOut(f"MIN_RATE: a data set at less than {self._min_rate} bytes a second")

    def _next_value(self, *, between_messages: bool = False) -> None:
        """Step to the next presentation data value, over the border of a PDU if need be."""
        wire = self._wire
        if not self._pdu_left:
            self._next_pdu(between_messages)
        if self._pdu_left < PDV_HEADER.size:
            raise ProtocolError("PDU_PROTOCOL", "a PDU ends inside an item")
        wire.need(PDV_HEADER.size)
        length, self._context_id, self._flags = PDV_HEADER.unpack_from(wire.view, wire.position)
        wire.position += PDV_HEADER.size
        if not 2 <= length <= self._pdu_left - 4:
            raise ProtocolError("PDU_PROTOCOL", f"an item of {length} bytes in {self._pdu_left} bytes of PDU")
        self._pdu_left -= length + 4
        self._pdv_left = length - 2

    def _next_pdu(self, between_messages: bool) -> None:
        wire = self._wire
        wire.need(pdus.HEADER.size)
        kind, length = pdus.HEADER.unpack_from(wire.view, wire.position)
        pdus.check_length(kind, length, self._max_pdu)
        wire.position += pdus.HEADER.size
        if kind == P_DATA_TF:
            self._pdu_left = length
        elif kind == pdus.A_ABORT:
            raise aborted(bytes(pdus.HEADER.size) + wire.take(length))
        elif kind == pdus.A_RELEASE_RQ and between_messages:
            wire.take(length)
            raise Released("the peer released the association")
        else:
            raise ProtocolError("PDU_PROTOCOL", f"a PDU of type {kind} where data was due", reason=2)
