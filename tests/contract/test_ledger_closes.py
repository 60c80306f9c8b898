"""Whatever a source or a target does wrong, every instance ends somewhere with a reason, and nothing names a patient."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.instances import data_set_bytes, make_instance
from tests.support.peers import free_port
from vna.archive import Archive
from vna.demo.faults import Faults
from vna.demo.pacs import EmbeddedPacs
from vna.forward import ForwardOptions
from vna.forward import run as forward
from vna.inventory import run as inventory
from vna.ledger import Ledger
from vna.model import Local
from vna.pull import Method, PullOptions
from vna.pull import run as pull
from vna.verify import VerifyOptions
from vna.verify import run as verify

STUDIES, IMAGES = 4, 3
SECRET = "Geheim"


@dataclass
class Job:
    """A legacy PACS with a few studies, an archive, and a target."""

    legacy: EmbeddedPacs
    target: EmbeddedPacs
    archive: Archive
    ledger: Ledger
    local: Local

    def inventory(self) -> None:
        inventory(self.ledger, self.legacy.node("legacy"), self.local)

    def pull(self, method: Method = Method.MOVE) -> None:
        options = PullOptions(method, settle_s=0.3, first_wait_s=0.01, attempts=2, workers=2)
        pull(self.archive, self.ledger, self.legacy.node("legacy"), self.local, options)

    def send(self, rounds: int = 3) -> None:
        """Forward and verify until there is nothing more to do."""
        for _ in range(rounds):
            node = self.target.node("target")
            forward(self.archive, self.ledger, node, self.local, ForwardOptions(first_wait_s=0.01, attempts=2))
            verify(self.archive, self.ledger, node, self.local, VerifyOptions(first_wait_s=0.01, attempts=2))

    def figures(self) -> dict[str, int]:
        instances = self.ledger.status().instances
        assert instances["expected"] == sum(instances[s] for s in ("verified", "quarantined", "refused", "missing", "pending"))
        unmigrated = list(self.ledger.unmigrated())
        assert len(unmigrated) == instances["expected"] - instances["verified"]
        assert all(unit.code for unit in unmigrated)
        return {name: count for name, count in instances.items() if count}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    port = free_port()
    archive = Archive.create(str(tmp_path / "archive"))
    with (
        EmbeddedPacs("LEGACY", destinations={"VNA": ("127.0.0.1", port)}) as legacy,
        EmbeddedPacs("TARGET") as target,
        Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger,
    ):
        for study in range(STUDIES):
            for number in range(1, IMAGES + 1):
                patient = f"{SECRET}{study}"
                names = {"PatientID": patient, "PatientName": f"{SECRET}^Patient", "AccessionNumber": patient}
                ds = make_instance(**names, StudyDate=f"2024010{study + 1}", InstanceNumber=number)
                legacy.add(ds.SOPClassUID, ds.SOPInstanceUID, ds.file_meta.TransferSyntaxUID, data_set_bytes(ds))
        yield Job(legacy, target, archive, ledger, Local(port=port))


TOTAL = STUDIES * IMAGES


@pytest.mark.parametrize("method", [Method.MOVE, Method.GET])
@pytest.mark.parametrize(
    ("faults", "figures"),
    [
        (Faults(), {"expected": TOTAL, "stored": TOTAL, "verified": TOTAL}),
        (Faults(find_cap=2), {"expected": TOTAL, "stored": TOTAL, "verified": TOTAL}),
        (Faults(find_refuses_above=2), {"expected": TOTAL, "stored": TOTAL, "verified": TOTAL}),
        (Faults(find_duplicates=True), {"expected": TOTAL, "stored": TOTAL, "verified": TOTAL}),
        (Faults(retrieve_drops_every=2), {"expected": TOTAL, "stored": TOTAL, "verified": TOTAL}),
        (Faults(retrieve_sends_twice=True), {"expected": TOTAL, "stored": TOTAL, "verified": TOTAL}),
        (Faults(retrieve_sends_extra=True), {"expected": TOTAL, "stored": TOTAL, "verified": TOTAL}),
        (Faults(retrieve_counts_nothing=True), {"expected": TOTAL, "stored": TOTAL, "verified": TOTAL}),
        (Faults(retrieve_alters=True), {"expected": TOTAL, "stored": TOTAL, "verified": TOTAL}),
        (Faults(retrieve_sends_nothing=True), {"expected": TOTAL, "missing": TOTAL}),
        (Faults(retrieve_fails_every=1), {"expected": TOTAL, "missing": TOTAL}),
        (Faults(retrieve_new_uids=True), {"expected": 2 * TOTAL, "stored": TOTAL, "verified": TOTAL, "missing": TOTAL}),
    ],
    ids=str,
)
def test_a_source_with_faults(job: Job, faults: Faults, figures: dict[str, int], method: Method) -> None:
    job.legacy.faults = faults
    job.inventory()
    job.pull(method)
    job.send()
    assert job.figures() == figures
    assert job.ledger.status().closed


@pytest.mark.parametrize(
    ("faults", "figures"),
    [
        (Faults(store_status=0x0122), {"refused": TOTAL}),
        (Faults(store_status=0xB000), {"verified": TOTAL}),
        (Faults(store_fails_every=2), {"verified": TOTAL}),
        (Faults(store_loses_every=1), {"refused": TOTAL}),
        (Faults(store_alters=True), {"pending": TOTAL}),
        (Faults(store_status=0xA700), {"pending": TOTAL}),
        (Faults(find_cap=1), {"verified": TOTAL}),
        (Faults(find_duplicates=True), {"verified": TOTAL}),
        (Faults(retrieve_sends_nothing=True), {"refused": TOTAL}),
        (Faults(retrieve_alters=True), {"pending": TOTAL}),
    ],
    ids=str,
)
def test_a_target_with_faults(job: Job, faults: Faults, figures: dict[str, int]) -> None:
    job.inventory()
    job.pull()
    job.target.faults = faults
    job.send(rounds=6)
    assert job.figures() == {"expected": TOTAL, "stored": TOTAL, **figures}
    assert job.ledger.status().closed == ("pending" not in figures)


def test_other_bytes_under_the_same_uid_are_kept_beside_the_first_and_wait_for_a_person(job: Job) -> None:
    job.inventory()
    job.pull()
    job.ledger.close()
    with Ledger.open(f"sqlite:///{job.ledger.folder}/second.sqlite") as fresh:
        # Another ledger knows nothing of what was pulled before its journal is read, so the source is asked once more.
        job.ledger = fresh
        job.legacy.faults = Faults(retrieve_alters=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Archive, "journal_rows", lambda _self, _after=None: iter(()))
            job.inventory()
            job.pull()
        job.send()
        assert job.figures() == {"expected": 2 * TOTAL, "stored": 2 * TOTAL, "verified": TOTAL, "quarantined": TOTAL}
        assert {unit.code for unit in fresh.unmigrated()} == {"UID_CONFLICT"}


def test_an_association_that_always_breaks_ends_with_a_reason_after_two_runs(job: Job) -> None:
    job.inventory()
    job.legacy.faults = Faults(retrieve_aborts_after=1)
    for _ in range(3):
        job.pull(Method.GET)
    job.send()
    figures = job.figures()
    assert figures["expected"] == TOTAL
    assert "pending" not in figures


def test_no_stage_logs_a_patient(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    job.legacy.faults = Faults(find_cap=2, retrieve_drops_every=2)
    job.inventory()
    job.pull()
    job.target.faults = Faults(store_fails_every=2)
    job.send()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("vna", "indexer"))]
    assert any("study" in message for message in ours)
    assert not [message for message in ours if SECRET in message]
