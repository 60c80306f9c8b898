"""Write revisions, and take them back."""

from __future__ import annotations

import getpass
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from vna.archive import Archive
from vna.archive.effective import edited_elements, read_stored
from vna.archive.revisions import Group, Revision, all_revisions, put_revision
from vna.correct.exclusive import correcting
from vna.correct.plan import FILEABLE, PlannedObject, PlannedStudy, Tally, check_policy, planned_studies
from vna.correct.request import Rule
from vna.correct.result import CorrectOptions, CorrectResult
from vna.correct.uids import follow
from vna.errors import RefusedError
from vna.model import Progress, Report, silent
from vna.part10.original import Attribution

_SOP_INSTANCE_UID = (0x00080018,)


def apply(archive: Archive, rules: Sequence[Rule], options: CorrectOptions, report: Report = silent) -> CorrectResult:
    """Write one revision for each study that a rule changes, the rules one after the other.

    Idempotent: what is in place already is not changed again. Each revision is durable before the next begins; a run that was
    killed goes on where it stopped. Where a rule changes UIDs, references to them follow in the same run, by revisions of the
    referring studies (:mod:`vna.correct.uids`). Raises RefusedError, before anything is written, where the rules would touch more
    studies than ``options.threshold`` allows, or do to UIDs what ``options.uids`` does not; LockedError while another correction
    of the archive is at work.
    """
    begun = time.monotonic()
    tally = Tally()
    for rule in rules:
        check_policy(rule, options)
    with correcting(archive):
        for rule in rules:
            _apply_rule(archive, rule, options, tally, report)
    return tally.result(time.monotonic() - begun)


def _apply_rule(archive: Archive, rule: Rule, options: CorrectOptions, tally: Tally, report: Report) -> None:
    attribution = Attribution(options.modifying_system, _date_time(), rule.reason, rule.source)
    due = [study for study in planned_studies(archive, rule, options, attribution) if study.objects or study.refusals]
    _guard(archive, rule, sum(bool(study.objects) for study in due), options)
    if rule.changes_uids:
        due = follow(archive, due, options.uids)
    run = uuid.uuid4().hex if rule.changes_uids and sum(bool(study.objects) for study in due) > 1 else ""
    for number, study in enumerate(due, 1):
        if study.objects:
            put_revision(archive.store, _revision(study, options, attribution, run), after=study.revision)
        tally.add(study, revisions=1 if study.objects else 0)
        report(Progress("correct", number, len(due)))
    archive.sync_revisions()


def revert(
    archive: Archive, options: CorrectOptions, *, number: int | None = None, dry_run: bool = False, report: Report = silent
) -> CorrectResult:
    """Take back active revisions: the one of that number of each selected study, or without a number all of them.

    What leaves afterwards is as it was before, byte for byte. Revisions of other studies that belong to the same run - a UID and
    the references to it - go with them. Raises RefusedError where a later revision needs one that would go, or where an object
    would come back to a UID that another one has by now; LockedError while another correction of the archive is at work.
    """
    begun = time.monotonic()
    with correcting(archive, dry_run=dry_run):
        due = _due_for_revert(archive, options, number)
        last = {study: _check_revert(archive, study, found) for study, found in due.items()}
        for done, (study, found) in enumerate(due.items(), 1):
            for revision in reversed(found):
                if not dry_run:
                    last[study] = put_revision(archive.store, _reversal(study, revision, options), after=last[study]).number
            report(Progress("revert", done, len(due)))
        if due and not dry_run:
            archive.sync_revisions()
    reverted = [revision for found in due.values() for revision in found]
    objects = {digest for revision in reverted for digest in revision.objects}
    changes = sum(len(group.objects) * (len(group.changes) + len(group.uids)) for each in reverted for group in each.groups)
    return CorrectResult(len(due), len(objects), changes, len(reverted), 0, seconds=time.monotonic() - begun)


