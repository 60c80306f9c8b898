"""The pull: bring what a source lists and the archive lacks, and account for every instance that did not come."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from vna.archive import Archive
from vna.dimse.retry import Patience
from vna.errors import LockedError, PeerError
from vna.ledger import Ledger, StudyCount, Work, Worked
from vna.model import Local, Node, Progress, Report, silent
from vna.pull.arrivals import Arrivals
from vna.pull.plan import PullOptions, plan
from vna.pull.source import Listening, Method, Source, is_about_destination
from vna.pull.study import Context, JournalReader, Pulled, pull_study
from vna.schedule import MOST, Pace, PaceLimits

STAGE = "pull"
FAILURES_IN_A_ROW = 3
BARREN_STUDIES = 10
"""So many studies of which nothing came, and of none before, stop a run: a source that sends nothing must not empty the plan."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull brought. ``missing`` was given up with a reason, ``failed`` is tried again by the next run.

    ``locked`` counts studies that another run is pulling. ``problems`` are reasons with their numbers.
    """

    node: str
    studies: int = 0
    instances: int = 0
    bytes: int = 0
    missing: int = 0
    failed: int = 0
    seconds: float = 0.0
    duplicates: int = 0
    unsolicited: int = 0
    quarantined: int = 0
    locked: int = 0
    problems: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give the keys that ``vna pull --json`` promises, and some more."""
        return {
            "node": self.node,
            "studies": self.studies,
            "instances": self.instances,
            "bytes": self.bytes,
            "missing": self.missing,
            "failed": self.failed,
            "seconds": round(self.seconds, 3),
            "duplicates": self.duplicates,
            "unsolicited": self.unsolicited,
            "quarantined": self.quarantined,
            "locked": self.locked,
            "problems": dict(self.problems),
        }


def run(
    archive: Archive,
    ledger: Ledger,
    node: Node,
    local: Local,
    options: PullOptions | None = None,
    report: Report = silent,
) -> PullResult:
    """Pull what is outstanding. Safe to repeat and to kill at any moment: nothing durable is asked for twice.

    A study that fails does not stop the others. Raises what :func:`plan` raises; LockedError when other runs hold every study;
    DimseStatusError (A801) when the source does not know us as a destination; another PeerError when nothing could be got from
    it, be it that it answers and sends nothing; StoreFullError when our store is full.
    """
    options = options or PullOptions()
    started = time.monotonic()
    due = plan(archive, ledger, node, options).studies
    if not due:
        archive.sync_index()
        return PullResult(node.name, seconds=time.monotonic() - started)
    pull = _Pull(archive, ledger, node, local, options, report)
    pull.run(due)
    return pull.result(time.monotonic() - started)


