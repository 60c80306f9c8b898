"""Stored objects: what the archive's journal says it holds, copied into the ledger.

Receivers write the journal and never open the ledger; :meth:`Objects.absorb` reads on from the last position of each writer. In
the same transaction each new object is matched with the instances that sources listed under its three UIDs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

from sqlalchemy import Boolean, Connection, Row, and_, bindparam, exists, func, or_, select, update

from vna.ledger.database import Database, now
from vna.ledger.tables import expected_instances, journal_positions, objects, study_revisions
from vna.model import ObjectStatus, Receipt

FILEABLE = (ObjectStatus.STORED.value, ObjectStatus.FLAGGED.value)
"""The states of an object that goes on to a target; variants and quarantined objects wait for a person."""

DUPLICATE = "duplicate"
"""The state of a receipt for bytes that the archive had already."""

_ROWS_A_TRANSACTION = 1000
_NAMES = [column.name for column in objects.columns]
_STORED, _CODES = _NAMES.index("received_status"), _NAMES.index("codes")  # the columns before it are those of a StoredObject
_T = TypeVar("_T")


class JournalRow(Protocol):
    """What the ledger reads of one journal row; :class:`vna.archive.JournalRow` has it."""

    @property
    def writer(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def study_instance_uid(self) -> str: ...
    @property
    def series_instance_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def sop_class_uid(self) -> str: ...
    @property
    def transfer_syntax_uid(self) -> str: ...
    @property
    def codes(self) -> tuple[str, ...]: ...
    @property
    def received_at(self) -> str: ...


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of the archive, as the ledger knows it. ``path`` is relative to the archive, ``size`` is that of the file."""

    sha256: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: str
    size: int
    status: str
    codes: tuple[str, ...]
    source: str
    received_at: str
    revision: int = 0


class Objects:
    """The objects of the archive, with what they were expected as."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def positions(self) -> dict[str, int]:
        """Say how far each journal writer has been absorbed: what ``Archive.journal_rows`` takes to read on."""
        with self._database.read() as conn:
            return {row.writer: row.seq for row in conn.execute(select(journal_positions))}

    def absorb(self, rows: Iterable[JournalRow]) -> int:
        """Copy journal rows and say how many objects were new. Idempotent: rows that were absorbed before change nothing."""
        added = 0
        for batch in batches(rows, _ROWS_A_TRANSACTION):
            added += self._database.write(partial(self._absorb, batch))
        return added

    def _absorb(self, batch: Sequence[JournalRow], conn: Connection) -> int:
        added = self._take(conn, [_object_row(row, row.source, row.received_at) for row in batch])
        self._advance(conn, batch)
        return added

    def add(self, receipts: Iterable[Receipt], source: str) -> int:
        """Take objects from their receipts, before the journal is read; it will be all the same, since positions stay.

        Receipts of duplicates are left out: they do not say what the object is.
        """
        added = 0
        rows = (_object_row(receipt, source, now()) for receipt in receipts if receipt.state != DUPLICATE)
        for batch in batches(rows, _ROWS_A_TRANSACTION):
            added += self._database.write(partial(self._take, rows=batch))
        return added

    def knows(self, sha256: str) -> bool:
        """Say whether an object has been absorbed."""
        with self._database.read() as conn:
            return bool(_known(conn, [sha256]))

    def of_study(self, study_instance_uid: str) -> list[StoredObject]:
        """List the objects whose data set names this study, in the order of their UIDs."""
        order = (objects.c.series_instance_uid, objects.c.sop_instance_uid, objects.c.sha256)
        with self._database.read() as conn:
            found = conn.execute(select(objects).where(objects.c.study_instance_uid == study_instance_uid).order_by(*order))
            return [stored_object(row) for row in found]

    def named(self, sop_instance_uid: str) -> list[StoredObject]:
        """List the objects under one SOP Instance UID, whatever study they name."""
        with self._database.read() as conn:
            found = conn.execute(select(objects).where(objects.c.sop_instance_uid == sop_instance_uid).order_by(objects.c.sha256))
            return [stored_object(row) for row in found]

    def unsolicited(self, node: str) -> list[StoredObject]:
        """List the objects that came from ``node`` although it never listed them: stored and accounted for, of no job."""
        expected = exists().where(expected_instances.c.sha256 == objects.c.sha256)
        with self._database.read() as conn:
            found = conn.execute(select(objects).where(objects.c.source == node, ~expected).order_by(objects.c.sha256))
            return [stored_object(row) for row in found]

    def revised(self) -> dict[str, int]:
        """Say how far each study's revisions have been absorbed."""
        with self._database.read() as conn:
            return {row.study: row.number for row in conn.execute(select(study_revisions))}

    def revise(self, study: str, number: int, revised: Mapping[str, tuple[int, str]]) -> None:
        """Write down that a study has come to revision ``number``: which one each object is in, and what was decided of its UID.

        Forward and verify are due again for the objects whose number changes. Idempotent.
        """

        def work(conn: Connection) -> None:
            for digest, (revision, decided) in revised.items():
                status = decided or objects.c.received_status
                conn.execute(update(objects).where(objects.c.sha256 == digest).values(revision=revision, status=status))
            row = {"study": study, "number": number}
            self._database.upsert(conn, study_revisions, [row], _renumbered)

        self._database.write(work)

    def count(self) -> tuple[int, int]:
        """Count the objects and their bytes."""
        with self._database.read() as conn:
            row = conn.execute(select(func.count(), func.coalesce(func.sum(objects.c.size), 0)).select_from(objects)).one()
            return int(row[0]), int(row[1])

    def _take(self, conn: Connection, rows: Sequence[dict[str, Any]]) -> int:
        known = _known(conn, [row["sha256"] for row in rows])
        fresh = list({row["sha256"]: row for row in rows if row["sha256"] not in known}.values())
        added = self._database.insert_new(conn, objects, fresh)
        _match_exactly(conn, fresh)
        return added

    def _advance(self, conn: Connection, batch: Sequence[JournalRow]) -> None:
        last: dict[str, int] = {}
        for row in batch:
            last[row.writer] = max(row.seq, last.get(row.writer, row.seq))
        rows = [{"writer": writer, "seq": seq} for writer, seq in last.items()]
        self._database.insert_new(conn, journal_positions, rows)
        for writer, seq in sorted(last.items()):  # in one order everywhere, so that nobody waits in a circle
            behind = and_(journal_positions.c.writer == writer, journal_positions.c.seq < seq)
            conn.execute(update(journal_positions).where(behind).values(seq=seq))


def batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Cut an iterable into lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def stored_object(row: Row[Any]) -> StoredObject:
    """Make the value of a row of the table ``objects``, whatever columns follow."""
    values: tuple[Any, ...] = (*row[:_CODES], tuple(row[_CODES].split()), *row[_CODES + 1 : _STORED])
    return StoredObject(*values)


def _renumbered(new: Any) -> dict[str, Any]:
    return {"number": new.number}


def _known(conn: Connection, digests: Sequence[str]) -> set[str]:
    return set(conn.execute(select(objects.c.sha256).where(objects.c.sha256.in_(digests))).scalars())


def _object_row(stored: JournalRow | Receipt, source: str, received_at: str) -> dict[str, Any]:
    return {
        "sha256": stored.sha256,
        "study_instance_uid": stored.study_instance_uid,
        "series_instance_uid": stored.series_instance_uid,
        "sop_instance_uid": stored.sop_instance_uid,
        "sop_class_uid": stored.sop_class_uid,
        "transfer_syntax_uid": stored.transfer_syntax_uid,
        "path": stored.path,
        "size": stored.size,
        "status": str(stored.state),
        "received_status": str(stored.state),
        "codes": " ".join(stored.codes),
        "source": source,
        "received_at": received_at,
    }


def _match_exactly(conn: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Give each expected instance the object under its three UIDs; a fileable one takes the place of one in quarantine.

    Variants never match on their own: the first object under their UID stands for the instance.
    """
    candidates = [row for row in rows if row["status"] != ObjectStatus.VARIANT]
    studies = sorted({row["study_instance_uid"] for row in candidates})
    listed = set(conn.execute(_LISTED, {"studies": studies}).scalars()) if studies else set()
    parameters = [
        {
            "study": row["study_instance_uid"],
            "series": row["series_instance_uid"],
            "sop": row["sop_instance_uid"],
            "digest": row["sha256"],
            "is_fileable": row["status"] in FILEABLE,
        }
        for row in sorted(candidates, key=lambda row: (row["study_instance_uid"], row["sop_instance_uid"], row["sha256"]))
        if row["study_instance_uid"] in listed
    ]
    if parameters:
        conn.execute(_MATCHING, parameters)


def _matching() -> Any:
    holder = expected_instances.c.sha256
    held_by_quarantine = holder.in_(select(objects.c.sha256).where(objects.c.status == ObjectStatus.QUARANTINED.value))
    return (
        update(expected_instances)
        .where(
            expected_instances.c.study_instance_uid == bindparam("study"),
            expected_instances.c.series_instance_uid == bindparam("series"),
            expected_instances.c.sop_instance_uid == bindparam("sop"),
            or_(holder.is_(None), and_(bindparam("is_fileable", type_=Boolean()), held_by_quarantine)),
        )
        .values(sha256=bindparam("digest"), matched="exact", state="", code="", detail="")
    )


_MATCHING = _matching()
_LISTED = (
    select(expected_instances.c.study_instance_uid)
    .where(expected_instances.c.study_instance_uid.in_(bindparam("studies", expanding=True)))
    .distinct()
)
