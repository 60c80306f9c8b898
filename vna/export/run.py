"""Copy the selected instances to a folder or any fsspec URL, corrected or as received, and prove each copy by its digest.

Safe to repeat and to interrupt: a file is there whole or not at all, what is there already is compared, nothing is overwritten.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from vna.archive import Archive
from vna.archive.layout import path_part
from vna.errors import DigestMismatchError, InstanceMissingError, RefusedError, StoreError
from vna.model import ObjectStatus, Outcome, Progress, Report, silent
from vna.store import LocalStore, Store, is_local, is_s3, local_path, open_store

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_COLUMNS = ("path", "sha256", "size", "status", "revision", "received_StudyInstanceUID", *_UIDS)
_SCRATCH = ".vna-export"
_CHUNK = 1 << 20

WRITTEN, PRESENT, FAILED = "written", "present", "failed"

_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to export: instances that meet ``where`` (SQL over the view ``instances``) and belong to ``studies``; all by default.

    ``received`` asks for the bytes as received rather than corrected. ``variants`` adds objects of which another one came first
    under the same UIDs. 0 workers are as many as there are cores.
    """

    where: str | None = None
    studies: Sequence[str] = ()
    received: bool = False
    variants: bool = False
    workers: int = 0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export did: ``studies``, ``instances`` and ``bytes`` were written by this run (or would be, in a dry run).

    ``present`` stood there already, byte for byte; ``withheld`` wait for a decision or lie in quarantine; ``failed`` are damaged
    or missing in the archive, or their place in the target is taken by something else. ``failures`` names them.
    """

    studies: int
    instances: int
    bytes: int
    to: str
    present: int = 0
    withheld: int = 0
    failed: int = 0
    failures: tuple[Outcome, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Give the object that ``vna export --json`` prints."""
        return {
            "studies": self.studies,
            "instances": self.instances,
            "bytes": self.bytes,
            "to": self.to,
            "present": self.present,
            "withheld": self.withheld,
            "failed": self.failed,
            "failures": [{"path": outcome.key, "code": outcome.code, "detail": outcome.detail} for outcome in self.failures],
        }


@dataclass(frozen=True, slots=True)
class _Leaving:
    """One object as it leaves: where to, how large, its digest, and how to read it."""

    to: str
    size: int
    sha256: str
    open: Callable[[], BinaryIO]


def run(archive: Archive, to: Path | str, options: ExportOptions = ExportOptions(), report: Report = silent) -> ExportResult:
    """Export to a folder or URL, or with ``dry_run`` tell what would be written and leave no trace.

    Raises RefusedError for a target within the archive, ConfigError for a condition that is none, and StoreError when the target
    cannot be written (StoreFullError when it is full). An object that cannot be exported is an outcome, not an error.
    """
    rows = archive.select(options.where, options.studies, _COLUMNS)
    wanted = [row for row in rows if row["status"] in _statuses(options)]
    target = _target(archive, str(to))
    done = _copied(archive, target, wanted, options, report)
    written = [(row, size) for row, (outcome, size) in zip(wanted, done, strict=True) if outcome.state == WRITTEN]
    failures = tuple(outcome for outcome, _ in done if outcome.state == FAILED)
    return ExportResult(
        studies=len({row["StudyInstanceUID"] for row, _ in written}),
        instances=len(written),
        bytes=sum(size for _, size in written),
        to=target.url,
        present=sum(outcome.state == PRESENT for outcome, _ in done),
        withheld=len(rows) - len(wanted),
        failed=len(failures),
        failures=failures,
    )


def _statuses(options: ExportOptions) -> set[str]:
    return {ObjectStatus.STORED, ObjectStatus.FLAGGED} | ({ObjectStatus.VARIANT} if options.variants else set())


def _target(archive: Archive, to: str) -> Store:
    if not is_local(to):
        if f"{to.rstrip('/')}/".startswith(f"{archive.url}/"):
            raise RefusedError(f"{to} is part of the archive itself", hint="export to another prefix")
        return open_store(to, archive.storage_options if is_s3(to) and is_s3(archive.url) else None)
    folder = Path(local_path(to)).absolute()
    own = archive.workspace.resolve()
    if own == folder.resolve() or own in folder.resolve().parents:
        raise RefusedError(f"{to} is part of the archive itself", hint="export to another folder")
    return LocalStore(folder, scratch=_SCRATCH)


