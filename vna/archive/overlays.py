"""Revisions in the index: the table ``overlays`` holds, for each revised object, the values that its header has as it leaves.

Like the index it is a cache: made from ``revisions/`` and the objects, each revision exactly once (application transactions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from indexer.columns import APPLIED_AT, OVERLAYS, REVISION
from indexer.row import index_row
from indexer.table import Segment, Table
from vna.archive.effective import edited, read_stored_header, scan
from vna.archive.layout import study_prefix
from vna.archive.revisions import Revision, all_revisions, changes_of
from vna.part10 import read_head
from vna.store import Store

_REVISIONS_A_COMMIT = 500

PathsOf = Callable[[str], Mapping[str, str]]
"""Study Instance UID received -> digest -> path of its objects."""


def sync_overlays(store: Store, folder: Path, paths_of: PathsOf) -> int:
    """Bring every revision into the table that it lacks; return how many. For the one maintainer of the index."""
    revisions = all_revisions(store)
    first = next(iter(revisions_by_study(revisions)), None)
    if first is None:
        return 0
    table = Table.create(folder, OVERLAYS)
    added = 0
    batch: list[Segment] = []
    for study, found in revisions_by_study(all_revisions(store)):
        known = table.transaction(_writer(study))
        due = [revision for revision in found if revision.number > (known or 0)]
        if due:
            batch += _segments(store, found, due, paths_of(study))
            added += len(due)
        if len(batch) >= _REVISIONS_A_COMMIT:
            table.append_segments(batch)
            batch = []
    if batch:
        table.append_segments(batch)
    return added


def revisions_by_study(revisions: Any) -> Iterator[tuple[str, list[Revision]]]:
    """Gather revisions, which come study by study."""
    for study, group in groupby(revisions, key=lambda revision: revision.study_instance_uid):
        yield str(study), list(group)


def _writer(study_instance_uid: str) -> str:
    return f"revisions/{study_prefix(study_instance_uid)}/{study_instance_uid}"


def _segments(
    store: Store, revisions: Sequence[Revision], due: Sequence[Revision], paths: Mapping[str, str]
) -> Iterator[Segment]:
    by_number = {revision.number: revision for revision in revisions}
    for revision in due:
        standing = [each for each in revisions if each.number <= revision.number]
        concerned = by_number[revision.reverts] if revision.reverts else revision
        rows = [_row(store, standing, revision, digest, paths[digest]) for digest in sorted(concerned.objects) if digest in paths]
        yield Segment(_writer(revision.study_instance_uid), revision.number, rows)


def _row(store: Store, standing: Sequence[Revision], revision: Revision, sha256: str, path: str) -> dict[str, Any]:
    with store.open(path) as file:
        head = read_head(file)
        header, _ = read_stored_header(file, head.transfer_syntax_uid)
    for each, changes in changes_of(standing, sha256):
        header = edited(header, head.transfer_syntax_uid, changes, each)
    values = index_row(scan(header, head.transfer_syntax_uid))
    return {
        **values,
        "TransferSyntaxUID": head.transfer_syntax_uid,
        "sha256": sha256,
        REVISION: revision.number,
        APPLIED_AT: revision.created_at,
    }
