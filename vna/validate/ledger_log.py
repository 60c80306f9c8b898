"""Findings in the ledger: one outcome of the stage ``validate`` an object, under no node.

``state`` is ``clean`` or ``found``, ``code`` names the set of rules (:func:`vna.validate.registry.fingerprint`), ``detail`` holds
the findings as JSON. One run at a time writes, under the stage's lease.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import and_, select

from vna.ledger import Lease, Ledger
from vna.ledger.database import Database
from vna.ledger.outcomes import Outcomes
from vna.ledger.tables import objects, outcomes
from vna.model import Finding, Outcome
from vna.validate.check import Checked
from vna.validate.record import decode, encode

STAGE = "validate"
NODE = ""
_DIGESTS_A_QUERY = 500


class LedgerLog:
    """The ledger as a :class:`vna.validate.record.FindingLog`; made by :func:`finding_log`."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._outcomes = Outcomes(database)
        self._lease = lease

    def known(self, digests: Sequence[str], ruleset: str) -> Mapping[str, tuple[Finding, ...]]:
        """Give the findings of those objects that were validated under this set of rules."""
        found: dict[str, tuple[Finding, ...]] = {}
        same = and_(outcomes.c.stage == STAGE, outcomes.c.node == NODE, outcomes.c.revision == 0, outcomes.c.code == ruleset)
        with self._database.read() as conn:
            for start in range(0, len(digests), _DIGESTS_A_QUERY):
                batch = digests[start : start + _DIGESTS_A_QUERY]
                statement = select(outcomes.c.sha256, outcomes.c.detail).where(same, outcomes.c.sha256.in_(batch))
                found |= {row.sha256: decode(row.detail) for row in conn.execute(statement)}
        return found

    def record(self, checked: Sequence[Checked], ruleset: str) -> None:
        """Keep the findings of these objects. What the ledger does not know as an object is left out, and due again next time.

        Raises LockedError when the lease was lost.
        """
        digests = [one.sha256 for one in checked]
        with self._database.read() as conn:
            known = set(conn.execute(select(objects.c.sha256).where(objects.c.sha256.in_(digests))).scalars())
        rows = [
            Outcome(one.sha256, "found" if one.findings else "clean", ruleset, encode(one.findings))
            for one in checked
            if one.sha256 in known
        ]
        self._outcomes.record(self._lease, rows)


@contextmanager
def finding_log(ledger: Ledger) -> Iterator[LedgerLog]:
    """Open the ledger's findings for one run. Raises LockedError while another run validates."""
    with ledger.leases.held(STAGE, NODE) as lease:
        yield LedgerLog(ledger._database, lease)
