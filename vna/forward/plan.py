"""What to forward: the options of a forward and the objects that are due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vna.archive import Archive
from vna.ledger import DueStudy, Ledger
from vna.model import Node


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """What to forward. ``where`` is a condition over the archive's view `instances`.

    ``workers`` is the most associations at once; 0: as many as the target takes well.
    """

    studies: tuple[str, ...] = ()
    where: str = ""
    limit: int = 0
    workers: int = 0
    attempts: int = 4
    first_wait_s: float = 1.0


@dataclass(frozen=True, slots=True)
class ForwardPlan:
    """The studies with objects that are due at a target. ``digests`` are the objects that were chosen; None: whatever is due."""

    node: str
    studies: tuple[DueStudy, ...]
    digests: frozenset[str] | None = None

    def as_json(self) -> dict[str, Any]:
        """Give what ``vna forward --dry-run --json`` prints."""
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


def plan(archive: Archive, ledger: Ledger, node: Node, options: ForwardOptions | None = None) -> ForwardPlan:
    """Say which studies would be sent: their fileable objects without a final outcome at the node.

    Raises ConfigError for a condition that cannot be understood.
    """
    options = options or ForwardOptions()
    ledger.catch_up(archive)
    digests: frozenset[str] | None = None
    if options.where or options.studies:
        rows = archive.select(options.where or None, options.studies, ("sha256",))
        digests = frozenset(str(row["sha256"]) for row in rows)
    due = ledger.outcomes.due_forward(node.name, digests=digests)
    return ForwardPlan(node.name, tuple(due[: options.limit or None]), digests)
