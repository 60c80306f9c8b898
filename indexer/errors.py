"""What the indexer raises on purpose. Bad files are never among it: they become problems.

::

    IndexerError          exit 1
    ├─ UsageError         exit 2   the arguments cannot be used: no such folder, no such table, SQL that does not parse
    ├─ TableConflictError exit 1   another writer was in the way again and again
    ├─ LeaseHeldError     exit 11  another process maintains the table
    └─ UntrustedServiceError exit 21  the S3 service does not do what the transaction log needs
"""

from __future__ import annotations

from typing import ClassVar


class IndexerError(Exception):
    """The root of all errors raised on purpose. ``hint`` says what the user can do next."""

    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(IndexerError):
    """The arguments cannot be used."""

    exit_code = 2


class TableConflictError(IndexerError):
    """A commit was overtaken by other writers each time it was tried; nothing was written."""

    transient = True


class LeaseHeldError(IndexerError):
    """Another process maintains the table at the moment."""

    exit_code = 11
    transient = True


class UntrustedServiceError(IndexerError):
    """The S3 service ignores conditions on writes, so that several writers would lose each other's rows."""

    exit_code = 21
