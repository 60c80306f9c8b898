"""Expected instances on their way in: which of them still have no object, and why.

An instance is outstanding while no object came for it and nobody has given it up. Reasons are stable codes
(:data:`SOURCE_CODES`), some with the DIMSE status behind a colon.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select, true, update

from vna.ledger.database import Database, now
from vna.ledger.leases import Lease, check
from vna.ledger.objects import batches
from vna.ledger.tables import expected_instances, source_studies
from vna.model import InstanceRef, Outcome

SOURCE_CODES = {
    "NOT_SENT": "The source ended the retrieval, named no failure, and did not send this instance.",
    "SOURCE_FAILED": "The source answered the retrieval with a failure; its status follows the colon.",
    "CONTEXT_REJECTED": "The source and we share no presentation context for this instance's SOP class.",
    "NOT_LISTED": "The source listed this instance once, and no longer does in its last complete inventory.",
    "DUPLICATE_UID": "The source lists this SOP Instance UID more than once, and fewer objects arrived than it lists.",
    "UID_CHANGED": "The source sends this study under other SOP Instance UIDs than it lists; what came is stored under those.",
    "SOURCE_ABORTED": "The source ended the association each time that this instance was asked for.",
    "PEER": "The source could not be reached or broke off; the next run tries again.",
    "STORE": "Our own store refused the object; the next run tries again.",
}
"""Why an expected instance has no object: code -> text."""

_KEYS_A_QUERY = 500


@dataclass(frozen=True, slots=True)
class ExpectedInstance:
    """One instance that a source listed. ``sha256`` is the object that came for it, or empty."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""
    sha256: str = ""
    state: str = ""
    code: str = ""
    listed: bool = True
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class StudyCount:
    """A study of a source and how many of its instances are expected, and outstanding."""

    study_instance_uid: str
    expected: int
    outstanding: int
    study_date: str = ""


