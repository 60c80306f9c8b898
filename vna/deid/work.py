"""What a worker process does: de-identify a chunk of tasks, or audit a chunk of outputs. Any executor can run it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vna.deid.audit import Known, audit_bytes
from vna.deid.engine import Engine
from vna.deid.objects import Made, Maker
from vna.deid.pixels import PixelPolicy
from vna.deid.plan import Task
from vna.deid.recipe import Recipe
from vna.deid.source import Source, SourceLostError
from vna.deid.table import Profile
from vna.deid.values import Key
from vna.errors import VnaError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that a worker needs, whichever process it is in."""

    recipe: Recipe
    key: Key
    policy: PixelPolicy
    source: Source
    target: Path | None
    with_uids: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one task, in new identifiers only; ``uids`` (old -> new) is there where a crosswalk is wanted."""

    source_key: str
    state: str
    code: str = ""
    detail: str = ""
    path: str = ""
    size: int = 0
    sha256: str = ""
    patient_id: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    modality: str = ""
    cleaned: bool = False
    released: bool = False
    actions: dict[str, int] = field(default_factory=dict)
    uids: dict[str, str] = field(default_factory=dict)


class Worker:
    """One process's own copy of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.maker = Maker(Engine(job.recipe, job.key), job.policy, job.target)

    def make(self, task: Task) -> Result:
        """De-identify one object; whatever goes wrong is this object's outcome, never the run's end."""
        if task.hold:
            return Result(task.source_key, "held", task.hold)
        try:
            with self.job.source.open(task.row) as file:
                made = self.maker.make(file, task.known, task.issuer)
        except SourceLostError:
            raise
        except (VnaError, FileNotFoundError) as exc:
            _log.warning("an object cannot be read: %s", type(exc).__name__)
            return Result(task.source_key, "held", "UNREADABLE", type(exc).__name__)
        except OSError:
            raise  # the disk is full or gone: no other object would fare better
        except Exception as exc:  # noqa: BLE001 - the worker boundary; the message may quote a value, so only the place is logged
            frame = traceback.extract_tb(exc.__traceback__)[-1]
            _log.error("unforeseen %s in %s, line %s", type(exc).__name__, frame.name, frame.lineno)
            return Result(task.source_key, "held", "FAILED", type(exc).__name__)
        return self._result(task, made)

    def _result(self, task: Task, made: Made) -> Result:
        edited = made.edited
        found: dict[str, Any] = {"transfer_syntax_uid": made.transfer_syntax_uid}
        if edited is not None:
            found |= {
                "patient_id": edited.patient_id,
                "study_instance_uid": edited.study_instance_uid,
                "series_instance_uid": edited.series_instance_uid,
                "sop_instance_uid": edited.sop_instance_uid,
                "sop_class_uid": edited.sop_class_uid,
                "modality": edited.modality,
            }
        if made.hold is not None:
            return Result(task.source_key, "held", made.hold.code, made.hold.detail, **found)
        uids = {}
        if self.job.with_uids and edited is not None:
            uids = {old.decode("latin-1"): new.decode("latin-1") for old, new in edited.uids.items()}
        return Result(
            task.source_key,
            "written",
            path=made.path,
            size=made.size,
            sha256=made.sha256,
            cleaned=made.cleaned,
            released=made.released,
            actions=dict(made.actions),
            uids=uids,
            **found,
        )


def make_chunk(worker: Callable[[], Worker], tasks: Sequence[Task]) -> list[Result]:
    """De-identify a chunk of objects."""
    here = worker()
    return [here.make(task) for task in tasks]


Output = tuple[str, str, Known]
"""What is audited: the source key, the path in the cohort, and what is known of the patient."""


def audit_chunk(worker: Callable[[], Worker], outputs: Sequence[Output]) -> list[list[tuple[str, str, str]]]:
    """Audit a chunk of outputs; give (source key, kind, where) for each leak of each output."""
    job = worker().job
    assert job.target is not None
    dates_retained = bool(job.recipe.actions.options & {Profile.RETAIN_FULL_DATES, Profile.RETAIN_MODIFIED_DATES})
    found = []
    for source_key, path, known in outputs:
        leaks = audit_bytes((job.target / path).read_bytes(), known, dates_retained=dates_retained)
        found.append([(source_key, leak.kind, leak.where) for leak in leaks])
    return found
