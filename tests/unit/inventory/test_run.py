"""An inventory of an embedded PACS, kind and unkind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.instances import data_set_bytes, make_instance, make_uid
from vna.demo.faults import Faults
from vna.demo.pacs import EmbeddedPacs
from vna.errors import LockedError, RefusedError, UnreachableError
from vna.inventory import InventoryOptions, InventoryResult, plan, run
from vna.ledger import Ledger
from vna.model import Local, Node, Progress

LOCAL = Local()
SECRET = "Geheim^Patient"


@pytest.fixture(scope="module")
def pacs() -> Iterator[EmbeddedPacs]:
    """Twelve studies on ten days of two series with two images each, and two studies without a date."""
    with EmbeddedPacs("LEGACY") as running:
        for number in range(14):
            date = f"202401{number % 10 + 1:02d}" if number < 12 else None
            fill(running, f"P{number}", 2, StudyDate=date)
        yield running


@pytest.fixture(autouse=True)
def kind(pacs: EmbeddedPacs) -> None:
    pacs.faults = Faults()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as opened:
        yield opened


def fill(pacs: EmbeddedPacs, patient: str, images: int, **keywords: object) -> None:
    for series in (1, 2):
        for number in range(1, images + 1):
            ds = make_instance(PatientID=patient, PatientName=SECRET, SeriesNumber=series, InstanceNumber=number, **keywords)
            pacs.add(ds.SOPClassUID, ds.SOPInstanceUID, ds.file_meta.TransferSyntaxUID, data_set_bytes(ds))


def take(ledger: Ledger, pacs: EmbeddedPacs, **options: object) -> InventoryResult:
    return run(ledger, pacs.node("legacy"), LOCAL, InventoryOptions(**options))  # type: ignore[arg-type]


def test_everything_that_a_source_holds_is_listed(ledger: Ledger, pacs: EmbeddedPacs) -> None:
    result = take(ledger, pacs)
    assert (result.studies, result.series, result.instances) == (14, 28, 56)
    assert (result.complete, result.truncated) == (True, 0)
    assert ledger.status().instances["expected"] == 56
    listed = {
        one.sop_instance_uid for uid in ledger.sources.study_uids("legacy") for one in ledger.expected.of_study("legacy", uid)
    }
    assert listed == set(pacs.objects())


def test_the_result_has_the_promised_keys(ledger: Ledger, pacs: EmbeddedPacs) -> None:
    keys = {"node", "studies", "series", "instances", "windows", "truncated", "complete", "evidence"}
    assert keys <= take(ledger, pacs).as_json().keys()


def test_a_second_inventory_writes_nothing_and_says_so(ledger: Ledger, pacs: EmbeddedPacs, tmp_path: Path) -> None:
    first = take(ledger, pacs)
    files = sorted(tmp_path.rglob("*.json"))
    second = take(ledger, pacs)
    assert (second.changes, second.evidence, second.as_json()["unchanged"]) == (0, first.evidence, True)
    assert sorted(tmp_path.rglob("*.json")) == files


def test_evidence_tells_the_windows_and_no_patient(ledger: Ledger, pacs: EmbeddedPacs) -> None:
    pacs.faults = Faults(find_cap=3)
    text = Path(take(ledger, pacs).evidence).read_text()
    evidence = json.loads(text)
    assert evidence["windows"][0]["keys"] == "everything"
    assert {window["state"] for window in evidence["windows"]} >= {"whole", "split"}
    assert len(evidence["studies_listed"]) == 14
    assert "Geheim" not in text
    assert not any(f'"P{n}"' in text or f"=P{n}" in text for n in range(14))


@pytest.mark.parametrize(
    "faults",
    [
        Faults(find_cap=3),
        Faults(find_cap=5),
        Faults(find_refuses_above=3),
        Faults(find_aborts_after=5),
        Faults(find_duplicates=True),
        Faults(find_duplicates=True, find_cap=6),
        Faults(study_counts_off_by=7),
    ],
    ids=str,
)
def test_an_unkind_source_hides_nothing(ledger: Ledger, pacs: EmbeddedPacs, faults: Faults) -> None:
    pacs.faults = faults
    result = take(ledger, pacs)
    assert (result.studies, result.instances, result.unproved) == (14, 56, ())


def test_what_a_cap_hides_within_a_series_is_found(ledger: Ledger) -> None:
    with EmbeddedPacs("BIG") as pacs:
        fill(pacs, "P1", 25)
        pacs.faults = Faults(find_cap=20)
        result = take(ledger, pacs)
    assert (result.studies, result.series, result.instances, result.complete) == (1, 2, 50, True)


def test_duplicates_are_counted_and_listed_once(ledger: Ledger, pacs: EmbeddedPacs) -> None:
    pacs.faults = Faults(find_duplicates=True)
    assert take(ledger, pacs).duplicates > 0


def test_a_source_that_shrank_is_refused_and_nothing_is_taken_off(ledger: Ledger, pacs: EmbeddedPacs) -> None:
    take(ledger, pacs)
    pacs.faults = Faults(find_hides=frozenset(list(pacs.objects())[:40]))
    with pytest.raises(RefusedError, match="legacy lists") as error:
        take(ledger, pacs)
    assert "--accept-shrink" in error.value.hint
    assert ledger.sources.count_instances("legacy") == 56
    assert take(ledger, pacs, accept_shrink=True).unlisted > 0
    assert ledger.status().instances["missing"] == 40
    assert ledger.status().instances["expected"] == 56


def test_a_few_instances_that_are_gone_are_written_down(ledger: Ledger, pacs: EmbeddedPacs) -> None:
    take(ledger, pacs)
    hidden = sorted(pacs.objects())[:2]
    pacs.faults = Faults(find_hides=frozenset(hidden))
    assert take(ledger, pacs).unlisted == 2
    assert {one.sop_instance_uid for one in ledger.unmigrated() if one.code == "NOT_LISTED"} == set(hidden)
    pacs.faults = Faults()
    assert take(ledger, pacs).changes == 2
    assert ledger.status().instances["missing"] == 0


def test_a_source_that_is_not_there_is_an_error_and_leaves_no_run(ledger: Ledger) -> None:
    gone = Node("legacy", ae_title="NOBODY", port=1)
    with pytest.raises(UnreachableError):
        run(ledger, gone, LOCAL)
    assert ledger.sources.last_inventory("legacy") is None


def test_two_inventories_of_one_node_do_not_run_at_once(ledger: Ledger, pacs: EmbeddedPacs) -> None:
    with ledger.leases.held("inventory", "legacy"), pytest.raises(LockedError):
        take(ledger, pacs)


def test_progress_is_told_for_windows_and_studies(ledger: Ledger, pacs: EmbeddedPacs) -> None:
    told: list[Progress] = []
    run(ledger, pacs.node("legacy"), LOCAL, report=told.append)
    assert {step.unit for step in told} == {"windows", "studies"}
    assert (told[-1].done, told[-1].total) == (told[-1].total, told[-1].total)


def test_the_plan_begins_with_everything_and_covers_all_dates() -> None:
    texts = [window.text() for window in plan()]
    assert texts[0] == "everything"
    assert texts[1] == "StudyDate=-18991231"
    assert texts[3].endswith("-")


def test_a_new_image_is_found_by_the_next_inventory(ledger: Ledger) -> None:
    with EmbeddedPacs("GROWING") as pacs:
        fill(pacs, "P1", 1)
        node = replace(pacs.node("legacy"))
        assert run(ledger, node, LOCAL).instances == 2
        fill(pacs, "P1", 2)
        second = run(ledger, node, LOCAL)
    assert (second.instances, second.changes) == (4, 2)
    assert make_uid("study", "P1") in ledger.sources.study_uids("legacy")
