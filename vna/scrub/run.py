"""One pass over every object of an archive: read, compare, repair, and remember how far it came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vna.archive import Archive
from vna.archive.address import Address
from vna.archive.layout import INSTANCES, QUARANTINE, is_materialised
from vna.archive.writers import may_be_recorded_yet
from vna.errors import ConfigError
from vna.executors import Once, Pool, Workplace, opened
from vna.ledger import Ledger
from vna.model import Progress as Step
from vna.model import Report, silent
from vna.scrub import progress as progress_file
from vna.scrub.codes import HOLDS_ANOTHER, RECORD_DAMAGED, SWAPPED, UNRECORDED
from vna.scrub.pace import Pace
from vna.scrub.progress import Progress
from vna.scrub.reading import Finding, Reading, judge, read_batch, read_object, read_paced
from vna.scrub.records import PARTS, Record, Records, further_digests, is_object, part_of
from vna.scrub.repairing import Repairer
from vna.store import LocalStore, Store

_SAVE_EVERY_S = 5.0
_AHEAD = 4
_BATCH = 16
_NO_RECORD = Record((), -1)
_NOT_CORRUPT = frozenset({UNRECORDED, RECORD_DAMAGED})


@dataclass(frozen=True, slots=True)
class ScrubOptions:
    """What to read and how fast: ``rate_limit_mbit`` megabits a second, 0 for no limit. ``restart`` forgets an unfinished pass.

    With ``studies`` or ``where`` only those objects are read, and the pass over everything stays where it is. ``cluster`` is the
    address of a Dask scheduler whose workers do the reading.
    """

    studies: tuple[str, ...] = ()
    where: str = ""
    workers: int = 2
    rate_limit_mbit: float = 0
    restart: bool = False
    dry_run: bool = False
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class ScrubResult:
    """What a pass read and found, those parts of it included that an interrupted run had read (``resumed``)."""

    objects: int
    bytes: int
    findings: tuple[Finding, ...]
    seconds: float
    resumed: bool = False

    @property
    def corrupt(self) -> tuple[Finding, ...]:
        """Objects whose bytes are not those that were recorded, repaired or not."""
        return tuple(finding for finding in self.findings if finding.code not in _NOT_CORRUPT)

    @property
    def repaired(self) -> int:
        """How many of them have their recorded bytes again."""
        return sum(finding.repaired for finding in self.findings)

    @property
    def waits(self) -> bool:
        """Whether something is left for a person."""
        return any(not finding.repaired for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Give the keys that ``vna scrub --json`` promises, and what was found besides."""
        others = {
            name: [finding.as_json() for finding in self.findings if finding.code == code]
            for name, code in (("unrecorded", UNRECORDED), ("records", RECORD_DAMAGED))
        }
        return {
            "objects": self.objects,
            "bytes": self.bytes,
            "corrupt": [finding.as_json() for finding in self.corrupt],
            "repaired": self.repaired,
            "seconds": round(self.seconds, 3),
            "resumed": self.resumed,
            **others,
        }


def run(
    archive: Archive, ledger: Ledger, options: ScrubOptions, report: Report = silent, *, copy: Store | None = None
) -> ScrubResult:
    """Read every object, compare it with its records, and repair what is damaged from ``copy``, if there is one.

    Goes on where an unfinished pass stopped. ``copy`` is only read. Raises LockedError while another scrub runs, and ConfigError
    for a copy that is the archive itself.
    """
    if copy is not None and _is_same(archive.store, copy):
        raise ConfigError("the copy to repair from is the archive itself", hint="name another copy with --repair-from")
    begun = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(ledger.leases.held("scrub", ""))
        archive.sweep()
        records = Records(archive)
        stack.callback(records.close)
        repairer = None
        if copy is not None:
            repairer = stack.enter_context(Repairer(archive, records, copy, dry_run=options.dry_run))
        done, resumed = _Pass(archive, records, repairer, options, report).run()
    return ScrubResult(done.objects, done.bytes, done.findings, time.monotonic() - begun, resumed)


