"""Revisions: numbered corrections of a study that stand beside its objects and are applied when an object leaves.

``revisions/<hh>/<StudyInstanceUID>/<N>.json`` is written once. A revision names its objects by digest and holds each changed
element's old and new value in the DICOM JSON Model (PS3.18 Annex F). Taking one back is a revision too, which names the one that
it reverts: so every state of a study that was ever sent has a number of its own, and nothing is ever rewritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vna.archive.layout import path_part, study_prefix
from vna.errors import StoreError
from vna.part10.edit import Change
from vna.part10.json_model import json_values
from vna.part10.original import Attribution
from vna.store import Store

REVISIONS = "revisions"
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
    """Objects, by digest, that a revision changes alike."""

    objects: tuple[str, ...]
    changes: tuple[ElementChange, ...]


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of one study (by the Study Instance UID received). ``reverts`` is the number of the one it takes back."""

    study_instance_uid: str
    number: int
    created_at: str
    by: str
    rule: str
    attribution: Attribution
    groups: tuple[Group, ...] = ()
    reverts: int = 0
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def objects(self) -> frozenset[str]:
        """The digests of all objects that this revision changes."""
        return frozenset(digest for group in self.groups for digest in group.objects)


def put_revision(store: Store, revision: Revision) -> Revision:
    """Write a revision under the next free number, durably, and give it with that number. ``revision.number`` is ignored."""
    folder = _folder(revision.study_instance_uid)
    number = max(_numbers(store, folder), default=0) + 1
    for candidate in range(number, number + _ATTEMPTS):
        numbered = Revision(
            revision.study_instance_uid,
            candidate,
            revision.created_at,
            revision.by,
            revision.rule,
            revision.attribution,
            revision.groups,
            revision.reverts,
            revision.notes,
        )
        if store.put_bytes(_encoded(numbered), f"{folder}/{candidate}.json"):
            return numbered
    raise StoreError("no number is free for a revision", hint="is something else writing revisions without end?")


def revisions_of(store: Store, study_instance_uid: str) -> list[Revision]:
    """Read all revisions of a study in their order."""
    folder = _folder(study_instance_uid)
    return [_decoded(store.read_bytes(f"{folder}/{number}.json")) for number in sorted(_numbers(store, folder))]


def all_revisions(store: Store) -> Iterable[Revision]:
    """Read every revision of the archive, study by study."""
    for path in sorted(store.list(REVISIONS), key=_by_number):
        if path.endswith(".json"):
            yield _decoded(store.read_bytes(path))


def active(revisions: Sequence[Revision]) -> list[Revision]:
    """Give the corrections that hold: those that no later revision takes back."""
    reverted: set[int] = set()
    for revision in reversed(revisions):
        if revision.reverts and revision.number not in reverted:
            reverted.add(revision.reverts)
    return [revision for revision in revisions if not revision.reverts and revision.number not in reverted]


def changes_of(revisions: Sequence[Revision], sha256: str) -> list[tuple[Revision, tuple[ElementChange, ...]]]:
    """Give what the active revisions say of one object, the oldest first."""
    found = []
    for revision in active(revisions):
        changes = tuple(change for group in revision.groups if sha256 in group.objects for change in group.changes)
        if changes:
            found.append((revision, changes))
    return found


def number_of(revisions: Sequence[Revision], sha256: str) -> int:
    """Give the number of the last revision that concerns an object, reverting ones included; 0 where none does."""
    by_number = {revision.number: revision for revision in revisions}
    return max((revision.number for revision in revisions if sha256 in _concerned(revision, by_number)), default=0)


def _concerned(revision: Revision, by_number: Mapping[int, Revision]) -> frozenset[str]:
    return by_number[revision.reverts].objects if revision.reverts in by_number else revision.objects


def _folder(study_instance_uid: str) -> str:
    return f"{REVISIONS}/{study_prefix(study_instance_uid)}/{path_part(study_instance_uid)}"


def _numbers(store: Store, folder: str) -> list[int]:
    names = (path.rpartition("/")[2].removesuffix(".json") for path in store.list(folder))
    return [int(name) for name in names if name.isdecimal()]


def _by_number(path: str) -> tuple[str, int]:
    folder, _, name = path.rpartition("/")
    stem = name.removesuffix(".json")
    return folder, int(stem) if stem.isdecimal() else 0


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
        "notes": dict(revision.notes),
        "groups": [
            {
                "objects": list(group.objects),
                "changes": [
                    {"path": _spelled(change.path), "vr": change.vr, "old": change.old, "new": change.new}
                    for change in group.changes
                ],
            }
            for group in revision.groups
        ],
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"


def _decoded(data: bytes) -> Revision:
    content = json.loads(data)
    groups = tuple(
        Group(
            tuple(group["objects"]),
            tuple(ElementChange(_path(c["path"]), c["vr"], c["new"], c["old"]) for c in group["changes"]),
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
        content["notes"],
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
