"""What to forward: the options of a forward and the objects that are due."""

from __future__ import annotations

from dataclasses import dataclass

from vna.archive import Archive
from vna.ledger import DuePlan, Ledger, plan_due
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


def plan(archive: Archive, ledger: Ledger, node: Node, options: ForwardOptions | None = None) -> DuePlan:
    """Say which studies would be sent: their fileable objects without a final outcome at the node.

    Raises ConfigError for a condition that cannot be understood.
    """
    ledger.catch_up(archive)
    return plan_due(archive, node.name, ledger.outcomes.due_forward, options or ForwardOptions())