def _due_for_revert(archive: Archive, options: CorrectOptions, number: int | None) -> dict[str, list[Revision]]:
    """Give the active revisions to take back, by study; those of the same runs included, also of runs taken back in part."""
    if options.where or options.studies:
        rows = archive.select(options.where, options.studies, ("received_StudyInstanceUID",))
        selected = sorted({str(row["received_StudyInstanceUID"]) for row in rows})
    else:
        selected = sorted(each.all[0].study_instance_uid for each in all_revisions(archive.store))
    due: dict[str, list[Revision]] = {}
    runs: set[str] = set()
    for study in selected:
        revisions = archive.revisions(study)
        held = [each for each in revisions.active if number in (None, each.number)]
        if held:
            due[study] = held
        runs |= {each.run for each in held if each.run}
        runs |= {
            each.run for each in revisions.all if each.run and each not in revisions.active and number in (None, each.number)
        }
    if runs:
        for revisions in all_revisions(archive.store):
            for each in revisions.active:
                found = due.setdefault(each.study_instance_uid, [])
                if each.run in runs and each not in found:
                    found.append(each)
    return {study: sorted(found, key=lambda each: each.number) for study, found in due.items() if found}


def _check_revert(archive: Archive, study: str, due: Sequence[Revision]) -> int:
    """Make sure that what would be left can be applied, and that no UID would then stand for two objects.

    Gives the number of the last revision that this was judged by.
    """
    revisions = archive.revisions(study)
    left = revisions.without(frozenset(each.number for each in due))
    moved: list[str] = []
    for digest in sorted({digest for each in due for digest in each.objects}):
        if any(change.path == _SOP_INSTANCE_UID for each in revisions.standing(digest) for change in each.group.changes):
            moved.append(digest)
        if left.standing(digest):
            row = archive.query("SELECT path FROM instances WHERE sha256 = unhex(?)", [digest])[0]
            with archive.open_object(row["path"]) as file:
                try:
                    edited_elements(read_stored(file), left.standing(digest))
                except RefusedError as exc:
                    raise RefusedError(
                        f"a later revision of study {study} needs the one to revert: {exc}", hint="revert the later one too"
                    ) from exc
    if moved:
        sql = f"""
        SELECT count(*) AS n FROM instances a JOIN instances b ON b.SOPInstanceUID = a.received_SOPInstanceUID
        WHERE list_contains(?, lower(hex(a.sha256))) AND b.sha256 <> a.sha256 AND b.{FILEABLE} AND a.received_{FILEABLE}
        """
        if archive.query(sql, [moved])[0]["n"]:
            raise RefusedError("an object would come back to a SOP Instance UID that another one has by now")
    return revisions.last


def _guard(archive: Archive, rule: Rule, touched: int, options: CorrectOptions) -> None:
    if rule.by_study is not None or touched <= options.few:  # decisions name each study, so none is touched by mistake
        return
    total = int(archive.query("SELECT count(DISTINCT received_StudyInstanceUID) AS n FROM instances")[0]["n"])
    if total and touched / total > options.threshold:
        raise RefusedError(
            f"rule {rule.name} would change {touched:,} of {total:,} studies, more than {options.threshold:.0%}",
            hint="look at `vna correct plan`; --threshold 1.0 allows it",
        )


def _revision(study: PlannedStudy, options: CorrectOptions, attribution: Attribution, run: str) -> Revision:
    alike: dict[str, list[PlannedObject]] = {}
    for planned in study.objects:
        alike.setdefault(repr((planned.changes, planned.uids)), []).append(planned)
    groups = tuple(Group(tuple(each.sha256 for each in found), found[0].changes, found[0].uids) for found in alike.values())
    return Revision(
        study.study_instance_uid,
        0,
        _now(),
        options.by or user(),
        study.rule.name,
        attribution,
        groups,
        run=run,
        read_as=options.fallback_character_set,
    )


def _reversal(study: str, revision: Revision, options: CorrectOptions) -> Revision:
    return Revision(
        study,
        0,
        _now(),
        options.by or user(),
        "revert",
        Attribution(options.modifying_system, _date_time()),
        reverts=revision.number,
    )


def user() -> str:
    """Name whoever runs this, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _date_time() -> str:
    """Give the time as a DT with its offset from UTC (PS3.5 6.2)."""
    return datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f+0000")
