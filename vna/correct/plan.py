"""Which objects differ from what the rules want, and in what: read from the headers themselves, changing nothing."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vna.archive import Archive
from vna.archive.effective import edited_elements, read_stored
from vna.archive.revisions import ElementChange, StudyRevisions
from vna.correct.exclusive import correcting
from vna.correct.request import Assignment, Rule, values_problem
from vna.correct.result import CorrectOptions, CorrectResult, UidPolicy
from vna.errors import ConfigError, RefusedError, VnaError
from vna.model import Outcome, Progress, Report, silent
from vna.part10.edit import Change, edit_elements
from vna.part10.elements import Encoding, StructureError
from vna.part10.json_model import element_json
from vna.part10.original import Attribution
from vna.part10.raw import RawElement, by_tag, declared_character_set, read_elements, read_items
from vna.part10.values import CharacterSetError

_COLUMNS = ("sha256", "path", "received_StudyInstanceUID", "study_hash", "revision")
FILEABLE = "status IN ('stored', 'flagged')"
"""What may be corrected: everything but variants and quarantine."""


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """One object with the changes that one rule asks for and that are not in place yet."""

    sha256: str
    path: str
    changes: tuple[ElementChange, ...]
    uids: Mapping[str, str] = field(default_factory=dict)
    """New UIDs (old -> new) of other objects, which its references follow."""


@dataclass(frozen=True, slots=True)
class PlannedStudy:
    """One study (by the UID received) with what one rule changes in it, and what it was refused.

    ``revision`` is the last one that it was planned by.
    """

    study_instance_uid: str
    rule: Rule
    objects: tuple[PlannedObject, ...]
    refusals: tuple[Outcome, ...]
    seen: int
    revision: int


def plan(archive: Archive, rules: Sequence[Rule], options: CorrectOptions, report: Report = silent) -> CorrectResult:
    """Say what :func:`vna.correct.apply` would change, with every rule judged by the archive as it stands. Changes nothing.

    Raises ConfigError for SQL that cannot be understood.
    """
    from vna.correct.uids import follow

    begun = time.monotonic()
    tally = Tally()
    attribution = Attribution(options.modifying_system, "", "CORRECT", "")
    with correcting(archive, dry_run=True):
        for rule in rules:
            check_policy(rule, options)
            found: Iterable[PlannedStudy] = planned_studies(archive, rule, options, attribution)
            if rule.changes_uids:
                found = follow(archive, list(found), options.uids)
            for number, study in enumerate(found, 1):
                tally.add(study, revisions=1 if study.objects else 0)
                report(Progress("plan", number, unit="studies"))
    return tally.result(time.monotonic() - begun)


def check_policy(rule: Rule, options: CorrectOptions) -> None:
    """Refuse a rule that changes UIDs where the options do not allow that."""
    if rule.changes_uids and options.uids is UidPolicy.REFUSE:
        raise RefusedError(
            f"rule {rule.name} changes UIDs by which objects are known and referred to",
            hint="--uids new gives UIDs that the archive does not hold; --uids merge also joins existing studies and series",
        )


def planned_studies(archive: Archive, rule: Rule, options: CorrectOptions, attribution: Attribution) -> Iterator[PlannedStudy]:
    """Yield the studies that a rule selects, with what it changes in each."""
    given = 0
    for study, rows in itertools.groupby(selected(archive, rule, options), key=lambda row: row["received_StudyInstanceUID"]):
        planned = _study(archive, rule, options, attribution, str(study), list(rows))
        yield planned
        given += bool(planned.objects)
        if options.limit is not None and given >= options.limit:
            return


def selected(archive: Archive, rule: Rule, options: CorrectOptions) -> list[dict[str, Any]]:
    """Select the objects that a rule may change, by study, each with its computed values as ``value_<n>``."""
    conditions = [FILEABLE]
    conditions += [f"({text}\n)" for text in (options.where, rule.where) if text]
    params: list[object] = []
    chosen = options.studies
    if rule.by_study is not None:
        chosen = tuple(study for study in rule.by_study if not chosen or study in chosen)
    if chosen or rule.by_study is not None:
        conditions.append("list_contains(?, received_StudyInstanceUID)")
        params.append(list(chosen))
    computed = [f", ({each.sql}\n) AS value_{number}" for number, each in enumerate(rule.assignments) if each.sql]
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    sql = f"SELECT {names}{''.join(computed)} FROM instances WHERE {' AND '.join(conditions)}"
    return archive.query(f"{sql} ORDER BY study_hash, received_StudyInstanceUID, path", params)


def _study(
    archive: Archive, rule: Rule, options: CorrectOptions, attribution: Attribution, study: str, rows: list[dict[str, Any]]
) -> PlannedStudy:
    revisions = archive.revisions(study)
    objects, refusals = [], []
    for row in rows:
        try:
            planned = _object(archive, rule, options, attribution, revisions, row)
        except VnaError as exc:
            refusals.append(Outcome(row["sha256"], "refused", type(exc).__name__, str(exc)))
            continue
        if planned is not None:
            objects.append(planned)
    return PlannedStudy(study, rule, tuple(objects), tuple(refusals), len(rows), revisions.last)


def is_shown(revisions: StudyRevisions, row: Mapping[str, Any]) -> bool:
    """Tell whether a row of the view shows its object as it stands: another machine may have corrected it since."""
    return (row["revision"] or 0) == revisions.number(row["sha256"])


def _object(
    archive: Archive,
    rule: Rule,
    options: CorrectOptions,
    attribution: Attribution,
    revisions: StudyRevisions,
    row: Mapping[str, Any],
) -> PlannedObject | None:
    """Compare one object, as its revisions leave it, with what the rule wants. Raises VnaError where it cannot be changed."""
    if not is_shown(revisions, row):
        raise RefusedError("the index shows it by another revision than stands", hint="repeat the command")
    with archive.open_object(row["path"]) as file:
        stored = read_stored(file)
    before, encoding = edited_elements(stored, revisions.standing(row["sha256"])), stored.encoding
    study = str(row["received_StudyInstanceUID"])
    wanted = [_wanted(assignment, row, number) for number, assignment in enumerate(rule.assignments_of(study))]
    try:
        result = edit_elements(
            before,
            encoding,
            wanted,
            attribution,
            fallback_character_set=options.fallback_character_set.encode("ascii", "replace"),
        )
    except (StructureError, CharacterSetError, ValueError) as exc:
        raise RefusedError(f"{type(exc).__name__}: {exc}") from exc
    due = []
    for change in wanted if result.changed else ():
        old, new = (_json_of(elements, change.path, encoding) for elements in (before, result.elements))
        if old != new:
            due.append(ElementChange(change.path, change.vr, new, old))
    return PlannedObject(row["sha256"], row["path"], tuple(due)) if due else None


def _wanted(assignment: Assignment, row: Mapping[str, Any], number: int) -> Change:
    if not assignment.sql:
        return Change(assignment.path, assignment.vr, assignment.values)
    value = row[f"value_{number}"]
    if value is None or value == "":
        if problem := values_problem(assignment.path, assignment.vr, ()):
            raise RefusedError(f"{assignment.name}: its SQL gives nothing: {problem}")
        return Change(assignment.path, assignment.vr, ())
    if not isinstance(value, str | int | float):
        raise ConfigError(f"{assignment.name}: its SQL gives {type(value).__name__}, not text or a number")
    values = tuple(value.split("\\")) if isinstance(value, str) else (value,)
    if problem := values_problem(assignment.path, assignment.vr, values):
        raise RefusedError(f"{assignment.name}: its SQL gives something else: {problem}")
    return Change(assignment.path, assignment.vr, values)


def _json_of(elements: Sequence[RawElement], path: tuple[int, ...], encoding: Encoding) -> dict[str, Any] | None:
    """Give the element at a path as JSON, None where it is absent."""
    level, here = by_tag(elements), encoding
    charset = declared_character_set(level)
    for tag, number in zip(path[:-1:2], path[1::2], strict=True):
        sequence = level.get(tag)
        items = read_items(sequence, here) if sequence is not None else []
        if number >= len(items):
            return None
        level, here = by_tag(read_elements(items[number].content, items[number].encoding)), items[number].encoding
        charset = declared_character_set(level, charset)
    found = level.get(path[-1])
    return None if found is None else element_json(found, here, charset)


class Tally:
    """Adds up what rules change in studies."""

    def __init__(self) -> None:
        self._studies: set[str] = set()
        self._objects: set[str] = set()
        self._elements: Counter[str] = Counter()
        self._refusals: list[Outcome] = []
        self._revisions = 0

    def add(self, study: PlannedStudy, *, revisions: int) -> None:
        """Count one study under one rule."""
        self._refusals += study.refusals
        self._revisions += revisions
        if study.objects:
            self._studies.add(study.study_instance_uid)
        names = {each.path: each.name for each in study.rule.assignments_of(study.study_instance_uid)}
        for planned in study.objects:
            self._objects.add(planned.sha256)
            self._elements.update(names[change.path] for change in planned.changes)
            if planned.uids:
                self._elements["references"] += len(planned.uids)

    def result(self, seconds: float) -> CorrectResult:
        """Sum up."""
        return CorrectResult(
            studies=len(self._studies),
            instances=len(self._objects),
            changes=self._elements.total(),
            revisions=self._revisions,
            refused=len(self._refusals),
            refusals=tuple(self._refusals),
            by_element=dict(self._elements),
            seconds=seconds,
        )
