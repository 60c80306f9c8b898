"""What an error left of objects on their way into the archive.

Each keeps its spool file and its intent, and is finished when the same comes again, when the journal is sealed, when the sink is
closed, or else by recovery. Until then nobody can be told that the archive has it: it may stand in the store without a row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vna.archive.rows import JournalRow
from vna.model import Receipt
from vna.store import SpoolFile, Store


@dataclass(slots=True)
class Pending:
    """One object in the spool, with the row that will tell of it, and how far it has come.

    ``is_in_doubt`` after publishing failed: it may have its final name, or get it yet.
    """

    spool: SpoolFile
    row: JournalRow
    payload: bytes = b""
    is_in_doubt: bool = False
    is_published: bool = False
    duplicate: Receipt | None = None


@dataclass(slots=True)
class Left:
    """What is left under one path: more than one object where several threads failed at the same time."""

    pending: list[Pending] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Unfinished:
    """Objects that an error left. Thread-safe: who asks for a path that another thread finishes waits for that.

    ``left`` has their paths, to be looked into once for each object that comes, and changed here alone.
    """

    def __init__(self) -> None:
        self.left: dict[str, Left] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.left)

    def keep(self, pending: Pending) -> None:
        """Keep an object for another try."""
        with self._lock:
            self.left.setdefault(pending.row.path, Left()).pending.append(pending)

    def paths(self, *, in_doubt: bool) -> list[str]:
        """Name the paths where something is (or nothing is) of which nobody knows whether it was published."""
        with self._lock:
            return [path for path, left in self.left.items() if any(one.is_in_doubt for one in left.pending) == in_doubt]

    def finish(self, path: str, finish: Callable[[Pending], bool]) -> Receipt | None:
        """Finish what is left under a path; give the receipt of what is in the archive now, None if there was nothing.

        ``finish`` tells whether it is; False, where another object has the name, is forgotten. What it raises goes through to
        the caller, and the object stays.
        """
        left = self.left.get(path)
        if left is None:
            return None
        receipt = None
        with left.lock:
            while left.pending:
                pending = left.pending[0]
                if finish(pending):
                    receipt = pending.row.receipt()
                with self._lock:
                    left.pending.pop(0)
                    if not left.pending:
                        del self.left[path]
        return receipt


def stands(store: Store, local: Path, path: str) -> bool:
    """Make sure that a spool file has its final name, durably, whatever was tried before; False if another object has it."""
    if not store.publish([(local, path)])[0] and not store.came_from(local, path):
        return False
    store.settle(path)
    return True
