"""Changing the UIDs by which objects are known: what is allowed, and how references follow.

Nouns: move (an object that gets another Study, Series, SOP Instance or Frame of Reference UID), follower (an object that refers
to a moved one and gets the new UIDs in the same run).

Nothing is overwritten and nothing left dangling: a UID that is taken is refused, and so is a move that would tear a study or a
series in two that some object refers to as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vna.archive import Archive
from vna.archive.effective import edited_elements, read_stored
from vna.correct.plan import FILEABLE, PlannedObject, PlannedStudy
from vna.correct.result import UidPolicy
from vna.errors import RefusedError
from vna.part10.elements import StructureError
from vna.part10.references import Reference, references

STUDY, SERIES, SOP, FRAME = 0x0020000D, 0x0020000E, 0x00080018, 0x00200052
_KEYWORDS = {STUDY: "StudyInstanceUID", SERIES: "SeriesInstanceUID", SOP: "SOPInstanceUID", FRAME: "FrameOfReferenceUID"}
_COLUMNS = ("sha256", "path", "received_StudyInstanceUID", *_KEYWORDS.values(), "PatientID")
_REFERRING = r"^1\.2\.840\.10008\.5\.1\.4\.(1\.1\.(11|66|67|68|69|88|104|481)(\.|$)|34\.|38\.|43\.|44\.|45\.)"
"""SOP classes whose objects are about others: presentation states, segmentations, registrations, value maps, structured reports
and key objects, encapsulated documents, radiotherapy, hanging protocols and the like."""


@dataclass(frozen=True, slots=True)
class Move:
    """One object's UIDs before and after, by tag, and its patient."""

    sha256: str
    old: Mapping[int, str]
    new: Mapping[int, str]
    patient_id: str

    def changes(self, tag: int) -> bool:
        """Whether it gets another UID at this level."""
        return self.old[tag] != self.new[tag]


def follow(archive: Archive, planned: Sequence[PlannedStudy], policy: UidPolicy) -> list[PlannedStudy]:
    """Check the moves of a rule and add the followers to its plan; those come first, so that a run that dies can be repeated.

    Raises RefusedError, naming what stands in the way, before anything is written.
    """
    moves = _moves(archive, planned)
    if not moves:
        return list(planned)
    _check(archive, moves, policy)
    followers = _Followers(archive, moves)
    uids = {row["sha256"]: (row, mapping) for row, mapping in followers.find()}
    result = [_with_uids(study, uids) for study in planned]
    others: dict[str, list[PlannedObject]] = defaultdict(list)
    for digest, (row, mapping) in uids.items():
        others[str(row["received_StudyInstanceUID"])].append(PlannedObject(digest, row["path"], (), mapping))
    known = {study.study_instance_uid for study in result if study.objects}
    result = [replace(study, objects=(*study.objects, *others.pop(study.study_instance_uid, ()))) for study in result]
    rule = planned[0].rule
    following = [
        PlannedStudy(study, rule, tuple(found), (), 0, followers.last[study])
        for study, found in others.items()
        if study not in known
    ]
    return [*following, *result]


def _with_uids(study: PlannedStudy, uids: dict[str, tuple[dict[str, Any], dict[str, str]]]) -> PlannedStudy:
    objects = tuple(replace(each, uids=uids.pop(each.sha256)[1]) if each.sha256 in uids else each for each in study.objects)
    return replace(study, objects=objects)


def _moves(archive: Archive, planned: Sequence[PlannedStudy]) -> dict[str, Move]:
    """Gather the objects whose UIDs change, by digest."""
    targets: dict[str, dict[int, str]] = {}
    patients: dict[str, str] = {}
    for study in planned:
        for each in study.objects:
            for change in each.changes:
                if change.path[0] in _KEYWORDS and len(change.path) == 1 and change.new:
                    targets.setdefault(each.sha256, {})[change.path[0]] = str(change.new.get("Value", [""])[0])
                if change.path == (0x00100020,):
                    patients[each.sha256] = str((change.new or {}).get("Value", [""])[0])
    moves = {}
    for row in _rows(archive, "list_contains(?, lower(hex(sha256)))", [sorted(targets)]):
        old = {tag: str(row[keyword] or "") for tag, keyword in _KEYWORDS.items()}
        patient = patients.get(row["sha256"], str(row["PatientID"] or ""))
        moves[row["sha256"]] = Move(row["sha256"], old, {**old, **targets[row["sha256"]]}, patient)
    return moves


