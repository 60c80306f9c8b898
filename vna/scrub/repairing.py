"""Repair what a pass found, from a good copy, which is only read."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from vna.archive import Archive, ArchiveSink
from vna.archive.layout import quarantine_path, variant_path
from vna.archive.repair import keep_damaged, put_right
from vna.errors import InstanceMissingError, StoreError
from vna.scrub.codes import (
    BIT_ROT,
    COPY_DAMAGED,
    COPY_UNREADABLE,
    HOLDS_ANOTHER,
    NO_COPY,
    NOT_KEPT,
    NOT_REPLACED,
    SWAPPED,
)
from vna.scrub.reading import Finding, read_object
from vna.scrub.records import Records, further_digests, name_agrees
from vna.store import Store
from vna.store.operations import store_errors

log = logging.getLogger(__name__)

_PIECE = 1 << 20


class Repairer(AbstractContextManager["Repairer"]):
    """Puts objects right, one by one. A context manager: it owns a sink, opened for the first bytes to be kept."""

    def __init__(self, archive: Archive, records: Records, copy: Store, *, dry_run: bool = False) -> None:
        self._archive = archive
        self._records = records
        self._copy = copy
        self._dry_run = dry_run
        self._misplaced: dict[str, str] = {}
        self._sink: ArchiveSink | None = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._sink is not None:
            self._sink.close()

    def note(self, finding: Finding) -> None:
        """Remember where the bytes of another recorded object stand: they are good ones, should the copy have none."""
        if finding.code == SWAPPED:
            self._misplaced[finding.found] = finding.path

    def is_misplaced(self, finding: Finding) -> bool:
        """Whether the recorded bytes of an object were found in the place of another one."""
        return finding.sha256 in self._misplaced

    def repair(self, finding: Finding) -> Finding:
        """Try to repair one object; the answer says whether it was, or why not. Never raises for what store or copy say."""
        with tempfile.NamedTemporaryFile(prefix="vna-scrub-") as spooled:
            good = Path(spooled.name)
            sha256, reason = self._fetch(finding, good)
            if reason or self._dry_run:
                return replace(finding, detail=reason)
            reason = self._exchange(finding, good, sha256)
        if reason:
            return replace(finding, detail=reason)
        log.info("%s was repaired", finding.path)
        return replace(finding, repaired=True, detail="")

    def _fetch(self, finding: Finding, good: Path) -> tuple[str, str]:
        """Copy a good copy of an object to a local file; give its digest and, if there is none, the reason."""
        digests = self._digests(finding.path)
        reason = NO_COPY
        for store, path in self._sources(finding.path, digests):
            try:
                found = _copy_to(store, path, good)
            except InstanceMissingError:
                continue
            except StoreError:
                reason = COPY_UNREADABLE
                continue
            if found in digests:
                return found, ""
            reason = COPY_DAMAGED
        return "", reason

    def _sources(self, path: str, digests: tuple[str, ...]) -> Iterator[tuple[Store, str]]:
        """Name what may hold good bytes: the copy, and this archive where they stand in another object's place."""
        yield from ((self._copy, place) for place in _places(path, digests))
        yield from ((self._archive.store, self._misplaced[digest]) for digest in digests if digest in self._misplaced)

    def _digests(self, path: str) -> tuple[str, ...]:
        record = self._records.of_path(path)
        recorded = (*(record.digests if record else ()), *further_digests(self._archive, path))
        return tuple(digest for digest in dict.fromkeys(recorded) if name_agrees(path, digest))

    def _exchange(self, finding: Finding, good: Path, sha256: str) -> str:
        """Keep the damaged bytes and put the good ones in their place; give the reason why not, or nothing."""
        store = self._archive.store
        if finding.found:
            reason = self._keep(finding)
            if reason:
                return reason
        try:
            put_right(store, good, finding.path, sha256=sha256, damaged=finding.found)
        except StoreError as exc:
            log.warning("%s could not be put right: %s", finding.path, type(exc).__name__)
            return NOT_REPLACED
        return ""

    def _keep(self, finding: Finding) -> str:
        """Keep damaged bytes in quarantine, unless they are another recorded object, which is safe where it belongs."""
        owners = [path for path in self._records.paths_of(finding.found) if path != finding.path]
        if owners:
            return "" if any(self._is_safe(path, finding.found) for path in owners) else HOLDS_ANOTHER
        if self._sink is None:
            self._sink = self._archive.sink()
        try:
            keep_damaged(self._sink, self._archive.store, finding.path, finding.found, BIT_ROT)
        except StoreError as exc:
            log.warning("the damaged bytes of %s could not be kept: %s", finding.path, type(exc).__name__)
            return NOT_KEPT
        return ""

    def _is_safe(self, path: str, sha256: str) -> bool:
        """Whether another object stands intact where it is recorded, or in the copy."""
        if read_object(self._archive.store, path).sha256 == sha256:
            return True
        return any(read_object(self._copy, place).sha256 == sha256 for place in _places(path, (sha256,)))


def _places(path: str, digests: tuple[str, ...]) -> Iterator[str]:
    """Name where a copy may hold the object: the same path, or the one it has where objects came in another order."""
    places = [path]
    if path.startswith("instances/"):
        first = f"{path.removesuffix('.dcm').partition('~')[0]}.dcm"
        places += [first, *(variant_path(first, digest) for digest in digests)]
    places += [quarantine_path(digest) for digest in digests]
    yield from dict.fromkeys(places)


def _copy_to(store: Store, path: str, target: Path) -> str:
    total = hashlib.sha256()
    with store.open(path) as source, target.open("wb") as file, store_errors("the copy could not be read"):
        while chunk := source.read(_PIECE):
            total.update(chunk)
            file.write(chunk)
    return total.hexdigest()
