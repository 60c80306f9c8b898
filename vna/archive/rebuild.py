"""Make the index anew from the objects themselves; the journal adds what no object knows: its source and when it came.

The work goes by ``hh``, one of 256 parts at a time, so that memory is bounded however large the archive is. Digests are taken
from the journal where it has them; comparing them with the bytes is the scrub's work.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from indexer.columns import merged
from indexer.table import Segment as TableSegment
from indexer.table import Table
from vna.archive.address import Address
from vna.archive.journal import Journal, Segment, read_segment
from vna.archive.layout import INSTANCES, QUARANTINE, SPOOL, is_materialised
from vna.archive.manifests import extend_manifests
from vna.archive.stored import IndexRows, Known, completed, index_rows, read_rows, unreadable_row
from vna.archive.writers import intended_paths, may_be_recorded_yet
from vna.errors import RefusedError
from vna.executors import Once, Pool, Workplace, opened, spread
from vna.model import Progress, Report
from vna.store import LocalStore, Store
from vna.store.spool import SUFFIX

log = logging.getLogger(__name__)

_PARTS = tuple(f"{i:02x}" for i in range(256))
_ROWS_PER_COMMIT = 1 << 17
_FILES_PER_TASK = 512
_REQUESTS_AT_ONCE = 16
_REQUESTS_PER_TASK = 16
_LONG_JOURNAL = 4 << 20
_LOOKED_FOR = 100
_HANDFUL = 10
_SHARE = 0.01
_WRITER = "rebuild"


@dataclass
class Missing:
    """Objects that the journal knows and the store does not show, and whether they are believed to be gone.

    A disk that is not mounted shows nothing, or little. So everything below ``instances/``, or more than :data:`_HANDFUL` objects
    that are more than :data:`_SHARE` of all, is refused unless ``is_accepted``.
    """

    is_accepted: bool = False
    known: int = 0
    count: int = 0
    instances: int = 0
    shows_instances: bool = False

    @property
    def is_too_much(self) -> bool:
        """Whether more is missing than may be gone."""
        return not self.is_accepted and self.count > max(_HANDFUL, self.known * _SHARE)

    def add(self, absent: Sequence[str], *, shows_instances: bool) -> None:
        """Count absent objects of one part."""
        self.count += len(absent)
        self.instances += sum(name.startswith(f"{INSTANCES}/") for name in absent)
        self.shows_instances = self.shows_instances or shows_instances

    def check_whole(self) -> None:
        """Raise RefusedError where ``instances/`` shows nothing of what is known, unless that is accepted."""
        if self.instances and not self.shows_instances and not self.is_accepted:
            raise self.refusal(f"all {self.instances:,} objects that the journal knows below instances/")

    def refusal(self, what: str) -> RefusedError:
        """Say what is missing, and what to do."""
        return RefusedError(
            f"{what} are missing in the store",
            hint="see that the disk is mounted, or the bucket is the right one; if they are gone indeed, say --accept-missing",
        )


class Rebuild:
    """One rebuild of the index of an archive: workers read the objects, this process everything else, and it alone writes."""

    def __init__(
        self,
        address: Address,
        store: Store,
        workspace: Path,
        journal: Journal,
        place: Workplace,
        report: Report,
        on_differing: Callable[[str], None] | None = None,
        missing: Missing | None = None,
    ) -> None:
        self._address = address
        self._store = store
        self._workspace = workspace
        self._journal = journal
        self._place = place
        self._report = report
        self._on_differing = on_differing
        self._missing = missing or Missing()

    def run(self, table_folder: Path) -> tuple[int, dict[str, int]]:
        """Fill a new table in a local folder with a row for every object that is not in flight.

        Returns how many, and the last journal segment of each writer that they account for. Objects may go on coming in
        meanwhile: those whose row stands in a segment that was not sealed when this began are left to the next sync of the index.
        Raises RefusedError where the store does not show objects that are there.
        """
        sealed = [segment for _, found in self._journal.by_writer() for segment in found if not segment.is_open]
        scratch = table_folder.with_name("journal.rebuild")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            table = Table.create(table_folder)
            count = self._write(table, self._rows(sealed, scratch), sealed)
            if not count and self._missing.known:
                raise RefusedError(
                    "the store shows no object at all, and the journal knows some",
                    hint="see that the disk is mounted, or the bucket is the right one; "
                    "if all is gone indeed, remove journal/ first",
                )
            self._missing.check_whole()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return count, {segment.writer: segment.n for segment in sealed}

    def _rows(self, sealed: Sequence[Segment], scratch: Path) -> Iterator[IndexRows]:
        """Sort the journal, list the objects, and have them read; workers of this machine sort a long journal too."""
        place, latecomers = self._place, _Latecomers(self._journal, sealed)
        is_here = isinstance(self._store, LocalStore) and place.workers > 1 and not place.cluster
        if is_here and sum(segment.path.stat().st_size for segment in sealed) >= _LONG_JOURNAL:
            with opened(place) as pool:
                self._missing.known = _spread_over_parts(_sorted_by(pool, sealed), scratch)
                yield from self._read(self._work(scratch, latecomers), pool)
        else:
            self._missing.known = _spread_over_parts(map(_sorted, sealed), scratch)
            yield from self._read(self._work(scratch, latecomers))

    def _work(self, scratch: Path, latecomers: _Latecomers) -> Iterator[Known]:
        """List the objects, part by part, with what the journal knows of them."""
        for part in _PARTS:
            known = _known(scratch, part)
            names = [
                name
                for name in chain(self._store.list(f"{INSTANCES}/{part}"), self._store.list(f"{QUARANTINE}/{part}"))
                if name.endswith(".dcm") and not is_materialised(name)
            ]
            self._check_listing(part, known, names)
            yield from (known[name] for name in names if name in known)
            if unknown := [name for name in names if name not in known]:
                # In this order: an object that has left the spool by now has its row in the journal by the time that is read.
                in_flight, late = _in_flight(self._store, self._workspace), latecomers.paths()
                yield from map(Known, self._old_enough([name for name in unknown if name not in late and not in_flight(name)]))

    def _old_enough(self, unknown: Sequence[str]) -> Iterator[str]:
        """Leave out what another machine may have put into a bucket, and will tell of; or it would come twice."""
        young = list(_answers(self._store, partial(may_be_recorded_yet, self._store), unknown))
        if any(young):
            log.warning("%d young objects that no record knows are left to the machines that put them", sum(young))
        return (name for name, is_young in zip(unknown, young, strict=True) if not is_young)

    def _check_listing(self, part: str, known: Mapping[str, Known], names: Sequence[str]) -> None:
        """Count what the journal knows and the list does not show; raise RefusedError where that is believed not to be gone."""
        shown = set(names)
        absent = sorted(known.keys() - shown)
        self._missing.add(absent, shows_instances=any(name.startswith(f"{INSTANCES}/") for name in shown))
        # Where it is refused anyway, a few look-ups tell why.
        looked_for = absent[:_LOOKED_FOR] if self._missing.is_too_much else absent
        if any(_answers(self._store, self._store.exists, looked_for)):
            raise RefusedError(
                f"the store's list of part {part} does not show objects that are there",
                hint="examine the service, then try again",
            )
        if self._missing.is_too_much:
            raise self._missing.refusal(f"{self._missing.count:,} of {self._missing.known:,} objects that the journal knows")

    def _read(self, work: Iterator[Known], pool: Pool | None = None) -> Iterator[IndexRows]:
        """Let workers read the objects, in any order; a few are read in this process, sooner than another one is started."""
        place, at_once = self._place, _FILES_PER_TASK
        if not isinstance(self._store, LocalStore):
            at_once = _REQUESTS_PER_TASK
            if not place.cluster:  # what takes time is waiting for answers
                place = Workplace(max(place.workers, _REQUESTS_AT_ONCE), threads=True)
        batches = iter(lambda: list(islice(work, at_once)), [])
        first = list(islice(batches, 2))
        if len(first) < 2 and pool is None and isinstance(self._store, LocalStore) and not place.cluster:
            place = Workplace()
        read = partial(read_rows, self._address, Once(self._address.open), self._on_differing is not None)
        return spread(read, chain(first, batches), place, _died, pool=pool)

    def _write(self, table: Table, read: Iterator[IndexRows], sealed: Sequence[Segment]) -> int:
        """Write rows to the table and the manifests; the last commit tells which journal segments the table accounts for."""
        accounted = [TableSegment(segment.writer, segment.n, []) for segment in sealed]
        count = size = number = 0
        pending: list[IndexRows] = []
        for rows in read:
            if sum(each.table.num_rows for each in pending) >= _ROWS_PER_COMMIT:
                number += 1
                table.append_segments([TableSegment(_WRITER, number, self._merged(pending))])
                pending = []
            pending.append(rows)
            count, size = count + rows.table.num_rows, size + rows.bytes
            for path in rows.differing:
                log.warning("%s has another digest than the journal's", path)
                if self._on_differing is not None:
                    self._on_differing(path)
            self._report(Progress("index rebuild", count, unit="instances", bytes=size))
        if pending:
            table.append_segments([TableSegment(_WRITER, number + 1, self._merged(pending)), *accounted])
        return count

    def _merged(self, parts: Sequence[IndexRows]) -> Any:
        with ThreadPoolExecutor(1) as beside:  # merging leaves the interpreter to others
            listed = beside.submit(extend_manifests, self._store, _listed(parts))
            table = merged([part.table for part in parts])
            listed.result()
        return table


def _listed(parts: Iterable[IndexRows]) -> Iterator[tuple[str | None, str, str]]:
    """Give what manifests hold of some rows: Study Instance UID, path, digest."""
    for part in parts:
        studies, paths, digests = (part.table.column(name).to_pylist() for name in ("StudyInstanceUID", "path", "sha256"))
        yield from zip(studies, paths, ((digest or b"").hex() for digest in digests), strict=True)


def _died(known: Known) -> IndexRows:
    return index_rows([completed(unreadable_row(known.path, known.sha256), known)])


class _Sorted(NamedTuple):
    """What one segment of the journal knows: how many rows, and a line of JSON for each part."""

    rows: int
    lines: dict[str, str]


def _sorted(segment: Segment) -> _Sorted:
    """Sort the rows of one segment of the journal by part."""
    rows: dict[str, list[Known]] = {}
    for row in read_segment(segment, tolerant=True):
        rows.setdefault(_part(row.path), []).append(Known(row.path, row.sha256, row.source, row.received_at))
    return _Sorted(sum(map(len, rows.values())), {part: json.dumps(found) + "\n" for part, found in rows.items()})


def _sorted_by(pool: Pool, sealed: Sequence[Segment]) -> Iterator[_Sorted]:
    """Let workers sort segments, and give each in its turn; what they die of is done here."""
    segments = iter(sealed)
    for segment, future in pool.run(_sorted, segments, in_order=True):
        yield _sorted(segment) if isinstance(future.exception(), pool.deaths) else future.result()
    yield from map(_sorted, segments)


def _spread_over_parts(segments: Iterable[_Sorted], scratch: Path) -> int:
    """Spread what the journal knows over one file for each part, in the journal's order; tell how many rows it has."""
    count = 0
    for segment in segments:
        for part, line in segment.lines.items():
            with (scratch / part).open("a", encoding="ascii") as file:
                file.write(line)
        count += segment.rows
    return count


