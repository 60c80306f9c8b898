"""Every error that this package raises on purpose, grouped by who is to blame.

::

    VnaError                      exit 1
    ├─ ConfigError                exit 2    all problems at once, with the nearest known key
    ├─ PeerError(ae_title)        exit 10   the other side of an association
    │  ├─ UnreachableError                  nothing listens, no route, or no answer in time
    │  ├─ AssociationRejectedError          A-ASSOCIATE-RJ: result, source, reason (PS3.8 9.3.4)
    │  ├─ AssociationAbortedError           A-ABORT, or the connection was lost
    │  ├─ DimseStatusError                  a failure status (PS3.7 Annex C)
    │  └─ QueryTruncatedError               the peer's answer cannot be trusted to be whole
    ├─ ClusterError               exit 10   no Dask cluster answers, or it was lost
    ├─ LockedError                exit 11   another run holds this claim
    ├─ StoreError                 exit 20   the store could not do what it promises
    │  ├─ StoreFullError                    no space or no inodes left
    │  ├─ InstanceConflictError             another object stands under that name
    │  ├─ DigestMismatchError               the bytes read are not the bytes recorded
    │  └─ InstanceMissingError              the index names an object that the store does not hold
    └─ RefusedError               exit 21   a guard said no; the message names the way out

``exit_code`` and ``transient`` are decided here, once a class. Messages never hold a patient's name, ID or accession number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class VnaError(Exception):
    """The root of all errors raised on purpose. ``hint`` says what the user can do next."""

    exit_code: ClassVar[int] = 1
    transient: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(VnaError):
    """The configuration or the command line cannot be used; ``problems`` lists everything that is wrong with it."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str], *, hint: str = "") -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("; ".join(self.problems), hint=hint)


class PeerError(VnaError):
    """A DICOM peer did not do what was asked of it."""

    exit_code = 10

    def __init__(self, message: str, *, ae_title: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.ae_title = ae_title


class UnreachableError(PeerError):
    """Nothing listens at that address, the host is unknown, or no answer came in time."""

    transient = True


class AssociationRejectedError(PeerError):
    """The peer answered A-ASSOCIATE-RJ. ``result``, ``source`` and ``reason`` are its codes (PS3.8 Table 9-21)."""

    def __init__(self, message: str, *, ae_title: str = "", result: int, source: int, reason: int, hint: str = "") -> None:
        super().__init__(message, ae_title=ae_title, hint=hint)
        self.result, self.source, self.reason = result, source, reason
        self.transient = result == 2


class AssociationAbortedError(PeerError):
    """The association ended without release: A-ABORT, a reset, or a protocol error of the peer."""

    transient = True


class DimseStatusError(PeerError):
    """An operation ended with a failure ``status`` (PS3.7 Annex C, and the service's own table in PS3.4)."""

    def __init__(self, message: str, *, ae_title: str = "", status: int, transient: bool = False, hint: str = "") -> None:
        super().__init__(message, ae_title=ae_title, hint=hint)
        self.status = status
        self.transient = transient


class QueryTruncatedError(PeerError):
    """The answer to a query was cut short, so what it lists is not everything that exists."""


class ClusterError(VnaError):
    """The Dask cluster that was to do the work does not answer, cannot do it, or was lost."""

    exit_code = 10
    transient = True


class LockedError(VnaError):
    """Another run holds the claim on this work."""

    exit_code = 11
    transient = True


class StoreError(VnaError):
    """The store could not do what it promises."""

    exit_code = 20


class StoreFullError(StoreError):
    """No space or no inodes are left; nothing was acknowledged."""

    transient = True


class InstanceConflictError(StoreError):
    """Another object stands under that name already; nothing was overwritten."""


class DigestMismatchError(StoreError):
    """The bytes that were read are not those whose digest was recorded."""


class InstanceMissingError(StoreError):
    """An object that the index or the ledger names is not in the store."""


class RefusedError(VnaError):
    """A guard said no. The message names what it saw, the hint names the way out."""

    exit_code = 21
