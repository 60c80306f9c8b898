"""How far a pass has come: one small file in the archive, replaced as the pass goes on."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from vna.errors import InstanceMissingError
from vna.scrub.reading import Finding
from vna.store import Store

log = logging.getLogger(__name__)

PROGRESS = "scrub/progress.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """One pass: everything up to ``after`` (in the order of part and path) was read since ``started_at``."""

    started_at: str
    finished_at: str = ""
    part: str = ""
    after: str = ""
    objects: int = 0
    bytes: int = 0
    findings: tuple[Finding, ...] = field(default=())

    @property
    def is_under_way(self) -> bool:
        """Whether the pass has begun and not ended."""
        return not self.finished_at and bool(self.part)

    def is_done_with(self, part: str, path: str) -> bool:
        """Whether this pass has read that object."""
        return (part, path) <= (self.part, self.after)


def fresh() -> Progress:
    """Begin a pass."""
    return Progress(now())


def load(store: Store) -> Progress:
    """Read how far the last pass has come; a new one when it is finished, or nothing sensible is there."""
    try:
        told: dict[str, Any] = json.loads(store.read_bytes(PROGRESS))
        findings = tuple(Finding(**each) for each in told.pop("findings"))
        found = Progress(**told, findings=findings)
    except InstanceMissingError:
        return fresh()
    except (ValueError, TypeError, KeyError):
        log.warning("%s cannot be read: the pass begins anew", PROGRESS)
        return fresh()
    return found if found.is_under_way else fresh()


def save(store: Store, progress: Progress) -> None:
    """Write down how far the pass has come."""
    told = {name: getattr(progress, name) for name in ("started_at", "finished_at", "part", "after", "objects", "bytes")}
    told["findings"] = [finding.as_json() for finding in progress.findings]
    store.replace_bytes(json.dumps(told, indent=1).encode("ascii") + b"\n", PROGRESS)


def finished(progress: Progress) -> Progress:
    """End a pass."""
    return replace(progress, finished_at=now())


def now() -> str:
    """Tell the time, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