def _known(scratch: Path, part: str) -> dict[str, Known]:
    path = scratch / part
    if not path.exists():
        return {}
    known: dict[str, Known] = {}
    with path.open(encoding="ascii") as file:
        for line in file:
            for told in json.loads(line):
                known.setdefault(told[0], Known(*told))
    return known


def _part(path: str) -> str:
    return path.split("/")[1]


class _Latecomers:
    """Objects whose journal rows are not in the segments that this rebuild accounts for, read on as they come."""

    def __init__(self, journal: Journal, sealed: Iterable[Segment]) -> None:
        self._journal = journal
        self._done = set(sealed)
        self._paths: set[str] = set()

    def paths(self) -> set[str]:
        """Name the objects that came since, as of now."""
        for _, found in self._journal.by_writer():
            for segment in found:
                if segment not in self._done:
                    self._paths.update(row.path for row in read_segment(segment, tolerant=True))
                    if not segment.is_open:
                        self._done.add(segment)
        return self._paths


def _answers(store: Store, question: Callable[[str], bool], names: Sequence[str]) -> Iterator[bool]:
    """Ask the store something of each object, with several requests at once where that takes any."""
    if isinstance(store, LocalStore) or not names:
        yield from map(question, names)
        return
    with ThreadPoolExecutor(min(_REQUESTS_AT_ONCE, len(names))) as pool:
        yield from pool.map(question, names)


def _in_flight(store: Store, workspace: Path) -> Callable[[str], bool]:
    """Give what tells of an object without a journal row whether a writer of this machine may be about to write that."""
    if not isinstance(store, LocalStore):
        return intended_paths(workspace).__contains__
    spooled = _spooled(store.root)
    return lambda path: _identity(store.root / path) in spooled


def _spooled(root: Path) -> frozenset[tuple[int, int]]:
    """Identify the files in flight: a writer keeps the spool name of an object until its journal row is durable."""
    found = set()
    for path in (root / SPOOL).glob(f"*/*{SUFFIX}"):
        with suppress(FileNotFoundError):
            found.add(_identity(path))
    return frozenset(found)


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino
