"""Decide what becomes of objects that share a SOP Instance UID: as revisions, so that nothing is overwritten or removed.

Nouns: contenders (the objects under one UID: the one that came first, and its variants), decision (which of them stands for it).
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from vna.archive import Archive
from vna.archive.revisions import ElementChange, Group, Revision, StudyRevisions, put_revision
from vna.correct.apply import user
from vna.correct.exclusive import correcting
from vna.correct.result import CorrectOptions, CorrectResult
from vna.model import ObjectStatus, Progress, Report, silent
from vna.part10.original import Attribution

_SOP_INSTANCE_UID = 0x00080018
_COLUMNS = ("sha256", "path", "received_at", "received_status", "status", "received_StudyInstanceUID", "SOPInstanceUID")


class VariantPolicy(StrEnum):
    """Which of several objects under one UID goes on: the first, the latest, or all, the later ones under new UIDs."""

    KEEP_FIRST = "keep-first"
    NEW_UID = "new-uid"
    PREFER_VARIANT = "prefer-variant"


def decide_variants(
    archive: Archive, policy: VariantPolicy, options: CorrectOptions, *, dry_run: bool = False, report: Report = silent
) -> CorrectResult:
    """Write one revision for each selected study that has variants which the policy wants otherwise than they stand.

    Safe to repeat; another policy later on overrules, and ``revert`` takes a decision back. A new UID follows from the object's
    digest, so that every archive gives the same one; references to the old UID keep meaning the object that came first. Raises
    LockedError while another correction of the archive is at work.
    """
    begun = time.monotonic()
    by_status: Counter[str] = Counter()
    revisions = 0
    with correcting(archive, dry_run=dry_run):
        studies = _contenders(archive, options)
        for done, (study, contenders) in enumerate(studies.items(), 1):
            standing = archive.revisions(study)
            groups = [group for rows in contenders for group in _groups(rows, policy, standing)]
            if groups and not dry_run:
                put_revision(archive.store, _revision(study, groups, policy, options), after=standing.last)
            revisions += bool(groups)
            by_status.update(group.status for group in groups)
            report(Progress("variants", done, len(studies)))
        if revisions and not dry_run:
            archive.sync_revisions()
    seconds, objects = time.monotonic() - begun, by_status.total()
    return CorrectResult(revisions, objects, objects, revisions, 0, by_element=dict(by_status), seconds=seconds)


def variant_uid(sha256: str) -> str:
    """Give the SOP Instance UID that an object gets which shares its own: by its digest, in the form of PS3.5 B.2."""
    digest = hashlib.sha256(b"vna/variant/" + sha256.encode("ascii")).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def _contenders(archive: Archive, options: CorrectOptions) -> dict[str, list[list[dict[str, Any]]]]:
    """Gather the objects under one path, the first one first, of the studies that have variants."""
    selected = archive.select(options.where, options.studies, ("received_StudyInstanceUID", "received_status"))
    studies = sorted(
        {str(row["received_StudyInstanceUID"]) for row in selected if row["received_status"] == ObjectStatus.VARIANT}
    )
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in archive.select(None, studies, _COLUMNS) if studies else ():
        if row["received_status"] != ObjectStatus.QUARANTINED:
            found[str(row["received_StudyInstanceUID"])][row["path"].removesuffix(".dcm").partition("~")[0]].append(row)
    return {
        study: [sorted(rows, key=_age) for rows in by_path.values() if len(rows) > 1] for study, by_path in sorted(found.items())
    }


def _age(row: dict[str, Any]) -> tuple[bool, str, str]:
    return row["received_status"] == ObjectStatus.VARIANT, str(row["received_at"]), row["sha256"]


def _groups(rows: Sequence[dict[str, Any]], policy: VariantPolicy, revisions: StudyRevisions) -> Iterator[Group]:
    """Yield what is to be decided anew of the contenders."""
    first, *variants = rows
    for row in rows:
        chosen = variants[-1] if policy is VariantPolicy.PREFER_VARIANT else first
        stands = row is chosen or (policy is VariantPolicy.NEW_UID and row is not first)
        status = (
            (first["received_status"] if row is first else ObjectStatus.STORED.value) if stands else ObjectStatus.VARIANT.value
        )
        decided = revisions.status(row["sha256"], "")
        changes = _renamed(row) if policy is VariantPolicy.NEW_UID and row is not first else ()
        if changes or (decided != status and (row is not first or (decided or row["received_status"]) != status)):
            yield Group((row["sha256"],), changes, status=status)


def _renamed(row: dict[str, Any]) -> tuple[ElementChange, ...]:
    new = variant_uid(row["sha256"])
    if row["SOPInstanceUID"] == new:
        return ()
    old = {"vr": "UI", "Value": [row["SOPInstanceUID"]]}
    return (ElementChange((_SOP_INSTANCE_UID,), "UI", {"vr": "UI", "Value": [new]}, old),)


def _revision(study: str, groups: Sequence[Group], policy: VariantPolicy, options: CorrectOptions) -> Revision:
    moment = datetime.now(UTC)
    return Revision(
        study,
        0,
        moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        options.by or user(),
        f"variants: {policy}",
        Attribution(options.modifying_system, moment.strftime("%Y%m%d%H%M%S.%f+0000")),
        tuple(groups),
    )