class _Pull:
    """One run: its workers, the ear, and what it adds up."""

    def __init__(self, archive: Archive, ledger: Ledger, node: Node, local: Local, options: PullOptions, report: Report) -> None:
        self._archive = archive
        self._ledger = ledger
        self._node = node
        self._local = local
        self._options = options
        self._report = report
        self._pace = Pace(PaceLimits(most=options.workers or MOST))
        self._arrivals = Arrivals(self._pace)
        self._journal = JournalReader(archive, ledger)
        self._done: dict[str, Pulled] = {}
        self._locked = self._seen = self._bytes = 0
        self._failures: list[PeerError] = []

    def run(self, due: Sequence[StudyCount]) -> None:
        """Pull the studies, and raise what stopped the run."""
        options = self._options
        with self._archive.sink() as sink, ExitStack() as stack:
            preparing = threading.Thread(target=self._archive.prepare_index, name="prepare-index")
            preparing.start()
            stack.callback(preparing.join)
            told = self._arrivals.sink(sink)
            is_move = options.method is Method.MOVE
            listening = stack.enter_context(Listening(self._archive, self._node, self._local, told)) if is_move else None
            patience = Patience(
                attempts=options.attempts,
                first_wait_s=options.first_wait_s,
                on_trouble=lambda: self._pace.refused(time.monotonic()),
            )
            source = Source(self._node, self._local, options.method, told, listening, patience)
            settle_s = options.settle_s if is_move else 0.0
            self._work(
                Context(self._ledger, self._journal, self._arrivals, source, listening, settle_s, options.retry_missing), due
            )
        self._journal.absorb()
        self._archive.sync_index()
        self._raise_what_stopped(len(due))

    def result(self, seconds: float) -> PullResult:
        """Add up; what is missing is read from the ledger, which knows late arrivals too."""
        done = list(self._done)
        states, pulled = self._ledger.expected.states(self._node.name, done), self._done.values()
        return PullResult(
            node=self._node.name,
            studies=len(done),
            instances=sum(one.instances for one in pulled),
            bytes=sum(one.bytes for one in pulled),
            missing=states.get("missing", 0),
            failed=states.get("failed", 0) + states.get("", 0),
            seconds=seconds,
            duplicates=sum(one.duplicates for one in pulled),
            unsolicited=sum(one.unsolicited for one in pulled) + self._arrivals.unsolicited,
            quarantined=sum(one.quarantined for one in pulled),
            locked=self._locked,
            problems=self._ledger.expected.reasons(self._node.name, done),
        )

    def _work(self, context: Context, due: Sequence[StudyCount]) -> None:
        def take(worked: Worked[Pulled]) -> bool:
            self._take(worked)
            self._report(Progress(STAGE, self._seen, len(due), "studies", self._bytes))
            return not self._is_over

        def give_up() -> None:
            self._arrivals.end()
            context.source.stop()
            if context.listening is not None:
                context.listening.stop()

        work = Work(self._ledger.leases, STAGE, self._node.name, lambda lease: pull_study(context, lease), take, give_up)
        # One study more than there are retrieves, so that none waits for the ledger between two studies.
        uids = (study.study_instance_uid for study in due)
        work.run(uids, (self._options.workers or MOST) + 1, lambda: self._pace.target + 1)

    def _take(self, worked: Worked[Pulled]) -> None:
        self._seen += 1
        self._locked += worked.is_locked
        pulled = worked.result
        if pulled is None:
            return
        self._done[worked.study_instance_uid] = pulled
        self._bytes += pulled.bytes
        if pulled.error is not None:
            self._failures.append(pulled.error)
        elif not self._arrivals.is_ending:
            self._failures.clear()
        _log.info("study %s: %d instances came", worked.study_instance_uid, pulled.instances)

    @property
    def _is_over(self) -> bool:
        """Whether no other study is worth trying."""
        is_fatal = bool(self._failures) and is_about_destination(self._failures[-1])
        is_stopped = is_fatal or self._is_barren or len(self._failures) >= FAILURES_IN_A_ROW
        return self._arrivals.failure is not None or is_stopped

    @property
    def _is_barren(self) -> bool:
        """Whether the source answers and sends nothing, study after study: then the fault is hardly the studies'."""
        return len(self._done) >= BARREN_STUDIES and not any(one.instances or one.bytes for one in self._done.values())

    def _raise_what_stopped(self, planned: int) -> None:
        if self._arrivals.failure is not None:
            raise self._arrivals.failure
        is_all = len(self._failures) == len(self._done) and not any(one.instances for one in self._done.values())
        if self._failures and (self._is_over or is_all):
            raise self._failures[-1]
        if self._is_barren:
            raise PeerError(
                f"{self._node.name} answers, and sent nothing of {len(self._done)} studies",
                ae_title=self._node.ae_title,
                hint=f"does it know {self._local.ae_title!r} at this machine's address and the port of [local] as a destination "
                "(some say 0xC000 where it does not)? What was asked for in vain is asked for again with --retry-missing",
            )
        if self._locked == planned:
            raise LockedError(f"other runs pull from {self._node.name} already", hint="let them end, or name other studies")
