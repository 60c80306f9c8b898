"""Leases: who works on which study, so that several commands can run at once.

A lease is on (stage, node, study); an empty study claims the node's whole stage. It ends when it is released, when it expires
because its holder no longer renews it, or at once when its holder is known to be dead (same host, no such process). Each claim
gets a token that is larger than all before it; a write under a lease is taken only while that token stands, so a holder that
slept through its expiry cannot write over its successor (fencing).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, select, update

from vna.errors import LockedError, VnaError
from vna.ledger.database import Database
from vna.ledger.tables import counters, leases

LEASE_S = 60.0
_FENCE = "fence"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on work. ``token`` is the fencing token; ``study_instance_uid`` is empty for a whole stage of a node."""

    stage: str
    node: str
    study_instance_uid: str
    owner: str
    token: int


class Leases:
    """Claims, renews and releases leases for one process. A thread renews what is held until it is released."""

    def __init__(
        self, database: Database, *, owner: str = "", lease_s: float = LEASE_S, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._owner = owner or f"{process_identity()}:{secrets.token_hex(4)}"
        self._lease_s = lease_s
        self._clock = clock
        self._held: dict[int, Lease] = {}
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def claim(self, stage: str, node: str, study_instance_uid: str = "") -> Lease:
        """Claim work. Raises LockedError when another holder's lease stands."""

        def work(conn: Connection) -> Lease:
            token = self._next_token(conn)  # first: its row lock makes claims wait for each other
            standing = conn.execute(_STANDING, _key(stage, node, study_instance_uid)).one_or_none()
            if standing is not None and standing.expires_at > self._clock() and not is_dead(standing.owner):
                what = f"study {study_instance_uid}" if study_instance_uid else "everything"
                raise LockedError(
                    f"another run has the {stage} of {what} at {node}", hint="let it end, or wait for its lease to expire"
                )
            lease = Lease(stage, node, study_instance_uid, self._owner, token)
            row = {
                "stage": stage,
                "node": node,
                "study_instance_uid": study_instance_uid,
                "owner": self._owner,
                "token": token,
                "expires_at": self._clock() + self._lease_s,
            }
            self._database.upsert(conn, leases, [row], _taken_over)
            return lease

        lease = self._database.write(work)
        with self._guard:
            self._held[lease.token] = lease
            self._start_renewing()
        return lease

    def release(self, lease: Lease) -> None:
        """Give a lease back. Safe to repeat, and when it has been lost."""
        with self._guard:
            self._held.pop(lease.token, None)
        self._database.write(lambda conn: conn.execute(_RELEASE, _named(lease)))

    @contextmanager
    def held(self, stage: str, node: str, study_instance_uid: str = "") -> Iterator[Lease]:
        """Hold a lease for the block. Raises LockedError when another holder's lease stands."""
        lease = self.claim(stage, node, study_instance_uid)
        try:
            yield lease
        finally:
            self.release(lease)

    def renew(self) -> None:
        """Extend everything that is held; what was lost is forgotten (its next write is refused)."""
        with self._guard:
            held = list(self._held.values())
        if not held:
            return
        expires_at = self._clock() + self._lease_s

        def work(conn: Connection) -> list[Lease]:
            return [lease for lease in held if conn.execute(_RENEW, {**_named(lease), "until": expires_at}).rowcount == 0]

        for lease in self._database.write(work):
            with self._guard:
                was_held = self._held.pop(lease.token, None)  # None: released meanwhile
            if was_held:
                _log.warning("lost the lease on %s of %s at %s", lease.stage, lease.study_instance_uid or "all", lease.node)

    def close(self) -> None:
        """Release everything that is held and end the renewing thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._guard:
            held = list(self._held.values())
        for lease in held:
            self.release(lease)

    def _next_token(self, conn: Connection) -> int:
        token = conn.execute(_STEP).scalar()
        if token is None:  # the ledger's first claim
            self._database.insert_new(conn, counters, [{"name": _FENCE, "value": 0}])
            token = conn.execute(_STEP).scalar_one()
        return int(token)

    def _start_renewing(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew_until_closed, name="vna-leases", daemon=True)
            self._thread.start()

    def _renew_until_closed(self) -> None:
        while not self._stop.wait(self._lease_s / 3):
            with contextlib.suppress(VnaError):  # the next round tries again; a lease that expires meanwhile is fenced
                self.renew()


def check(conn: Connection, lease: Lease) -> None:
    """Make sure, within a write transaction, that the lease still stands. Raises LockedError when it was lost."""
    if conn.execute(_CHECK, _named(lease)).scalar() is None:
        raise LockedError(
            f"the lease on the {lease.stage} of study {lease.study_instance_uid or '(all)'} at {lease.node} was lost",
            hint="another run took over while this one stood still; nothing was written",
        )


def process_identity() -> str:
    """Name this process so that others on the host can see whether it lives: host, boot, process namespace, id, start time."""
    return f"{_host_identity()}:{os.getpid()}:{_start_time(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Say whether the owner of a lease is known not to run any more; unknown (another host) is False."""
    host, *rest = owner.split(":")
    if host != _host_identity() or len(rest) < 2 or not rest[0].isdigit() or not rest[1]:
        return False
    return _start_time(int(rest[0])) != rest[1]


def _host_identity() -> str:
    boot = _text("/proc/sys/kernel/random/boot_id")
    try:
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        namespace = ""
    return "/".join((socket.gethostname().replace(":", "-"), boot, namespace))


def _start_time(pid: int) -> str:
    """Read when a process started, in clock ticks since boot; empty when there is no such process or no /proc."""
    after_name = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    is_gone = not after_name or after_name[0] in ("Z", "X")
    return "" if is_gone else after_name[19]


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _taken_over(new: Any) -> dict[str, Any]:
    return {"owner": new.owner, "token": new.token, "expires_at": new.expires_at}


def _key(stage: str, node: str, study_instance_uid: str) -> dict[str, Any]:
    return {"at_stage": stage, "at_node": node, "of_study": study_instance_uid}


def _named(lease: Lease) -> dict[str, Any]:
    return {**_key(lease.stage, lease.node, lease.study_instance_uid), "with_token": lease.token}


# Each study takes all of these: built once, they cost what the database needs.
_AT_KEY = and_(
    leases.c.stage == bindparam("at_stage"),
    leases.c.node == bindparam("at_node"),
    leases.c.study_instance_uid == bindparam("of_study"),
)
_IS = and_(_AT_KEY, leases.c.token == bindparam("with_token"))
_STEP = update(counters).where(counters.c.name == _FENCE).values(value=counters.c.value + 1).returning(counters.c.value)
_STANDING = select(leases.c.owner, leases.c.expires_at).where(_AT_KEY)
_CHECK = select(leases.c.token).where(_IS).with_for_update()
_RENEW = update(leases).where(_IS).values(expires_at=bindparam("until"))
_RELEASE = delete(leases).where(_IS)
