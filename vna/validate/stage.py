"""Validate what the archive holds: select, check what is new under these rules, keep the findings, add up what stands."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from vna.archive.address import Address
from vna.executors import Once, Workplace
from vna.model import Progress, Report, silent
from vna.validate.across import findings_across
from vna.validate.check import Checked, Work
from vna.validate.dciodvfy import check_files, find_dciodvfy
from vna.validate.digests import digest_all
from vna.validate.iods import highdicom_tables, load_requirements
from vna.validate.pool import BATCH, Setting, check_all, default_workers
from vna.validate.registry import fingerprint
from vna.validate.result import Place, Tally, ValidateResult
from vna.validate.selection import ValidateOptions, condition, count, sampled, selected

if TYPE_CHECKING:  # a worker imports this package, and needs neither database
    from vna.archive import Archive
    from vna.ledger import Ledger
    from vna.validate.across import Connection
    from vna.validate.ledger_log import LedgerLog

RULES_REVISION = 1
"""Raised when a rule judges otherwise than before: everything validated under the old rules is due again."""

_FEW = 1000
"""So few objects are checked sooner in this process than another one is started."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: how many instances are selected, and how many of them are due."""

    instances: int
    due: int

    def as_json(self) -> dict[str, Any]:
        """Give what ``vna validate --dry-run --json`` prints."""
        return {"instances": self.instances, "due": self.due}


def plan(archive: Archive, ledger: Ledger, options: ValidateOptions) -> Plan:
    """Say what :func:`run` would check; leaves no trace. Raises ConfigError for a ``where`` that cannot be understood."""
    from vna.validate.ledger_log import read_log

    ruleset, log = ruleset_name(), read_log(ledger)
    total = count(archive, options)
    known = 0
    for rows in [] if options.everything else selected(archive, options):
        known += len(log.known([row.work.sha256 for row in rows], ruleset))
    return Plan(total, total - known)


def run(archive: Archive, ledger: Ledger, options: ValidateOptions, report: Report = silent) -> ValidateResult:
    """Check every selected object that is new under the present rules, and add up what stands for all that was selected.

    Idempotent: a second run checks nothing and gives the same findings. Safe to break off: what was found is kept batch by batch.
    Memory is bounded by the batches in flight. Raises ConfigError for a ``where`` that cannot be understood (or a sample without
    ``dciodvfy``), LockedError while another run validates.
    """
    begun = time.monotonic()
    ledger.catch_up(archive)
    run_ = _Run(archive, ledger, options, report)
    run_.check()
    if options.sample:
        run_.show_sample()
    run_.look_across()
    return run_.tally.result(time.monotonic() - begun)


def ruleset_name() -> str:
    """Name the present set of rules: with the IOD tables at hand it is another one than without."""
    return fingerprint(RULES_REVISION, "iods" if highdicom_tables() else "")


