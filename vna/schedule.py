"""Pacing: how many associations, or retrieves, a peer takes well at once. Arithmetic alone: every time comes from the caller.

More are tried while they bring throughput, since the peer may be far away, or have cores to spare; fewer are used when the peer
says that it is too much, turns associations away, or answers far more slowly than it did. Additive increase, multiplicative
decrease, as TCP finds its share of a line; doubling at first, as TCP does too.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

MOST: Final = 16
"""The most associations at once where nobody says otherwise: what many PACS grant one peer."""

_SMALL: Final = 32 << 10
"""Objects up to this size take what a request and its answer take."""

Profile = dict[int, tuple[float, float]]
"""How many objects of a size, and in how many seconds; sizes are told apart by powers of two."""


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """The bounds of a :class:`Pace`.

    More associations must bring at least ``gain`` of the throughput that they ideally would. Where objects take ``slow`` times as
    long as they usually do, the peer suffers. A window of measurement is ``window_s`` of each association's time and
    ``window_objects`` objects at least. A number that was too much is not tried again for ``hold_s``, and for twice as long after
    each further failure, up to ``longest_hold_s``; complaints within ``grace_s`` count as one.
    """

    most: int = MOST
    gain: float = 0.3
    slow: float = 2.5
    window_s: float = 0.2
    window_objects: int = 8
    hold_s: float = 5.0
    longest_hold_s: float = 300.0
    grace_s: float = 1.0


class Pace:
    """Says how many at once (:attr:`target`), and learns from what is settled and refused. Thread-safe.

    ``now`` is any clock that only goes forward, in seconds, the same for all calls.
    """

    def __init__(self, limits: PaceLimits | None = None) -> None:
        self._limits = limits or PaceLimits()
        self._lock = threading.Lock()
        self._target = 1
        self._is_doubling = True
        self._before: tuple[int, Profile] | None = None  # fewer, and what they took, while more are tried
        self._usual: Profile = {}
        self._cap = 0
        self._cap_until = float("-inf")
        self._cap_s = self._limits.hold_s
        self._grow_at = float("-inf")
        self._deaf_until = float("-inf")
        self._active = 0
        self._restart(0)

    @property
    def target(self) -> int:
        """How many at once, from 1 to the limit."""
        return self._target

    def settled(self, now: float, size: int, seconds: float, active: int) -> None:
        """Learn that one of ``active`` associations was busy for ``seconds`` with an object of ``size`` bytes.

        Busy time, not time on the clock: what waits for us rather than for the peer says nothing of it.
        """
        with self._lock:
            if active != self._active:
                self._restart(active)
            self._objects += 1
            self._seconds += seconds
            kind = max(size, _SMALL).bit_length()
            count, before_s = self._window.get(kind, (0, 0.0))
            self._window[kind] = (count + 1, before_s + seconds)
            limits = self._limits
            is_enough = self._objects >= max(limits.window_objects, 2 * active) and self._seconds >= active * limits.window_s
            if is_enough and active == self._target and self._judge(now, self._window):
                self._restart(active)

    def refused(self, now: float) -> None:
        """Learn that the peer has too much to do: a status of the A7 range, an association that it rejects or breaks off."""
        with self._lock:
            if now >= self._deaf_until:
                self._shrink(now, self._target // 2)

    def _judge(self, now: float, window: Profile) -> bool:
        """Decide by what one window at the present target brought; False where it cannot be compared with what was before."""
        if self._before is not None:
            fewer, old = self._before
            speed = _speed(window, old)
            if speed is None:
                return False
            self._before = None
            more = self._target / fewer
            if more * speed < 1 + self._limits.gain * (more - 1):
                self._cap_at(now, fewer)
                self._set(fewer)
                self._usual = old
                return True
            self._usual = window
        else:
            speed = _speed(window, self._usual)
            if speed is not None and speed * self._limits.slow < 1 and self._target > 1:
                self._shrink(now, self._target * 3 // 4)
                return True
            self._usual = _merged(self._usual, window)
        self._grow(now, window)
        return True

    def _grow(self, now: float, window: Profile) -> None:
        step = self._target if self._is_doubling else max(self._target // 4, 1)
        most = self._limits.most if now >= self._cap_until else self._cap
        more = min(self._target + step, most)
        if more > self._target and now >= self._grow_at:
            if more > self._cap:
                self._cap_until = float("-inf")
            self._before = (self._target, window)
            self._set(more)

    def _shrink(self, now: float, target: int) -> None:
        self._deaf_until = now + self._limits.grace_s
        self._grow_at = now + self._limits.hold_s
        self._cap_at(now, max(self._target - 1, 1))
        self._before = None
        self._usual = {}
        self._set(max(target, 1))

    def _cap_at(self, now: float, cap: int) -> None:
        """Remember that more than ``cap`` was too much: for longer if that is nothing new."""
        self._is_doubling = False
        self._cap_s = min(2 * self._cap_s, self._limits.longest_hold_s) if cap <= self._cap else self._limits.hold_s
        self._cap, self._cap_until = cap, now + self._cap_s

    def _set(self, target: int) -> None:
        self._target = target
        self._restart(self._active)

    def _restart(self, active: int) -> None:
        self._active = active
        self._objects, self._seconds = 0, 0.0
        self._window: Profile = {}


def _speed(window: Profile, usual: Profile) -> float | None:
    """Say how many times as fast as usual each object was, like compared with like; None where nothing is alike."""
    seconds = expected = 0.0
    for kind in window.keys() & usual.keys():
        (count, took), (before, took_before) = window[kind], usual[kind]
        seconds += took
        expected += count * took_before / before
    return expected / seconds if seconds else None


def _merged(usual: Profile, window: Profile) -> Profile:
    """Add a window to what is usual; what is older counts less and less."""
    merged = {kind: (count / 2, seconds / 2) for kind, (count, seconds) in usual.items() if count > 1}
    for kind, (count, seconds) in window.items():
        before, before_s = merged.get(kind, (0, 0.0))
        merged[kind] = (before + count, before_s + seconds)
    return merged
