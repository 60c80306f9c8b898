"""One study on its way in: ask, wait, ask for the rest in smaller pieces, and account for what did not come."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vna.archive import Archive
from vna.errors import PeerError
from vna.ledger import ExpectedInstance, Lease, Ledger
from vna.model import InstanceRef, Outcome
from vna.pull.arrivals import Arrivals, Job
from vna.pull.requests import Request, ladder
from vna.pull.source import ABORTED, Answered, Listening, Source, StoppedError

POLL_S = 0.2
_QUARANTINED = ("quarantined", "variant")
_DUPLICATE = "duplicate"
_HOPELESS = "CONTEXT_REJECTED"
_ABORTED_RUNS = 1
"""In how many runs before a source must have broken off at an instance until that is its answer."""


class JournalReader:
    """Reads the archive's journal into the ledger, one thread at a time."""

    def __init__(self, archive: Archive, ledger: Ledger) -> None:
        self._archive = archive
        self._ledger = ledger
        self._lock = threading.Lock()
        self._read_at = 0.0

    def absorb(self, *, not_before_s: float = 0.0) -> None:
        """Read on, but not more often than every ``not_before_s``."""
        with self._lock:
            if time.monotonic() - self._read_at < not_before_s:
                return
            self._ledger.absorb(self._archive.journal_rows(self._ledger.positions()))
            self._read_at = time.monotonic()

    def lacks(self, before: float) -> bool:
        """Tell whether something that came before that time (seconds since the epoch) is owed, and not in the journal yet."""
        return self._archive.owes_from_before(before)


