"""An archive with objects, its ledger, and an embedded target PACS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.objects import WireObject, send, wire_object
from tests.support.peers import free_port
from vna.archive import Archive
from vna.demo.pacs import EmbeddedPacs
from vna.ledger import Ledger
from vna.model import Local, Node, Receipt


@dataclass
class TargetSite:
    """Everything that forward and verify need."""

    archive: Archive
    ledger: Ledger
    pacs: EmbeddedPacs
    local: Local

    @property
    def node(self) -> Node:
        return self.pacs.node("target")

    def take(self, *objects: WireObject) -> list[Receipt]:
        """Store objects in the archive."""
        with self.archive.sink() as sink:
            return [send(sink, item) for item in objects]

    def fill(self, patient: str = "P1", images: int = 3, **keywords: object) -> list[WireObject]:
        """Store one study in the archive."""
        numbers = range(1, images + 1)
        objects = [wire_object(**{"PatientID": patient, "InstanceNumber": number, **keywords}) for number in numbers]
        self.take(*objects)
        return objects

    def figures(self) -> dict[str, int]:
        """Give the status' figures that are not zero, which always add up."""
        instances = self.ledger.status().instances
        assert instances["expected"] == sum(instances[s] for s in ("verified", "quarantined", "refused", "missing", "pending"))
        return {name: count for name, count in instances.items() if count}

    def reasons(self) -> dict[str, str]:
        """Give the code of each unit that is not verified, by SOP Instance UID."""
        return {one.sop_instance_uid: one.code for one in self.ledger.unmigrated()}

    def stores(self) -> list[str]:
        """List the SOP Instance UIDs that the target was sent, in their order."""
        return [request.keys["SOPInstanceUID"] for request in self.pacs.requests if request.service == "C-STORE"]


@contextmanager
def target_site(folder: Path) -> Iterator[TargetSite]:
    """Make an empty archive and ledger under ``folder`` and start the target, which knows us as a destination."""
    port = free_port()
    archive = Archive.create(str(folder / "archive"))
    with (
        Ledger.open(f"sqlite:///{folder}/ledger.sqlite") as ledger,
        EmbeddedPacs("TARGET", destinations={"VNA": ("127.0.0.1", port)}) as pacs,
    ):
        yield TargetSite(archive, ledger, pacs, Local(port=port))
