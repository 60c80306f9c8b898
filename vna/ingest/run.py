"""Take every file of a source into the archive, in parallel, and say what became of each.

Safe to repeat and to interrupt: each file is durable or not there, and one that is there already is found by its digest, before
anything is written.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from vna.archive import Archive, ArchiveSink, JournalRow
from vna.errors import ConfigError
from vna.ingest.folder import FoundFile, find_files
from vna.ingest.source import CHUNK, SourceChangedError, SourceFile
from vna.model import ObjectStatus, Outcome, Progress, Report, silent

log = logging.getLogger(__name__)

ADAPTERS: Mapping[str, Callable[[Path, Path], Iterator[FoundFile]]] = MappingProxyType({"folder": find_files})
"""Name -> what finds the files of a source; called with the source and the archive's own folder."""

DUPLICATE, SKIPPED, FAILED = "duplicate", "skipped", "failed"
_FAILURES_KEPT = 1000
_AHEAD = 4
_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to ingest. ``source`` is what the index shows as source of the objects; 0 workers are as many as there are cores."""

    adapter: str = "folder"
    source: str = "folder"
    workers: int = 0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of the files found: each is exactly one of stored, duplicate, variant, quarantined, skipped and failed.

    ``flagged`` are among the stored. ``codes`` counts problem codes and reasons for skipping; ``failures`` names files (the first
    thousand) that could not be read. ``missing`` are files that a source's own list names and that are not there.
    """

    adapter: str
    found: int
    stored: int
    duplicates: int
    variants: int
    quarantined: int
    skipped: int
    missing: int
    failed: int
    flagged: int
    bytes: int
    seconds: float
    codes: Mapping[str, int] = field(default_factory=dict)
    failures: tuple[Outcome, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give the object that ``vna ingest --json`` prints."""
        return {
            "adapter": self.adapter,
            "found": self.found,
            "stored": self.stored,
            "duplicates": self.duplicates,
            "variants": self.variants,
            "quarantined": self.quarantined,
            "skipped": self.skipped,
            "missing": self.missing,
            "seconds": self.seconds,
            "failed": self.failed,
            "flagged": self.flagged,
            "bytes": self.bytes,
            "codes": dict(self.codes),
            "failures": [{"path": outcome.key, "code": outcome.code, "detail": outcome.detail} for outcome in self.failures],
        }


def run(archive: Archive, source: Path | str, options: IngestOptions = IngestOptions(), report: Report = silent) -> IngestResult:
    """Ingest a source, or with ``dry_run`` tell what would become of it and leave no trace.

    One bad file never ends the run: it is quarantined with its code, or counted as failed where it cannot be read. Raises
    StoreError when the store cannot go on (StoreFullError when it is full): what was taken by then is safe, and running it again
    goes on from there. Raises ConfigError for an unknown adapter or a source that does not exist.
    """
    if options.adapter not in ADAPTERS:
        raise ConfigError(f"there is no adapter {options.adapter!r}", hint=f"known: {', '.join(ADAPTERS)}")
    started = time.monotonic()
    tally = _Tally(report)
    # The first file is looked for before anything is made, so that a wrong source leaves no trace.
    found = _primed(ADAPTERS[options.adapter](Path(source), archive.workspace))
    workers = options.workers or os.cpu_count() or 1
    if options.dry_run:
        foreseen: dict[str, str] = {}
        for file, outcome in _in_parallel(partial(_foresee, source=options.source), found, workers):
            tally.add(file, _placed(archive, outcome, foreseen) if isinstance(outcome, JournalRow) else outcome)
    else:
        with archive.sink() as sink:
            for file, outcome in _in_parallel(partial(_take, archive, sink, source=options.source), found, workers):
                tally.add(file, outcome)
        archive.sync_index()
    return tally.result(options.adapter, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What became of one file."""

    state: str
    codes: tuple[str, ...] = ()
    size: int = 0
    detail: str = ""


def _take(archive: Archive, sink: ArchiveSink, found: FoundFile, *, source: str) -> _Taken:
    """Take one file. Raises StoreError only: that concerns all files."""
    try:
        file = _looked_into(found)
        if isinstance(file, _Taken):
            return file
        if _may_be_there(archive, file):
            row = file.foreseen(source)
            if archive.foresee(row).state == DUPLICATE:
                return _Taken(DUPLICATE, row.codes, row.size)
        with file.opened() as stream:
            if file.announced is None:
                receipt = sink.quarantine_bytes(stream, file.code, file.provenance(source))
            else:
                incoming = sink(
                    file.announced.sop_class_uid,
                    file.announced.sop_instance_uid,
                    file.announced.transfer_syntax_uid,
                    file.provenance(source),
                )
                try:
                    while chunk := stream.read(CHUNK):
                        incoming.write(chunk)
                    receipt = incoming.commit()
                    incoming.tidy()
                finally:
                    incoming.abort()
        return _Taken(receipt.state, receipt.codes, receipt.size)
    except SourceChangedError as exc:
        return _Taken(FAILED, ("SOURCE_CHANGED",), detail=str(exc))
    except OSError as exc:
        return _Taken(FAILED, ("UNREADABLE",), detail=exc.strerror or str(exc))


def _foresee(found: FoundFile, *, source: str) -> _Taken | JournalRow:
    """Tell what one file would become, but for its place."""
    try:
        file = _looked_into(found)
        return file if isinstance(file, _Taken) else file.foreseen(source)
    except SourceChangedError as exc:
        return _Taken(FAILED, ("SOURCE_CHANGED",), detail=str(exc))
    except OSError as exc:
        return _Taken(FAILED, ("UNREADABLE",), detail=exc.strerror or str(exc))


def _looked_into(found: FoundFile) -> SourceFile | _Taken:
    if found.skip:
        return _Taken(SKIPPED, (found.skip,))
    if found.failure:
        return _Taken(FAILED, ("UNREADABLE",), detail=found.failure)
    file = SourceFile.scanned(found.path)
    return _Taken(SKIPPED, ("DICOMDIR",)) if file.is_directory else file


def _may_be_there(archive: Archive, file: SourceFile) -> bool:
    """Tell whether it is worth reading a file only to find that it is a duplicate: something stands where it belongs."""
    path = file.likely_path()
    return not path or archive.store.exists(path)


def _placed(archive: Archive, row: JournalRow, foreseen: dict[str, str]) -> _Taken:
    """Choose the place of a file that would come after the ``foreseen`` ones (path -> digest)."""
    place = archive.foresee(row, foreseen)
    foreseen.setdefault(place.path, place.sha256)
    return _Taken(place.state, place.codes, place.size)


class _Tally:
    """Counts what became of the files, and tells the progress."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._states: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._failures: list[Outcome] = []
        self._bytes = 0

    def add(self, found: FoundFile, taken: _Taken) -> None:
        """Count one file."""
        self._states[taken.state] += 1
        self._codes.update(taken.codes)
        if taken.state not in (DUPLICATE, SKIPPED, FAILED):
            self._bytes += taken.size
        if taken.state == FAILED:
            log.info("a source file could not be read: %s", taken.codes[0])
            if len(self._failures) < _FAILURES_KEPT:
                self._failures.append(Outcome(str(found.path), FAILED, taken.codes[0], taken.detail))
        self._report(Progress("ingest", self._states.total(), unit="files", bytes=self._bytes))

    def result(self, adapter: str, seconds: float) -> IngestResult:
        """Sum up."""
        states = self._states
        flagged = states[ObjectStatus.FLAGGED]
        return IngestResult(
            adapter=adapter,
            found=states.total(),
            stored=states[ObjectStatus.STORED] + flagged,
            duplicates=states[DUPLICATE],
            variants=states[ObjectStatus.VARIANT],
            quarantined=states[ObjectStatus.QUARANTINED],
            skipped=states[SKIPPED],
            missing=0,
            failed=states[FAILED],
            flagged=flagged,
            bytes=self._bytes,
            seconds=round(seconds, 3),
            codes=dict(self._codes.most_common()),
            failures=tuple(self._failures),
        )


def _primed(files: Iterator[FoundFile]) -> Iterable[FoundFile]:
    first = next(files, None)
    return () if first is None else chain((first,), files)


def _in_parallel(work: Callable[[_T], _R], items: Iterable[_T], workers: int) -> Iterator[tuple[_T, _R]]:
    """Work on the items with threads, a bounded number ahead, and give the results in the items' order.

    Threads do: hashing and fsync, which take the time, release the interpreter, and one journal serves them all.
    """
    waiting: deque[tuple[_T, Future[_R]]] = deque()
    with ThreadPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        if pool is None:
            yield from ((item, work(item)) for item in items)
            return
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) >= workers * _AHEAD:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
