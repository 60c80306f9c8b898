"""The verification: everything that a target acknowledged is looked for there, compared, and certified."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vna.archive import Archive
from vna.dimse.retry import Patience
from vna.errors import LockedError, PeerError
from vna.ledger import DuePlan, Ledger, TargetRow, Work, Worked
from vna.model import Local, Node, Progress, Report, silent
from vna.verify.bounds import sample_of, upper_bound
from vna.verify.certificate import Tally, digest_of, tally, write_certificate
from vna.verify.comparing import Comparer
from vna.verify.plan import VerifyOptions, plan
from vna.verify.study import Checked, Choice, verify_study
from vna.verify.target import Target

STAGE = "verify"
FAILURES_IN_A_ROW = 3
_VOLATILE = ("sha256", "issued_at")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """Where the chosen part of what was sent to a target stands, earlier runs included.

    ``expected`` is what the target acknowledged. ``sampled`` data sets were compared; ``bound`` limits the share of differing
    ones at 95 % confidence. ``changes`` counts what this run wrote; ``failed`` studies could not be asked for.
    """

    node: str
    studies: int
    expected: int
    verified: int
    missing: int
    different: int
    sampled: int
    bound: float
    certificate: str
    closed: bool
    refused: int = 0
    unverified: int = 0
    changes: int = 0
    failed: int = 0
    locked: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Give the keys that ``vna verify --json`` promises, and some more."""
        return {
            "node": self.node,
            "studies": self.studies,
            "expected": self.expected,
            "verified": self.verified,
            "missing": self.missing,
            "different": self.different,
            "sampled": self.sampled,
            "bound": self.bound,
            "certificate": self.certificate,
            "closed": self.closed,
            "refused": self.refused,
            "unverified": self.unverified,
            "changes": self.changes,
            "unchanged": not self.changes,
            "failed": self.failed,
            "locked": self.locked,
            "seconds": round(self.seconds, 3),
        }


def run(
    archive: Archive,
    ledger: Ledger,
    node: Node,
    local: Local,
    options: VerifyOptions | None = None,
    report: Report = silent,
) -> VerifyResult:
    """Verify what is due and issue a certificate; where nothing has changed since the last one, that one stands.

    Raises PeerError when the target could not be asked for anything, LockedError when other runs hold every study.
    """
    options = options or VerifyOptions()
    started = time.monotonic()
    planned = plan(archive, ledger, node, options)
    verification = _Verification(archive, ledger, node, options, report)
    if planned.studies:
        verification.run(planned, local)
    return verification.certify(planned, started)


