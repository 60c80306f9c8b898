"""How fast a pass may read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """Spreads reading over time: at most ``bytes_per_s`` in the long run; 0 is no limit. Thread-safe."""

    def __init__(
        self,
        bytes_per_s: float = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    def take(self, count: int) -> None:
        """Wait until so many bytes may be read. What was not used up is not saved for a burst."""
        if not self._bytes_per_s:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._free_at)
            self._free_at = start + count / self._bytes_per_s
        if start > now:
            self._sleep(start - now)

    def settle(self) -> None:
        """Wait until the time is up that everything taken so far may take."""
        rest = self._free_at - self._clock()
        if rest > 0:
            self._sleep(rest)
