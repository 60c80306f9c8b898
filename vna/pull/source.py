"""The source and our own ear: retrieving by C-MOVE or C-GET, and the receiver that C-MOVE sends to.

What the source says about a retrieve is kept as a reason for what did not come; it never counts as a proof of what did.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from vna.archive import Archive
from vna.archive.receivers import Announcement, Receiver, announced, relying_on, running_receiver
from vna.dimse.retrieve import RetrieveResult, SubOperations, get, move
from vna.dimse.retry import Patience
from vna.dimse.storage_scp import StorageScp, storage_scp
from vna.dimse.transfer_syntaxes import COMMON
from vna.errors import AssociationAbortedError, ConfigError, DimseStatusError, PeerError
from vna.model import Local, Node, Provenance, Sink
from vna.pull.requests import Request

_log = logging.getLogger(__name__)

DESTINATION_UNKNOWN = 0xA801
ABORTED = "SOURCE_ABORTED"
POSTPONEMENTS = 3
"""How often in a row a busy answer makes everybody wait; a source that always says busy means something else."""

_STOP_S = 5.0
_ANNOUNCING_S = 5.0
_ASKING_S = 0.05
_LENDING_S = 600.0
"""For how long a pull that is done goes on receiving what others asked for."""
_LEAST_S = 0.0003
"""What an object takes at the least."""

_LONGEST_S = 0.1
_USUAL_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography Image Storage
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray Image Storage - For Presentation
    "1.2.840.10008.5.1.4.1.1.1.2",  # Digital Mammography X-Ray Image Storage - For Presentation
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
    "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
    "1.2.840.10008.5.1.4.1.1.6.1",  # Ultrasound Image Storage
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image Storage
    "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State Storage
    "1.2.840.10008.5.1.4.1.1.12.1",  # X-Ray Angiographic Image Storage
    "1.2.840.10008.5.1.4.1.1.20",  # Nuclear Medicine Image Storage
    "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR Storage
    "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection Document Storage
    "1.2.840.10008.5.1.4.1.1.128",  # Positron Emission Tomography Image Storage
)
"""What C-GET asks for where the source does not say of which SOP classes its instances are."""


class Method(StrEnum):
    """How instances are retrieved."""

    MOVE = "move"
    GET = "get"


@dataclass(frozen=True, slots=True)
class Answered:
    """How a source ended one retrieve: the status of a failure or warning, and what it said would not come.

    ``is_failure`` says that it claims to have sent nothing more after a failure, or nothing at all.
    """

    code: str = ""
    failed_uids: frozenset[str] = frozenset()
    rejected_classes: frozenset[str] = frozenset()

    is_failure: bool = False


class StoppedError(Exception):
    """The pull is being given up; raised out of a retrieve under way, which aborts its association."""


class Listening:
    """Our own storage SCP, for C-MOVE. It serves while the block runs, unless a receiver of this archive has the port already.

    At the end of the block it waits for other pulls to have what they asked for in reliance on it.
    """

    def __init__(self, archive: Archive, node: Node, local: Local, sink: Sink) -> None:
        self._archive = archive
        self._node = node
        self._local = local
        self._sink = sink
        self._scp: StorageScp | None = None
        self._announcing = ExitStack()
        self._announcement: Announcement | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.ensure()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if kind is None and self._announcement is not None and not self._announcement.last_call(_LENDING_S):
                _log.info("another pull relied on this receiver for too long; what it lacks it asks for again")
        finally:
            self.stop()

    @contextmanager
    def held(self) -> Iterator[None]:
        """See to it that somebody listens for this archive while the block runs.

        Raises ConfigError when the port cannot be had, StoppedError when this one was stopped.
        """
        while True:
            self.ensure()
            if not self.is_foreign:
                yield
                return
            with relying_on(self._archive.workspace, self._local.port) as receiver:
                if receiver is not None:
                    yield
                    return

    @property
    def is_foreign(self) -> bool:
        """Whether another process receives for us, so that only the journal tells what arrives."""
        return self._scp is None

    def ensure(self) -> None:
        """Listen, unless somebody else does for this archive. Raises as :meth:`held` does."""
        with self._lock:
            if self._scp is not None:
                return
            scp = self._open_port()
            if scp is None:
                return
            scp.start()
            self._scp = scp
            receiver = Receiver(self._local.ae_title, self._local.host, scp.port)
            self._announcement = self._announcing.enter_context(announced(self._archive.workspace, receiver))

    def stop(self) -> None:
        """Take nothing more, and close the port, for good. Safe to repeat."""
        self._stopping.set()
        with self._lock:
            scp, self._scp = self._scp, None
            self._announcement = None
            self._announcing.close()
        if scp is not None:
            scp.stop(_STOP_S)

    def _open_port(self) -> StorageScp | None:
        """Listen, or give None where a receiver of this archive does.

        Whoever has the port and is not announced may be another pull that has just begun or is just ending: that is waited for.
        """
        give_up = time.monotonic() + _ANNOUNCING_S
        while not self._stopping.is_set():
            receiver = self._find_receiver()
            if receiver is None:
                try:
                    return storage_scp(self._local, self._sink, source_of=self._source_of)
                except ConfigError as exc:
                    is_taken = isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.EADDRINUSE
                    if not is_taken or time.monotonic() >= give_up:
                        raise
            elif receiver.is_ending:
                give_up = time.monotonic() + _ANNOUNCING_S
            else:
                return None
            self._stopping.wait(_ASKING_S)
        raise StoppedError

    def _find_receiver(self) -> Receiver | None:
        receiver = running_receiver(self._archive.workspace, self._local.port) if self._local.port else None
        if receiver is not None and receiver.ae_title.strip() != self._local.ae_title.strip():
            raise ConfigError(
                f"the receiver on port {receiver.port} calls itself {receiver.ae_title!r}, [local] says {self._local.ae_title!r}",
                hint="end it, or give both the same ae_title",
            )
        return receiver

    def _source_of(self, calling_ae_title: str) -> str:
        is_node = calling_ae_title.strip() == self._node.ae_title.strip()
        return self._node.name if is_node else calling_ae_title.strip()


class Source:
    """A node that instances are retrieved from. Thread-safe; all threads share the node's patience."""

    def __init__(
        self, node: Node, local: Local, method: Method, sink: Sink, listening: Listening | None, patience: Patience
    ) -> None:
        self._node = node
        self._local = local
        self._method = method
        self._sink = sink
        self._listening = listening
        self._patience = patience
        self._postponed = 0
        self._stopped = threading.Event()
        self.knows_images = False

    def stop(self) -> None:
        """Break off every retrieve under way as soon as the source says anything."""
        self._stopped.set()
        self._patience.stop()

    def heard(self) -> AbstractContextManager[None]:
        """See to it that what is retrieved while the block runs is received. Raises as :meth:`Listening.held` does."""
        return self._listening.held() if self._listening is not None else nullcontext()

    def retrieve(self, request: Request, sop_class_uids: Iterable[str]) -> Answered:
        """Retrieve, and say how the source ended it.

        Raises DimseStatusError when the source does not know us as a destination, other PeerErrors when it cannot be talked to
        after several attempts, StoppedError when the run ends.
        """
        if self._stopped.is_set():
            raise StoppedError
        answered = self._patience.call(lambda: self._retrieve_once(request, sop_class_uids))
        if request.sop_instance_uids and answered.failed_uids:
            self.knows_images = True
        return answered

    def _retrieve_once(self, request: Request, sop_class_uids: Iterable[str]) -> Answered:
        try:
            result = self._ask(request, sop_class_uids)
        except DimseStatusError as exc:
            if exc.status == DESTINATION_UNKNOWN:
                raise
            if exc.transient and self._postponed < POSTPONEMENTS:
                self._postponed += 1
                self._patience.postpone()
            return Answered(f"0x{exc.status:04X}", is_failure=True)
        except AssociationAbortedError:
            # Not asked for again as it was: what came before is durable, and the rest is asked for by itself.
            self._patience.postpone()
            return Answered(ABORTED)
        self._postponed = 0
        return _answered(result)

    def _ask(self, request: Request, sop_class_uids: Iterable[str]) -> RetrieveResult:
        if self._method is Method.MOVE:
            return move(self._node, self._local, request.keys(), on_pending=self._check, on_waiting=self._rest)
        provenance = Provenance(
            source=self._node.name,
            calling_ae_title=self._node.ae_title,
            called_ae_title=self._local.ae_title,
            peer_address=self._node.host,
        )
        classes = sorted({uid for uid in sop_class_uids if uid}) or _USUAL_CLASSES
        return get(self._node, self._local, request.keys(), classes, self._sink, provenance, on_pending=self._check)

    def _rest(self, progress: SubOperations) -> None:
        """Leave the next answers where they are for as long as the rest takes at the least; then they are read all at once.

        A source may answer after each object; who reads each of these answers at once takes the interpreter from the objects.
        """
        if self._stopped.wait(min(progress.remaining * _LEAST_S, _LONGEST_S)):
            raise StoppedError

    def _check(self, _progress: SubOperations) -> None:
        if self._stopped.is_set():
            raise StoppedError


def _answered(result: RetrieveResult) -> Answered:
    by_class: dict[str, int] = {}
    for sop_class, _syntax in result.missing_contexts:
        by_class[sop_class] = by_class.get(sop_class, 0) + 1
    return Answered(
        f"0x{result.status:04X}" if result.status else "",
        frozenset(result.failed_uids),
        frozenset(uid for uid, rejected in by_class.items() if rejected == len(COMMON)),
    )


def is_about_destination(error: PeerError) -> bool:
    """Say whether the source does not know us as a destination (A801): then no study will come, whatever is asked for."""
    return isinstance(error, DimseStatusError) and error.status == DESTINATION_UNKNOWN
