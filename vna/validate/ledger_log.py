"""Findings in the ledger: one outcome an object and kind of check, under no node.

Stage ``validate`` holds what the rules found, ``dciodvfy`` what that program says of sampled objects: ``state`` is ``clean`` or
``found``, ``code`` names the set of rules, ``detail`` holds the findings as JSON. Stage ``pixels`` holds the digest of the pixel
data as its ``code``. One run at a time writes, under the stage's lease.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import and_, select

from vna.errors import LockedError
from vna.ledger import Lease, Ledger
from vna.ledger.database import Database
from vna.ledger.outcomes import Outcomes
from vna.ledger.tables import objects, outcomes
from vna.model import Finding, Outcome
from vna.validate.check import Checked
from vna.validate.digests import PixelDigest
from vna.validate.record import decode, encode

VALIDATE, DCIODVFY, PIXELS = "validate", "dciodvfy", "pixels"
NODE = ""
_DIGESTS_A_QUERY = 500


class LedgerLog:
    """One kind of check in the ledger; made by :func:`finding_log`, or by :func:`read_log` to read only."""

    def __init__(self, database: Database, stage: str, lease: Lease | None) -> None:
        self._database = database
        self._stage = stage
        self._lease = lease

    def known(self, digests: Sequence[str], ruleset: str) -> Mapping[str, tuple[Finding, ...]]:
        """Give the findings of those objects that were checked under this set of rules."""
        rows = self._rows(digests)
        return {sha256: decode(detail) for sha256, (code, detail) in rows.items() if code == ruleset}

    def record(self, checked: Sequence[Checked], ruleset: str) -> None:
        """Keep the findings of these objects. What the ledger does not know as an object is left out, and due again next time.

        Raises LockedError when the lease was lost.
        """
        self._write([Outcome(one.sha256, "found" if one.findings else "clean", ruleset, encode(one.findings)) for one in checked])

    def known_digests(self, digests: Sequence[str]) -> Mapping[str, str]:
        """Give the digests of pixel data that were computed before, by the objects' own."""
        return {sha256: code for sha256, (code, _) in self._rows(digests).items()}

    def record_digests(self, found: Sequence[PixelDigest]) -> None:
        """Keep digests of pixel data; they never change."""
        self._write([Outcome(one.sha256, "digest", one.digest) for one in found])

    def _rows(self, digests: Sequence[str]) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        ours = and_(outcomes.c.stage == self._stage, outcomes.c.node == NODE, outcomes.c.revision == 0)
        with self._database.read() as conn:
            for batch in _batches(digests):
                statement = select(outcomes.c.sha256, outcomes.c.code, outcomes.c.detail).where(
                    ours, outcomes.c.sha256.in_(batch)
                )
                found |= {row.sha256: (row.code, row.detail) for row in conn.execute(statement)}
        return found

    def _write(self, rows: Sequence[Outcome]) -> None:
        if self._lease is None:
            raise LockedError(f"the {self._stage} log was opened to be read")
        known: set[str] = set()
        with self._database.read() as conn:
            for batch in _batches([row.key for row in rows]):
                known |= set(conn.execute(select(objects.c.sha256).where(objects.c.sha256.in_(batch))).scalars())
        Outcomes(self._database).record(self._lease, [row for row in rows if row.key in known])


def _batches(digests: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(digests), _DIGESTS_A_QUERY):
        yield digests[start : start + _DIGESTS_A_QUERY]


def read_log(ledger: Ledger, stage: str = VALIDATE) -> LedgerLog:
    """Open the ledger's findings to be read, which leaves no trace."""
    return LedgerLog(ledger._database, stage, None)


@contextmanager
def finding_log(ledger: Ledger, stage: str = VALIDATE) -> Iterator[LedgerLog]:
    """Open the ledger's findings for one run. Raises LockedError while another run has the stage."""
    with ledger.leases.held(stage, NODE) as lease:
        yield LedgerLog(ledger._database, stage, lease)
