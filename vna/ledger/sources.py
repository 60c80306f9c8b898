"""What sources say they hold: studies, series and instances as listed, and the inventories that prove how they were found.

Nothing that was once listed is ever deleted here. Where a later, complete inventory no longer names something, that is written
down (``listed`` false; ``NOT_LISTED`` where no object had come for it), so that the sum of instances never shrinks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, and_, case, false, func, insert, select, true, update

from vna.ledger.database import Database, now
from vna.ledger.leases import Lease, check
from vna.ledger.objects import FILEABLE, batches
from vna.ledger.tables import expected_instances, inventories, inventory_windows, objects, source_series, source_studies
from vna.model import InstanceRef, ObjectStatus

NOT_LISTED = "NOT_LISTED"
_KEYS_A_QUERY = 500


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """A study as a source lists it. Values are the source's own text; names and birth dates are left out on purpose."""

    study_instance_uid: str
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    study_description: str = ""
    modalities_in_study: str = ""
    instance_availability: str = ""


@dataclass(frozen=True, slots=True)
class ListedSeries:
    """A series as a source lists it."""

    series_instance_uid: str
    modality: str = ""
    series_number: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """One query of an inventory: its keys without values that name a patient, its answers, and why they are believed.

    ``state`` is ``whole``, ``split`` (not believed; its parts were asked for) or ``unproved``.
    """

    ordinal: int
    parent: int
    keys: str
    answers: int
    state: str
    reason: str
    digest: str


@dataclass(frozen=True, slots=True)
class InventoryRun:
    """A finished inventory. ``digest`` covers every UID that was listed; ``evidence`` is the path of its evidence file."""

    node: str
    started_at: str
    finished_at: str
    studies: int
    series: int
    instances: int
    windows: int
    truncated: int
    complete: bool
    digest: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording one study changed: rows that were new or different, and instances that the source lists no more."""

    changes: int
    vanished: tuple[InstanceRef, ...] = ()


class Sources:
    """The listings of every source node."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last_inventory(self, node: str) -> InventoryRun | None:
        """Return the last finished inventory of a node that found something new."""
        statement = select(inventories).where(inventories.c.node == node).order_by(inventories.c.id.desc()).limit(1)
        with self._database.read() as conn:
            row = conn.execute(statement).one_or_none()
        if row is None:
            return None
        values = dict(row._mapping)
        del values["id"]
        return InventoryRun(**values)

    def nodes(self) -> list[str]:
        """Name the nodes that were inventoried."""
        with self._database.read() as conn:
            return list(conn.execute(select(inventories.c.node).distinct().order_by(inventories.c.node)).scalars())

    def study_uids(self, node: str) -> set[str]:
        """Return the studies that the node lists now."""
        listed = and_(source_studies.c.node == node, source_studies.c.listed == true())
        with self._database.read() as conn:
            return set(conn.execute(select(source_studies.c.study_instance_uid).where(listed)).scalars())

    def count_instances(self, node: str) -> int:
        """Count the instances that the node lists now."""
        listed = and_(expected_instances.c.node == node, expected_instances.c.listed == true())
        with self._database.read() as conn:
            return conn.execute(select(func.count()).select_from(expected_instances).where(listed)).scalar_one()

    def record_study(
        self,
        lease: Lease,
        study: ListedStudy,
        series: Sequence[ListedSeries],
        instances: Iterable[InstanceRef],
        *,
        whole: bool = True,
    ) -> Recorded:
        """Write what the node of the lease lists of one study, in one transaction; only differences are written.

        ``whole`` says whether these are known to be all instances; where not, the study is due to be pulled as a whole.

        New instances are matched at once with objects that are stored already. Raises LockedError when the lease was lost.
        """
        node, uid = lease.node, study.study_instance_uid
        listed = {(ref.series_instance_uid, ref.sop_instance_uid): ref for ref in instances}

        def work(conn: Connection) -> Recorded:
            check(conn, lease)
            changes = self._record_rows(conn, node, study, series, whole=whole)
            known = _known_instances(conn, node, uid)
            new = [ref for key, ref in listed.items() if key not in known]
            back = [key for key in listed if known.get(key) is False]
            changes += self._insert_instances(conn, node, uid, new)
            _list_again(conn, node, uid, back)
            gone = [key for key, is_listed in known.items() if is_listed and key not in listed]
            vanished = tuple(InstanceRef(uid, series_uid, sop_uid) for series_uid, sop_uid in gone)
            return Recorded(changes + len(back), vanished)

        return self._database.write(work)

    def is_open(self, node: str, study_instance_uid: str) -> bool:
        """Say whether a study is to be asked for as a whole, since its instances could not all be listed."""
        with self._database.read() as conn:
            where = and_(source_studies.c.study_instance_uid == study_instance_uid, _is_open(node))
            return conn.execute(select(source_studies.c.node).where(where)).one_or_none() is not None

    def mark_asked(self, lease: Lease) -> None:
        """Write down that the study of the lease was asked for as a whole."""
        where = and_(source_studies.c.study_instance_uid == lease.study_instance_uid, source_studies.c.node == lease.node)

        def work(conn: Connection) -> None:
            check(conn, lease)
            conn.execute(update(source_studies).where(where).values(asked_at=now()))

        self._database.write(work)

    def open_studies(self, node: str) -> dict[str, str]:
        """Return the studies that are to be asked for as a whole, with their dates."""
        with self._database.read() as conn:
            rows = conn.execute(select(source_studies.c.study_instance_uid, source_studies.c.study_date).where(_is_open(node)))
            return {row.study_instance_uid: row.study_date for row in rows}

    def finish(self, lease: Lease, run: InventoryRun, windows: Sequence[Window]) -> None:
        """Write the run and its windows."""

        def work(conn: Connection) -> None:
            check(conn, lease)
            identifier = conn.execute(insert(inventories).values(asdict(run)).returning(inventories.c.id)).scalar_one()
            for batch in batches(windows, _KEYS_A_QUERY):
                conn.execute(insert(inventory_windows), [{"inventory_id": identifier, **asdict(window)} for window in batch])

        self._database.write(work)

    def unlist(self, lease: Lease, studies: Iterable[str], instances: Iterable[InstanceRef]) -> None:
        """Write down that the source no longer lists these studies (with all they hold) and these single instances."""
        node, gone, single = lease.node, list(studies), list(instances)

        def work(conn: Connection) -> None:
            check(conn, lease)
            for uid in gone:
                of_study = and_(source_studies.c.study_instance_uid == uid, source_studies.c.node == node)
                conn.execute(update(source_studies).where(of_study).values(listed=False))
                _unlist(conn, and_(expected_instances.c.study_instance_uid == uid, expected_instances.c.node == node))
            for ref in single:
                _unlist(conn, _is(node, ref.study_instance_uid, ref.series_instance_uid, ref.sop_instance_uid))

        self._database.write(work)

    def _record_rows(
        self, conn: Connection, node: str, study: ListedStudy, series: Sequence[ListedSeries], *, whole: bool
    ) -> int:
        """Write the study's and the series' own rows where they differ, and count those."""
        row = {**asdict(study), "node": node, "listed": True, "whole": whole}
        changes = self._write_row(conn, source_studies, row)
        for one in series:
            row = {**asdict(one), "node": node, "study_instance_uid": study.study_instance_uid}
            changes += self._write_row(conn, source_series, row)
        return changes

    def _write_row(self, conn: Connection, table: Any, row: Mapping[str, Any]) -> int:
        keys = [column.name for column in table.primary_key.columns]
        standing = conn.execute(select(table).where(*(table.c[key] == row[key] for key in keys))).mappings().one_or_none()
        if standing is not None and all(standing[name] == value for name, value in row.items()):
            return 0
        self._database.upsert(conn, table, [row], lambda new: {name: new[name] for name in row if name not in keys})
        return 1

    def _insert_instances(self, conn: Connection, node: str, study_instance_uid: str, refs: Sequence[InstanceRef]) -> int:
        if not refs:
            return 0
        stored = _stored_by_key(conn, study_instance_uid)
        rows = [_expected_row(ref, node, stored.get((ref.series_instance_uid, ref.sop_instance_uid))) for ref in refs]
        return self._database.insert_new(conn, expected_instances, rows)


