"""Revisions: numbered corrections of a study that stand beside its objects and are applied when an object leaves.

``revisions/<hh>/<StudyInstanceUID>/<N>.json`` is written once. A revision names its objects by digest and holds each changed
element's old and new value in the DICOM JSON Model (PS3.18 Annex F), the UIDs by which references go from now on, and for objects
that share a SOP Instance UID which of them stands for it. Taking one back is a revision too, which names the one that it reverts:
so every state of a study that was ever sent has a number of its own, and nothing is ever rewritten.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, cast

from vna.archive.layout import path_part, study_prefix
from vna.archive.revision_files import REVISIONS, revised_studies
from vna.errors import LockedError, StoreError
from vna.part10.edit import Change, interest
from vna.part10.json_model import json_values
from vna.part10.original import Attribution
from vna.part10.references import SOP_INSTANCE_UID
from vna.store import Store

FORMAT = 1
_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class ElementChange:
    """One element's old and new value for a set of objects; a value is a DICOM JSON element, None where there is none."""

    path: tuple[int, ...]
    vr: str
    new: Mapping[str, Any] | None
    old: Mapping[str, Any] | None = None

    def as_change(self) -> Change:
        """Give what the header editor takes."""
        return Change(self.path, self.vr, None if self.new is None else json_values(self.new))


@dataclass(frozen=True, slots=True)
class Group:
    """Objects, by digest, that a revision changes alike.

    ``uids`` are the new UIDs of other objects (old -> new), which references follow. ``status`` is what the objects count as from
    now on where several share a SOP Instance UID: ``stored`` for the one that stands for it, ``variant`` for one that does not.
    """

    objects: tuple[str, ...]
    changes: tuple[ElementChange, ...] = ()
    uids: Mapping[str, str] = field(default_factory=dict)
    status: str = ""


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of one study (by the Study Instance UID received).

    ``reverts`` is the number of the one it takes back. ``run`` joins revisions of several studies that hold together only (a UID
    and the references to it). ``read_as`` is the value of (0008,0005) by which text is read that is not in its declared set.
    """

    study_instance_uid: str
    number: int
    created_at: str
    by: str
    rule: str
    attribution: Attribution
    groups: tuple[Group, ...] = ()
    reverts: int = 0
    run: str = ""
    read_as: str = ""

    @property
    def objects(self) -> frozenset[str]:
        """The digests of all objects that this revision changes."""
        return frozenset(digest for group in self.groups for digest in group.objects)


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What one active revision says of one object. Made once for all objects of a group, and equal to itself only."""

    revision: Revision
    group: Group
    changes: tuple[Change, ...]
    """The group's changes as the header editor takes them."""
    interest: tuple[int, ...] | None
    """The tags that they make the editor look at; None for all."""
    keeps_instance_uid: bool
    """Whether they leave the SOP Instance UID alone."""


class StudyRevisions:
    """All revisions of one study in their order, and what they say of each object. Immutable; made once, asked often."""

    def __init__(self, revisions: Sequence[Revision]) -> None:
        self.all = tuple(revisions)
        self.active = tuple(active(revisions))
        by_number = {revision.number: revision for revision in revisions}
        self._numbers: dict[str, int] = {}
        for revision in revisions:
            for digest in by_number.get(revision.reverts, revision).objects:
                self._numbers[digest] = revision.number
        self._standing: dict[str, list[Standing]] = {}
        for revision in self.active:
            for group in revision.groups:
                changes = tuple(change.as_change() for change in group.changes)
                keeps_instance_uid = all(change.path[0] != SOP_INSTANCE_UID for change in changes)
                standing = Standing(revision, group, changes, interest(changes), keeps_instance_uid)
                for digest in group.objects:
                    self._standing.setdefault(digest, []).append(standing)

    def standing(self, sha256: str) -> Sequence[Standing]:
        """Give what the active revisions say of an object, the oldest first; nothing for one that leaves as it was received."""
        return self._standing.get(sha256, ())

    @property
    def last(self) -> int:
        """The number of the last revision, 0 where there is none."""
        return self.all[-1].number if self.all else 0

    def number(self, sha256: str) -> int:
        """Give the number of the last revision that concerns an object, reverting ones included; 0 where none does."""
        return self._numbers.get(sha256, 0)

    def status(self, sha256: str, received: str) -> str:
        """Give what an object counts as: ``received`` unless a decision about its UID stands."""
        return next((each.group.status for each in reversed(self.standing(sha256)) if each.group.status), received)

    def up_to(self, number: int) -> StudyRevisions:
        """Give the study as it was when the revision of that number was the last."""
        return StudyRevisions([revision for revision in self.all if revision.number <= number])

    def without(self, numbers: frozenset[int]) -> StudyRevisions:
        """Give the study as it would be without these revisions."""
        return StudyRevisions([revision for revision in self.all if revision.number not in numbers])


