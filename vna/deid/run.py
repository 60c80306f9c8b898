"""Run a de-identification: plan, de-identify in parallel, audit, and write what the cohort's users need.

Safe to repeat, and resumable: what an interrupted run finished is in ``.deid-progress.jsonl`` of the cohort and is not done
again. The same key, recipe and objects give the same files, whatever the number of workers and the order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from vna.deid.cohort import Cohort
from vna.deid.pixels import PixelPolicy
from vna.deid.plan import Plan, Task, make_plan
from vna.deid.recipe import Recipe
from vna.deid.source import Source
from vna.deid.table import Profile
from vna.deid.values import Key
from vna.deid.work import Job, Result, Worker, audit_chunk, make_chunk
from vna.errors import RefusedError
from vna.executors import Once, Pool, Workplace, opened
from vna.model import Progress, Report, silent

_CHUNK = 32
_WAITING_CHUNKS = 4


@dataclass(frozen=True, slots=True)
class DeidOptions:
    """What a run is asked to do. ``released`` are source UIDs whose pixels a person has looked at and found without text."""

    recipe: Recipe
    key: Key
    target: Path
    policy: PixelPolicy = field(default_factory=PixelPolicy)
    crosswalk: Path | None = None
    workers: int = 1
    dry_run: bool = False
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class DeidResult:
    """What a run did. ``held`` counts by reason code; ``leaks`` are what the audit found (kind and element, never values)."""

    instances: int
    written: int
    held: dict[str, int]
    manifest: str
    report: str
    bytes: int
    actions: dict[str, int]
    key_id: str
    resumed: int

    def as_json(self) -> dict[str, Any]:
        """Give the contract's keys first."""
        return {
            "instances": self.instances,
            "written": self.written,
            "quarantined": sum(self.held.values()),
            "manifest": self.manifest,
            "held": self.held,
            "report": self.report,
            "bytes": self.bytes,
            "actions": self.actions,
            "key_id": self.key_id,
            "resumed": self.resumed,
        }


def run(source: Source, options: DeidOptions, report: Report = silent) -> DeidResult:
    """De-identify what ``source`` selects into the cohort ``options.target``, in processes or on a Dask cluster.

    A cluster's workers must reach the archive and the cohort by the same paths. Raises RefusedError when the cohort was made with
    another recipe or key, or when the audit finds a known identifier in an output: such outputs are withdrawn, and no manifest is
    written. Raises ClusterError where no cluster answers, or it is lost.
    """
    plan = make_plan(source.rows(), options.key, retain_uids=Profile.RETAIN_UIDS in options.recipe.actions.options)
    job = Job(
        options.recipe,
        options.key,
        options.policy,
        source,
        None if options.dry_run else options.target,
        options.crosswalk is not None,
    )
    # Starting a process costs more than a chunk of objects takes.
    workers = max(1, min(options.workers, -(-len(plan.tasks) // _CHUNK)))
    with opened(Workplace(workers, options.cluster)) as pool:
        if options.dry_run:
            results = list(_make(pool, job, plan.tasks, report))
            return _result(results, options, 0, "", "")
        with Cohort.claim(options.target, options.recipe, options.key, options.crosswalk) as cohort:
            done = cohort.finished(plan)
            for result in _make(pool, job, [task for task in plan.tasks if task.source_key not in done], report):
                cohort.record(result)
                done[result.source_key] = result
            results = [done[task.source_key] for task in plan.tasks]
            leaks = _audit(pool, job, plan, results, report)
            if leaks:
                _withdraw(cohort, leaks, results)
            manifest, report_path = cohort.publish(plan, results)
            return _result(results, options, cohort.resumed, str(manifest), str(report_path))


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[at : at + _CHUNK] for at in range(0, len(items), _CHUNK))


def _make(pool: Pool, job: Job, tasks: Sequence[Task], report: Report) -> Iterator[Result]:
    """De-identify in the pool and give results as they come."""
    done = moved = 0
    sizes = {task.source_key: task.size for task in tasks}
    for results in _in_pool(pool, make_chunk, job, tasks):
        for result in results:
            done, moved = done + 1, moved + sizes[result.source_key]
            yield result
        report(Progress("de-identify", done, len(tasks), "instances", moved))


def _audit(pool: Pool, job: Job, plan: Plan, results: Sequence[Result], report: Report) -> list[tuple[str, str, str]]:
    outputs = [(result.source_key, result.path, plan.known[result.source_key]) for result in results if result.state == "written"]
    leaks: list[tuple[str, str, str]] = []
    done = 0
    for found in _in_pool(pool, audit_chunk, job, outputs):
        leaks += found
        done = min(len(outputs), done + _CHUNK)
        report(Progress("audit", done, len(outputs), "instances"))
    return sorted(leaks)


def _in_pool(pool: Pool, function: Callable[..., Any], job: Job, items: Sequence[Any]) -> Iterator[Any]:
    """Keep a few chunks a worker waiting, so that memory does not grow with the selection."""
    call = partial(function, Once(partial(Worker, job)))
    for _, future in pool.run(call, _chunks(items), ahead=_WAITING_CHUNKS):
        yield future.result()


def _withdraw(cohort: Cohort, leaks: list[tuple[str, str, str]], results: list[Result]) -> None:
    leaking = {source_key for source_key, _, _ in leaks}
    for number, result in enumerate(results):
        if result.source_key in leaking:
            cohort.withdraw(result)
            results[number] = replace(result, state="held", code="AUDIT", path="", size=0, sha256="")
            cohort.record(results[number])
    places = Counter(f"{kind} in {where}" for _, kind, where in leaks)
    listed = "; ".join(f"{place} ({count})" for place, count in places.most_common(8))
    raise RefusedError(
        f"the audit found identifiers in {len(leaking)} outputs, which were withdrawn: {listed}",
        hint="remove these attributes by a line of the recipe (REMOVE ...), or leave these objects out by --where",
    )


def _result(results: Sequence[Result], options: DeidOptions, resumed: int, manifest: str, report: str) -> DeidResult:
    actions: Counter[str] = Counter()
    for result in results:
        if result.state == "written":
            actions.update(result.actions)
    return DeidResult(
        len(results),
        sum(result.state == "written" for result in results),
        dict(sorted(Counter(result.code for result in results if result.state == "held").items())),
        manifest,
        report,
        sum(result.size for result in results),
        dict(sorted(actions.items())),
        options.key.key_id,
        resumed,
    )
