"""Sending on as many associations as a peer takes well: lanes share one queue, and a pace says how many there are.

Each lane is a thread with a sender of its own. A lane opens its association before it takes anything to do, so that a peer that
serves one association at a time (and lets the others wait) holds nothing up: what is to be sent goes through those that are open.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from vna.dimse.retry import Patience
from vna.dimse.send import ASSOCIATION_LOST, FAILED, OnOutcome, Pair, Sender, SendItem, batches, connection_code
from vna.errors import PeerError
from vna.model import Local, Node, Outcome
from vna.schedule import Pace, PaceLimits

__all__ = ["Lanes", "StoppedError"]

_BUSY: Final = ("0xA7", "0x0213")
"""Codes of outcomes that mean that the peer has too much to do (PS3.4 Table B.2-1: out of resources; PS3.7 Annex C)."""

_PORTION: Final = 64
_FIRST_PORTION: Final = 4
_PORTION_S: Final = 0.25
_IDLE_S: Final = 1.0
_JOIN_S: Final = 2.0


class StoppedError(Exception):
    """The sending was given up by :meth:`Lanes.stop`."""


@dataclass(eq=False)
class _Call:
    """One call of :meth:`Lanes.send`: what is left of it, and what has become of the rest."""

    on_outcome: OnOutcome | None
    left: int
    outcomes: list[Outcome] = field(default_factory=list)
    error: BaseException | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    done: threading.Event = field(default_factory=threading.Event)

    def settle(self, outcome: Outcome) -> None:
        """Take an outcome, and tell it. Raises what the caller's own function raises; then the call is over."""
        with self.lock:
            if self.error is not None:
                raise self.error
            self.outcomes.append(outcome)
            self.left -= 1
            if self.on_outcome is not None:
                self.on_outcome(outcome)
            if not self.left:
                self.done.set()

    def fail(self, error: BaseException) -> None:
        """End the call by an error; nothing is told of it once this returns."""
        with self.lock:
            self.error = self.error or error
        self.done.set()


@dataclass(eq=False)
class _Batch:
    """Items of one call that fit into one association; ``items`` shrinks as they are taken."""

    call: _Call
    items: deque[SendItem]
    pairs: frozenset[Pair]


class Lanes:
    """Sends objects to one node over several associations: a context manager whose :meth:`send` any thread may call.

    ``most`` bounds the associations; how many there are is up to the peer (see :class:`vna.schedule.Pace`). They stay open from
    one call to the next, and are released at the end of the block.
    """

    def __init__(self, node: Node, local: Local, *, patience: Patience | None = None, most: int = 0) -> None:
        self._node = node
        self._local = local
        self._pace = Pace(PaceLimits(most=most) if most else None)
        self._patience = patience or Patience()
        self._changed = threading.Condition()
        self._queue: deque[_Batch] = deque()
        self._lanes: dict[_Lane, None] = {}
        self._open = 0
        self._is_closed = False

    @property
    def target(self) -> int:
        """How many associations are wanted now."""
        return self._pace.target

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if exc is not None:
            self.stop()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            lanes = list(self._lanes)
        for lane in lanes:
            if lane.is_opening:
                lane.sender.cancel()
        for lane in lanes:
            lane.join(_JOIN_S if lane.is_opening else None)

    def send(self, items: Iterable[SendItem], on_outcome: OnOutcome | None = None) -> list[Outcome]:
        """Send all items and return one outcome for each, in the order in which they were settled.

        ``on_outcome`` gets each as soon as it is known, from the threads of the lanes, one at a time for each call. An object in
        flight when its association breaks has failed; the others go on. Raises PeerError when the peer cannot be reached, or
        turns us away, before anything of this call was settled, and StoppedError after :meth:`stop`.
        """
        call = _Call(on_outcome, 0)
        unsendable: list[Outcome] = []
        made = [_Batch(call, deque(batch), frozenset(item.pair for item in batch)) for batch in batches(items, unsendable.append)]
        call.left = len(unsendable) + sum(len(batch.items) for batch in made)
        for outcome in unsendable:
            call.settle(outcome)
        if not made:
            return call.outcomes
        with self._changed:
            if self._is_closed:
                raise StoppedError
            self._queue.extend(made)
            self._staff()
            self._changed.notify_all()
        call.done.wait()
        if call.error is None:
            return call.outcomes
        if isinstance(call.error, PeerError) and call.outcomes:
            return self._give_up(call, [item for batch in made for item in batch.items], call.error)
        raise call.error

    def stop(self) -> None:
        """End every call under way with StoppedError; associations that are in the middle of an object are aborted."""
        self._patience.stop()
        with self._changed:
            self._is_closed = True
            calls = {batch.call for batch in self._queue} | {lane.call for lane in self._lanes if lane.call is not None}
            lanes = list(self._lanes)
            self._queue.clear()
            self._changed.notify_all()
        for call in calls:
            call.fail(StoppedError())
        for lane in lanes:
            lane.sender.cancel()

    def _give_up(self, call: _Call, rest: Sequence[SendItem], error: PeerError) -> list[Outcome]:
        """Give what was not sent the outcome of the error that ended the call."""
        call.error = None
        for item in rest:
            call.settle(Outcome(item.key, FAILED, connection_code(error), str(error)))
        return call.outcomes

    # -- for the lanes, with the lock held

    def _staff(self) -> None:
        """Start lanes while there are fewer than wanted and more to do than they have begun."""
        while len(self._lanes) < self._pace.target and self._queue and not self._is_closed:
            lane = _Lane(self, Sender(self._node, self._local))
            self._lanes[lane] = None
            lane.start()

    def _is_surplus(self, lane: _Lane) -> bool:
        """Say whether a lane is one too many: the last ones end first, those first that have not opened yet."""
        ranked = sorted(self._lanes, key=lambda one: one.is_opening)
        return ranked.index(lane) >= self._pace.target

    def _drop_queue_of(self, call: _Call) -> None:
        self._queue = deque(batch for batch in self._queue if batch.call is not call)


