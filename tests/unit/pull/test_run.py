"""A pull from an embedded PACS, kind and unkind: everything comes or is accounted for."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.support.instances import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, make_uid
from tests.support.objects import wire_object
from tests.unit.pull.conftest import Site
from vna.demo.faults import Faults
from vna.errors import ConfigError, DimseStatusError, LockedError, PeerError, RefusedError, StoreFullError
from vna.inventory import run as take_inventory
from vna.model import Provenance
from vna.pull import Method, PullOptions, plan, run
from vna.pull.run import BARREN_STUDIES

BOTH = pytest.mark.parametrize("method", [Method.MOVE, Method.GET])


class Clock:
    """Goes on only while the source sleeps, by as much as is due next; then it sees to it that the pull takes notice."""

    def __init__(self, *steps: float) -> None:
        self.now = time.monotonic()
        self.steps = list(steps)
        self.reads = 0

    def monotonic(self) -> float:
        self.reads += 1
        return self.now

    def sleep(self, _seconds: float) -> None:
        self.now += self.steps.pop(0)
        reads, deadline = self.reads, time.monotonic() + 60
        while self.reads < reads + 2:
            assert time.monotonic() < deadline, "nobody waits for the images"
            time.sleep(0.001)


@BOTH
def test_everything_that_is_listed_comes(site: Site, method: Method) -> None:
    uids = {*site.fill("P1", 3, series=2), *site.fill("P2")}
    site.inventory()
    result = site.pull(method)
    assert site.stored() == uids
    assert (result.studies, result.instances, result.missing, result.failed) == (2, 9, 0, 0)
    assert result.bytes == sum(row.size for row in site.archive.journal_rows())
    assert site.figures() == {"expected": 9, "stored": 9, "pending": 9}


@BOTH
def test_a_second_pull_asks_for_nothing_and_writes_nothing(site: Site, method: Method) -> None:
    site.fill("P1")
    site.inventory()
    site.pull(method)
    asked, rows = site.retrieves(), list(site.archive.journal_rows())
    assert (site.pull(method).studies, site.retrieves()) == (0, asked)
    assert list(site.archive.journal_rows()) == rows


def test_a_pull_with_nothing_to_do_still_brings_the_index_up_to_date(site: Site) -> None:
    site.fill("P1")
    site.inventory()
    site.pull()
    before = site.archive.index_info()["version"]
    item = wire_object(SOPInstanceUID="1.2.3.4")
    with site.archive.sink() as sink:
        incoming = sink(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, Provenance("elsewhere"))
        incoming.write(item.data_set)
        incoming.commit()
    assert site.pull().studies == 0
    assert site.archive.index_info()["version"] > before


def test_the_result_has_the_promised_keys(site: Site) -> None:
    site.fill("P1")
    site.inventory()
    assert {"node", "studies", "instances", "bytes", "missing", "failed", "seconds"} <= site.pull().as_json().keys()


@BOTH
@pytest.mark.parametrize("workers", [1, 3])
def test_studies_come_in_parallel(site: Site, method: Method, workers: int) -> None:
    uids = {uid for n in range(6) for uid in site.fill(f"P{n}", 2)}
    site.inventory()
    assert site.pull(method, workers=workers).instances == 12
    assert site.stored() == uids


@BOTH
def test_a_success_with_nothing_sent_is_a_failure(site: Site, method: Method) -> None:
    uids = site.fill("P1", 2)
    site.inventory()
    site.pacs.faults = Faults(retrieve_sends_nothing=True)
    result = site.pull(method)
    assert (result.instances, result.missing, result.problems) == (0, 2, {"NOT_SENT": 2})
    assert site.reasons() == dict.fromkeys(uids, "NOT_SENT")
    assert site.figures() == {"expected": 2, "missing": 2}


@BOTH
def test_what_a_source_drops_silently_is_asked_for_again(site: Site, method: Method) -> None:
    uids = set(site.fill("P1", 7))
    site.inventory()
    site.pacs.faults = Faults(retrieve_drops_every=3)
    assert site.pull(method).missing == 0
    assert site.stored() == uids


@BOTH
def test_what_a_source_always_drops_is_missing(site: Site, method: Method) -> None:
    site.fill("P1", 3)
    site.inventory()
    site.pacs.faults = Faults(retrieve_drops_every=1)
    assert site.pull(method).problems == {"NOT_SENT": 3}


@BOTH
def test_what_a_source_fails_to_send_has_its_status_as_reason(site: Site, method: Method) -> None:
    site.fill("P1", 3)
    site.inventory()
    site.pacs.faults = Faults(retrieve_fails_every=1)
    assert site.pull(method).problems == {"SOURCE_FAILED:0xA702": 3}


@BOTH
def test_an_association_that_breaks_is_resumed_at_what_is_missing(site: Site, method: Method) -> None:
    uids = set(site.fill("P1", 4, series=2))
    site.inventory()
    site.pacs.faults = Faults(retrieve_aborts_after=3)
    result = site.pull(method, attempts=2)
    assert result.failed + len(site.stored()) >= 8
    site.pacs.faults = Faults()
    site.pull(method)
    assert site.stored() == uids
    assert site.figures() == {"expected": 8, "stored": 8, "pending": 8}


@BOTH
def test_unsolicited_instances_are_stored_and_listed_but_not_counted(site: Site, method: Method) -> None:
    wanted, other = site.fill("P1", 2), site.fill("P2", 1)
    site.inventory()
    site.pacs.faults = Faults(retrieve_sends_extra=True)
    result = site.pull(method, studies=(make_uid("study", "P1"),))
    assert (result.instances, result.missing) == (2, 0)
    assert result.unsolicited == 1
    assert site.stored() == {*wanted, *other}
    assert site.ledger.expected.outstanding_studies("legacy") == []


@BOTH
def test_images_that_the_inventory_did_not_list_are_kept_as_unsolicited(site: Site, method: Method) -> None:
    hidden = site.fill("P1", 3)[2]
    site.pacs.faults = Faults(find_hides=frozenset([hidden]))
    site.inventory()
    site.pacs.faults = Faults()
    result = site.pull(method)
    assert (result.instances, result.unsolicited) == (2, 1)
    assert [found.sop_instance_uid for found in site.ledger.objects.unsolicited("legacy")] == [hidden]
    assert site.figures() == {"expected": 3, "stored": 3, "pending": 3}


@BOTH
def test_a_study_whose_instances_cannot_be_listed_is_asked_for_as_a_whole_once(site: Site, method: Method) -> None:
    for number in range(3):
        site.fill("P1", 1, InstanceNumber=None, SOPInstanceUID=make_uid("unnumbered", number))
    uids = set(site.pacs.objects())
    site.fill("P2", 1)
    site.pacs.faults = Faults(find_refuses_above=2)
    take_inventory(site.ledger, site.node, site.local)
    assert site.ledger.expected.of_study("legacy", make_uid("study", "P1")) == []
    result = site.pull(method)
    assert (result.studies, result.unsolicited) == (2, 3)
    assert uids <= site.stored()
    assert site.pull(method).studies == 0


@BOTH
def test_instances_that_come_twice_are_duplicates(site: Site, method: Method) -> None:
    site.fill("P1", 2)
    site.inventory()
    site.pacs.faults = Faults(retrieve_sends_twice=True)
    result = site.pull(method)
    assert (result.instances, result.duplicates) == (2, 2)
    assert site.figures() == {"expected": 2, "stored": 2, "pending": 2}


@BOTH
def test_other_uids_at_every_retrieve_are_recognised_and_not_asked_for_again(site: Site, method: Method) -> None:
    site.fill("P1", 3)
    site.inventory()
    site.pacs.faults = Faults(retrieve_new_uids=True)
    result = site.pull(method)
    assert (result.instances, result.unsolicited, result.problems) == (0, 3, {"UID_CHANGED": 3})
    assert site.figures() == {"expected": 6, "stored": 3, "missing": 3, "pending": 3}


def test_counts_of_a_source_do_not_matter(site: Site) -> None:
    site.fill("P1", 2)
    site.inventory()
    site.pacs.faults = Faults(retrieve_counts_nothing=True)
    assert site.pull().instances == 2


@pytest.mark.parametrize("steps", [(0.3,) * 5, (0.3, 0.3, 0.3, 0.3, 1.1)], ids=["evenly", "with one longer pause"])
def test_a_success_before_the_images_is_waited_out(site: Site, monkeypatch: pytest.MonkeyPatch, steps: tuple[float, ...]) -> None:
    uids = set(site.fill("P1", 5))
    site.inventory()
    site.pacs.faults = Faults(retrieve_answers_first=True, delay_s=0.1)
    clock = Clock(*steps)
    for module in ("vna.demo.retrieval", "vna.pull.arrivals", "vna.pull.study"):
        monkeypatch.setattr(f"{module}.time", clock)
    assert site.pull().instances == 5
    assert not clock.steps
    assert len(site.retrieves()) == 1
    assert site.stored() == uids


def test_a_source_that_does_not_know_us_stops_the_run_with_a_hint(site: Site) -> None:
    for n in range(5):
        site.fill(f"P{n}", 1)
    site.inventory()
    site.pacs.destinations = {}
    with pytest.raises(DimseStatusError) as error:
        site.pull()
    assert error.value.status == 0xA801
    assert "VNA" in error.value.hint
    assert len(site.retrieves()) < 5
    assert site.figures()["pending"] == 5


def test_a_source_that_is_gone_is_an_error_and_everything_stays_due(site: Site) -> None:
    for n in range(5):
        site.fill(f"P{n}", 1)
    site.inventory()
    node = site.node
    site.pacs.stop()
    with pytest.raises(PeerError):
        run(site.archive, site.ledger, node, site.local, PullOptions(settle_s=0.1, first_wait_s=0.01))
    assert site.figures() == {"expected": 5, "pending": 5}
    assert len(site.ledger.expected.outstanding_studies("legacy")) == 5


def test_a_refused_sop_class_is_named_as_the_reason(site: Site) -> None:
    (uid,) = site.fill("P1", 1)
    site.fill("P1", 1, SeriesNumber=2, SOPClassUID=MR_IMAGE_STORAGE)
    site.inventory()
    site.pacs._refuses = frozenset([CT_IMAGE_STORAGE])
    site.pull(Method.GET)
    assert site.reasons() == {uid: "CONTEXT_REJECTED"}


def test_a_node_without_inventory_is_refused(site: Site) -> None:
    site.fill("P1")
    with pytest.raises(RefusedError) as error:
        site.pull()
    assert "vna inventory legacy" in error.value.hint


def test_a_study_that_is_not_listed_is_a_configuration_error(site: Site) -> None:
    site.fill("P1")
    site.inventory()
    with pytest.raises(ConfigError, match=r"does not list study 1\.2\.3"):
        site.pull(studies=("1.2.3",))


def test_studies_are_chosen_by_uid_condition_and_limit(site: Site) -> None:
    for n in range(4):
        site.fill(f"P{n}", 1, StudyDate=f"2024010{n + 1}", Modality="CT" if n else "MR")
    site.inventory()

    def chosen(**options: object) -> list[str]:
        found = plan(site.archive, site.ledger, site.node, PullOptions(**options)).studies  # type: ignore[arg-type]
        return [study.study_date for study in found]

    assert chosen() == ["20240104", "20240103", "20240102", "20240101"]
    assert chosen(where="Modality = 'MR'") == ["20240101"]
    assert chosen(where="PatientID IN ('P1', 'P2')", limit=1) == ["20240103"]
    assert chosen(studies=(make_uid("study", "P3"),), where="Modality = 'MR'") == []
    assert chosen(studies=(make_uid("study", "P3"),)) == ["20240104"]
    assert site.retrieves() == []


def test_a_part_of_a_study_is_completed_by_single_instances(site: Site) -> None:
    uids = site.fill("P1", 3, series=2)
    site.inventory()
    site.pacs.faults = Faults(retrieve_aborts_after=4)
    site.pull(Method.GET, attempts=1)
    site.pacs.faults = Faults()
    before, there = len(site.retrieves()), site.stored()
    site.pull(Method.GET)
    asked = {uid for keys in site.retrieves()[before:] for uid in keys.get("SOPInstanceUID", "").split("\\")}
    assert asked.isdisjoint(there)
    assert site.stored() == set(uids)


def test_missing_instances_are_asked_for_again_only_when_told_to(site: Site) -> None:
    site.fill("P1", 2)
    site.inventory()
    site.pacs.faults = Faults(retrieve_sends_nothing=True)
    site.pull()
    site.pacs.faults = Faults()
    assert site.pull().studies == 0
    assert site.pull(retry_missing=True).instances == 2
    assert site.figures() == {"expected": 2, "stored": 2, "pending": 2}


def test_a_study_that_another_run_pulls_is_left_to_it(site: Site) -> None:
    site.fill("P1", 1)
    site.fill("P2", 1)
    site.inventory()
    with site.ledger.leases.held("pull", "legacy", make_uid("study", "P1")):
        result = site.pull()
        assert (result.studies, result.locked) == (1, 1)
        with pytest.raises(LockedError):
            site.pull()


def test_a_full_store_stops_the_run_and_nothing_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.fill("P1", 2)
    site.inventory()

    def full(*_args: object) -> object:
        raise StoreFullError("no room")

    monkeypatch.setattr("vna.archive.sink.ArchiveIncoming.commit", full)
    with pytest.raises(StoreFullError):
        site.pull()
    monkeypatch.undo()
    assert site.figures() == {"expected": 2, "pending": 2}
    assert site.pull().instances == 2


def test_an_object_under_another_study_than_listed_stands_for_its_instance(site: Site) -> None:
    (uid,) = site.fill("P1", 1)
    site.inventory()
    stored = site.pacs.objects()[uid]
    moved = stored.data_set.replace(make_uid("study", "P1").encode(), make_uid("study", "P1").encode()[:-1] + b"0")
    site.pacs._catalogue._objects[uid] = replace(stored, data_set=moved)
    assert site.pull().instances == 1
    assert site.figures() == {"expected": 1, "stored": 1, "pending": 1}
    assert site.ledger.expected.of_study("legacy", make_uid("study", "P1"))[0].sha256


def test_the_index_knows_what_was_pulled(site: Site) -> None:
    site.fill("P1", 2)
    site.inventory()
    site.pull()
    assert site.archive.query("SELECT count(*) AS n, min(source) AS source FROM instances") == [{"n": 2, "source": "legacy"}]


def test_a_source_that_answers_and_sends_nothing_stops_the_run(site: Site) -> None:
    for number in range(BARREN_STUDIES + 3):
        site.fill(f"P{number}", images=1)
    site.inventory()
    site.pacs.faults = Faults(retrieve_sends_nothing=True)
    with pytest.raises(PeerError, match="answers, and sent nothing"):
        site.pull(Method.GET, workers=1)
    assert len(site.reasons()) == BARREN_STUDIES + 3
    assert site.figures()["pending"] >= 1  # not everything was given up
    site.pacs.faults = Faults()
    assert site.pull(Method.GET, retry_missing=True).instances == BARREN_STUDIES + 3
