"""Ledgers for tests: journal rows and listings without an archive or a source behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from tests.support.instances import CT_IMAGE_STORAGE, make_uid
from vna.ledger import Ledger, ListedSeries, ListedStudy
from vna.model import InstanceRef, Outcome

_SEQ = count(1)


@dataclass(frozen=True, slots=True)
class Row:
    """A journal row, as the archive would write it; digest and path are made from the UIDs and ``content``."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    state: str = "stored"
    content: str = ""
    codes: tuple[str, ...] = ()
    source: str = "legacy"
    writer: str = "w1"
    seq: int = field(default_factory=lambda: next(_SEQ))
    size: int = 1000
    sop_class_uid: str = CT_IMAGE_STORAGE
    transfer_syntax_uid: str = "1.2.840.10008.1.2.1"
    received_at: str = "2026-01-01T00:00:00Z"

    @property
    def sha256(self) -> str:
        return digest(self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid, self.content)

    @property
    def path(self) -> str:
        return f"instances/{self.sha256}.dcm"


def digest(*parts: str) -> str:
    """Make 64 hexadecimal digits that are the same for the same parts."""
    return f"{int(make_uid(*parts).removeprefix('2.25.')):064x}"


def ref(study: str, series: str, number: int) -> InstanceRef:
    """Name an instance by short names of its study and series."""
    return InstanceRef(study, series, f"{series}.{number}", CT_IMAGE_STORAGE)


def row(instance: InstanceRef, **changes: object) -> Row:
    """Make the journal row of an instance."""
    return Row(instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid, **changes)  # type: ignore[arg-type]


def list_study(ledger: Ledger, node: str, refs: Sequence[InstanceRef], **attributes: str) -> None:
    """Record what a source lists of one study."""
    study = ListedStudy(refs[0].study_instance_uid, **attributes)
    series = [ListedSeries(uid, "CT") for uid in sorted({one.series_instance_uid for one in refs})]
    with ledger.leases.held("inventory", node) as lease:
        ledger.sources.record_study(lease, study, series, refs)


def forward(ledger: Ledger, node: str, rows: Iterable[Row], state: str = "sent", code: str = "0x0000") -> None:
    """Record an outcome of forward for objects of one study."""
    _record(ledger, "forward", node, rows, state, code)


def verify(ledger: Ledger, node: str, rows: Iterable[Row], state: str = "verified", code: str = "IDENTICAL") -> None:
    """Record an outcome of verify for objects of one study."""
    _record(ledger, "verify", node, rows, state, code)


def _record(ledger: Ledger, stage: str, node: str, rows: Iterable[Row], state: str, code: str) -> None:
    with ledger.leases.held(stage, node, "any") as lease:
        ledger.outcomes.record(lease, [Outcome(one.sha256, state, code) for one in rows])