class _Lane(threading.Thread):
    """One association's thread."""

    def __init__(self, lanes: Lanes, sender: Sender) -> None:
        super().__init__(name=f"lane-{lanes._node.name}", daemon=True)
        self.sender = sender
        self.is_opening = True
        self.call: _Call | None = None
        self._is_over = False
        self._lanes = lanes
        self._portion = _FIRST_PORTION
        self._settled_at = 0.0

    def run(self) -> None:
        """Open, take a portion, send it, and so on until there is nothing more for this lane."""
        lanes = self._lanes
        try:
            while not self._is_over and (batch := self._next()) is not None:
                if self.sender.covers(batch.pairs) or self._opens(batch):
                    self._send_of(batch)
        finally:
            with lanes._changed:
                self._count_as_open(False)
                lanes._lanes.pop(self, None)
                lanes._staff()
            self.sender.release()

    def _next(self) -> _Batch | None:
        """Wait for something to do; the batch stays in the queue. None: this lane has come to its end."""
        lanes = self._lanes
        while True:
            with lanes._changed:
                end = time.monotonic() + _IDLE_S
                while not lanes._queue and not lanes._is_closed and time.monotonic() < end:
                    lanes._changed.wait(_IDLE_S)
                if lanes._queue and not lanes._is_surplus(self):
                    return lanes._queue[0]
                if lanes._queue or lanes._is_closed or len(lanes._lanes) > 1:
                    return None
            self.sender.release()  # nothing for some time: leave the place to others

    def _opens(self, batch: _Batch) -> bool:
        """Open an association for a batch. A failure ends the lane or, where no other lane has one, the batch's call."""
        lanes = self._lanes
        with lanes._changed:
            self._count_as_open(False)
            is_alone = not lanes._open
        try:
            if is_alone:
                lanes._patience.call(lambda: self.sender.open(batch.pairs))
            else:
                self.sender.open(batch.pairs)
        except Exception as exc:  # noqa: BLE001 - the worker boundary: it is raised by the call
            with lanes._changed:
                if isinstance(exc, PeerError) and (lanes._open or lanes._is_closed):
                    lanes._pace.refused(time.monotonic())
                    self._is_over = True
                else:
                    lanes._drop_queue_of(batch.call)
                    batch.call.fail(exc)
            return False
        with lanes._changed:
            self._count_as_open(True)
        return True

    def _count_as_open(self, is_open: bool) -> None:
        if is_open == self.is_opening:
            self._lanes._open += 1 if is_open else -1
            self.is_opening = not is_open

    def _send_of(self, batch: _Batch) -> None:
        """Take a portion of a batch and send it."""
        lanes = self._lanes
        with lanes._changed:
            portion = [batch.items.popleft() for _ in range(min(self._portion, len(batch.items)))]
            if not batch.items and batch in lanes._queue:
                lanes._queue.remove(batch)
            if not portion:
                return
            self.call = batch.call
        begun = self._settled_at = time.monotonic()
        sizes = {item.key: item.size for item in portion}

        def settle(outcome: Outcome) -> None:
            self._learn(outcome, sizes.get(outcome.key, 0))
            batch.call.settle(outcome)

        try:
            self.sender.send(portion, settle)
        except PeerError:  # nothing of it was sent: whoever has an association may
            with lanes._changed:
                batch.items.extendleft(reversed(portion))
                if batch not in lanes._queue and batch.call.error is None:
                    lanes._queue.appendleft(batch)
        except BaseException as exc:  # noqa: BLE001 - the worker boundary: it is raised by the call
            self.sender.abort()
            with lanes._changed:
                lanes._drop_queue_of(batch.call)
                batch.call.fail(exc)
        finally:
            self.call = None
        pace = len(portion) / max(time.monotonic() - begun, 1e-6)
        self._portion = max(1, min(int(pace * _PORTION_S), _PORTION))

    def _learn(self, outcome: Outcome, size: int) -> None:
        """Tell the pace what became of an object."""
        lanes = self._lanes
        now = time.monotonic()
        seconds, self._settled_at = now - self._settled_at, now
        before = lanes._pace.target
        if outcome.code.startswith(_BUSY) or (outcome.code == ASSOCIATION_LOST and lanes._open > 1):
            lanes._pace.refused(now)
        elif outcome.state != FAILED:
            lanes._pace.settled(now, size, seconds, lanes._open)
        if lanes._pace.target > before:
            with lanes._changed:
                lanes._staff()
