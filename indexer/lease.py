"""One maintainer alone rewrites, expires and removes the files of a table; appending needs no lease.

Who may is decided by the transaction log itself: every commit of a maintainer carries the application transaction
``maintainer`` with a higher number, and the log refuses the second of two commits that do so from the same state. Whoever was
taken for dead and goes on after all can do no harm: its next commit fails. Taking the lease early only saves work and tells the
second one so. On a local disk that is a lock on a file, which ends with its process; elsewhere the number is the time, in
milliseconds since 1970, until which its holder is alone, and each commit renews it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from indexer.errors import LeaseHeldError, TableConflictError
from indexer.s3 import is_remote
from indexer.table import MAINTAINER, Table

LEASE_S = 600.0
"""How long a maintainer that says nothing is waited for, on S3."""

_LOCK = "_maintainer.lock"


class Maintainer:
    """The holder of a table's lease, who takes files out of the table by :meth:`commit`.

    Who replaces rows (:meth:`indexer.table.Table.exchange` and others) ends the lease by the same transaction.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._number = table.transaction(MAINTAINER) or 0

    def take(self) -> None:
        """Take the lease of a table that has no lock. Raises LeaseHeldError while it is another one's."""
        if self._number > _now():
            raise _held(self.table.url, f"; it ends within {LEASE_S:.0f} s of its last commit")
        try:
            self._commit((), _now() + int(LEASE_S * 1000))
        except TableConflictError as exc:
            raise _held(self.table.url) from exc

    def commit(self, actions: tuple[Any, ...]) -> None:
        """Add and remove files in one commit, and renew the lease. Raises TableConflictError when the lease was lost."""
        self.table.refresh()
        if (self.table.transaction(MAINTAINER) or 0) != self._number:
            raise TableConflictError(f"another maintainer has taken over the table at {self.table.url}")
        self._commit(actions, _now() + int(LEASE_S * 1000))

    def give_back(self) -> None:
        """End the lease, if it is still held, so that nobody waits for it."""
        self.table.refresh()
        if (self.table.transaction(MAINTAINER) or 0) == self._number:
            self._commit((), _now())

    def _commit(self, actions: tuple[Any, ...], number: int) -> None:
        if number == self._number:
            number += 1
        self.table.commit(actions, {MAINTAINER: number})
        self._number = number


@contextmanager
def maintaining(url: str, schema: Any, storage_options: Mapping[str, Any] | None = None) -> Iterator[Maintainer]:
    """Open a table as its one maintainer. Raises LeaseHeldError at once while there is another, UsageError without a table."""
    with ExitStack() as stack:
        if is_remote(url):
            maintainer = Maintainer(Table.open(url, schema, storage_options))
            maintainer.take()
            stack.callback(maintainer.give_back)
        else:
            Table.open(url, schema)  # or the lock would make the folder of a table that is not there
            stack.enter_context(locked(url))
            # Opened under the lock: the table that stands here now, and not one that it replaced.
            maintainer = Maintainer(Table.open(url, schema))
        yield maintainer


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Keep maintainers away from a table on a local disk, readable or not, that is about to be replaced; elsewhere do nothing.

    Raises LeaseHeldError at once while there is a maintainer.
    """
    if is_remote(url) or not Path(url).is_dir():
        yield
        return
    descriptor = os.open(Path(url) / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise _held(url) from exc
        yield
    finally:
        os.close(descriptor)


def _held(url: str, until: str = "") -> LeaseHeldError:
    return LeaseHeldError(f"another process maintains the table at {url}{until}", hint="wait for it to end, and try again")


def _now() -> int:
    return int(time.time() * 1000)