class _Pass:
    """One run of a pass."""

    def __init__(
        self, archive: Archive, records: Records, repairer: Repairer | None, options: ScrubOptions, report: Report
    ) -> None:
        self._archive = archive
        self._store: Store = archive.store
        self._records = records
        self._repairer = repairer
        self._options = options
        self._report = report
        self._address = Address.of(archive)
        self._bytes_per_s = options.rate_limit_mbit * 1e6 / 8
        self._pace = Pace(self._bytes_per_s)
        self._read: Callable[[Sequence[str]], list[Reading]] = self._read_here
        self._is_whole = not (options.studies or options.where)
        self._remembers = self._is_whole and not options.dry_run
        self._state = progress_file.fresh()
        self._saved_at = time.monotonic()

    def run(self) -> tuple[Progress, bool]:
        if self._remembers and not self._options.restart:
            self._state = progress_file.load(self._store)
        resumed = self._state.is_under_way
        earlier, self._state = self._state.findings, replace(self._state, findings=())
        self._found(self._once_more(earlier))
        with opened(Workplace(self._options.workers, self._options.cluster, threads=True)) as pool:
            self._read = self._reader(pool.size)
            try:
                for part, work in self._work():
                    self._read_part(pool, part, work)
            finally:
                self._save(always=True)
        self._records.refresh()
        self._found(self._once_more(self._state.findings, at_the_end=True))
        if self._remembers:
            self._state = progress_file.finished(self._state)
            progress_file.save(self._store, self._state)
        return self._state, resumed

    # -- what to read

    def _work(self) -> Iterator[tuple[str, list[tuple[str, Record]]]]:
        selected = None if self._is_whole else self._selected()
        for part in PARTS:
            if self._remembers and part < self._state.part:
                continue
            if selected is not None and not any(part_of(path) == part for path in selected):
                continue
            listed = selected if selected is not None else set(self._listed(part))
            recorded = self._records.of_part(part)
            if any(path not in recorded for path in listed if part_of(path) == part):
                # An object that was listed has its row in the journal by now, or is in flight.
                self._records.refresh()
                recorded = self._records.of_part(part)
            paths = {path for path in listed if part_of(path) == part} | (set(recorded) if selected is None else set())
            work = sorted(path for path in paths if not (self._remembers and self._state.is_done_with(part, path)))
            yield part, [(path, recorded.get(path, _NO_RECORD)) for path in work]

    def _selected(self) -> set[str]:
        rows = self._archive.select(self._options.where or None, self._options.studies, ("path",))
        return {str(row["path"]) for row in rows}

    def _listed(self, part: str) -> Iterator[str]:
        for prefix in (INSTANCES, QUARANTINE):
            yield from (p for p in self._store.list(f"{prefix}/{part}") if is_object(p) and not is_materialised(p))

    # -- reading

    def _read_part(self, pool: Pool, part: str, work: Sequence[tuple[str, Record]]) -> None:
        findings: list[Finding] = []
        try:
            for path, record, reading in self._in_order(pool, work):
                findings += self._judge(path, record, reading)
                state = self._state
                self._state = replace(state, part=part, after=path, objects=state.objects + 1, bytes=state.bytes + reading.size)
                self._report(Step("scrub", self._state.objects, unit="instances", bytes=self._state.bytes))
                if self._is_time_to_save():
                    due, findings = findings, []
                    self._found(due)
                    self._save()
        except BaseException:
            # What was found is remembered; the run that goes on looks at it again, and repairs it.
            self._state = replace(self._state, findings=(*self._state.findings, *findings))
            raise
        self._found(findings)

    def _in_order(self, pool: Pool, work: Sequence[tuple[str, Record]]) -> Iterator[tuple[str, Record, Reading]]:
        """Read objects at once, a few ahead, and give the results in the order of the work."""
        batches = [work[at : at + _BATCH] for at in range(0, len(work), _BATCH)]
        # Where each task has its share of the rate, none may wait beside those that run.
        ahead = 1 if self._options.cluster and self._options.rate_limit_mbit else _AHEAD
        paths = ([path for path, _ in batch] for batch in batches)
        for batch, (names, future) in zip(batches, pool.run(self._read, paths, ahead=ahead, in_order=True), strict=True):
            readings = self._read_here(names) if isinstance(future.exception(), pool.deaths) else future.result()
            for (path, record), reading in zip(batch, readings, strict=True):
                yield path, record, reading

    def _reader(self, size: int) -> Callable[[Sequence[str]], list[Reading]]:
        if not self._options.cluster:
            return self._read_here
        return partial(read_paced, self._address, Once(self._address.open), self._bytes_per_s / size)

    def _read_here(self, paths: Sequence[str]) -> list[Reading]:
        return read_batch(self._address, lambda: self._store, self._pace.take, paths)

    def _judge(self, path: str, record: Record, reading: Reading) -> Iterator[Finding]:
        finding = judge(path, reading, record.digests, record.size)
        if finding is None:
            if len(record.digests) > 1:
                yield _record_damaged(path, reading)
            return
        further = further_digests(self._archive, path)
        if reading.sha256 in further:
            if record.digests:
                yield _record_damaged(path, reading)
            return
        if not record.digests and not further:
            if reading.sha256 and not self._is_in_flight(path):
                yield replace(finding, code=UNRECORDED)
            return
        if reading.sha256 and any(other != path for other in self._records.paths_of(reading.sha256)):
            finding = replace(finding, code=SWAPPED)
        yield replace(finding, sha256=finding.sha256 or further[0])

    def _is_in_flight(self, path: str) -> bool:
        """Whether the writer of an unrecorded object may still be about to record it."""
        if may_be_recorded_yet(self._store, path):
            return True
        return self._store.keeps_source and not self._store.settle(path)

    # -- what was found

    def _once_more(self, findings: Sequence[Finding], *, at_the_end: bool = False) -> list[Finding]:
        """Look again at what an earlier run found, or could not repair before others were."""
        looked = []
        kept = []
        for finding in sorted(findings, key=lambda each: each.detail == HOLDS_ANOTHER):  # those wait for the others
            if finding.repaired or (at_the_end and not self._is_worth_another_look(finding)):
                kept.append(finding)
                continue
            record = self._records.of_path(finding.path) or _NO_RECORD
            looked += list(self._judge(finding.path, record, read_object(self._store, finding.path, self._pace.take)))
        self._state = replace(self._state, findings=tuple(kept))
        return looked

    def _is_worth_another_look(self, finding: Finding) -> bool:
        """Whether what was found since may change the answer."""
        if finding.detail == HOLDS_ANOTHER or finding.code == UNRECORDED:
            return True
        return self._repairer is not None and self._repairer.is_misplaced(finding)

    def _found(self, findings: Iterable[Finding]) -> None:
        """Repair what can be repaired, and keep the result."""
        for finding in findings:
            if self._repairer is not None:
                self._repairer.note(finding)
            repairable = self._repairer is not None and finding.code not in _NOT_CORRUPT
            result = self._repairer.repair(finding) if self._repairer is not None and repairable else finding
            self._state = replace(self._state, findings=(*self._state.findings, result))

    def _is_time_to_save(self) -> bool:
        return self._remembers and time.monotonic() - self._saved_at >= _SAVE_EVERY_S

    def _save(self, *, always: bool = False) -> None:
        if self._remembers and (always or self._is_time_to_save()):
            progress_file.save(self._store, self._state)
            self._saved_at = time.monotonic()


def _record_damaged(path: str, reading: Reading) -> Finding:
    return Finding(path, RECORD_DAMAGED, reading.sha256, reading.sha256, reading.size)


def _is_same(store: Store, copy: Store) -> bool:
    if isinstance(store, LocalStore) and isinstance(copy, LocalStore):
        return store.root.exists() and copy.root.exists() and store.root.samefile(copy.root)
    return store.url == copy.url
