"""What became of each object at each target, per stage and revision.

Forward's states: ``sent``, ``warning`` (stored, with a warning status; to be verified all the more), ``refused`` (for good, with
the code) and ``failed`` (tried again). Verify's states: ``verified``, ``different`` (waits for a person) and ``missing`` (the
target does not hold it: due to be sent again, once; then refused). Outcomes are keyed by digest, so that copies of one UID stay
apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, and_, bindparam, case, exists, func, insert, select, update

from vna.ledger.database import Database, now
from vna.ledger.due import DueStudy
from vna.ledger.leases import Lease, check
from vna.ledger.objects import FILEABLE, StoredObject, batches, stored_object
from vna.ledger.tables import certificates, objects, outcomes
from vna.model import Outcome

FORWARD = "forward"
VERIFY = "verify"
AT_TARGET = ("sent", "warning")
"""The states of forward after which the target should hold the object."""

FORWARD_FINAL = (*AT_TARGET, "refused")
SENDS_BEFORE_REFUSED = 2
"""How often verify must miss an object, with a resend in between, until that counts as the target's refusal."""

_KEYS_A_QUERY = 500

Revisions = Mapping[str, int]
"""Digest -> the revision that the object was in; what is not named was as received."""

_AS_RECEIVED: Revisions = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SentObject:
    """An object that a target should hold: how it was sent and what verify has found so far (empty: nothing yet)."""

    object: StoredObject
    forward_code: str
    verify_state: str
    verify_code: str


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One object that was forwarded to a target: what the target said, and what verify found (empty: nothing yet)."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sha256: str
    forward_state: str
    forward_code: str
    forward_detail: str
    verify_state: str
    verify_code: str
    verify_detail: str


