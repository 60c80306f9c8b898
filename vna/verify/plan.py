"""What to verify, and how: the options of a verification and the studies that are due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vna.archive import Archive
from vna.ledger import DueStudy, Ledger
from vna.model import Node
from vna.verify.target import SETTLE_S, Way


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What to verify. ``sample`` limits how many data sets are compared, at random; None compares all, 0 none.

    ``where`` is a condition over the archive's view `instances`.
    """

    studies: tuple[str, ...] = ()
    where: str = ""
    limit: int = 0
    sample: int | None = None
    workers: int = 1
    way: Way = Way.AUTO
    attempts: int = 4
    first_wait_s: float = 1.0
    settle_s: float = SETTLE_S


@dataclass(frozen=True, slots=True)
class VerifyPlan:
    """The studies with objects that are due. ``digests`` are the objects that were chosen; None: whatever is there."""

    node: str
    studies: tuple[DueStudy, ...]
    digests: frozenset[str] | None = None

    def as_json(self) -> dict[str, Any]:
        """Give what ``vna verify --dry-run --json`` prints."""
        return {
            "node": self.node,
            "studies": len(self.studies),
            "instances": sum(study.instances for study in self.studies),
            "bytes": sum(study.bytes for study in self.studies),
            "plan": [
                {"StudyInstanceUID": study.study_instance_uid, "instances": study.instances, "bytes": study.bytes}
                for study in self.studies
            ],
        }


def plan(archive: Archive, ledger: Ledger, node: Node, options: VerifyOptions | None = None) -> VerifyPlan:
    """Say which studies would be verified: those with objects that were sent to the node and not found equal there.

    Raises ConfigError for a condition that cannot be understood.
    """
    options = options or VerifyOptions()
    ledger.catch_up(archive)
    digests: frozenset[str] | None = None
    if options.where or options.studies:
        rows = archive.select(options.where or None, options.studies, ("sha256",))
        digests = frozenset(str(row["sha256"]) for row in rows)
    due = ledger.outcomes.due_verify(node.name, digests=digests)
    return VerifyPlan(node.name, tuple(due[: options.limit or None]), digests)
