"""Copy the selected instances to a folder or any fsspec URL, and prove each copy by its digest.

Safe to repeat and to interrupt: a file is there whole or not at all, what is there already is compared, nothing is overwritten.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from vna.archive import Archive
from vna.errors import DigestMismatchError, InstanceMissingError, RefusedError, StoreError
from vna.model import ObjectStatus, Outcome, Progress, Report, silent
from vna.store import LocalStore, Store, is_local, local_path, open_store

_COLUMNS = ("path", "sha256", "size", "status", "received_StudyInstanceUID", "revision")
_SCRATCH = ".vna-export"
_CHUNK = 1 << 20

WRITTEN, PRESENT, FAILED = "written", "present", "failed"


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


def run(archive: Archive, to: Path | str, options: ExportOptions = ExportOptions(), report: Report = silent) -> ExportResult:
    """Export to a folder or URL, or with ``dry_run`` tell what would be written and leave no trace.

    Raises RefusedError for a target within the archive, or for corrected instances while only received ones can be written;
    ConfigError for a condition that is none; StoreError when the target cannot be written (StoreFullError when it is full).
    """
    rows = archive.select(options.where, options.studies, _COLUMNS)
    wanted = [row for row in rows if row["status"] in _statuses(options)]
    if not options.received and any(row["revision"] is not None for row in wanted):
        raise RefusedError("corrected instances cannot be exported yet", hint="--received exports the bytes as received")
    target = _target(archive, str(to))
    outcomes = _dry(target, wanted) if options.dry_run else _copied(archive, target, wanted, options, report)
    written = [row for row, outcome in zip(wanted, outcomes, strict=True) if outcome.state == WRITTEN]
    failures = tuple(outcome for outcome in outcomes if outcome.state == FAILED)
    return ExportResult(
        studies=len({row["received_StudyInstanceUID"] for row in written}),
        instances=len(written),
        bytes=sum(row["size"] for row in written),
        to=target.url,
        present=sum(outcome.state == PRESENT for outcome in outcomes),
        withheld=len(rows) - len(wanted),
        failed=len(failures),
        failures=failures,
    )


def exported_path(path: str) -> str:
    """Tell where a stored object goes in the target: <Study>/<Series>/<SOP>.dcm, UIDs encoded as in the archive."""
    return path.split("/", 2)[2]


def _statuses(options: ExportOptions) -> set[str]:
    return {ObjectStatus.STORED, ObjectStatus.FLAGGED} | ({ObjectStatus.VARIANT} if options.variants else set())


def _target(archive: Archive, to: str) -> Store:
    if not is_local(to):
        return open_store(to)
    folder = Path(local_path(to)).absolute()
    own = archive.root.resolve()
    if own == folder.resolve() or own in folder.resolve().parents:
        raise RefusedError(f"{to} is part of the archive itself", hint="export to another folder")
    return LocalStore(folder, scratch=_SCRATCH)


def _dry(target: Store, rows: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    return [_outcome(row, _state_of(target, row) or WRITTEN) for row in rows]


def _copied(
    archive: Archive, target: Store, rows: Sequence[Mapping[str, Any]], options: ExportOptions, report: Report
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    done_bytes = 0
    if isinstance(target, LocalStore):
        target.root.mkdir(parents=True, exist_ok=True)
        target.sweep()
    with ThreadPoolExecutor(options.workers or os.cpu_count() or 1) as pool:
        try:
            for row, outcome in zip(rows, pool.map(lambda row: _copy(archive, target, row), rows), strict=True):
                outcomes.append(outcome)
                done_bytes += row["size"] if outcome.state == WRITTEN else 0
                report(Progress("export", len(outcomes), len(rows), "instances", done_bytes))
        except StoreError:
            pool.shutdown(cancel_futures=True)
            raise
    if isinstance(target, LocalStore):
        target.sweep(entirely=True)
    return outcomes


def _copy(archive: Archive, target: Store, row: Mapping[str, Any]) -> Outcome:
    """Copy one object. Raises StoreError when the target, and so every other object, is concerned."""
    path = row["path"]
    try:
        state = _state_of(target, row)
        if state is None:
            with archive.open_object(path) as file:
                is_new = target.put_stream(_Verified(file, row["sha256"]), exported_path(path))
            # Another export may have put it there in the meantime.
            state = WRITTEN if is_new else _state_of(target, row) or FAILED
        return _outcome(row, state)
    except InstanceMissingError as exc:
        return Outcome(path, FAILED, "MISSING", str(exc))
    except DigestMismatchError as exc:
        return Outcome(path, FAILED, "DIGEST_MISMATCH", str(exc))


def _outcome(row: Mapping[str, Any], state: str) -> Outcome:
    return Outcome(row["path"], state, *(("CONFLICT", "something else stands in its place") if state == FAILED else ()))


def _state_of(target: Store, row: Mapping[str, Any]) -> str | None:
    """Tell what stands in an object's place: nothing (None), the same bytes, or something else (a failure)."""
    path = exported_path(row["path"])
    if not target.exists(path):
        return None
    if target.size(path) != row["size"]:
        return FAILED
    with target.open(path) as file:
        total = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return PRESENT if total.hexdigest() == row["sha256"] else FAILED


class _Verified:
    """A file that proves itself while it is read: at its end it raises DigestMismatchError if it is not what was recorded."""

    def __init__(self, file: BinaryIO, sha256: str) -> None:
        self._file = file
        self._sha256 = sha256
        self._total = hashlib.sha256()

    def read(self, size: int) -> bytes:
        try:
            chunk = self._file.read(size)
        except OSError as exc:
            raise DigestMismatchError("the object cannot be read to its end") from exc
        self._total.update(chunk)
        if not chunk and self._total.hexdigest() != self._sha256:
            raise DigestMismatchError("the object's bytes are not those that were recorded")
        return chunk