class Outcomes:
    """Outcomes at targets. Writes are made under a lease; its node is the target."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due_forward(self, node: str, *, digests: Iterable[str] | None = None) -> list[DueStudy]:
        """List the studies with objects that have no final outcome of forward at the node, in the order of their UIDs.

        ``digests`` limits the objects to a selection. Variants and quarantined objects are never due.
        """
        return self._due(_forward_due(node), digests)

    def objects_due_forward(self, node: str, study_instance_uid: str) -> list[StoredObject]:
        """List one study's objects that are due to be sent."""
        with self._database.read() as conn:
            found = conn.execute(_DUE_OBJECTS, {"study": study_instance_uid, "target": node})
            return [stored_object(row) for row in found]

    def due_verify(self, node: str, *, digests: Iterable[str] | None = None) -> list[DueStudy]:
        """List the studies with objects that were sent to the node and are not verified there."""
        return self._due(_verify_due(node), digests)

    def sent_studies(self, node: str, *, digests: Iterable[str] | None = None) -> list[DueStudy]:
        """List the studies with objects that the node should hold, verified or not."""
        return self._due(_sent(node), digests)

    def sent_objects(self, node: str, study_instance_uid: str) -> list[SentObject]:
        """List one study's objects that the node should hold, in the order of their UIDs."""
        forwarded = outcomes.alias("forwarded")
        verified = outcomes.alias("verified")
        is_sent = and_(_row_is(forwarded, FORWARD, node), forwarded.c.state.in_(AT_TARGET))
        statement = (
            select(
                objects,
                forwarded.c.code.label("forward_code"),
                verified.c.state.label("verify_state"),
                verified.c.code.label("verify_code"),
            )
            .join(forwarded, is_sent)
            .outerjoin(verified, _row_is(verified, VERIFY, node))
            .where(objects.c.study_instance_uid == study_instance_uid)
            .order_by(objects.c.series_instance_uid, objects.c.sop_instance_uid, objects.c.sha256)
        )
        with self._database.read() as conn:
            return [
                SentObject(stored_object(row), row.forward_code, row.verify_state or "", row.verify_code or "")
                for row in conn.execute(statement)
            ]

    def at_target(self, node: str) -> Iterator[TargetRow]:
        """Yield every object that was forwarded to the node, refused ones included, in the order of the UIDs."""
        forwarded, verified = outcomes.alias("forwarded"), outcomes.alias("verified")
        names = ("state", "code", "detail")
        columns = [getattr(table.c, name).label(f"{table.name}_{name}") for table in (forwarded, verified) for name in names]
        order = (objects.c.study_instance_uid, objects.c.series_instance_uid, objects.c.sop_instance_uid, objects.c.sha256)
        statement = (
            select(*order, *columns)
            .join(forwarded, _row_is(forwarded, FORWARD, node))
            .outerjoin(verified, _row_is(verified, VERIFY, node))
            .order_by(*order)
        )
        with self._database.read() as conn:
            for row in conn.execute(statement).yield_per(_KEYS_A_QUERY):
                yield TargetRow(*(value or "" for value in row))

    def digests_due_verify(self, node: str) -> Iterator[str]:
        """Yield the digests of the objects that were sent to the node and are not verified there."""
        with self._database.read() as conn:
            yield from (conn.execute(select(objects.c.sha256).where(_verify_due(node))).yield_per(_KEYS_A_QUERY).scalars())

    def record(self, lease: Lease, found: Sequence[Outcome], revisions: Revisions = _AS_RECEIVED) -> None:
        """Write outcomes of the lease's stage; their keys are digests. Attempts count the repeats of one state.

        ``revisions`` says in which revision each object was when it was dealt with (default: as received).

        Raises LockedError when the lease was lost; then nothing is written.
        """
        if not found:
            return

        def work(conn: Connection) -> None:
            check(conn, lease)
            self._write(conn, lease, lease.stage, found, revisions)

        self._database.write(work)

    def record_changes(self, lease: Lease, found: Sequence[Outcome], revisions: Revisions = _AS_RECEIVED) -> int:
        """Write only outcomes that differ from what stands, and count them."""

        def work(conn: Connection) -> int:
            check(conn, lease)
            standing = _standing(conn, lease, [outcome.key for outcome in found], revisions)
            changed = [one for one in found if standing.get(one.key) != (one.state, one.code, one.detail)]
            self._write(conn, lease, lease.stage, changed, revisions)
            return len(changed)

        return self._database.write(work)

    def lose(self, lease: Lease, found: Sequence[Outcome], revisions: Revisions = _AS_RECEIVED) -> list[Outcome]:
        """Write that verify misses objects, and make forward due again; what was missed before is refused for good.

        Returns what forward's outcomes are now: ``failed`` (due) or ``refused``, with verify's code.
        """

        def work(conn: Connection) -> list[Outcome]:
            check(conn, lease)
            self._write(conn, lease, VERIFY, found, revisions)
            attempts = _attempts(conn, lease, [outcome.key for outcome in found], revisions)
            results = []
            for outcome in found:
                is_final = attempts.get(outcome.key, 0) >= SENDS_BEFORE_REFUSED
                results.append(Outcome(outcome.key, "refused" if is_final else "failed", outcome.code, outcome.detail))
            for result in results:
                row = and_(
                    outcomes.c.sha256 == result.key,
                    outcomes.c.node == lease.node,
                    outcomes.c.stage == FORWARD,
                    outcomes.c.revision == revisions.get(result.key, 0),
                )
                values = {"state": result.state, "code": result.code, "detail": result.detail, "at": now()}
                conn.execute(update(outcomes).where(row).values(**values))
            return results

        return self._database.write(work)

    def targets(self) -> list[str]:
        """Name the nodes that something was forwarded to."""
        with self._database.read() as conn:
            statement = select(outcomes.c.node).where(outcomes.c.stage.in_((FORWARD, VERIFY))).distinct()
            return sorted(conn.execute(statement).scalars())

    def last_certificate(self, node: str) -> tuple[str, str]:
        """Return path and digest of the node's last certificate; both empty where there is none."""
        statement = select(certificates).where(certificates.c.node == node).order_by(certificates.c.id.desc()).limit(1)
        with self._database.read() as conn:
            row = conn.execute(statement).one_or_none()
        return (row.path, row.digest) if row else ("", "")

    def record_certificate(self, node: str, path: str, digest: str) -> None:
        """Write down that a certificate was issued."""
        statement = insert(certificates).values(node=node, at=now(), path=path, digest=digest)
        self._database.write(lambda conn: conn.execute(statement))

    def _due(self, where: Any, digests: Iterable[str] | None) -> list[DueStudy]:
        found: dict[str, DueStudy] = {}
        chosen = [None] if digests is None else batches(digests, _KEYS_A_QUERY)
        with self._database.read() as conn:
            for batch in chosen:
                limited = where if batch is None else and_(where, objects.c.sha256.in_(batch))
                size = func.coalesce(func.sum(objects.c.size), 0).label("size")
                statement = select(objects.c.study_instance_uid, func.count().label("n"), size).where(limited)
                for row in conn.execute(statement.group_by(objects.c.study_instance_uid)):
                    before = found.get(row.study_instance_uid, DueStudy(row.study_instance_uid, 0, 0))
                    found[row.study_instance_uid] = DueStudy(
                        before.study_instance_uid, before.instances + row.n, before.bytes + row.size
                    )
        return [found[uid] for uid in sorted(found)]

    def _write(self, conn: Connection, lease: Lease, stage: str, found: Sequence[Outcome], revisions: Revisions) -> None:
        at = now()
        rows = [
            {
                "sha256": outcome.key,
                "node": lease.node,
                "stage": stage,
                "revision": revisions.get(outcome.key, 0),
                "state": outcome.state,
                "code": outcome.code,
                "detail": outcome.detail,
                "attempts": 1,
                "at": at,
            }
            for outcome in found
        ]
        self._database.upsert(conn, outcomes, rows, _changes)