@dataclass(frozen=True, slots=True)
class Context:
    """What all studies of one pull share. ``settle_s`` is 0 where nothing can come after the source's final answer."""

    ledger: Ledger
    journal: JournalReader
    arrivals: Arrivals
    source: Source
    listening: Listening | None
    settle_s: float
    retry_missing: bool


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one study. ``error`` is what the source could not be talked to for."""

    instances: int = 0
    bytes: int = 0
    duplicates: int = 0
    quarantined: int = 0
    unsolicited: int = 0
    error: PeerError | None = None


def pull_study(context: Context, lease: Lease) -> Pulled:
    """Pull the study of the lease. Raises LockedError when the lease was lost, StoreError when the ledger cannot go on."""
    uid = lease.study_instance_uid
    # What is expected is read under the lease: another run may have brought some of it meanwhile.
    expected = [one for one in context.ledger.expected.of_study(lease.node, uid) if _is_wanted(one, context)]
    job = context.arrivals.open(uid, (one.sop_instance_uid for one in expected if not one.sha256))
    try:
        pulled = _Study(context, lease, expected, job).pull()
        if pulled.instances and not job.receipts:
            context.arrivals.came_elsewhere(job, pulled.instances)
        return pulled
    finally:
        context.arrivals.close(job)


def _is_wanted(instance: ExpectedInstance, context: Context) -> bool:
    return bool(instance.sha256) or instance.state != "missing" or (context.retry_missing and instance.listed)


class _Study:
    def __init__(self, context: Context, lease: Lease, expected: list[ExpectedInstance], job: Job) -> None:
        self._context = context
        self._ledger = context.ledger
        self._arrivals = context.arrivals
        self._lease = lease
        self._expected = expected
        self._job = job
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")[:19]
        self._rest = [one for one in expected if not one.sha256]
        self._taken = 0
        self._made: set[Request] = set()
        self._reasons: dict[str, str] = {}

    def pull(self) -> Pulled:
        error: PeerError | None = None
        try:
            self._ask_for_all_of_it()
            self._climb()
        except StoppedError:
            pass
        except PeerError as exc:
            error = exc
        self._settle(())
        if error is not None:
            self._reasons |= dict.fromkeys((one.sop_instance_uid for one in self._rest), "PEER")
        self._match_by_instance()
        rest = self._rest
        if not self._arrivals.is_ending:
            self._ledger.expected.record(self._lease, [(_ref(one), self._outcome(one)) for one in rest])
        stored = [receipt for receipt in self._job.receipts if receipt.state != _DUPLICATE]
        return Pulled(
            instances=len(self._job.wanted) - len(rest),
            bytes=sum(receipt.size for receipt in stored),
            duplicates=len(self._job.receipts) - len(stored),
            quarantined=sum(receipt.state in _QUARANTINED for receipt in stored),
            unsolicited=self._job.unexpected,
            error=error,
        )

    def _ask_for_all_of_it(self) -> None:
        """Ask once for the whole of a study whose instances could not all be listed: what comes is kept, expected or not."""
        if not self._ledger.sources.is_open(self._lease.node, self._lease.study_instance_uid):
            return
        request = Request(self._lease.study_instance_uid)
        with self._context.source.heard():
            self._settle([self._request(request, self._rest)], until_quiet=True)
        if not self._arrivals.is_ending:
            self._ledger.sources.mark_asked(self._lease)

    def _climb(self) -> None:
        """Ask for the study, then for what did not come, in smaller and smaller pieces. Raises PeerError and StoppedError."""
        source = self._context.source
        while not self._arrivals.is_ending and not self._has_other_uids():
            outstanding = [one for one in self._rest if self._reasons.get(one.sop_instance_uid) != _HOPELESS]
            if not outstanding:
                return
            requests = ladder(self._expected, outstanding, self._made, knows_images=source.knows_images)
            if not requests:
                return
            came = len(self._job.receipts)
            with source.heard():
                answers = [self._request(request, outstanding) for request in requests]
                self._settle(answers)
            if requests[0].sop_instance_uids and len(self._job.receipts) > came:
                source.knows_images = True

    def _request(self, request: Request, outstanding: Sequence[ExpectedInstance]) -> Answered:
        named = [instance for instance in outstanding if request.names(instance)]
        self._made.add(request)
        with self._arrivals.asking(self._job):
            answered = self._context.source.retrieve(request, (instance.sop_class_uid for instance in named))
        for instance in named:
            self._reasons[instance.sop_instance_uid] = _reason(instance, answered)
        return answered

    def _settle(self, answers: Sequence[Answered], *, until_quiet: bool = False) -> None:
        """Wait until everything has come, or nothing has for long enough, or the source itself says that the rest will not.

        With ``until_quiet`` nobody knows what everything is. What another process has taken and owes to the store has come, but
        only the journal says what it is: it is waited for.
        """
        if answers and all(answered.is_failure for answered in answers):
            self._take_receipts()  # should anything come late all the same, it is matched when the journal is read
            return
        failed = frozenset().union(*(answered.failed_uids for answered in answers)) if answers else frozenset()
        listening = self._context.listening
        is_foreign = listening is not None and listening.is_foreign
        last, count = time.monotonic(), -1
        quiet_at = 0.0
        while not self._arrivals.is_ending:
            now = time.monotonic()  # first of all: what comes while we look was not silence
            is_owed = is_foreign and self._context.journal.lacks(quiet_at or time.time())
            waiting = self._journal_says() if is_foreign else set(self._job.expected)
            if is_foreign and len(waiting) != count:
                last, count, quiet_at = time.monotonic(), len(waiting), 0.0
            elif self._job.times:
                last = max(last, self._job.times[-1])
            left_s = last + self._job.quiet_s(self._context.settle_s) - now
            if waiting <= failed and not until_quiet:
                break
            if left_s <= 0 and not is_owed:
                if is_foreign:  # what was owed a moment ago may have its row since the journal was read
                    self._context.journal.absorb()
                break
            if left_s <= 0:
                quiet_at = quiet_at or time.time()
            self._arrivals.wait(min(left_s, POLL_S) if left_s > 0 else POLL_S)
        self._take_receipts()

    def _journal_says(self) -> set[str]:
        """Read the journal that another process writes, and name what is outstanding still."""
        self._context.journal.absorb(not_before_s=POLL_S / 2)
        self._look()
        return {instance.sop_instance_uid for instance in self._rest}

    def _take_receipts(self) -> None:
        """Tell the ledger what came; a duplicate that it does not know yet makes it read the journal."""
        receipts = self._job.receipts[self._taken :]
        self._ledger.objects.add(receipts, self._lease.node)
        if any(receipt.state == _DUPLICATE and not self._ledger.objects.knows(receipt.sha256) for receipt in receipts):
            self._context.journal.absorb()
        self._taken += len(receipts)
        self._look()

    def _look(self) -> None:
        """See what is outstanding still; what has an object keeps it, so that nothing is looked up where all have one."""
        if self._rest:
            found = self._ledger.expected.outstanding_of(self._lease.node, self._lease.study_instance_uid)
            self._rest = [instance for instance in found if _is_wanted(instance, self._context)]

    def _has_other_uids(self) -> bool:
        """Say whether the source sends as much as it lists, but under other UIDs: asking again would only bring more of that."""
        job = self._job
        return len(job.expected) == len(job.wanted) and 0 < len(job.wanted) <= job.unexpected

    def _match_by_instance(self) -> None:
        """Let an object stand for an instance that came under another series or study than was listed."""
        if not self._rest:
            return
        received = {receipt.sha256 for receipt in self._job.receipts}
        for instance in self._rest:
            for candidate in self._ledger.objects.named(instance.sop_instance_uid):
                is_new = candidate.source == self._lease.node and candidate.received_at[:19] >= self._started_at
                if candidate.status == "variant" or not (candidate.sha256 in received or is_new):
                    continue
                if self._ledger.expected.is_matched(self._lease.node, candidate.sha256):
                    self._reasons[instance.sop_instance_uid] = "DUPLICATE_UID"
                    continue
                how = "series" if candidate.study_instance_uid == instance.study_instance_uid else "study"
                self._ledger.expected.match(self._lease, {_ref(instance): candidate.sha256}, how)
                break
        self._look()

    def _outcome(self, instance: ExpectedInstance) -> Outcome:
        code = self._reasons.get(instance.sop_instance_uid, "NOT_SENT")
        if self._has_other_uids():
            code = "UID_CHANGED"
        if instance.sop_instance_uid in self._job.refused:
            code = "STORE"
        is_transient = code in ("PEER", "STORE") or (code == ABORTED and instance.attempts < _ABORTED_RUNS)
        return Outcome(instance.sop_instance_uid, "failed" if is_transient else "missing", code)


def _reason(instance: ExpectedInstance, answered: Answered) -> str:
    """Say what the source's answer means for an instance, should it not have come."""
    if instance.sop_class_uid in answered.rejected_classes:
        return _HOPELESS
    if answered.code == ABORTED:
        return ABORTED
    is_failed = not answered.failed_uids or instance.sop_instance_uid in answered.failed_uids
    return f"SOURCE_FAILED:{answered.code}" if answered.code and is_failed else "NOT_SENT"


def _ref(instance: ExpectedInstance) -> InstanceRef:
    return InstanceRef(instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
