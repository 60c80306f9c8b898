"""One study at the target: what it lists is held against the ledger, what it gives back against the archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vna.errors import PeerError
from vna.ledger import Lease, Ledger, StoredObject
from vna.model import Outcome
from vna.verify.comparing import Batch, Comparer, Verdict
from vna.verify.target import Target

UID_SET = "UID_SET"
NOT_AT_TARGET = "NOT_AT_TARGET"
NOT_RETURNED = "NOT_RETURNED"
VERIFY_CODES = {
    Verdict.IDENTICAL.value: "The target gave back the same data set, byte for byte.",
    Verdict.EQUIVALENT.value: "The target gave back a data set that says the same in another encoding.",
    UID_SET: "The target lists the instance; its data set was not compared.",
    Verdict.DIFFERENT.value: "The target gave back another data set under the same SOP Instance UID; what differs is named.",
    NOT_AT_TARGET: "The target acknowledged the instance and does not list it.",
    NOT_RETURNED: "The target lists the instance and does not give it back, though it gives back others.",
}
"""What verify can say of an instance: code -> text."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which objects are verified, and which of those are compared; None: all."""

    digests: frozenset[str] | None
    sample: frozenset[str] | None

    def is_chosen(self, stored: StoredObject) -> bool:
        """Say whether an object is to be verified."""
        return self.digests is None or stored.sha256 in self.digests

    def is_compared(self, stored: StoredObject) -> bool:
        """Say whether an object's data set is to be compared: a corrected one always, since a target may keep the old values."""
        return self.sample is None or stored.sha256 in self.sample or stored.revision > 0


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one study: outcomes by state, what was written, and why the target could not be asked."""

    states: dict[str, int]
    changes: int = 0
    error: PeerError | None = None


def verify_study(ledger: Ledger, target: Target, comparer: Comparer, choice: Choice, lease: Lease) -> Checked:
    """Verify what is due of the study of the lease. Raises LockedError when the lease was lost."""
    sent = ledger.outcomes.sent_objects(lease.node, lease.study_instance_uid)
    due = [one.object for one in sent if one.verify_state != "verified" and choice.is_chosen(one.object)]
    revisions = {one.sha256: one.revision for one in due}
    try:
        due = [comparer.as_it_left(one) for one in due]
        found, missing = _held(target, due)
        compared = [one for one in found if choice.is_compared(one)]
        with comparer.batch(compared) as batch:
            rejected: set[str] = set()
            if compared:
                is_whole = len(compared) == len(sent) and len({one.study_instance_uid for one in compared}) == 1
                rejected = target.retrieve(batch, is_whole_study=is_whole)
            outcomes, lost = _outcomes(target, batch, found, {one.sha256 for one in compared}, rejected)
    except PeerError as exc:
        return Checked({}, error=exc)
    lost += [Outcome(one.sha256, "missing", NOT_AT_TARGET) for one in missing]
    changes = ledger.outcomes.record_changes(lease, outcomes, revisions) + len(lost)
    if lost:
        ledger.outcomes.lose(lease, lost, revisions)
    return Checked(dict(Counter(outcome.state for outcome in (*outcomes, *lost))), changes)


def _held(target: Target, due: Sequence[StoredObject]) -> tuple[list[StoredObject], list[StoredObject]]:
    """Split objects into those that the target holds and those that it does not, each absence asked for by itself."""
    studies = sorted({one.study_instance_uid for one in due})  # one, unless a correction moved an object
    listed = {pair for study in studies for pair in target.listed(study)}
    names = Counter(sop for _, sop in listed)
    copies = Counter(one.sop_instance_uid for one in due)
    found: list[StoredObject] = []
    missing: list[StoredObject] = []
    for one in due:
        is_listed = (one.series_instance_uid, one.sop_instance_uid) in listed
        is_moved = copies[one.sop_instance_uid] == 1 and names[one.sop_instance_uid] > 0  # under another series there
        (found if is_listed or is_moved or target.holds(one) else missing).append(one)
    return found, missing


def _outcomes(
    target: Target, batch: Batch, found: Sequence[StoredObject], compared: set[str], rejected: set[str]
) -> tuple[list[Outcome], list[Outcome]]:
    """Make the outcomes of what the target lists: those that stand, and those that mean that the target has lost an object."""
    outcomes, lost = [], []
    for one in found:
        result = batch.results.get(one.sha256)
        if result is not None:
            state = "different" if result.verdict is Verdict.DIFFERENT else "verified"
            outcomes.append(Outcome(one.sha256, state, result.verdict.value, result.detail))
        elif one.sha256 not in compared:
            outcomes.append(Outcome(one.sha256, "verified", UID_SET, "not in the sample"))
        elif not target.can_retrieve:
            reasons = ", ".join(f"{way.value} {reason}" for way, reason in sorted(target.closed.items()))
            outcomes.append(Outcome(one.sha256, "verified", UID_SET, f"no way to retrieve: {reasons}"))
        elif one.sha256 in rejected:
            outcomes.append(Outcome(one.sha256, "verified", UID_SET, "CONTEXT_REJECTED"))
        else:
            lost.append(Outcome(one.sha256, "missing", NOT_RETURNED))
    return outcomes, lost