def _changes(new: Any) -> dict[str, Any]:
    attempts = case((outcomes.c.state == new.state, outcomes.c.attempts + 1), else_=1)
    return {"state": new.state, "code": new.code, "detail": new.detail, "at": new.at, "attempts": attempts}


def _row_is(table: Any, stage: str, node: str | ColumnElement[str]) -> Any:
    """Say that a row speaks of the object as it leaves now: of its present revision."""
    row = and_(table.c.stage == stage, table.c.node == node, table.c.revision == objects.c.revision)
    return and_(table.c.sha256 == objects.c.sha256, row)


def _forward_due(node: str | ColumnElement[str]) -> Any:
    final = exists().where(_row_is(outcomes, FORWARD, node), outcomes.c.state.in_(FORWARD_FINAL))
    return and_(objects.c.status.in_(FILEABLE), ~final)


_DUE_OBJECTS = (
    select(objects)
    .where(objects.c.study_instance_uid == bindparam("study"), _forward_due(bindparam("target", type_=String())))
    .order_by(objects.c.series_instance_uid, objects.c.sop_instance_uid, objects.c.sha256)
)


def _sent(node: str) -> Any:
    return exists().where(_row_is(outcomes, FORWARD, node), outcomes.c.state.in_(AT_TARGET))


def _verify_due(node: str) -> Any:
    verified = outcomes.alias("verified")
    is_verified = exists().where(_row_is(verified, VERIFY, node), verified.c.state == "verified")
    return and_(_sent(node), ~is_verified)


def _standing(conn: Connection, lease: Lease, digests: Sequence[str], revisions: Revisions) -> dict[str, tuple[str, str, str]]:
    rows = _rows_of(conn, lease.stage, lease, digests, revisions)
    return {row.sha256: (row.state, row.code, row.detail) for row in rows}


def _attempts(conn: Connection, lease: Lease, digests: Sequence[str], revisions: Revisions) -> dict[str, int]:
    return {row.sha256: row.attempts for row in _rows_of(conn, VERIFY, lease, digests, revisions)}


def _rows_of(conn: Connection, stage: str, lease: Lease, digests: Sequence[str], revisions: Revisions) -> list[Any]:
    found: list[Any] = []
    for batch in batches(digests, _KEYS_A_QUERY):
        where = and_(outcomes.c.sha256.in_(batch), outcomes.c.node == lease.node, outcomes.c.stage == stage)
        rows = conn.execute(select(outcomes).where(where)).all()
        found += [row for row in rows if row.revision == revisions.get(row.sha256, 0)]
    return found