class _Verification:
    def __init__(self, archive: Archive, ledger: Ledger, node: Node, options: VerifyOptions, report: Report) -> None:
        self._archive = archive
        self._ledger = ledger
        self._node = node
        self._options = options
        self._report = report
        self._patience = Patience(attempts=options.attempts, first_wait_s=options.first_wait_s)
        self._failures: list[PeerError] = []
        self._closed_ways: dict[str, str] = {}
        self._seen = self._checked = self._changes = self._failed = self._locked = 0

    def run(self, planned: DuePlan, local: Local) -> None:
        """Verify the planned studies, and raise what stopped the run."""
        total = len(planned.studies)
        choice = Choice(planned.digests, self._sample(planned))
        comparer = Comparer(self._archive)

        def take(worked: Worked[Checked]) -> bool:
            self._take(worked)
            self._report(Progress(STAGE, self._seen, total, "studies"))
            return len(self._failures) < FAILURES_IN_A_ROW

        with Target(self._node, local, comparer, self._patience, self._options.way, self._options.settle_s) as target:
            Work(
                self._ledger.leases,
                STAGE,
                self._node.name,
                lambda lease: verify_study(self._ledger, target, comparer, choice, lease),
                take,
                self._patience.stop,
            ).run((study.study_instance_uid for study in planned.studies), self._options.workers)
            self._closed_ways = {way.value: reason for way, reason in target.closed.items()}
        if self._failures and (len(self._failures) >= FAILURES_IN_A_ROW or not self._checked):
            raise self._failures[-1]
        if self._locked == total:
            raise LockedError(f"other runs verify at {self._node.name} already", hint="let them end, or name other studies")

    def _sample(self, planned: DuePlan) -> frozenset[str] | None:
        if self._options.sample is None:
            return None
        due = self._ledger.outcomes.digests_due_verify(self._node.name)
        chosen = due if planned.digests is None else (digest for digest in due if digest in (planned.digests or ()))
        return sample_of(chosen, self._options.sample, self._seed)

    @property
    def _seed(self) -> str:
        return f"{self._archive.archive_id} {self._node.name}"

    def _take(self, worked: Worked[Checked]) -> None:
        self._seen += 1
        self._locked += worked.is_locked
        checked = worked.result
        if checked is None:
            return
        self._changes += checked.changes
        if checked.error is not None:
            self._failed += 1
            self._failures.append(checked.error)
            return
        self._checked += 1
        self._failures.clear()
        _log.info("study %s: %s", worked.study_instance_uid, checked.states)

    # -- the certificate

    def certify(self, planned: DuePlan, started: float) -> VerifyResult:
        """Add up the chosen rows, issue a certificate unless the last one says the same, and make the result."""
        sums = tally(row for row in self._ledger.outcomes.at_target(self._node.name) if _is_chosen(row, planned))
        bound = upper_bound(sums.compared, sums.states["different"], sums.expected)
        status = self._ledger.status(self._node.name)
        content = self._content(sums, bound, status.as_json())
        path, digest = self._ledger.outcomes.last_certificate(self._node.name)
        if digest != (fresh := digest_of(content, without=_VOLATILE)) or not Path(path).exists():
            stamp = content["issued_at"].replace("-", "").replace(":", "")
            name = "".join(character if character.isalnum() else "_" for character in self._node.name)
            path = str(write_certificate(self._ledger.evidence_folder(), f"verify-{name}-{stamp}", content))
            self._ledger.outcomes.record_certificate(self._node.name, path, fresh)
        return VerifyResult(
            node=self._node.name,
            studies=len(sums.studies),
            expected=sums.expected,
            verified=sums.states["verified"],
            missing=sums.states["missing"],
            different=sums.states["different"],
            sampled=sums.compared,
            bound=bound,
            certificate=path,
            closed=status.closed,
            refused=sums.states["refused"],
            unverified=sums.states["unverified"] + sums.states["unsent"],
            changes=self._changes,
            failed=self._failed,
            locked=self._locked,
            seconds=time.monotonic() - started,
        )

    def _content(self, sums: Tally, bound: float, status: dict[str, Any]) -> dict[str, Any]:
        return {
            "format": 1,
            "kind": "verification",
            "node": self._node.name,
            "ae_title": self._node.ae_title,
            "archive_id": self._archive.archive_id,
            "issued_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "scope": self._scope(),
            "statement": _statement(sums),
            "instances": {"expected": sums.expected, **sums.states},
            "comparison": {"codes": sums.codes, "compared": sums.compared, "bound": bound, "note": _note(sums, bound)},
            "ledger": {"instances": status["instances"], "closed": status["closed"], "inventories": status["inventories"]},
            "studies": sums.studies,
            "exceptions": sums.exceptions,
        }

    def _scope(self) -> str:
        parts = [f"studies {', '.join(self._options.studies)}"] if self._options.studies else []
        parts += ["instances for which a condition of the operator holds"] if self._options.where else []
        return ", ".join(parts) or f"everything that was forwarded to {self._node.name}"


def _is_chosen(row: TargetRow, planned: DuePlan) -> bool:
    return planned.digests is None or row.sha256 in planned.digests


def _statement(sums: Tally) -> str:
    states = sums.states
    text = f"Of {sums.expected:,} instances that the target acknowledged, {states['verified']:,} were found there"
    rest = [f"{states[state]:,} {word}" for state, word in _REST if states[state]]
    return f"{text}. {'; '.join(rest).capitalize()}." if rest else f"{text}."


_REST = (
    ("missing", "are missing there"),
    ("different", "are not the same there"),
    ("unverified", "were not looked for yet"),
    ("refused", "were refused by the target"),
    ("unsent", "could not be sent yet"),
)


def _note(sums: Tally, bound: float) -> str:
    if not sums.compared:
        return "No data set was compared: the instances were verified by their UIDs alone."
    if sums.compared >= sums.expected:
        return "The data set of every instance came back from the target and was compared."
    return (
        f"{sums.compared:,} of {sums.expected:,} data sets came back and were compared, {sums.states['different']:,} of them "
        f"differ: with 95 % confidence at most {100 * bound:.3g} % of all do. The others were verified by their UIDs alone."
    )
