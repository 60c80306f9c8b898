"""What a correction is asked for, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vna.model import Outcome


class UidPolicy(StrEnum):
    """What a rule may do to UIDs: nothing, give new ones that the archive does not hold, or also join existing studies."""

    REFUSE = "refuse"
    NEW = "new"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class CorrectOptions:
    """Which objects a correction may touch, and how.

    ``where`` and ``studies`` limit every rule. ``threshold`` is the share of the archive's studies above which
    :func:`vna.correct.apply` refuses; up to ``few`` studies there is no such guard. ``fallback_character_set`` is the value of
    (0008,0005) by which text is read that is not in the set its object declares. ``by`` names who does it, ``uids`` says what
    rules may do to the UIDs by which objects are known.
    """

    where: str | None = None
    studies: tuple[str, ...] = ()
    limit: int | None = None
    threshold: float = 0.2
    few: int = 10
    fallback_character_set: str = ""
    by: str = ""
    uids: UidPolicy = UidPolicy.REFUSE
    modifying_system: str = "VNA"


@dataclass(frozen=True, slots=True)
class CorrectResult:
    """How many studies and instances change (or would), how many element changes and revisions that is, and what was refused."""

    studies: int
    instances: int
    changes: int
    revisions: int
    refused: int
    refusals: tuple[Outcome, ...] = ()
    by_element: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Give the object that ``vna correct ... --json`` prints."""
        return {
            "studies": self.studies,
            "instances": self.instances,
            "changes": self.changes,
            "revisions": self.revisions,
            "refused": self.refused,
            "by_element": dict(self.by_element),
            "refusals": [{"sha256": one.key, "code": one.code, "detail": one.detail} for one in self.refusals],
            "seconds": round(self.seconds, 3),
        }
