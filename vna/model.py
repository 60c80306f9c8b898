"""Frozen values that cross the borders between layers.

Nouns: provenance (who handed an object over), receipt (what became of it), outcome (a coded result of doing something to one
key), finding (a coded validation result), node (a named peer), instance reference (the UIDs that address one instance).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol


class Severity(StrEnum):
    """How much a finding matters: ``error`` objects wait for a person, ``warning`` objects go on, ``info`` is for the record."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class InstanceState(StrEnum):
    """Where an expected instance ends. The ledger closes when nothing is ``pending``."""

    VERIFIED = "verified"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    MISSING = "missing"
    PENDING = "pending"


class ObjectStatus(StrEnum):
    """What the store says of one object: filed, filed with warnings, a second object under one UID, or not fileable."""

    STORED = "stored"
    FLAGGED = "flagged"
    VARIANT = "variant"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one key: ``state`` is the stage's word, ``code`` a stable code, ``detail`` free text without PHI."""

    key: str
    state: str
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One validation result. ``where`` names the element (``(0010,0020)`` or a keyword); ``values`` stay on site."""

    code: str
    severity: Severity
    where: str = ""
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """The UIDs that address one instance at a peer (PS3.4 C.6.1.1), as the peer wrote them."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A named peer on the DICOM network, as ``[nodes.NAME]`` of vna.toml describes it."""

    name: str
    ae_title: str = ""
    host: str = "127.0.0.1"
    port: int = 104
    kind: str = "dimse"
    url: str = ""
    tls_ca: str = ""
    issuer: str = ""
    timezone: str = ""
    acse_timeout_s: float = 30
    dimse_timeout_s: float = 120
    retrieve_timeout_s: float = 3600
    on_update: str = "manual"


@dataclass(frozen=True, slots=True)
class Local:
    """Us, on the DICOM network: the ``[local]`` table of vna.toml."""

    ae_title: str = "VNA"
    host: str = "127.0.0.1"
    port: int = 11112
    allow: tuple[str, ...] = ()
    tls_certificate: str = ""
    tls_key: str = ""
    tls_ca: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who handed an object over, and what its own file meta said; kept in the journal, never in the canonical file meta.

    ``source`` is a node's name where the caller knows it, else the calling AE title. ``file_meta`` keeps what a source file's
    own group 0002 held beyond the canonical elements (keyword -> text). ``codes`` are the problems of the source's own framing
    (no preamble, a wrong group length), which the stored file no longer has.
    """

    source: str
    calling_ae_title: str = ""
    called_ae_title: str = ""
    peer_address: str = ""
    move_originator: str = ""
    source_path: str = ""
    file_meta: dict[str, str] = field(default_factory=dict)
    codes: tuple[str, ...] = ()


class Receipt(NamedTuple):
    """What became of one received object; issued only when that is durable.

    ``state`` is ``stored``, ``flagged``, ``variant`` or ``quarantined`` for what was written, ``duplicate`` for bytes that the
    archive holds already, and ``owed`` for what is durable on this machine and has yet to go there, to ``path`` if that is free.
    ``codes`` are the problems found, the deciding one first. ``path`` is relative to the archive.
    A named tuple, as is everything that is made for each object received: a frozen dataclass takes ten times as long to make.
    """

    state: str
    sha256: str
    path: str
    size: int
    sop_instance_uid: str
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    codes: tuple[str, ...] = ()


class Incoming(Protocol):
    """One object on its way in. Exactly one of ``commit`` and ``abort`` ends it; ``tidy`` follows a commit that succeeded."""

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the data set. Raises StoreFullError when there is no room; then abort."""

    def commit(self) -> Receipt:
        """Make the object durable and say what became of it; nothing may be acknowledged before this returns."""

    def tidy(self) -> None:
        """Do what the acknowledgement need not wait for: call it when the peer has its answer. Never raises."""

    def abort(self) -> None:
        """Drop what was received so far. Safe to repeat, and after a failed commit."""


class Sink(Protocol):
    """Where received objects go. Thread-safe: each association calls it for each C-STORE.

    The arguments are what the C-STORE request and its presentation context say (PS3.7 9.3.1); the data set follows through
    ``Incoming.write`` in pieces of any size, exactly as it came over the wire.
    """

    def __call__(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, provenance: Provenance
    ) -> Incoming: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a stage's progress: ``done`` of ``total`` (0 = unknown) in ``unit``, and bytes moved so far."""

    stage: str
    done: int
    total: int = 0
    unit: str = "studies"
    bytes: int = 0
    note: str = ""


Report = Callable[[Progress], None]
"""What a stage calls to tell its progress; the command line draws it, a test collects it, the default forgets it."""


def silent(progress: Progress) -> None:
    """Forget the progress: the default :data:`Report`."""