class Expected:
    """The instances that sources listed, and what came for them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_study(self, node: str, study_instance_uid: str) -> list[ExpectedInstance]:
        """List what a node said of one study, in the order of the UIDs."""
        table = expected_instances.c
        of_study = and_(table.study_instance_uid == study_instance_uid, table.node == node)
        with self._database.read() as conn:
            rows = conn.execute(
                select(expected_instances).where(of_study).order_by(table.series_instance_uid, table.sop_instance_uid)
            )
            return [_expected(row) for row in rows]

    def outstanding_of(self, node: str, study_instance_uid: str) -> list[ExpectedInstance]:
        """List the instances of one study for which no object came, given up or not, in the order of the UIDs."""
        table = expected_instances.c
        where = and_(table.study_instance_uid == study_instance_uid, table.node == node, table.sha256.is_(None))
        with self._database.read() as conn:
            statement = select(expected_instances).where(where)
            rows = conn.execute(statement.order_by(table.series_instance_uid, table.sop_instance_uid))
            return [_expected(row) for row in rows]

    def outstanding_studies(self, node: str, *, studies: Sequence[str] = (), retry_missing: bool = False) -> list[StudyCount]:
        """List the studies of which something is outstanding, newest first. ``retry_missing`` counts what was given up too."""
        if studies:
            found = [
                count for batch in batches(studies, _KEYS_A_QUERY) for count in self._outstanding(node, batch, retry_missing)
            ]
        else:
            found = self._outstanding(node, (), retry_missing)
        return sorted(found, key=lambda count: (count.study_date, count.study_instance_uid), reverse=True)

    def count(self, node: str, *, studies: Sequence[str] = ()) -> StudyCount:
        """Count what a node lists in all, or in these studies: expected and still without object."""
        table = expected_instances.c
        expected = outstanding = 0
        with self._database.read() as conn:
            for batch in batches(studies, _KEYS_A_QUERY) if studies else [()]:
                where = table.node == node if not batch else and_(table.node == node, table.study_instance_uid.in_(batch))
                row = conn.execute(select(func.count(), func.count(table.sha256)).where(where)).one()
                expected, outstanding = expected + row[0], outstanding + row[0] - row[1]
        return StudyCount("", expected, outstanding)

    def states(self, node: str, studies: Sequence[str]) -> dict[str, int]:
        """Count the instances without object of these studies by state: ``missing``, ``failed`` and '' (not asked for)."""
        table = expected_instances.c
        counts: dict[str, int] = {}
        with self._database.read() as conn:
            for batch in batches(studies, _KEYS_A_QUERY):
                where = and_(table.node == node, table.study_instance_uid.in_(batch), table.sha256.is_(None))
                for row in conn.execute(select(table.state, func.count().label("n")).where(where).group_by(table.state)):
                    counts[row.state] = counts.get(row.state, 0) + row.n
        return counts

    def reasons(self, node: str, studies: Sequence[str]) -> dict[str, int]:
        """Count the instances without object of these studies by the code that says why."""
        table = expected_instances.c
        counts: dict[str, int] = {}
        with self._database.read() as conn:
            for batch in batches(studies, _KEYS_A_QUERY):
                where = and_(table.node == node, table.study_instance_uid.in_(batch), table.sha256.is_(None), table.code != "")
                for row in conn.execute(select(table.code, func.count().label("n")).where(where).group_by(table.code)):
                    counts[row.code] = counts.get(row.code, 0) + row.n
        return counts

    def is_matched(self, node: str, sha256: str) -> bool:
        """Say whether an object stands for an instance of the node already."""
        table = expected_instances.c
        with self._database.read() as conn:
            where = and_(table.sha256 == sha256, table.node == node)
            return conn.execute(select(table.sha256).where(where).limit(1)).one_or_none() is not None

    def match(self, lease: Lease, matches: Mapping[InstanceRef, str], how: str) -> None:
        """Give instances an object that came under other UIDs than the source listed; ``how`` says which differ."""
        self._write(lease, [{**_key(ref), "digest": digest} for ref, digest in matches.items()], _matching(how))

    def record(self, lease: Lease, outcomes: Iterable[tuple[InstanceRef, Outcome]]) -> None:
        """Write why instances did not come: ``failed`` is tried again by the next run, ``missing`` is given up.

        Raises LockedError when the lease was lost; then nothing is written.
        """
        rows = [
            {**_key(ref), "new_state": outcome.state, "new_code": outcome.code, "new_detail": outcome.detail}
            for ref, outcome in outcomes
        ]
        self._write(lease, rows, _failing())

    def _write(self, lease: Lease, rows: Sequence[dict[str, Any]], statement: Any) -> None:
        if not rows:
            return

        def work(conn: Connection) -> None:
            check(conn, lease)
            conn.execute(statement, [{**row, "of_node": lease.node} for row in rows])

        self._database.write(work)

    def _outstanding(self, node: str, studies: Sequence[str], retry_missing: bool) -> list[StudyCount]:
        table = expected_instances.c
        is_open = table.listed == true() if retry_missing else table.state != "missing"
        where = and_(table.node == node, table.sha256.is_(None), is_open)
        if studies:
            where = and_(where, table.study_instance_uid.in_(studies))
        counts = select(table.study_instance_uid, func.count().label("n")).where(where).group_by(table.study_instance_uid)
        with self._database.read() as conn:
            outstanding = {row.study_instance_uid: row.n for row in conn.execute(counts)}
            found = []
            for batch in batches(outstanding, _KEYS_A_QUERY):
                found += self._described(conn, node, batch, outstanding)
        return found

    def _described(self, conn: Any, node: str, studies: Sequence[str], outstanding: Mapping[str, int]) -> list[StudyCount]:
        table, study = expected_instances.c, source_studies.c
        counts = select(table.study_instance_uid, func.count().label("n")).where(
            table.node == node, table.study_instance_uid.in_(studies)
        )
        totals = {row.study_instance_uid: row.n for row in conn.execute(counts.group_by(table.study_instance_uid))}
        dates = select(study.study_instance_uid, study.study_date).where(
            study.node == node, study.study_instance_uid.in_(studies)
        )
        dated = {row.study_instance_uid: row.study_date for row in conn.execute(dates)}
        return [StudyCount(uid, totals[uid], outstanding[uid], dated.get(uid, "")) for uid in studies]


def _expected(row: Any) -> ExpectedInstance:
    return ExpectedInstance(
        row.study_instance_uid,
        row.series_instance_uid,
        row.sop_instance_uid,
        row.sop_class_uid,
        row.sha256 or "",
        row.state,
        row.code,
        bool(row.listed),
        row.attempts,
    )


def _key(ref: InstanceRef) -> dict[str, Any]:
    return {"study": ref.study_instance_uid, "series": ref.series_instance_uid, "sop": ref.sop_instance_uid}


def _open_row() -> Any:
    table = expected_instances.c
    return and_(
        table.study_instance_uid == bindparam("study"),
        table.series_instance_uid == bindparam("series"),
        table.sop_instance_uid == bindparam("sop"),
        table.node == bindparam("of_node"),
        table.sha256.is_(None),
    )


def _matching(how: str) -> Any:
    values = {"sha256": bindparam("digest"), "matched": how, "state": "", "code": "", "detail": ""}
    return update(expected_instances).where(_open_row()).values(**values)


def _failing() -> Any:
    return (
        update(expected_instances)
        .where(_open_row())
        .values(
            state=bindparam("new_state"),
            code=bindparam("new_code"),
            detail=bindparam("new_detail"),
            attempts=expected_instances.c.attempts + 1,
            at=now(),
        )
    )