def _copied(
    archive: Archive, target: Store, rows: Sequence[_Row], options: ExportOptions, report: Report
) -> list[tuple[Outcome, int]]:
    """Copy the objects and give what became of each, and its size, in their order."""
    done: list[tuple[Outcome, int]] = []
    moved = 0
    if isinstance(target, LocalStore) and not options.dry_run:
        target.root.mkdir(parents=True, exist_ok=True)
        target.sweep()
    with ThreadPoolExecutor(options.workers or os.cpu_count() or 1) as pool:
        try:
            for outcome, size in pool.map(partial(_copy, archive, target, options), rows):
                done.append((outcome, size))
                moved += size if outcome.state == WRITTEN else 0
                report(Progress("export", len(done), len(rows), "instances", moved))
        except StoreError:
            pool.shutdown(cancel_futures=True)
            raise
    if isinstance(target, LocalStore) and not options.dry_run:
        target.sweep(entirely=True)
    return done


def _copy(archive: Archive, target: Store, options: ExportOptions, row: _Row) -> tuple[Outcome, int]:
    """Copy one object. Raises StoreError when the target, and so every other object, is concerned."""
    path = row["path"]
    try:
        leaving = _corrected(archive, row) if row["revision"] is not None and not options.received else _received(archive, row)
        state = _state_of(target, leaving)
        if state is None and not options.dry_run:
            with leaving.open() as file:
                is_new = target.put_stream(_Verified(file, leaving.sha256), leaving.to)
            # Another export may have put it there in the meantime.
            state = WRITTEN if is_new else _state_of(target, leaving)
        if state == FAILED:
            return Outcome(path, FAILED, "CONFLICT", "something else stands in its place"), 0
        return Outcome(path, state or WRITTEN), leaving.size
    except InstanceMissingError as exc:
        return Outcome(path, FAILED, "MISSING", str(exc)), 0
    except DigestMismatchError as exc:
        return Outcome(path, FAILED, "DIGEST_MISMATCH", str(exc)), 0
    except RefusedError as exc:
        return Outcome(path, FAILED, "REFUSED", str(exc)), 0


def _received(archive: Archive, row: _Row) -> _Leaving:
    """An object as it was received stands in the target as in the archive, below its study."""
    path = row["path"]
    return _Leaving(path.split("/", 2)[2], row["size"], row["sha256"], partial(archive.open_object, path))


def _corrected(archive: Archive, row: _Row) -> _Leaving:
    """A corrected object stands under its corrected UIDs; the stored one is proved before anything is made of it."""
    with archive.open_object(row["path"]) as file:
        _digest(_Verified(file, row["sha256"]))

    def opened() -> BinaryIO:
        return archive.open_effective(row["path"], row["sha256"], row["received_StudyInstanceUID"])[1]

    with opened() as file:
        sha256, size = _digest(file)
    folders = "/".join(path_part(row[uid] or "") for uid in _UIDS)
    variant = f"~{row['sha256'][:12]}" if row["status"] == ObjectStatus.VARIANT else ""
    return _Leaving(f"{folders}{variant}.dcm", size, sha256, opened)


def _state_of(target: Store, leaving: _Leaving) -> str | None:
    """Tell what stands in an object's place: nothing (None), the same bytes, or something else (a failure)."""
    if not target.exists(leaving.to):
        return None
    if target.size(leaving.to) != leaving.size:
        return FAILED
    with target.open(leaving.to) as file:
        return PRESENT if _digest(file)[0] == leaving.sha256 else FAILED


def _digest(file: BinaryIO | _Verified) -> tuple[str, int]:
    total, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK):
        total.update(chunk)
        size += len(chunk)
    return total.hexdigest(), size


class _Verified:
    """A file that proves itself while it is read: at its end it raises DigestMismatchError if it is not what was recorded."""

    def __init__(self, file: BinaryIO, sha256: str) -> None:
        self._file = file
        self._sha256 = sha256
        self._total = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Read the next bytes. Raises DigestMismatchError at the end, or when they cannot be read."""
        try:
            chunk = self._file.read(size)
        except OSError as exc:
            raise DigestMismatchError("the object cannot be read to its end") from exc
        self._total.update(chunk)
        if not chunk and self._total.hexdigest() != self._sha256:
            raise DigestMismatchError("the object's bytes are not those that were recorded")
        return chunk