class _Run:
    """One run: its passes one after the other, and what they add up to."""

    def __init__(self, archive: Archive, ledger: Ledger, options: ValidateOptions, report: Report) -> None:
        self.tally = Tally()
        self._archive = archive
        self._ledger = ledger
        self._options = options
        self._report = report
        self._ruleset = ruleset_name()
        self._address = Address.of(archive)
        self._places: dict[str, Place] = {}
        self._total = count(archive, options)
        self._workers = min(options.workers or default_workers(), 1 + self._total // _FEW)

    def check(self) -> None:
        """Ask every rule about every object that is due."""
        from vna.validate.ledger_log import finding_log

        with finding_log(self._ledger) as log:
            batches = self._due(log)
            first = next(batches, None)
            if first is None:
                return  # a run with nothing to do does not read the IOD tables either
            options = self._options
            setting = Setting(self._address, load_requirements(), options.seconds_an_object)
            for checked in check_all(chain([first], batches), setting, Workplace(self._workers, options.cluster)):
                log.record([one for one in checked if one.is_done], self._ruleset)
                for one in checked:
                    self._count(one)
                self._tell()

    def show_sample(self) -> None:
        """Ask ``dciodvfy`` about a sample, those that it has not seen."""
        from vna.validate.ledger_log import DCIODVFY, finding_log

        program = find_dciodvfy()
        ruleset = "dciodvfy-" + hashlib.sha256(program.read_bytes()).hexdigest()[:12]
        rows = sampled(self._archive, self._options)
        with finding_log(self._ledger, DCIODVFY) as log:
            known = dict(log.known([row.work.sha256 for row in rows], ruleset))
            due = [row.work for row in rows if row.work.sha256 not in known]
            workers = self._options.workers or default_workers()
            for number, checked in enumerate(check_files(program, due, self._archive.local_file, workers), 1):
                log.record([checked] if checked.is_done else [], ruleset)
                known[checked.sha256] = checked.findings
                self._report(Progress("dciodvfy", number, len(due), "instances"))
        for row in rows:
            self.tally.add_opinion(row.place, known[row.work.sha256])

    def look_across(self) -> None:
        """Ask every rule across instances, anew in each run."""
        rows = f"(SELECT * FROM instances WHERE status <> 'quarantined' AND {condition(self._options)})"
        with self._archive.connect() as connection:
            if self._options.pixels:
                self._digest_pixels(connection)
            for found in findings_across(connection, rows, self._options.junk, pixels=self._options.pixels):
                self.tally.add_across(found)

    def _digest_pixels(self, connection: Connection) -> None:
        """Fill the table ``pixel_digests`` of the connection, computing what the ledger does not hold yet."""
        from vna.validate.ledger_log import PIXELS, finding_log

        connection.execute("CREATE TEMP TABLE pixel_digests (sha256 BLOB, pixels VARCHAR)")
        done = 0

        def insert(digests: dict[str, str]) -> None:
            nonlocal done
            if not digests:
                return
            query = "INSERT INTO pixel_digests SELECT unhex(unnest($1::VARCHAR[])), unnest($2::VARCHAR[])"
            connection.execute(query, [list(digests), list(digests.values())])
            done += len(digests)
            self._report(Progress("pixels", done, self._total, "instances"))

        def due(log: LedgerLog) -> Iterator[list[Work]]:
            for rows in selected(self._archive, self._options):
                known = dict(log.known_digests([row.work.sha256 for row in rows]))
                insert(known)
                works = [row.work for row in rows if row.work.sha256 not in known]
                yield from (works[at : at + BATCH] for at in range(0, len(works), BATCH))

        # Hashing and reading leave the interpreter to other threads.
        place = Workplace(self._options.workers or default_workers(), self._options.cluster, threads=True)
        with finding_log(self._ledger, PIXELS) as log:
            for found in digest_all(due(log), Once(self._address.open), place):
                log.record_digests(found)
                insert({one.sha256: one.digest for one in found})

    def _count(self, checked: Checked) -> None:
        self.tally.validated += checked.is_done
        self.tally.unread += not checked.is_done
        self.tally.add(self._places.pop(checked.sha256, Place()), checked.findings)

    def _due(self, log: LedgerLog) -> Iterator[list[Work]]:
        batch: list[Work] = []
        for rows in selected(self._archive, self._options):
            known = {} if self._options.everything else log.known([row.work.sha256 for row in rows], self._ruleset)
            for row in rows:
                if row.work.sha256 in known:
                    self.tally.unchanged += 1
                    self.tally.add(row.place, known[row.work.sha256])
                    continue
                self._places[row.work.sha256] = row.place
                batch.append(row.work)
                if len(batch) >= BATCH:
                    yield batch
                    batch = []
            self._tell()
        if batch:
            yield batch

    def _tell(self) -> None:
        note = f"{self.tally.unchanged:,} known before" if self.tally.unchanged else ""
        self._report(Progress("validate", self.tally.instances, self._total, "instances", note=note))