def put_revision(store: Store, revision: Revision, *, after: int | None = None) -> Revision:
    """Write a revision under the next free number, durably, and give it with that number. ``revision.number`` is ignored.

    ``after`` is the number of the last one that it was planned by: LockedError where another one has come since.
    """
    folder = _folder(revision.study_instance_uid)
    number = max(_numbers(store, folder), default=0) + 1
    for candidate in range(number, number + _ATTEMPTS):
        if after is not None and candidate != after + 1:
            raise LockedError(
                f"study {revision.study_instance_uid} was corrected by somebody else meanwhile", hint="run it again"
            )
        numbered = replace(revision, number=candidate)
        if store.put_bytes(_encoded(numbered), f"{folder}/{candidate}.json"):
            return numbered
    raise StoreError("no number is free for a revision", hint="is something else writing revisions without end?")


def revisions_of(store: Store, study_instance_uid: str) -> StudyRevisions:
    """Give the revisions of a study. What was read before is kept for a while, since a revision never changes."""
    folder = _folder(study_instance_uid)
    return _read(cast("Hashable", store), folder, tuple(sorted(_numbers(store, folder))))


@lru_cache(maxsize=64)
def _read(store: Hashable, folder: str, numbers: tuple[int, ...]) -> StudyRevisions:
    return read_revisions(cast("Store", store), folder, numbers)


def all_revisions(store: Store) -> Iterable[StudyRevisions]:
    """Read every revision of the archive, study by study."""
    for folder, numbers in revised_studies(store):
        yield read_revisions(store, folder, numbers)


def read_revisions(store: Store, folder: str, numbers: Sequence[int]) -> StudyRevisions:
    """Read the revisions of one study from its folder."""
    return StudyRevisions([_decoded(store.read_bytes(f"{folder}/{number}.json")) for number in numbers])


def active(revisions: Sequence[Revision]) -> list[Revision]:
    """Give the corrections that hold: those that no later revision takes back."""
    reverted: set[int] = set()
    for revision in reversed(revisions):
        if revision.reverts and revision.number not in reverted:
            reverted.add(revision.reverts)
    return [revision for revision in revisions if not revision.reverts and revision.number not in reverted]


def _folder(study_instance_uid: str) -> str:
    return f"{REVISIONS}/{study_prefix(study_instance_uid)}/{path_part(study_instance_uid)}"


def _numbers(store: Store, folder: str) -> list[int]:
    names = (path.rpartition("/")[2].removesuffix(".json") for path in store.list(folder))
    return [int(name) for name in names if name.isdecimal()]


def _encoded(revision: Revision) -> bytes:
    attribution = revision.attribution
    content = {
        "format": FORMAT,
        "revision": revision.number,
        "StudyInstanceUID": revision.study_instance_uid,
        "created_at": revision.created_at,
        "by": revision.by,
        "rule": revision.rule,
        "reverts": revision.reverts or None,
        "ModifyingSystem": attribution.modifying_system,
        "AttributeModificationDateTime": attribution.at,
        "ReasonForTheAttributeModification": attribution.reason,
        "SourceOfPreviousValues": attribution.source,
        "run": revision.run or None,
        "read_as": revision.read_as or None,
        "groups": [_group_told(group) for group in revision.groups],
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"


def _group_told(group: Group) -> dict[str, Any]:
    changes = [{"path": _spelled(change.path), "vr": change.vr, "old": change.old, "new": change.new} for change in group.changes]
    told: dict[str, Any] = {"objects": list(group.objects), "changes": changes}
    if group.uids:
        told["uids"] = dict(group.uids)
    if group.status:
        told["status"] = group.status
    return told


def _decoded(data: bytes) -> Revision:
    content = json.loads(data)
    groups = tuple(
        Group(
            tuple(group["objects"]),
            tuple(ElementChange(_path(c["path"]), c["vr"], c["new"], c["old"]) for c in group["changes"]),
            group.get("uids", {}),
            group.get("status", ""),
        )
        for group in content["groups"]
    )
    attribution = Attribution(
        content["ModifyingSystem"],
        content["AttributeModificationDateTime"],
        content["ReasonForTheAttributeModification"],
        content["SourceOfPreviousValues"],
    )
    return Revision(
        content["StudyInstanceUID"],
        content["revision"],
        content["created_at"],
        content["by"],
        content["rule"],
        attribution,
        groups,
        content["reverts"] or 0,
        content.get("run") or "",
        content.get("read_as") or "",
    )


def _spelled(path: tuple[int, ...]) -> str:
    """Write a path as tags and item numbers from 0: ``00400275[0].00401001``."""
    parts = [f"{path[0]:08X}"]
    for number, tag in zip(path[1::2], path[2::2], strict=True):
        parts.append(f"[{number}].{tag:08X}")
    return "".join(parts)


def _path(spelled: str) -> tuple[int, ...]:
    first, *rest = spelled.split("[")
    path = [int(first, 16)]
    for part in rest:
        number, _, tag = part.partition("].")
        path += [int(number), int(tag, 16)]
    return tuple(path)
