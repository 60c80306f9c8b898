"""Validate what the archive holds: select, check what is new under these rules, keep the findings, add up what stands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vna.errors import ConfigError
from vna.model import Progress, Report, silent
from vna.validate.across import JUNK_PATTERNS, findings_across
from vna.validate.check import Checked, Work
from vna.validate.iods import highdicom_tables, load_requirements
from vna.validate.pool import BATCH, Setting, check_all, default_workers
from vna.validate.record import FindingLog
from vna.validate.registry import fingerprint
from vna.validate.result import Place, Tally, ValidateResult

if TYPE_CHECKING:  # a worker imports this package, and needs neither database
    from vna.archive import Archive
    from vna.ledger import Ledger

RULES_REVISION = 1
"""Raised when a rule judges otherwise than before: everything validated under the old rules is due again."""

_ROWS_AT_ONCE = 512
_FEW = 200
"""So few objects are checked sooner in this process than another one is started."""


@dataclass(frozen=True, slots=True)
class ValidateOptions:
    """What to validate and how.

    ``where`` is a condition over the view ``instances``, ``studies`` limits to these Study Instance UIDs, ``everything`` checks
    again what is known already, ``workers`` 0 means one a core, ``seconds_an_object`` bounds the time for one, ``junk`` are the
    regular expressions for names, IDs and descriptions of no patient, ``storage_options`` are the archive's.
    """

    studies: tuple[str, ...] = ()
    where: str = ""
    everything: bool = False
    workers: int = 0
    seconds_an_object: float = 30
    junk: tuple[str, ...] = JUNK_PATTERNS
    storage_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: how many instances are selected, and how many of them are due."""

    instances: int
    due: int

    def as_json(self) -> dict[str, Any]:
        """Give what ``vna validate --dry-run --json`` prints."""
        return {"instances": self.instances, "due": self.due}


def plan(archive: Archive, ledger: Ledger, options: ValidateOptions) -> Plan:
    """Say what :func:`run` would check, without checking or writing anything but what the journal tells the ledger."""
    from vna.validate.ledger_log import finding_log

    ruleset = ruleset_name()
    instances = due = 0
    with finding_log(ledger) as log:
        for rows in _selected(archive, options):
            instances += len(rows)
            due += len(rows) if options.everything else len(rows) - len(log.known([row.work.sha256 for row in rows], ruleset))
    return Plan(instances, due)


def run(archive: Archive, ledger: Ledger, options: ValidateOptions, report: Report = silent) -> ValidateResult:
    """Check every selected object that is new under the present rules, and add up what stands for all that was selected.

    Idempotent: a second run checks nothing and gives the same findings. Safe to break off: what was found is kept batch by batch.
    Memory is bounded by the batches in flight. Raises ConfigError for a ``where`` that cannot be understood, LockedError while
    another run validates.
    """
    from vna.validate.ledger_log import finding_log

    begun = time.monotonic()
    ledger.absorb(archive.journal_rows(ledger.positions()))
    with finding_log(ledger) as log:
        run_ = _Run(archive, log, options, report)
        run_.check()
    run_.look_across()
    return run_.tally.result(time.monotonic() - begun)


def ruleset_name() -> str:
    """Name the present set of rules: with the IOD tables at hand it is another one than without."""
    return fingerprint(RULES_REVISION, "iods" if highdicom_tables() else "")


@dataclass(frozen=True, slots=True)
class _Row:
    work: Work
    place: Place


class _Run:
    def __init__(self, archive: Archive, log: FindingLog, options: ValidateOptions, report: Report) -> None:
        self.tally = Tally()
        self._archive = archive
        self._log = log
        self._options = options
        self._report = report
        self._ruleset = ruleset_name()
        self._places: dict[str, Place] = {}
        self._total = _count(archive, options)

    def check(self) -> None:
        setting = Setting(self._archive.url, self._options.storage_options, load_requirements(), self._options.seconds_an_object)
        for checked in check_all(self._due(), setting, self._workers()):
            self._log.record([one for one in checked if one.is_done], self._ruleset)
            for one in checked:
                self._count(one)
            self._tell()

    def look_across(self) -> None:
        rows = f"(SELECT * FROM instances WHERE status <> 'quarantined' AND {_condition(self._options)})"
        with self._archive.connect() as connection:
            for found in findings_across(connection, rows, self._options.junk):
                self.tally.add_across(found)

    def _count(self, checked: Checked) -> None:
        self.tally.validated += checked.is_done
        self.tally.unread += not checked.is_done
        self.tally.add(self._places.pop(checked.sha256), checked.findings)

    def _due(self) -> Iterator[list[Work]]:
        batch: list[Work] = []
        for rows in _selected(self._archive, self._options):
            digests = [row.work.sha256 for row in rows]
            known = {} if self._options.everything else self._log.known(digests, self._ruleset)
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

    def _workers(self) -> int:
        return min(self._options.workers or default_workers(), 1 + self._total // _FEW)

    def _tell(self) -> None:
        note = f"{self.tally.unchanged:,} known before" if self.tally.unchanged else ""
        self._report(Progress("validate", self.tally.instances, self._total, "instances", note=note))


def _condition(options: ValidateOptions) -> str:
    conditions = [f"({options.where}\n)"] if options.where else []
    if options.studies:
        uids = ", ".join("'" + uid.replace("'", "''") + "'" for uid in options.studies)
        conditions.append(f"received_StudyInstanceUID IN ({uids})")
    return " AND ".join(conditions) or "true"


def _count(archive: Archive, options: ValidateOptions) -> int:
    import duckdb

    with archive.connect() as connection:
        try:
            row = connection.execute(f"SELECT count(*) FROM instances WHERE {_condition(options)}").fetchone()
        except duckdb.Error as exc:
            raise ConfigError(f"--where cannot be understood: {str(exc).splitlines()[0]}") from exc
    return int(row[0]) if row else 0


def _selected(archive: Archive, options: ValidateOptions) -> Iterator[list[_Row]]:
    query = f"""SELECT sha256, path, size, codes, Modality, StationName, StudyDate FROM instances
        WHERE {_condition(options)} ORDER BY study_hash, path"""
    with archive.connect() as connection:
        result = connection.execute(query)
        while rows := result.fetchmany(_ROWS_AT_ONCE):
            yield [_row(row) for row in rows]


def _row(row: Sequence[Any]) -> _Row:
    sha256, path, size, codes, modality, station, study_date = row
    digest = sha256.hex() if isinstance(sha256, bytes | bytearray | memoryview) else str(sha256)
    work = Work(digest, str(path), int(size), tuple(filter(None, (codes or "").split("\\"))))
    year = (study_date or "")[:4]
    return _Row(work, Place(modality or "", station or "", year if year.isdecimal() else ""))
