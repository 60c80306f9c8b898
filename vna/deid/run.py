"""Run a de-identification: plan, de-identify in parallel, audit, and write what the cohort's users need.

Safe to repeat, and resumable: what an interrupted run finished is in ``.deid-progress.jsonl`` of the cohort and is not done
again. The same key, recipe and objects give the same files, whatever the number of workers and the order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
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
from vna.deid.work import Job, Output, Result, Worker, audit_chunk, make_chunk
from vna.errors import RefusedError
from vna.executors import Once, Workplace, spread
from vna.model import Progress, Report, silent

_CHUNK = 32


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

    A cluster's workers must reach the archive and the cohort by the same paths. An object of which a worker dies alone too is
    held; so is one of whose output the auditing worker dies. Raises RefusedError when the cohort was made with another recipe or
    key, or when the audit finds a known identifier in an output: such outputs are withdrawn, and no manifest is written. Raises
    ClusterError where no cluster answers, or it is lost.
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
    place = _place(options, len(plan.tasks))
    if options.dry_run:
        return _result(list(_make(place, job, plan.tasks, report)), options, 0, "", "")
    with Cohort.claim(options.target, options.recipe, options.key, options.crosswalk) as cohort:
        done = cohort.finished(plan)
        for result in _make(place, job, [task for task in plan.tasks if task.source_key not in done], report):
            cohort.record(result)
            done[result.source_key] = result
        results = [done[task.source_key] for task in plan.tasks]
        leaks, unaudited = _audit(place, job, plan, results, report)
        _withdraw(cohort, unaudited, "CRASHED", results)
        if leaks:
            _withdraw(cohort, {source_key for source_key, _, _ in leaks}, "AUDIT", results)
            raise _refused(leaks)
        manifest, report_path = cohort.publish(plan, results)
        return _result(results, options, cohort.resumed, str(manifest), str(report_path))


def _place(options: DeidOptions, objects: int) -> Workplace:
    """Choose no more workers than there are chunks, but at least two of several: this process would die of an object too."""
    workers = min(options.workers, max(2, -(-objects // _CHUNK)))
    return Workplace(workers, options.cluster)


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[at : at + _CHUNK] for at in range(0, len(items), _CHUNK))


def _make(place: Workplace, job: Job, tasks: Sequence[Task], report: Report) -> Iterator[Result]:
    """De-identify wherever the work is done, and give results as they come."""
    done = moved = 0
    sizes = {task.source_key: task.size for task in tasks}

    def died(task: Task) -> list[Result]:
        return [Result(task.source_key, "held", "CRASHED")]

    for results in spread(partial(make_chunk, Once(partial(Worker, job))), _chunks(tasks), place, died):
        for result in results:
            done, moved = done + 1, moved + sizes[result.source_key]
            yield result
        report(Progress("de-identify", done, len(tasks), "instances", moved))


def _audit(
    place: Workplace, job: Job, plan: Plan, results: Sequence[Result], report: Report
) -> tuple[list[tuple[str, str, str]], set[str]]:
    """Give what the audit found, and the source keys of the outputs of which its worker died."""
    outputs = [(result.source_key, result.path, plan.known[result.source_key]) for result in results if result.state == "written"]
    leaks: list[tuple[str, str, str]] = []
    unaudited: set[str] = set()
    done = 0

    def died(output: Output) -> list[list[tuple[str, str, str]]]:
        unaudited.add(output[0])
        return [[]]

    for found in spread(partial(audit_chunk, Once(partial(Worker, job))), _chunks(outputs), place, died):
        leaks += [leak for each in found for leak in each]
        done += len(found)
        report(Progress("audit", done, len(outputs), "instances"))
    return sorted(leaks), unaudited


def _withdraw(cohort: Cohort, source_keys: Collection[str], code: str, results: list[Result]) -> None:
    """Take outputs back, and hold their objects."""
    for number, result in enumerate(results):
        if result.source_key in source_keys:
            cohort.withdraw(result)
            results[number] = replace(result, state="held", code=code, path="", size=0, sha256="")
            cohort.record(results[number])


def _refused(leaks: Sequence[tuple[str, str, str]]) -> RefusedError:
    places = Counter(f"{kind} in {where}" for _, kind, where in leaks)
    listed = "; ".join(f"{place} ({count})" for place, count in places.most_common(8))
    outputs = len({source_key for source_key, _, _ in leaks})
    return RefusedError(
        f"the audit found identifiers in {outputs} outputs, which were withdrawn: {listed}",
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
