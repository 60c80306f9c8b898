"""Where archives and ledgers live in tests, and an archive with objects, its ledger, and an embedded target PACS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, inspect, text

from tests.support.objects import WireObject, send, wire_object
from tests.support.peers import free_port
from vna.archive import Archive
from vna.demo.pacs import EmbeddedPacs
from vna.ledger import Ledger
from vna.model import Local, Node, Receipt

LOCAL, S3, ELSEWHERE = "local", "S3", "S3 and PostgreSQL"
"""Kinds of places that the fixture ``place`` gives."""


@dataclass(frozen=True)
class Place:
    """Where one archive and its ledger live; ``spool`` is this machine's folder for an archive on S3."""

    url: str
    ledger_url: str
    storage_options: dict[str, Any] = field(default_factory=dict)
    spool: str = ""

    def create(self, **options: Any) -> Archive:
        """Make the archive, or open it."""
        return Archive.create(self.url, self.storage_options, spool=self.spool, **options)

    def snapshot(self, *, without: Sequence[str] = ()) -> tuple[dict[str, list[tuple[object, ...]]], dict[str, bytes]]:
        """Return everything that the ledger (but for some tables) and the archive hold."""
        engine = create_engine(self.ledger_url)
        with engine.connect() as connection:
            tables = {
                name: sorted((tuple(row) for row in connection.execute(text(f'SELECT * FROM "{name}"'))), key=repr)
                for name in sorted(inspect(engine).get_table_names())
                if name not in without
            }
        engine.dispose()
        store = self.create().store
        names = [path for path in store.list() if "ledger.sqlite" not in path]
        files = {name: store.read_bytes(name) for name in names}
        if self.spool:
            local = [path for path in Path(self.spool).rglob("*") if path.is_file()]
            files |= {str(path): path.read_bytes() for path in local}
        return tables, files


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
