"""What to pull, and how: the options of a pull and the studies that are due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vna.archive import Archive
from vna.errors import ConfigError, RefusedError
from vna.ledger import Ledger, StudyCount
from vna.model import Node
from vna.pull.source import Method


@dataclass(frozen=True, slots=True)
class PullOptions:
    """What to pull and how. ``settle_s`` is how long silence must last before what did not come counts as not sent.

    ``where`` is a condition over what the inventory listed (:data:`vna.ledger.selection.COLUMNS`); ``retry_missing`` asks again
    for what earlier runs gave up. ``workers`` is the most retrieves at once; 0: as many as the source takes well.
    """

    method: Method = Method.MOVE
    studies: tuple[str, ...] = ()
    where: str = ""
    limit: int = 0
    workers: int = 0
    retry_missing: bool = False
    settle_s: float = 3.0
    attempts: int = 4
    first_wait_s: float = 1.0


@dataclass(frozen=True, slots=True)
class PullPlan:
    """The studies of which something is outstanding, in the order in which they will be pulled."""

    node: str
    method: Method
    studies: tuple[StudyCount, ...]

    def as_json(self) -> dict[str, Any]:
        """Give what ``vna pull --dry-run --json`` prints."""
        return {
            "node": self.node,
            "method": self.method.value,
            "studies": len(self.studies),
            "instances": sum(study.outstanding for study in self.studies),
            "plan": [
                {"StudyInstanceUID": study.study_instance_uid, "expected": study.expected, "outstanding": study.outstanding}
                for study in self.studies
            ],
        }


def plan(archive: Archive, ledger: Ledger, node: Node, options: PullOptions | None = None) -> PullPlan:
    """Say which studies would be pulled.

    Raises RefusedError when the node was never inventoried, ConfigError for studies that its inventory does not list or a
    condition that cannot be understood.
    """
    options = options or PullOptions()
    ledger.catch_up(archive)
    known = ledger.sources.study_uids(node.name)
    if not known and ledger.sources.last_inventory(node.name) is None:
        raise RefusedError(
            f"nothing is known of what {node.name} holds, so nothing could be found missing",
            hint=f"run `vna inventory {node.name}`",
        )
    unknown = [uid for uid in options.studies if uid not in known]
    if unknown:
        raise ConfigError(
            [f"{node.name} does not list study {uid}" for uid in unknown], hint="take an inventory, or check the UID"
        )
    chosen: set[str] | None = set(options.studies) if options.studies else None
    if options.where:
        found = set(ledger.studies_where(node.name, options.where))
        chosen = found if chosen is None else chosen & found
    due: list[StudyCount] = []
    if chosen is None or chosen:
        due = ledger.expected.outstanding_studies(node.name, studies=sorted(chosen or ()), retry_missing=options.retry_missing)
        due += _open_studies(ledger, node, chosen, {study.study_instance_uid for study in due})
    return PullPlan(node.name, options.method, tuple(due[: options.limit or None]))


def _open_studies(ledger: Ledger, node: Node, chosen: set[str] | None, known: set[str]) -> list[StudyCount]:
    """List the studies whose instances could not all be listed: they are due although nothing of them may be outstanding."""
    found = ledger.sources.open_studies(node.name)
    return [
        StudyCount(uid, 0, 0, date)
        for uid, date in sorted(found.items())
        if uid not in known and (chosen is None or uid in chosen)
    ]
