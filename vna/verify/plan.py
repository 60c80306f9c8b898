"""What to verify, and how: the options of a verification and the studies that are due."""

from __future__ import annotations

from dataclasses import dataclass

from vna.archive import Archive
from vna.ledger import DuePlan, Ledger, plan_due
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


def plan(archive: Archive, ledger: Ledger, node: Node, options: VerifyOptions | None = None) -> DuePlan:
    """Say which studies would be verified: those with objects that were sent to the node and not found equal there.

    Raises ConfigError for a condition that cannot be understood.
    """
    ledger.catch_up(archive)
    return plan_due(archive, node.name, ledger.outcomes.due_verify, options or VerifyOptions())
