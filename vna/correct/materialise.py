"""Corrected files beside the originals, for sites that want plain files on disk: ``<SOPInstanceUID>.r<N>.dcm``."""

from __future__ import annotations

import time

from vna.archive import Archive
from vna.correct.result import CorrectOptions, CorrectResult
from vna.errors import VnaError
from vna.model import ObjectStatus, Outcome, Progress, Report, silent

_FILEABLE = (ObjectStatus.STORED, ObjectStatus.FLAGGED)


def materialise(archive: Archive, options: CorrectOptions, *, dry_run: bool = False, report: Report = silent) -> CorrectResult:
    """Write every selected object that has a revision as it leaves, under its path with ``.r<N>``; what is there stays.

    ``instances`` counts the files written. Nothing that stands is overwritten, so a second run writes nothing.
    """
    begun = time.monotonic()
    rows = archive.select(options.where, options.studies, ("sha256", "path", "received_StudyInstanceUID", "revision", "status"))
    due = [row for row in rows if row["revision"] is not None and row["status"] in _FILEABLE]
    studies, written, refusals = set(), 0, []
    for done, row in enumerate(due, 1):
        study = str(row["received_StudyInstanceUID"])
        revisions = archive.revisions(study)
        if not any(each.changes or each.group.uids for each in revisions.standing(row["sha256"])):
            continue
        number = revisions.number(row["sha256"])
        path = f"{row['path'].removesuffix('.dcm')}.r{number}.dcm"
        try:
            if not archive.store.exists(path):
                if not dry_run:
                    archive.put_effective(row["path"], row["sha256"], study, path)
                written += 1
                studies.add(study)
        except VnaError as exc:
            refusals.append(Outcome(row["sha256"], "refused", type(exc).__name__, str(exc)))
        report(Progress("materialise", done, len(due), unit="instances"))
    return CorrectResult(len(studies), written, 0, 0, len(refusals), tuple(refusals), seconds=time.monotonic() - begun)
