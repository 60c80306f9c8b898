"""What is due at a target, of all there is or of what somebody chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class DueStudy:
    """A study with objects that are due at a stage, and how many bytes they are."""

    study_instance_uid: str
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DuePlan:
    """The studies with objects that are due at a target. ``digests`` are the objects that were chosen; None: whatever is due."""

    node: str
    studies: tuple[DueStudy, ...]
    digests: frozenset[str] | None = None

    def as_json(self) -> dict[str, Any]:
        """Give what the ``--dry-run --json`` of a stage prints."""
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


class Choice(Protocol):
    """What the options of a stage choose by: studies by UID, a condition over the archive's view `instances`, a number."""

    @property
    def studies(self) -> tuple[str, ...]: ...
    @property
    def where(self) -> str: ...
    @property
    def limit(self) -> int: ...


class Selectable(Protocol):
    """What is asked of an archive; :class:`vna.archive.Archive` has it."""

    def select(self, where: str | None, studies: Sequence[str], columns: Sequence[str], /) -> list[dict[str, Any]]: ...


class Due(Protocol):
    """Lists the studies that are due at a node, of the objects chosen."""

    def __call__(self, node: str, *, digests: frozenset[str] | None) -> list[DueStudy]: ...


def plan_due(archive: Selectable, node: str, due: Due, choice: Choice) -> DuePlan:
    """Say which of the studies that are due were chosen. Raises ConfigError for a condition that cannot be understood."""
    digests: frozenset[str] | None = None
    if choice.where or choice.studies:
        rows = archive.select(choice.where or None, choice.studies, ("sha256",))
        digests = frozenset(str(row["sha256"]) for row in rows)
    return DuePlan(node, tuple(due(node, digests=digests)[: choice.limit or None]), digests)