def _rows(archive: Archive, condition: str, params: Sequence[object]) -> list[dict[str, Any]]:
    names = ", ".join(_COLUMNS)
    return archive.query(f"SELECT {names} FROM instances WHERE {FILEABLE} AND ({condition}) ORDER BY study_hash, path", params)


def _check(archive: Archive, moves: Mapping[str, Move], policy: UidPolicy) -> None:
    """Refuse what would give two objects one UID, put a series into two studies, or mix patients."""
    new = {tag: sorted({move.new[tag] for move in moves.values()}) for tag in _KEYWORDS}
    condition = " OR ".join(f"list_contains(?, {_KEYWORDS[tag]})" for tag in (STUDY, SERIES, SOP))
    staying = [row for row in _rows(archive, condition, [new[STUDY], new[SERIES], new[SOP]]) if row["sha256"] not in moves]
    taken = {row["SOPInstanceUID"] for row in staying}
    seen: set[str] = set()
    for move in moves.values():
        if move.new[SOP] in seen or (move.changes(SOP) and move.new[SOP] in taken):
            raise RefusedError(
                f"the SOP Instance UID {move.new[SOP]} would stand for two objects",
                hint="a rules file can compute one for each object; for objects that share one: `vna correct variants`",
            )
        seen.add(move.new[SOP])
    _check_joins(moves.values(), staying, policy)
    studies: dict[str, set[str]] = defaultdict(set)
    for series, study in _placed(moves.values(), staying):
        studies[series].add(study)
    torn = next((series for series, found in studies.items() if len(found) > 1), None)
    if torn is not None:
        raise RefusedError(
            f"the series {torn} would stand in two studies", hint="select all of it, or give the part a new series UID"
        )


