"""Revisions in the index: the table ``overlays`` holds, for each revised object, the values that its header has as it leaves.

Like the index it is a cache: made from ``revisions/`` and the objects, each revision exactly once (application transactions).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from indexer.columns import APPLIED_AT, OVERLAYS, REVISION
from indexer.row import index_row
from indexer.schema import study_hash
from indexer.table import Segment, Table
from vna.archive.effective import edited_elements, read_stored, scan
from vna.archive.revision_files import revised_studies
from vna.archive.revisions import Revision, StudyRevisions, read_revisions
from vna.archive.writers import UPLOADED_WITHIN
from vna.errors import DigestMismatchError, InstanceMissingError, RefusedError, StoreError
from vna.store import LocalStore, Store
from vna.store.operations import store_errors

log = logging.getLogger(__name__)

_REVISIONS_A_COMMIT = 500
_FAILURES = 3

ObjectsOf = Callable[[str], Mapping[str, tuple[str, str]]]
"""Study Instance UID received -> digest -> path and status (as received) of its objects."""


def sync_overlays(store: Store, location: str, objects_of: ObjectsOf, storage_options: Mapping[str, Any] | None = None) -> int:
    """Bring every revision into the table that it lacks; return how many. For the one maintainer of the index.

    Only studies with revisions that the table lacks are read. An object that is damaged, gone, or cannot be changed gets no row,
    and the log says so: it shows as it was received, and is refused when it is to leave. Where the store fails, the study's
    revisions stay due, and StoreError is raised once the other studies are done, or when it goes on failing.

    In a bucket a revision may name objects that another machine took, and whose journal segment is not there yet. It stays due
    until they are known, but no longer than :data:`vna.archive.writers.UPLOADED_WITHIN` after it was made: by then they are
    taken to be gone.
    """
    table: Table | None = None
    added = 0
    batch: list[Segment] = []
    failures: list[StoreError] = []
    latest = "" if isinstance(store, LocalStore) else (datetime.now(UTC) - UPLOADED_WITHIN).isoformat()
    for study_folder, numbers in revised_studies(store):
        table = table or Table.create(location, OVERLAYS, storage_options)
        known = table.transaction(study_folder) or 0
        due = [number for number in numbers if number > known]
        if not due:
            continue
        try:
            revisions = read_revisions(store, study_folder, numbers)
            objects = objects_of(revisions.all[0].study_instance_uid)
            segments = list(_segments(store, study_folder, revisions, known, objects, latest))
        except StoreError as exc:
            log.warning("revisions in %s stay due: %s", study_folder, exc)
            failures.append(exc)
            if len(failures) == _FAILURES:
                break
            continue
        batch += segments
        added += len(segments)
        if len(batch) >= _REVISIONS_A_COMMIT:
            table.append_segments(batch)
            batch = []
    if batch and table is not None:
        table.append_segments(batch)
    if failures:
        raise failures[0]
    return added


def _segments(
    store: Store, folder: str, revisions: StudyRevisions, known: int, objects: Mapping[str, tuple[str, str]], latest: str
) -> Iterator[Segment]:
    """Make the rows of a study's revisions beyond ``known``, up to the first that waits: one made after ``latest``."""
    by_number = {revision.number: revision for revision in revisions.all}
    gone: frozenset[str] = frozenset()
    for revision in revisions.all:
        concerned = (by_number[revision.reverts] if revision.reverts else revision).objects
        unknown = concerned - objects.keys()
        if revision.number > known and latest and unknown - gone and revision.created_at > latest:
            log.info("revision %d in %s waits for objects that are not known here yet", revision.number, folder)
            return
        gone |= unknown
        if revision.number <= known:
            continue
        standing = revisions.up_to(revision.number)
        rows = []
        for digest in sorted(concerned & objects.keys()):
            try:
                rows.append(_row(store, standing, revision, digest, *objects[digest]))
            except (RefusedError, DigestMismatchError, InstanceMissingError) as exc:
                log.warning("revision %d of study %s: %s", revision.number, revision.study_instance_uid, type(exc).__name__)
        yield Segment(folder, revision.number, rows)


def _row(store: Store, standing: StudyRevisions, revision: Revision, sha256: str, path: str, status: str) -> dict[str, Any]:
    with store_errors("the object could not be read"), store.open(path) as file:
        stored = read_stored(file)
    syntax = stored.head.transfer_syntax_uid
    values = index_row(scan(edited_elements(stored, standing.standing(sha256)), syntax))
    return {
        **values,
        "TransferSyntaxUID": syntax,
        "sha256": sha256,
        "study_hash": study_hash(revision.study_instance_uid),  # where the object's received row is found
        "status": standing.status(sha256, status),
        REVISION: revision.number,
        APPLIED_AT: revision.created_at,
    }
