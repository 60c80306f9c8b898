"""Operations that are recorded, or that kill the process at the k-th, to prove the write order and what a crash leaves."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vna.store import SystemOperations

STEPS = (
    "create",
    "open_append",
    "write",
    "truncate",
    "sync",
    "link",
    "rename",
    "unlink",
    "make_folder",
    "remove_folder",
    "sync_folder",
)
"""Every kind of operation that changes the disk."""


class WatchedOperations(SystemOperations):
    """Operations that tell ``before`` of each one, by name and with its arguments, before it is done."""

    def __init__(self, before: Callable[[str, tuple[Any, ...]], None]) -> None:
        self._before = before

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name not in STEPS:
            return method
        before = super().__getattribute__("_before")

        def watched(*arguments: Any) -> Any:
            before(name, arguments)
            return method(*arguments)

        return watched


class WatchedStore:
    """A store that tells ``before`` of every call, by name."""

    def __init__(self, store: Any, before: Callable[[str, tuple[Any, ...]], None]) -> None:
        self._store, self._before = store, before

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found) or name == "list":
            return found

        def told(*arguments: Any) -> Any:
            self._before(name, ())
            return found(*arguments)

        return told


class Recorder:
    """Remembers each operation as ``kind where``; ``where`` is ``spool``, ``instances``, ``journal`` ... below the root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps: list[str] = []
        self._lock = threading.Lock()

    def operations(self) -> WatchedOperations:
        """Return operations that this recorder watches."""
        return WatchedOperations(self._note)

    def _note(self, kind: str, arguments: tuple[Any, ...]) -> None:
        named = arguments[:2] if kind in ("link", "rename") else arguments[:1]
        with self._lock:
            self.steps.append(" ".join([kind, *map(self._where, named)]))

    def _where(self, argument: Path | str | int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{argument}") if isinstance(argument, int) else argument)
        parts = path.relative_to(self.root).parts
        if not parts:
            return "."
        if parts[0] == "spool" and len(parts) == 3:
            return "intent" if parts[2].startswith("intents") else "spool"
        return parts[0] if len(parts) < 4 or parts[0] != "instances" else "object"

    def without(self, *kinds: str) -> list[str]:
        """The steps but those that begin with one of ``kinds``."""
        return [step for step in self.steps if not step.startswith(kinds)]


class KillAt:
    """Kills this process (SIGKILL) just before its ``k``-th operation, counted from 1; ``count`` tells how many there were."""

    def __init__(self, k: int) -> None:
        self._k = k
        self.count = 0
        self.kinds: list[str] = []

    def __call__(self, kind: str, arguments: tuple[Any, ...]) -> None:
        self.count += 1
        self.kinds.append(kind)
        if self.count == self._k:
            os.kill(os.getpid(), signal.SIGKILL)


class FailAt:
    """Raises OSError ``error`` at every operation of that kind whose arguments meet ``when``, while :attr:`armed`."""

    def __init__(self, kind: str, error: int, when: Callable[..., bool] = lambda *arguments: True) -> None:
        self._kind, self._error, self._when = kind, error, when
        self.armed = True
        self.failures = 0

    def __call__(self, kind: str, arguments: tuple[Any, ...]) -> None:
        if self.armed and kind == self._kind and self._when(*arguments):
            self.failures += 1
            raise OSError(self._error, os.strerror(self._error))


def run_and_kill(k: int, work: Callable[[WatchedOperations], None]) -> bool:
    """Run ``work`` in a forked child that is killed just before its ``k``-th operation; tell whether it came that far."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(WatchedOperations(KillAt(k)))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the work failed before it was killed"
    return False