def _placed(moves: Iterable[Move], staying: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for move in moves:
        yield move.new[SERIES], move.new[STUDY]
    for row in staying:
        yield str(row["SeriesInstanceUID"]), str(row["StudyInstanceUID"])


def _check_joins(moves: Iterable[Move], staying: Sequence[Mapping[str, Any]], policy: UidPolicy) -> None:
    patients: dict[str, set[str]] = defaultdict(set)
    series = {str(row["SeriesInstanceUID"]) for row in staying}
    for row in staying:
        patients[str(row["StudyInstanceUID"])].add(str(row["PatientID"] or ""))
    for move in moves:
        joins = (move.changes(STUDY) and move.new[STUDY] in patients) or (move.changes(SERIES) and move.new[SERIES] in series)
        if joins and policy is not UidPolicy.MERGE:
            raise RefusedError(
                f"the archive holds study {move.new[STUDY]} or series {move.new[SERIES]} already", hint="--uids merge joins them"
            )
        if move.changes(STUDY) and patients.get(move.new[STUDY], {move.patient_id}) != {move.patient_id}:
            raise RefusedError(
                f"study {move.new[STUDY]} would have two patients", hint="correct the Patient ID in the same rule, or before"
            )


class _Followers:
    """Finds the objects that refer to moved ones, and says by which UIDs their references go from now on."""

    def __init__(self, archive: Archive, moves: Mapping[str, Move]) -> None:
        self._archive = archive
        self._moves = moves
        self._by_sop = {move.old[SOP]: move for move in moves.values()}
        self._old = {tag: sorted({move.old[tag] for move in moves.values() if move.old[tag]}) for tag in _KEYWORDS}
        condition = " OR ".join(f"list_contains(?, {_KEYWORDS[tag]})" for tag in (STUDY, FRAME))
        self._staying = [
            row for row in _rows(archive, condition, [self._old[STUDY], self._old[FRAME]]) if row["sha256"] not in moves
        ]
        self._stays = {str(row["SOPInstanceUID"]): {tag: str(row[_KEYWORDS[tag]]) for tag in _KEYWORDS} for row in self._staying}
        self._whole = {tag: dict(self._moved_as_one(tag)) for tag in (STUDY, SERIES, FRAME)}
        self.last: dict[str, int] = {}
        """The revision of each study that was looked through, by its UID as received."""

    def _moved_as_one(self, tag: int) -> Iterator[tuple[str, str]]:
        """Yield the UIDs at a level all of whose objects get the same new one."""
        targets: dict[str, set[str]] = defaultdict(set)
        for move in self._moves.values():
            targets[move.old[tag]].add(move.new[tag])
        for row in self._staying:
            targets[str(row[_KEYWORDS[tag]] or "")].add(str(row[_KEYWORDS[tag]] or ""))
        for old, new in targets.items():
            if tag == FRAME and len(new) > 1:
                raise RefusedError(
                    f"the frame of reference {old} would be torn in two",
                    hint="select everything that is in that frame of reference",
                )
            if old and len(new) == 1 and old not in new:
                yield old, next(iter(new))

    def find(self) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
        """Yield each follower's row with its new UIDs, old -> new. Raises RefusedError for a reference that would be torn."""
        patients = sorted({str(move.patient_id) for move in self._moves.values()})
        condition = (
            "list_contains(?, StudyInstanceUID) OR list_contains(?, PatientID) OR list_contains(?, received_PatientID)"
            f" OR regexp_matches(SOPClassUID, '{_REFERRING}')"
        )
        for row in _rows(self._archive, condition, [self._old[STUDY], patients, patients]):
            uids = self._uids_of(row)
            if uids:
                yield row, uids

    def _uids_of(self, row: Mapping[str, Any]) -> dict[str, str]:
        study = str(row["received_StudyInstanceUID"])
        revisions = self._archive.revisions(study)
        self.last.setdefault(study, revisions.last)  # the first reading: what comes after it is noticed when this is written
        with self._archive.open_object(row["path"]) as file:
            try:
                stored = read_stored(file)
                found = list(references(edited_elements(stored, revisions.standing(row["sha256"])), stored.encoding))
            except (RefusedError, StructureError) as exc:
                raise RefusedError(
                    f"{row['path']} may refer to what moves, and cannot be read: {exc}",
                    hint="leave its patient out, or repair it",
                ) from exc
        uids = {each.uid: self._by_sop[each.uid].new[SOP] for each in found if each.uid in self._by_sop}
        for tag in (STUDY, SERIES, FRAME):
            uids |= {each.uid: self._whole[tag][each.uid] for each in found if each.uid in self._whole[tag]}
        for tag in (STUDY, SERIES):
            uids |= self._around(found, tag, row["path"])
        return {old: new for old, new in uids.items() if old != new}

    def _around(self, found: Sequence[Reference], tag: int, path: str) -> dict[str, str]:
        """Say what becomes of the study (or series) UIDs that stand around references to instances."""
        wanted: dict[str, set[str]] = defaultdict(set)
        for each in found:
            around = each.study_instance_uid if tag == STUDY else each.series_instance_uid
            if not around:
                continue
            if (move := self._by_sop.get(each.uid)) is not None and move.old[tag] == around:
                wanted[around].add(move.new[tag])
            elif self._stays.get(each.uid, {}).get(tag) == around:
                wanted[around].add(around)
            elif each.uid == "" and around in self._whole[tag]:
                wanted[around].add(self._whole[tag][around])
        torn = next((uid for uid, targets in wanted.items() if len(targets) > 1), None)
        if torn is not None:
            raise RefusedError(
                f"{path} refers to objects of {torn} that move and to others that stay", hint="move all of them, or none"
            )
        return {uid: next(iter(targets)) for uid, targets in wanted.items()}
