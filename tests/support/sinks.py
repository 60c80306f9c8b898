"""Sinks for tests of the network: one keeps what arrives in memory, one writes a file for each object and hashes it."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from vna.errors import StoreFullError
from vna.model import Incoming, Provenance, Receipt


@dataclass(frozen=True, slots=True)
class Arrived:
    """One object as the sink got it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    provenance: Provenance
    data_set: bytes


@dataclass(eq=False)
class _InMemory:
    sink: MemorySink
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    provenance: Provenance
    content: bytearray = field(default_factory=bytearray)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self.content += chunk
        self.sink.largest_chunk = max(self.sink.largest_chunk, len(chunk))
        self.sink.during_write(len(self.content))

    def commit(self) -> Receipt:
        self.sink.before_commit(self.sop_instance_uid)
        data_set = bytes(self.content)
        with self.sink.lock:
            self.sink.arrived.append(
                Arrived(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid, self.provenance, data_set)
            )
        return Receipt(
            state="stored",
            sha256=hashlib.sha256(data_set).hexdigest(),
            path=self.sop_instance_uid,
            size=len(data_set),
            sop_instance_uid=self.sop_instance_uid,
            sop_class_uid=self.sop_class_uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
        )

    def tidy(self) -> None:
        pass

    def abort(self) -> None:
        with self.sink.lock:
            self.sink.aborted.append(self.sop_instance_uid)


class MemorySink:
    """Keeps every object in ``arrived``. The hooks are called as an object comes in, and may raise what a real sink raises."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.arrived: list[Arrived] = []
        self.aborted: list[str] = []
        self.largest_chunk = 0
        self.on_open: Callable[[str], None] = lambda sop_instance_uid: None
        self.during_write: Callable[[int], None] = lambda length: None
        self.before_commit: Callable[[str], None] = lambda sop_instance_uid: None

    def __call__(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, provenance: Provenance) -> Incoming:
        self.on_open(sop_instance_uid)
        return _InMemory(self, sop_class_uid, sop_instance_uid, transfer_syntax_uid, provenance)

    @property
    def data_sets(self) -> dict[str, bytes]:
        """SOP Instance UID -> data set; the last one where a UID came twice."""
        with self.lock:
            return {arrived.sop_instance_uid: arrived.data_set for arrived in self.arrived}


def full(*_: object) -> None:
    """Raise what a sink raises when there is no room left."""
    raise StoreFullError("no space left")


@dataclass(eq=False)
class _OnDisk:
    path: Path
    file: IO[bytes]
    sop_instance_uid: str
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        self.file.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)

    def commit(self) -> Receipt:
        self.file.close()
        return Receipt("stored", self.digest.hexdigest(), self.path.name, self.size, self.sop_instance_uid)

    def tidy(self) -> None:
        pass

    def abort(self) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)


class FolderSink:
    """Writes each data set to a numbered file of ``folder`` and hashes it: the least that a real sink does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = itertools.count()

    def __call__(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, provenance: Provenance) -> Incoming:
        path = self.folder / f"{next(self._numbers):08d}"
        return _OnDisk(path, path.open("xb", buffering=0), sop_instance_uid)
