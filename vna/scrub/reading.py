"""Read one object again and say what is wrong with it."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from vna.archive.address import Address
from vna.errors import InstanceMissingError, StoreError
from vna.scrub.codes import CHANGED, EXTENDED, MISSING, TRUNCATED, UNREADABLE
from vna.scrub.pace import Pace
from vna.store import Store
from vna.store.operations import store_errors

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One object that is not what was recorded.

    ``sha256`` is the recorded digest, ``found`` that of the bytes that stand there (empty if none could be read), ``detail``
    says why it was not repaired.
    """

    path: str
    code: str
    sha256: str = ""
    found: str = ""
    size: int = 0
    repaired: bool = False
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give the fields by their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Reading:
    """What came when an object was read to its end: its size and digest; or the code that says why nothing did."""

    size: int = 0
    sha256: str = ""
    code: str = ""


def read_object(store: Store, path: str, take: Callable[[int], None] = lambda count: None) -> Reading:
    """Read an object to its end; ``take`` is asked before each piece. Never raises for what the disk or the service says.

    A local file is read from the disk, not from the memory in which the system still keeps it.
    """
    total = hashlib.sha256()
    size = 0
    try:
        with store.open(path) as file, store_errors("the object could not be read"):
            _forget_cached(file)
            while chunk := file.read(_PIECE):
                take(len(chunk))
                total.update(chunk)
                size += len(chunk)
            _forget_cached(file)
    except InstanceMissingError:
        return Reading(code=MISSING)
    except StoreError:
        return Reading(size, code=UNREADABLE)
    return Reading(size, total.hexdigest())


def read_batch(archive: Address, store: Callable[[], Store], take: Callable[[int], None], paths: Sequence[str]) -> list[Reading]:
    """Read some objects of an archive to their end. Raises StoreError when not they are missing, but the whole archive."""
    here = store()
    readings = [read_object(here, path, take) for path in paths]
    if any(reading.code for reading in readings):
        archive.confirm(here)
    return readings


def read_paced(archive: Address, store: Callable[[], Store], bytes_per_s: float, paths: Sequence[str]) -> list[Reading]:
    """Do as :func:`read_batch` does, with a rate of its own: on another host, which knows nothing of what others read."""
    pace = Pace(bytes_per_s)
    readings = read_batch(archive, store, pace.take, paths)
    pace.settle()
    return readings


def judge(path: str, reading: Reading, digests: tuple[str, ...], size: int) -> Finding | None:
    """Compare what was read with what is recorded; None where any record agrees."""
    if reading.sha256 in digests:
        return None
    recorded = digests[0] if digests else ""
    if reading.code:
        return Finding(path, reading.code, recorded)
    code = CHANGED
    if 0 <= size != reading.size:
        code = TRUNCATED if reading.size < size else EXTENDED
    return Finding(path, code, recorded, reading.sha256, reading.size)


def _forget_cached(file: BinaryIO) -> None:
    with suppress(OSError, io.UnsupportedOperation, AttributeError):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
