"""The forward: send what the ledger says is due to a target, and write down what it said to each object."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from vna.archive import Archive
from vna.dimse.lanes import Lanes
from vna.dimse.retry import Patience
from vna.dimse.send import connection_code
from vna.errors import LockedError, PeerError
from vna.forward.plan import ForwardOptions, plan
from vna.forward.sending import Sending, Sent
from vna.ledger import DuePlan, Ledger, Work, Worked
from vna.model import Local, Node, Progress, Report, silent
from vna.schedule import MOST

STAGE = "forward"
FAILURES_IN_A_ROW = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ForwardResult:
    """What was sent. ``sent`` counts warnings too; ``failed`` is tried again by the next run, ``refused`` is not.

    ``problems`` are the codes of what was refused, failed or taken with a warning, with their numbers.
    """

    node: str
    studies: int = 0
    sent: int = 0
    refused: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    warnings: int = 0
    locked: int = 0
    problems: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give the keys that ``vna forward --json`` promises, and some more."""
        return {
            "node": self.node,
            "studies": self.studies,
            "sent": self.sent,
            "refused": self.refused,
            "failed": self.failed,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "warnings": self.warnings,
            "locked": self.locked,
            "problems": dict(self.problems),
        }


def run(
    archive: Archive,
    ledger: Ledger,
    node: Node,
    local: Local,
    options: ForwardOptions | None = None,
    report: Report = silent,
) -> ForwardResult:
    """Send what is due. Safe to repeat and to kill: what was acknowledged and not yet written down is sent again, harmlessly.

    A study is sent whole, or what is due of it: an object that is refused does not stop the others. Raises PeerError when
    nothing could be sent at all, LockedError when other runs hold every study.
    """
    options = options or ForwardOptions()
    started = time.monotonic()
    planned = plan(archive, ledger, node, options)
    if not planned.studies:
        return ForwardResult(node.name, seconds=time.monotonic() - started)
    forward = _Forward(archive, ledger, node, local, options, report)
    forward.run(planned)
    return forward.result(time.monotonic() - started)


class _Forward:
    def __init__(
        self, archive: Archive, ledger: Ledger, node: Node, local: Local, options: ForwardOptions, report: Report
    ) -> None:
        self._archive = archive
        self._ledger = ledger
        self._node = node
        self._local = local
        self._options = options
        self._report = report
        self._is_stopped = False
        self._outcomes: dict[tuple[str, str], int] = {}
        self._failures: list[PeerError] = []
        self._unsent: dict[str, int] = {}
        self._studies = self._seen = self._locked = self._bytes = 0

    def run(self, planned: DuePlan) -> None:
        """Send what is planned, and raise what stopped the run."""
        due = planned.studies
        sizes = {study.study_instance_uid: study.instances for study in due}
        options = self._options
        patience = Patience(attempts=options.attempts, first_wait_s=options.first_wait_s)
        lanes = Lanes(self._node, self._local, patience=patience, most=options.workers)
        sending = Sending(self._archive, self._ledger, lanes, planned.digests)

        def take(worked: Worked[Sent]) -> bool:
            self._take(worked, sizes[worked.study_instance_uid])
            self._report(Progress(STAGE, self._seen, len(due), "studies", self._bytes))
            return len(self._failures) < FAILURES_IN_A_ROW

        def give_up() -> None:
            self._is_stopped = True
            lanes.stop()

        with lanes:
            work = Work(self._ledger.leases, STAGE, self._node.name, sending.send_study, take, give_up)
            # One study more than there are associations, so that none waits for the ledger between two studies.
            work.run(sizes, (options.workers or MOST) + 1, lambda: lanes.target + 1)
        if self._failures and (len(self._failures) >= FAILURES_IN_A_ROW or not self._outcomes):
            raise self._failures[-1]
        if self._locked == len(due):
            raise LockedError(f"other runs send to {self._node.name} already", hint="let them end, or name other studies")

    def _take(self, worked: Worked[Sent], due: int) -> None:
        self._seen += 1
        self._locked += worked.is_locked
        sent = worked.result
        if sent is None:
            return
        self._studies += 1
        self._bytes += sent.bytes
        for key, number in sent.outcomes.items():
            self._outcomes[key] = self._outcomes.get(key, 0) + number
        if sent.error is not None:
            self._failures.append(sent.error)
            code = connection_code(sent.error)
            self._unsent[code] = self._unsent.get(code, 0) + due
        elif not self._is_stopped:
            self._failures.clear()
        _log.info("study %s: %d outcomes", worked.study_instance_uid, sum(sent.outcomes.values()))

    def result(self, seconds: float) -> ForwardResult:
        """Add up."""
        counts = {"sent": 0, "warning": 0, "refused": 0, "failed": 0}
        problems: dict[str, int] = dict(self._unsent)
        for (state, code), number in self._outcomes.items():
            counts[state] += number
            if state != "sent":
                problems[code] = problems.get(code, 0) + number
        return ForwardResult(
            node=self._node.name,
            studies=self._studies,
            sent=counts["sent"] + counts["warning"],
            refused=counts["refused"],
            failed=counts["failed"] + sum(self._unsent.values()),
            bytes=self._bytes,
            seconds=seconds,
            warnings=counts["warning"],
            locked=self._locked,
            problems=problems,
        )