def _expected_row(ref: InstanceRef, node: str, digest: str | None) -> dict[str, Any]:
    return {
        "study_instance_uid": ref.study_instance_uid,
        "series_instance_uid": ref.series_instance_uid,
        "sop_instance_uid": ref.sop_instance_uid,
        "node": node,
        "sop_class_uid": ref.sop_class_uid,
        "listed": True,
        "sha256": digest,
        "matched": "exact" if digest else "",
        "state": "",
        "code": "",
        "detail": "",
        "attempts": 0,
        "at": "",
    }


def _is_open(node: str) -> Any:
    study = source_studies.c
    return and_(study.node == node, study.listed == true(), study.whole == false(), study.asked_at == "")


def _is(node: str, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Any:
    return and_(
        expected_instances.c.study_instance_uid == study_instance_uid,
        expected_instances.c.series_instance_uid == series_instance_uid,
        expected_instances.c.sop_instance_uid == sop_instance_uid,
        expected_instances.c.node == node,
    )


def _known_instances(conn: Connection, node: str, study_instance_uid: str) -> dict[tuple[str, str], bool]:
    """Return the study's instances in the ledger: (series, SOP instance) -> listed."""
    table = expected_instances.c
    of_study = and_(table.study_instance_uid == study_instance_uid, table.node == node)
    rows = conn.execute(select(table.series_instance_uid, table.sop_instance_uid, table.listed).where(of_study))
    return {(row.series_instance_uid, row.sop_instance_uid): bool(row.listed) for row in rows}


def _stored_by_key(conn: Connection, study_instance_uid: str) -> dict[tuple[str, str], str]:
    """Return the study's objects that can stand for an instance: (series, SOP instance) -> digest, fileable ones first."""
    rank = case((objects.c.status.in_(FILEABLE), 0), else_=1)
    eligible = and_(objects.c.study_instance_uid == study_instance_uid, objects.c.status != ObjectStatus.VARIANT.value)
    rows = conn.execute(select(objects).where(eligible).order_by(rank, objects.c.received_at, objects.c.sha256))
    stored: dict[tuple[str, str], str] = {}
    for row in rows:
        stored.setdefault((row.series_instance_uid, row.sop_instance_uid), row.sha256)
    return stored


def _list_again(conn: Connection, node: str, study_instance_uid: str, keys: Iterable[tuple[str, str]]) -> None:
    for series_uid, sop_uid in keys:
        where = _is(node, study_instance_uid, series_uid, sop_uid)
        conn.execute(update(expected_instances).where(where).values(listed=True))
        given_up = and_(where, expected_instances.c.code == NOT_LISTED)
        conn.execute(update(expected_instances).where(given_up).values(state="", code="", detail=""))


def _unlist(conn: Connection, where: Any) -> None:
    conn.execute(update(expected_instances).where(where).values(listed=False))
    open_ones = and_(where, expected_instances.c.sha256.is_(None), expected_instances.c.state != "missing")
    values = {"state": "missing", "code": NOT_LISTED, "detail": "listed before, not in the last complete inventory", "at": now()}
    conn.execute(update(expected_instances).where(open_ones).values(**values))
