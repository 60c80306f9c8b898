"""Write revisions, and take them back."""

from __future__ import annotations

import getpass
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from vna.archive import Archive
from vna.archive.revisions import Group, Revision, all_revisions, put_revision
from vna.correct.plan import PlannedStudy, Tally, planned_studies
from vna.correct.request import Rule
from vna.correct.result import CorrectOptions, CorrectResult
from vna.errors import RefusedError
from vna.model import Progress, Report, silent
from vna.part10.original import Attribution


def apply(archive: Archive, rules: Sequence[Rule], options: CorrectOptions, report: Report = silent) -> CorrectResult:
    """Write one revision for each study that a rule changes, the rules one after the other.

    Idempotent: what is in place already is not changed again. Each revision is durable before the next begins; a run that was
    killed goes on where it stopped. Raises RefusedError, before anything is written, where the rules would touch more studies
    than ``options.threshold`` allows.
    """
    begun = time.monotonic()
    tally = Tally()
    for rule in rules:
        attribution = Attribution(options.modifying_system, _date_time(), rule.reason, rule.source)
        due = [study for study in planned_studies(archive, rule, options, attribution) if study.objects or study.refusals]
        _guard(archive, rule, sum(bool(study.objects) for study in due), options)
        for number, study in enumerate(due, 1):
            if study.objects:
                put_revision(archive.store, _revision(study, options, attribution))
            tally.add(study, revisions=1 if study.objects else 0)
            report(Progress("correct", number, len(due)))
        archive.sync_revisions()
    return tally.result(time.monotonic() - begun)


def revert(
    archive: Archive, options: CorrectOptions, *, number: int | None = None, dry_run: bool = False, report: Report = silent
) -> CorrectResult:
    """Take back active revisions: the one of that number of each selected study, or without a number all of them.

    What leaves afterwards is as it was before, byte for byte. Raises ConfigError for a selection that names no study.
    """
    begun = time.monotonic()
    if options.where:
        rows = archive.select(options.where, options.studies, ("received_StudyInstanceUID",))
        studies = sorted({str(row["received_StudyInstanceUID"]) for row in rows})
    else:
        studies = list(options.studies) or sorted(each.all[0].study_instance_uid for each in all_revisions(archive.store))
    objects: set[str] = set()
    touched = changes = written = 0
    for done, study in enumerate(studies, 1):
        held = [each for each in archive.revisions(study).active if number in (None, each.number)]
        for revision in reversed(held):
            if not dry_run:
                put_revision(archive.store, _reversal(revision, options))
            written += 1
            objects |= revision.objects
            changes += sum(len(group.objects) * len(group.changes) for group in revision.groups)
        touched += bool(held)
        report(Progress("revert", done, len(studies)))
    if written and not dry_run:
        archive.sync_revisions()
    return CorrectResult(touched, len(objects), changes, written, 0, seconds=time.monotonic() - begun)


def _guard(archive: Archive, rule: Rule, touched: int, options: CorrectOptions) -> None:
    if touched <= options.few:
        return
    total = int(archive.query("SELECT count(DISTINCT received_StudyInstanceUID) AS n FROM instances")[0]["n"])
    if total and touched / total > options.threshold:
        raise RefusedError(
            f"rule {rule.name} would change {touched:,} of {total:,} studies, more than {options.threshold:.0%}",
            hint="look at `vna correct plan`; --threshold 1.0 allows it",
        )


def _revision(study: PlannedStudy, options: CorrectOptions, attribution: Attribution) -> Revision:
    alike: dict[str, list[str]] = {}
    changes = {}
    for planned in study.objects:
        key = repr(planned.changes)
        alike.setdefault(key, []).append(planned.sha256)
        changes[key] = planned.changes
    groups = tuple(Group(tuple(digests), changes[key]) for key, digests in alike.items())
    return Revision(
        study.study_instance_uid,
        0,
        _now(),
        options.by or _user(),
        study.rule.name,
        attribution,
        groups,
        read_as=options.fallback_character_set,
    )


def _reversal(revision: Revision, options: CorrectOptions) -> Revision:
    return Revision(
        revision.study_instance_uid,
        0,
        _now(),
        options.by or _user(),
        "revert",
        Attribution(options.modifying_system, _date_time()),
        reverts=revision.number,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _date_time() -> str:
    """Give the time as a DT with its offset from UTC (PS3.5 6.2)."""
    return datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f+0000")
