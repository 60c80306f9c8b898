"""A forward to an embedded PACS, kind and unkind: each object has an outcome, and none is sent twice without need."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.instances import MR_IMAGE_STORAGE, make_uid
from tests.support.objects import wire_object
from tests.support.sites import TargetSite, target_site
from vna.demo.faults import Faults
from vna.errors import ConfigError, LockedError, PeerError
from vna.forward import ForwardOptions, ForwardResult, plan, run
from vna.model import Progress


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TargetSite]:
    with target_site(tmp_path) as made:
        yield made


def forward(site: TargetSite, **options: object) -> ForwardResult:
    chosen = {"first_wait_s": 0.01, **options}
    return run(site.archive, site.ledger, site.node, site.local, ForwardOptions(**chosen))  # type: ignore[arg-type]


def test_everything_that_is_stored_is_sent_byte_for_byte(site: TargetSite) -> None:
    objects = [*site.fill("P1", 3), *site.fill("P2", 2, SOPClassUID=MR_IMAGE_STORAGE)]
    result = forward(site)
    assert (result.studies, result.sent, result.refused, result.failed) == (2, 5, 0, 0)
    assert result.bytes == sum(len(item.stored) for item in objects)
    assert {uid: held.data_set for uid, held in site.pacs.objects().items()} == {
        item.sop_instance_uid: item.data_set for item in objects
    }
    assert site.figures() == {"expected": 5, "stored": 5, "pending": 5}
    assert set(site.reasons().values()) == {"NOT_VERIFIED"}


def test_a_second_forward_sends_nothing(site: TargetSite) -> None:
    site.fill("P1", 3)
    forward(site)
    assert forward(site).studies == 0
    assert len(site.stores()) == 3


def test_the_result_has_the_promised_keys(site: TargetSite) -> None:
    site.fill()
    assert {"node", "studies", "sent", "refused", "failed", "bytes", "seconds"} <= forward(site).as_json().keys()


@pytest.mark.parametrize(("status", "code"), [(0x0122, "0x0122"), (0xA900, "0xA900"), (0xC123, "0xC123"), (0x0124, "0x0124")])
def test_a_refusal_is_final_and_keeps_its_status(site: TargetSite, status: int, code: str) -> None:
    site.fill("P1", 2)
    site.pacs.faults = Faults(store_status=status)
    result = forward(site)
    assert (result.sent, result.refused, result.problems) == (0, 2, {code: 2})
    assert set(site.reasons().values()) == {code}
    assert site.figures() == {"expected": 2, "stored": 2, "refused": 2}
    site.pacs.faults = Faults()
    assert forward(site).studies == 0


def test_a_transient_failure_is_tried_again_by_the_next_run_for_that_object_only(site: TargetSite) -> None:
    objects = site.fill("P1", 5)
    site.pacs.faults = Faults(store_fails_every=2)
    result = forward(site)
    assert (result.sent, result.failed, result.problems) == (3, 2, {"0xA700": 2})
    assert site.figures() == {"expected": 5, "stored": 5, "pending": 5}
    site.pacs.faults = Faults()
    again = forward(site)
    assert (again.sent, again.failed) == (2, 0)
    assert len(site.stores()) == 7
    assert set(site.pacs.objects()) == {item.sop_instance_uid for item in objects}


def test_a_rejected_context_is_a_refusal_and_does_not_stop_the_others(site: TargetSite) -> None:
    site.fill("P1", 2)
    site.take(wire_object(PatientID="P1", SeriesNumber=2, SOPClassUID=MR_IMAGE_STORAGE))
    site.pacs._refuses = frozenset([MR_IMAGE_STORAGE])
    result = forward(site)
    assert (result.sent, result.refused, result.problems) == (2, 1, {"CONTEXT_REJECTED": 1})


def test_a_warning_counts_as_sent_and_is_named(site: TargetSite) -> None:
    site.fill("P1", 2)
    site.pacs.faults = Faults(store_status=0xB000)
    result = forward(site)
    assert (result.sent, result.warnings, result.problems) == (2, 2, {"0xB000": 2})


def test_variants_and_quarantined_objects_are_never_sent(site: TargetSite) -> None:
    first = wire_object(PatientID="P1")
    variant = wire_object(PatientID="P1", StudyDescription="another")
    broken = wire_object(PatientID="P1", InstanceNumber=2, StudyInstanceUID=None)
    receipts = site.take(first, variant, broken)
    assert [receipt.state for receipt in receipts[1:]] == ["variant", "quarantined"]
    assert forward(site).sent == 1
    assert site.stores() == [first.sop_instance_uid]
    assert site.figures() == {"expected": 3, "stored": 3, "quarantined": 2, "pending": 1}


def test_objects_are_chosen_by_study_condition_and_limit(site: TargetSite) -> None:
    for n in range(4):
        site.fill(f"P{n}", 2, Modality="CT" if n else "MR")

    def count(**options: object) -> tuple[int, int]:
        planned = plan(site.archive, site.ledger, site.node, ForwardOptions(**options))  # type: ignore[arg-type]
        return len(planned.studies), planned.as_json()["instances"]

    assert count() == (4, 8)
    assert count(limit=3) == (3, 6)
    assert count(where="Modality = 'MR'") == (1, 2)
    assert count(where="InstanceNumber = 1") == (4, 4)
    assert count(studies=(make_uid("study", "P1"),), where="InstanceNumber = 1") == (1, 1)
    assert count(studies=("1.2.3",)) == (0, 0)
    assert forward(site, where="InstanceNumber = 1").sent == 4
    assert count() == (4, 4)
    with pytest.raises(ConfigError):
        count(where="nonsense ===")


def test_a_dry_plan_sends_nothing(site: TargetSite) -> None:
    site.fill("P1", 2)
    assert plan(site.archive, site.ledger, site.node).as_json()["bytes"] > 0
    assert site.stores() == []


@pytest.mark.parametrize("workers", [1, 3])
def test_studies_are_sent_in_parallel(site: TargetSite, workers: int) -> None:
    for n in range(6):
        site.fill(f"P{n}", 2)
    assert forward(site, workers=workers).sent == 12
    assert len(site.stores()) == len(set(site.stores())) == 12


def test_a_target_that_is_gone_is_an_error_and_everything_stays_due(site: TargetSite) -> None:
    for n in range(5):
        site.fill(f"P{n}", 1)
    node = site.node
    site.pacs.stop()
    with pytest.raises(PeerError):
        run(site.archive, site.ledger, node, site.local, ForwardOptions(first_wait_s=0.01))
    assert site.ledger.outcomes.targets() == []
    assert site.figures() == {"expected": 5, "stored": 5, "pending": 5}


def test_a_study_that_another_run_sends_is_left_to_it(site: TargetSite) -> None:
    site.fill("P1", 1)
    site.fill("P2", 1)
    with site.ledger.leases.held("forward", "target", make_uid("study", "P1")):
        result = forward(site)
        assert (result.sent, result.locked) == (1, 1)
        with pytest.raises(LockedError):
            forward(site)


def test_an_interrupted_forward_keeps_what_was_acknowledged(site: TargetSite) -> None:
    for n in range(4):
        site.fill(f"P{n}", 2)

    def interrupt(_progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(site.archive, site.ledger, site.node, site.local, ForwardOptions(workers=2), interrupt)
    held = len(site.pacs.objects())
    assert 2 <= held <= 8
    result = forward(site)
    assert result.locked == 0
    assert result.sent >= 8 - held
    assert len(site.pacs.objects()) == 8


FORWARD = """
import sys
from vna.archive import Archive
from vna.forward import run
from vna.ledger import Ledger
from vna.model import Local, Node
archive, ledger, port = sys.argv[1:]
with Ledger.open(ledger) as opened:
    print("ready", flush=True)
    run(Archive.open(archive), opened, Node("target", ae_title="TARGET", port=int(port)), Local())
"""


def test_a_killed_forward_is_resumed_and_resends_little(site: TargetSite) -> None:
    objects = [item for n in range(4) for item in site.fill(f"P{n}", 5)]
    site.pacs.faults = Faults(delay_s=0.02)
    arguments = [site.archive.url, f"sqlite:///{site.ledger.folder}/ledger.sqlite", str(site.pacs.port)]
    with subprocess.Popen([sys.executable, "-c", FORWARD, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        while len(site.pacs.objects()) < 8:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    result = forward(site)
    assert (result.failed, result.locked) == (0, 0)
    assert {uid: held.data_set for uid, held in site.pacs.objects().items()} == {
        item.sop_instance_uid: item.data_set for item in objects
    }
    assert len(site.stores()) < 2 * len(objects)
    assert forward(site).studies == 0
