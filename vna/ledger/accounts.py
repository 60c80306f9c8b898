"""The sum that must come out: expected = verified + quarantined + refused + missing + pending.

Accountable units are all objects of the archive, by digest, and all instances that a source listed and no object came for. An
object in quarantine or one that contradicts another under its UID counts as quarantined, whatever a target says. Where several
targets have outcomes for one object, the worst counts. Without any target a unit is pending.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, exists, func, literal, or_, select, true, union_all

from vna.ledger.database import Database
from vna.ledger.objects import FILEABLE
from vna.ledger.outcomes import FORWARD, VERIFY, Outcomes
from vna.ledger.tables import expected_instances, inventories, objects, outcomes, source_studies
from vna.model import InstanceState, ObjectStatus

UID_CONFLICT = "UID_CONFLICT"
NOT_PULLED = "NOT_PULLED"
NOT_FORWARDED = "NOT_FORWARDED"
NOT_VERIFIED = "NOT_VERIFIED"
DIFFERENT = "DIFFERENT"
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Status:
    """Where every unit stands.

    ``studies`` counts verified, partial (nothing pending, but something quarantined, refused or missing), pending and empty ones.
    """

    studies: Mapping[str, int]
    instances: Mapping[str, int]
    targets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    inventories: Mapping[str, bool] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether there is something to account for, and nothing of it is pending."""
        return self.instances["expected"] > 0 and self.instances["pending"] == 0

    def as_json(self) -> dict[str, Any]:
        """Give the keys that ``vna status --json`` promises, figures per target, and which inventories are complete."""
        return {
            "studies": dict(self.studies),
            "instances": dict(self.instances),
            "closed": self.closed,
            "targets": {node: dict(figures) for node, figures in self.targets.items()},
            "inventories": {node: {"complete": complete} for node, complete in self.inventories.items()},
        }


@dataclass(frozen=True, slots=True)
class Unmigrated:
    """One unit that is not verified, and why. ``node`` is the source it is missing from or the target that refused it."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sha256: str
    state: str
    code: str
    detail: str = ""
    node: str = ""


class Accounts:
    """Reads the ledger's sums."""

    def __init__(self, database: Database, outcomes_: Outcomes) -> None:
        self._database = database
        self._outcomes = outcomes_

    def status(self, target: str = "") -> Status:
        """Add everything up; with ``target``, as if that were the only one."""
        units = _units(target)
        with self._database.read() as conn:
            studies = _study_states(conn, units)
            instances = _instance_states(conn, units)
            complete = {row.node: bool(row.complete) for row in conn.execute(_last_inventories())}
        figures = {} if target else {node: self.status(node).instances for node in self._outcomes.targets()}
        return Status(studies, instances, figures, complete)

    def unmigrated(self, target: str = "") -> Iterator[Unmigrated]:
        """Yield every unit that is not verified with its reason: objects, then instances without one, each by their UIDs."""
        with self._database.read() as conn:
            for row in conn.execute(_open_objects(target)).yield_per(_ROWS_AT_ONCE):
                yield _open_object(row)
            for row in conn.execute(_absent_instances()).yield_per(_ROWS_AT_ONCE):
                yield _absent_instance(row)


def _object_state(target: str) -> ColumnElement[str]:
    """Say where an object stands: at its worst target, or at ``target`` alone.

    Every object that a target knows of has an outcome of forward there, so the look-ups go from that, by primary key.
    """
    forwarded, verified = outcomes.alias("forwarded"), outcomes.alias("verified")
    sent = and_(forwarded.c.sha256 == objects.c.sha256, forwarded.c.stage == FORWARD, forwarded.c.revision == objects.c.revision)
    if target:
        sent = and_(sent, forwarded.c.node == target)
    is_verified = exists().where(
        verified.c.sha256 == forwarded.c.sha256,
        verified.c.node == forwarded.c.node,
        verified.c.stage == VERIFY,
        verified.c.revision == objects.c.revision,
        verified.c.state == "verified",
    )
    return case(
        (objects.c.status.not_in(FILEABLE), InstanceState.QUARANTINED.value),
        (~exists().where(sent), InstanceState.PENDING.value),
        (exists().where(sent, forwarded.c.state != "refused", ~is_verified), InstanceState.PENDING.value),
        (exists().where(sent, forwarded.c.state == "refused"), InstanceState.REFUSED.value),
        else_=InstanceState.VERIFIED.value,
    )


def _units(target: str) -> Subquery:
    """List every accountable unit with its study and state."""
    stored = select(objects.c.study_instance_uid, _object_state(target).label("state"))
    given_up = case((expected_instances.c.state == "missing", InstanceState.MISSING.value), else_=InstanceState.PENDING.value)
    absent = select(expected_instances.c.study_instance_uid, given_up.label("state")).where(expected_instances.c.sha256.is_(None))
    return union_all(stored, absent).subquery("units")


