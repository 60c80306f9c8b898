"""An archive, a ledger and an embedded PACS that knows us as a destination."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.instances import data_set_bytes, make_instance
from tests.support.peers import free_port
from vna.archive import Archive
from vna.demo.pacs import EmbeddedPacs
from vna.inventory import run as take_inventory
from vna.ledger import Ledger
from vna.model import Local, Node
from vna.pull import Method, PullOptions, PullResult, run


@dataclass
class Site:
    """Everything that a pull needs."""

    archive: Archive
    ledger: Ledger
    pacs: EmbeddedPacs
    local: Local

    @property
    def node(self) -> Node:
        return self.pacs.node("legacy")

    def fill(self, patient: str, images: int = 3, *, series: int = 1, **keywords: object) -> list[str]:
        """Store a study at the PACS and return its SOP Instance UIDs."""
        uids = []
        for s in range(1, series + 1):
            for number in range(1, images + 1):
                ds = make_instance(**{"PatientID": patient, "SeriesNumber": s, "InstanceNumber": number, **keywords})
                self.pacs.add(ds.SOPClassUID, ds.SOPInstanceUID, ds.file_meta.TransferSyntaxUID, data_set_bytes(ds))
                uids.append(str(ds.SOPInstanceUID))
        return uids

    def inventory(self) -> None:
        """List what the PACS holds."""
        take_inventory(self.ledger, self.node, self.local)

    def pull(self, method: Method = Method.MOVE, **options: object) -> PullResult:
        """Pull with short waits."""
        chosen = {"method": method, "settle_s": 0.4, "first_wait_s": 0.01, **options}
        return run(self.archive, self.ledger, self.node, self.local, PullOptions(**chosen))  # type: ignore[arg-type]

    def stored(self) -> set[str]:
        """Name the SOP instances that the archive's journal tells of."""
        return {row.sop_instance_uid for row in self.archive.journal_rows()}

    def reasons(self) -> dict[str, str]:
        """Give the code of each instance without object."""
        return {one.sop_instance_uid: one.code for one in self.ledger.unmigrated() if not one.sha256}

    def figures(self) -> dict[str, int]:
        """Give the status' figures that are not zero, which always add up."""
        instances = self.ledger.status().instances
        assert instances["expected"] == sum(instances[s] for s in ("verified", "quarantined", "refused", "missing", "pending"))
        return {name: count for name, count in instances.items() if count}

    def retrieves(self) -> list[dict[str, str]]:
        """List the keys of every C-MOVE and C-GET so far."""
        return [dict(request.keys) for request in self.pacs.requests if request.service in ("C-MOVE", "C-GET")]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    port = free_port()
    archive = Archive.create(str(tmp_path / "archive"))
    with (
        Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger,
        EmbeddedPacs("LEGACY", destinations={"VNA": ("127.0.0.1", port)}) as pacs,
    ):
        yield Site(archive, ledger, pacs, Local(port=port))