def _instance_states(conn: Any, units: Subquery) -> dict[str, int]:
    counts = {row.state: row.n for row in conn.execute(select(units.c.state, func.count().label("n")).group_by(units.c.state))}
    stored = conn.execute(select(func.count()).select_from(objects)).scalar_one()
    figures = {"expected": sum(counts.values()), "stored": stored}
    order = (
        InstanceState.VERIFIED,
        InstanceState.QUARANTINED,
        InstanceState.REFUSED,
        InstanceState.MISSING,
        InstanceState.PENDING,
    )
    return figures | {state.value: counts.get(state.value, 0) for state in order}


def _study_states(conn: Any, units: Subquery) -> dict[str, int]:
    pending = func.max(case((units.c.state == InstanceState.PENDING.value, 1), else_=0))
    open_end = func.max(case((units.c.state != InstanceState.VERIFIED.value, 1), else_=0))
    state = case((pending == 1, "pending"), (open_end == 1, "partial"), else_="verified").label("state")
    per_study = select(state).group_by(units.c.study_instance_uid).subquery("per_study")
    counts = {
        row.state: row.n for row in conn.execute(select(per_study.c.state, func.count().label("n")).group_by(per_study.c.state))
    }
    has_units = select(literal(1)).where(units.c.study_instance_uid == source_studies.c.study_instance_uid).exists()
    empty = select(func.count(source_studies.c.study_instance_uid.distinct())).where(
        source_studies.c.listed == true(), ~has_units
    )
    return {
        "verified": counts.get("verified", 0),
        "partial": counts.get("partial", 0),
        "pending": counts.get("pending", 0),
        "empty": conn.execute(empty).scalar_one(),
    }


def _last_inventories() -> Select[Any]:
    last = select(func.max(inventories.c.id)).group_by(inventories.c.node)
    return select(inventories.c.node, inventories.c.complete).where(inventories.c.id.in_(last)).order_by(inventories.c.node)


def _open_objects(target: str) -> Select[Any]:
    """Select each object with each target where it is not verified; one row without target where nothing was sent."""
    forwarded, verified = outcomes.alias("forwarded"), outcomes.alias("verified")
    sent = and_(forwarded.c.sha256 == objects.c.sha256, forwarded.c.stage == FORWARD, forwarded.c.revision == objects.c.revision)
    if target:
        sent = and_(sent, forwarded.c.node == target)
    found = and_(
        verified.c.sha256 == objects.c.sha256,
        verified.c.stage == VERIFY,
        verified.c.revision == objects.c.revision,
        verified.c.node == forwarded.c.node,
    )
    is_open = or_(
        objects.c.status.not_in(FILEABLE),
        forwarded.c.state.is_(None),
        forwarded.c.state == "refused",
        verified.c.state.is_(None),
        verified.c.state != "verified",
    )
    columns = (
        forwarded.c.node.label("at_node"),
        forwarded.c.state.label("forward_state"),
        forwarded.c.code.label("forward_code"),
        forwarded.c.detail.label("forward_detail"),
        verified.c.state.label("verify_state"),
        verified.c.code.label("verify_code"),
        verified.c.detail.label("verify_detail"),
    )
    order = (objects.c.study_instance_uid, objects.c.series_instance_uid, objects.c.sop_instance_uid, objects.c.sha256)
    return select(objects, *columns).outerjoin(forwarded, sent).outerjoin(verified, found).where(is_open).order_by(*order)


def _open_object(row: Any) -> Unmigrated:
    state, code, detail, node = _reason(row)
    return Unmigrated(
        row.study_instance_uid, row.series_instance_uid, row.sop_instance_uid, row.sha256, state.value, code, detail, node
    )


def _reason(row: Any) -> tuple[InstanceState, str, str, str]:
    """Say why one object is not verified at one target: state, code, detail, node."""
    if row.status == ObjectStatus.VARIANT:
        return InstanceState.QUARANTINED, UID_CONFLICT, "another object was stored under this SOP Instance UID first", row.source
    if row.status not in FILEABLE:
        return InstanceState.QUARANTINED, row.codes.partition(" ")[0] or "QUARANTINED", "", row.source
    if row.forward_state is None:
        return InstanceState.PENDING, NOT_FORWARDED, "", ""
    if row.forward_state == "refused":
        return InstanceState.REFUSED, row.forward_code, row.forward_detail, row.at_node
    if row.forward_state == "failed":
        return InstanceState.PENDING, row.forward_code, row.forward_detail, row.at_node
    if row.verify_state == "different":
        return InstanceState.PENDING, DIFFERENT, row.verify_detail, row.at_node
    return InstanceState.PENDING, NOT_VERIFIED, "", row.at_node


def _absent_instances() -> Select[Any]:
    order = (
        expected_instances.c.study_instance_uid,
        expected_instances.c.series_instance_uid,
        expected_instances.c.sop_instance_uid,
        expected_instances.c.node,
    )
    return select(expected_instances).where(expected_instances.c.sha256.is_(None)).order_by(*order)


def _absent_instance(row: Any) -> Unmigrated:
    state = InstanceState.MISSING if row.state == "missing" else InstanceState.PENDING
    return Unmigrated(
        row.study_instance_uid,
        row.series_instance_uid,
        row.sop_instance_uid,
        "",
        state.value,
        row.code or NOT_PULLED,
        row.detail,
        row.node,
    )
