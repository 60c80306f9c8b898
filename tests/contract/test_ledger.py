"""What the ledger promises, whatever the database under it: SQLite, and PostgreSQL from Debian's package."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.ledgers import forward, list_study, ref, row, verify
from vna.errors import LockedError
from vna.ledger import InventoryRun, Ledger, ListedSeries, ListedStudy, Window
from vna.model import Outcome

A1, A2, A3 = (ref("1.1", "1.1.1", n) for n in (1, 2, 3))
B1 = ref("1.2", "1.2.1", 1)


@pytest.fixture
def ledger(ledger_url: str, tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(ledger_url, folder=tmp_path) as opened:
        yield opened


def figures(ledger: Ledger) -> dict[str, int]:
    """Give the instance figures that are not zero, after checking that they add up."""
    instances = dict(ledger.status().instances)
    parts = sum(instances[state] for state in ("verified", "quarantined", "refused", "missing", "pending"))
    assert instances["expected"] == parts
    assert len(list(ledger.unmigrated())) >= parts - instances["verified"]
    return {name: count for name, count in instances.items() if count}


def test_an_empty_ledger_is_not_closed(ledger: Ledger) -> None:
    assert figures(ledger) == {}
    assert not ledger.status().closed


def test_a_listed_instance_is_pending_until_its_object_is_verified(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1])
    assert figures(ledger) == {"expected": 1, "pending": 1}
    ledger.absorb([row(A1)])
    assert figures(ledger) == {"expected": 1, "stored": 1, "pending": 1}
    forward(ledger, "target", [row(A1)])
    assert figures(ledger) == {"expected": 1, "stored": 1, "pending": 1}
    verify(ledger, "target", [row(A1)])
    assert figures(ledger) == {"expected": 1, "stored": 1, "verified": 1}
    assert ledger.status().closed
    assert list(ledger.unmigrated()) == []


def test_an_object_that_nobody_listed_is_a_unit_too(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1])
    ledger.absorb([row(A1), row(B1)])
    assert figures(ledger) == {"expected": 2, "stored": 2, "pending": 2}
    assert [found.sop_instance_uid for found in ledger.objects.unsolicited("legacy")] == [B1.sop_instance_uid]


def test_the_order_of_listing_and_storing_does_not_matter(ledger: Ledger) -> None:
    ledger.absorb([row(A1)])
    list_study(ledger, "legacy", [A1, A2])
    assert figures(ledger) == {"expected": 2, "stored": 1, "pending": 2}
    assert [one.sha256 for one in ledger.expected.of_study("legacy", "1.1")] == [row(A1).sha256, ""]


def test_two_sources_that_list_one_instance_count_it_once_when_it_is_stored(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1])
    list_study(ledger, "other", [A1])
    assert figures(ledger) == {"expected": 2, "pending": 2}
    ledger.absorb([row(A1)])
    assert figures(ledger) == {"expected": 1, "stored": 1, "pending": 1}


def test_journal_rows_read_twice_change_nothing(ledger: Ledger) -> None:
    rows = [row(A1), row(A2), row(B1, writer="w2")]
    assert ledger.absorb(rows) == 3
    assert ledger.absorb(rows) == 0
    assert ledger.positions() == {"w1": rows[1].seq, "w2": rows[2].seq}
    assert figures(ledger) == {"expected": 3, "stored": 3, "pending": 3}


def test_a_position_never_goes_back(ledger: Ledger) -> None:
    first, second = row(A1), row(A2)
    ledger.absorb([second])
    ledger.absorb([first])
    assert ledger.positions() == {"w1": second.seq}


def test_variants_and_broken_objects_are_quarantined_whatever_a_target_says(ledger: Ledger) -> None:
    variant = row(A1, state="variant", content="other", codes=("UID_CONFLICT",))
    broken = row(A2, state="quarantined", codes=("TRUNCATED_PIXEL", "CHARSET"))
    list_study(ledger, "legacy", [A1, A2])
    ledger.absorb([row(A1), variant, broken])
    forward(ledger, "target", [variant, broken])
    verify(ledger, "target", [variant, broken])
    assert figures(ledger) == {"expected": 3, "stored": 3, "quarantined": 2, "pending": 1}
    reasons = {one.sha256: (one.state, one.code) for one in ledger.unmigrated()}
    assert reasons[variant.sha256] == ("quarantined", "UID_CONFLICT")
    assert reasons[broken.sha256] == ("quarantined", "TRUNCATED_PIXEL")
    assert reasons[row(A1).sha256] == ("pending", "NOT_FORWARDED")


def test_a_variant_does_not_stand_for_an_expected_instance(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1])
    ledger.absorb([row(A1, state="variant", content="other")])
    assert ledger.expected.of_study("legacy", "1.1")[0].sha256 == ""


def test_a_good_object_takes_the_place_of_a_broken_one_and_both_count(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1])
    ledger.absorb([row(A1, state="quarantined", content="torn", codes=("TRUNCATED_PIXEL",))])
    ledger.absorb([row(A1)])
    ledger.absorb([row(A1, state="quarantined", content="torn again", codes=("TRUNCATED_PIXEL",))])
    assert ledger.expected.of_study("legacy", "1.1")[0].sha256 == row(A1).sha256
    assert figures(ledger) == {"expected": 3, "stored": 3, "quarantined": 2, "pending": 1}


def test_missing_instances_are_given_up_and_failed_ones_are_not(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1, A2, A3])
    with ledger.leases.held("pull", "legacy", "1.1") as lease:
        found = [(A1, Outcome(A1.sop_instance_uid, "missing", "SOURCE_FAILED:0xA702")), (A2, Outcome("", "failed", "PEER"))]
        ledger.expected.record(lease, found)
    assert figures(ledger) == {"expected": 3, "missing": 1, "pending": 2}
    assert [(one.state, one.code) for one in ledger.unmigrated()] == [
        ("missing", "SOURCE_FAILED:0xA702"),
        ("pending", "PEER"),
        ("pending", "NOT_PULLED"),
    ]
    assert [study.outstanding for study in ledger.expected.outstanding_studies("legacy")] == [2]
    assert [study.outstanding for study in ledger.expected.outstanding_studies("legacy", retry_missing=True)] == [3]


def test_an_object_that_comes_late_takes_its_reason_away(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1])
    with ledger.leases.held("pull", "legacy", "1.1") as lease:
        ledger.expected.record(lease, [(A1, Outcome("", "missing", "NOT_SENT"))])
    ledger.absorb([row(A1)])
    assert figures(ledger) == {"expected": 1, "stored": 1, "pending": 1}
    assert ledger.expected.of_study("legacy", "1.1")[0].code == ""


def test_an_object_under_another_study_can_be_matched_by_hand_and_counts_once(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1])
    moved = row(ref("9.9", "9.9.1", 1))
    ledger.absorb([moved])
    with ledger.leases.held("pull", "legacy", "1.1") as lease:
        ledger.expected.match(lease, {A1: moved.sha256}, "study")
    assert figures(ledger) == {"expected": 1, "stored": 1, "pending": 1}


def test_the_worst_of_several_targets_counts(ledger: Ledger) -> None:
    ledger.absorb([row(A1), row(A2)])
    forward(ledger, "one", [row(A1), row(A2)])
    verify(ledger, "one", [row(A1), row(A2)])
    forward(ledger, "two", [row(A1)], "refused", "0x0122")
    assert figures(ledger) == {"expected": 2, "stored": 2, "verified": 1, "refused": 1}
    assert ledger.status().targets["one"]["verified"] == 2
    assert ledger.status().targets["two"] == ledger.status("two").instances
    assert ledger.status("two").instances["refused"] == 1
    assert ledger.status("two").instances["pending"] == 1
    assert [(one.node, one.code) for one in ledger.unmigrated()] == [("two", "0x0122")]


def test_a_different_object_at_the_target_is_pending_and_named(ledger: Ledger) -> None:
    ledger.absorb([row(A1)])
    forward(ledger, "target", [row(A1)])
    verify(ledger, "target", [row(A1)], "different", "DIFFERENT")
    assert figures(ledger) == {"expected": 1, "stored": 1, "pending": 1}
    assert [(one.code, one.node) for one in ledger.unmigrated()] == [("DIFFERENT", "target")]


def test_studies_are_counted_by_their_worst_instance(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1])
    with ledger.leases.held("inventory", "legacy") as lease:
        ledger.sources.record_study(lease, ListedStudy("1.7"), [], [])
    ledger.absorb([row(A2), row(B1), row(ref("1.3", "1.3.1", 1), state="quarantined")])
    forward(ledger, "target", [row(B1)])
    verify(ledger, "target", [row(B1)])
    assert ledger.status().studies == {"verified": 1, "partial": 1, "pending": 1, "empty": 1}


def test_only_fileable_objects_without_final_outcome_are_due(ledger: Ledger) -> None:
    ledger.absorb([row(A1), row(A2), row(A3, state="quarantined"), row(B1)])
    forward(ledger, "target", [row(A1)])
    forward(ledger, "target", [row(B1)], "failed", "0xA700")
    assert [(due.study_instance_uid, due.instances) for due in ledger.outcomes.due_forward("target")] == [("1.1", 1), ("1.2", 1)]
    assert [one.sha256 for one in ledger.outcomes.objects_due_forward("target", "1.1")] == [row(A2).sha256]
    assert [due.instances for due in ledger.outcomes.due_forward("target", digests=[row(A1).sha256, row(A2).sha256])] == [1]
    assert len(ledger.outcomes.due_forward("another")) == 2


def test_outcomes_of_another_revision_do_not_count(ledger: Ledger) -> None:
    ledger.absorb([row(A1)])
    forward(ledger, "target", [row(A1)])
    assert ledger.outcomes.due_forward("target") == []
    ledger.objects.revise("11/1.1", 1, {row(A1).sha256: (1, "")})
    assert len(ledger.outcomes.due_forward("target")) == 1
    with ledger.leases.held("forward", "target", "1.1") as lease:
        ledger.outcomes.record(lease, [Outcome(row(A1).sha256, "sent")], {row(A1).sha256: 1})
    assert ledger.outcomes.due_forward("target") == []
    assert ledger.objects.revised() == {"11/1.1": 1}


def test_a_decision_about_a_uid_frees_a_variant_until_it_is_taken_back(ledger: Ledger) -> None:
    ledger.absorb([row(A1, state="variant")])
    assert ledger.outcomes.due_forward("target") == []
    ledger.objects.revise("11/1.1", 1, {row(A1).sha256: (1, "stored")})
    assert len(ledger.outcomes.due_forward("target")) == 1
    ledger.objects.revise("11/1.1", 2, {row(A1).sha256: (2, "")})
    assert ledger.outcomes.due_forward("target") == []
    assert ledger.status().instances["quarantined"] == 1


def test_what_verify_misses_is_due_once_more_and_then_refused(ledger: Ledger) -> None:
    ledger.absorb([row(A1)])
    missing = [Outcome(row(A1).sha256, "missing", "NOT_AT_TARGET")]
    forward(ledger, "target", [row(A1)])
    with ledger.leases.held("verify", "target", "1.1") as lease:
        assert [one.state for one in ledger.outcomes.lose(lease, missing)] == ["failed"]
    assert len(ledger.outcomes.due_forward("target")) == 1
    forward(ledger, "target", [row(A1)])
    with ledger.leases.held("verify", "target", "1.1") as lease:
        assert [one.state for one in ledger.outcomes.lose(lease, missing)] == ["refused"]
    assert ledger.outcomes.due_forward("target") == []
    assert figures(ledger) == {"expected": 1, "stored": 1, "refused": 1}
    assert [one.code for one in ledger.unmigrated()] == ["NOT_AT_TARGET"]


def test_verify_is_due_for_what_was_sent_and_not_found_equal(ledger: Ledger) -> None:
    ledger.absorb([row(A1), row(A2), row(A3)])
    forward(ledger, "target", [row(A1)], "warning", "0xB000")
    forward(ledger, "target", [row(A2)])
    forward(ledger, "target", [row(A3)], "refused", "0x0122")
    verify(ledger, "target", [row(A2)])
    assert [due.instances for due in ledger.outcomes.due_verify("target")] == [1]
    assert [due.instances for due in ledger.outcomes.sent_studies("target")] == [2]
    sent = ledger.outcomes.sent_objects("target", "1.1")
    assert [(one.forward_code, one.verify_state) for one in sent] == [("0xB000", ""), ("0x0000", "verified")]


def test_outcomes_of_stages_without_a_target_do_not_count(ledger: Ledger) -> None:
    ledger.absorb([row(A1)])
    with ledger.leases.held("validate", "") as lease:
        ledger.outcomes.record(lease, [Outcome(row(A1).sha256, "clean")])
    forward(ledger, "target", [row(A1)])
    verify(ledger, "target", [row(A1)])
    assert figures(ledger) == {"expected": 1, "stored": 1, "verified": 1}
    assert ledger.outcomes.targets() == ["target"]


def test_an_unchanged_outcome_is_not_written_again(ledger: Ledger) -> None:
    ledger.absorb([row(A1)])
    found = [Outcome(row(A1).sha256, "different", "DIFFERENT", "PatientName")]
    with ledger.leases.held("verify", "target", "1.1") as lease:
        assert ledger.outcomes.record_changes(lease, found) == 1
        assert ledger.outcomes.record_changes(lease, found) == 0


def test_a_study_listed_again_changes_nothing(ledger: Ledger) -> None:
    study, series = ListedStudy("1.1", study_date="20260101"), [ListedSeries("1.1.1", "CT", "1")]
    with ledger.leases.held("inventory", "legacy") as lease:
        assert ledger.sources.record_study(lease, study, series, [A1, A2]).changes == 4
        assert ledger.sources.record_study(lease, study, series, [A1, A2]).changes == 0
        assert ledger.sources.record_study(lease, ListedStudy("1.1", study_date="20260102"), series, [A1, A2]).changes == 1


def test_what_a_source_no_longer_lists_stays_in_the_sum(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1, A2])
    ledger.absorb([row(A1)])
    with ledger.leases.held("inventory", "legacy") as lease:
        recorded = ledger.sources.record_study(lease, ListedStudy("1.1"), [ListedSeries("1.1.1", "CT")], [A1])
        assert [one.sop_instance_uid for one in recorded.vanished] == [A2.sop_instance_uid]
        ledger.sources.unlist(lease, [], recorded.vanished)
    assert figures(ledger) == {"expected": 2, "stored": 1, "missing": 1, "pending": 1}
    list_study(ledger, "legacy", [A1, A2])
    assert figures(ledger) == {"expected": 2, "stored": 1, "pending": 2}


def test_a_study_that_is_gone_is_unlisted_with_all_its_instances(ledger: Ledger) -> None:
    list_study(ledger, "legacy", [A1, A2])
    with ledger.leases.held("inventory", "legacy") as lease:
        ledger.sources.unlist(lease, ["1.1"], [])
    assert ledger.sources.study_uids("legacy") == set()
    assert ledger.sources.count_instances("legacy") == 0
    assert {one.code for one in ledger.unmigrated()} == {"NOT_LISTED"}


def test_the_last_inventory_is_remembered_with_its_windows(ledger: Ledger) -> None:
    run = InventoryRun("legacy", "a", "b", 1, 1, 2, 1, 0, True, "d", "evidence.json")
    with ledger.leases.held("inventory", "legacy") as lease:
        ledger.sources.finish(lease, run, [Window(0, -1, "StudyDate=", 1, "whole", "", "d")])
    assert ledger.sources.last_inventory("legacy") == run
    assert ledger.sources.last_inventory("other") is None
    assert ledger.status().inventories == {"legacy": True}


def test_two_holders_cannot_have_one_study(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as one, Ledger.open(ledger_url) as two:
        lease = one.leases.claim("pull", "legacy", "1.1")
        with pytest.raises(LockedError):
            two.leases.claim("pull", "legacy", "1.1")
        two.leases.claim("pull", "legacy", "1.2")
        two.leases.claim("forward", "legacy", "1.1")
        one.leases.release(lease)
        assert two.leases.claim("pull", "legacy", "1.1").token > lease.token


def test_a_write_under_a_lost_lease_is_refused_and_leaves_nothing(ledger: Ledger) -> None:
    ledger.absorb([row(A1)])
    list_study(ledger, "legacy", [A2])
    stale = ledger.leases.claim("forward", "target", "1.1")
    ledger.leases.release(stale)
    with pytest.raises(LockedError):
        ledger.outcomes.record(stale, [Outcome(row(A1).sha256, "sent")])
    with pytest.raises(LockedError):
        ledger.expected.record(stale, [(A2, Outcome("", "missing", "NOT_SENT"))])
    with pytest.raises(LockedError):
        ledger.sources.record_study(stale, ListedStudy("1.5"), [], [])
    assert figures(ledger) == {"expected": 2, "stored": 1, "pending": 2}
    assert ledger.outcomes.targets() == []


def test_a_certificate_is_remembered(ledger: Ledger) -> None:
    assert ledger.outcomes.last_certificate("target") == ("", "")
    ledger.outcomes.record_certificate("target", "one.json", "d1")
    ledger.outcomes.record_certificate("target", "two.json", "d2")
    assert ledger.outcomes.last_certificate("target") == ("two.json", "d2")


def test_of_racing_claims_exactly_one_is_granted_and_no_token_is_given_twice(ledger_url: str) -> None:
    ledgers = [Ledger.open(ledger_url) for _ in range(4)]
    try:
        for study in range(5):
            with ThreadPoolExecutor(len(ledgers)) as pool:
                granted = [one for one in pool.map(lambda each, s=study: claim(each, f"1.{s}"), ledgers) if one is not None]
            assert len(granted) == 1
        tokens = [ledger.leases.claim("verify", f"node {i}").token for i, ledger in enumerate(ledgers * 5)]
        assert len(set(tokens)) == len(tokens)
    finally:
        for each in ledgers:
            each.close()


def claim(ledger: Ledger, study: str) -> int | None:
    """Claim a study; None when another has it."""
    try:
        return ledger.leases.claim("pull", "legacy", study).token
    except LockedError:
        return None


def test_rows_that_several_absorb_at_once_in_any_order_are_counted_once(ledger_url: str) -> None:
    rows = [row(ref(f"1.{study}", f"1.{study}.1", n), writer=f"w{n % 3}") for study in range(20) for n in range(50)]
    ledgers = [Ledger.open(ledger_url) for _ in range(4)]
    list_study(ledgers[0], "legacy", [ref("1.7", "1.7.1", n) for n in range(50)])
    try:
        with ThreadPoolExecutor(len(ledgers)) as pool:
            added = list(pool.map(lambda each: each.absorb(random.sample(rows, len(rows))), ledgers))
        assert sum(added) == len(rows)
        assert figures(ledgers[0])["stored"] == len(rows)
    finally:
        for each in ledgers:
            each.close()


def test_ledgers_that_are_opened_for_the_first_time_at_once_all_open(ledger_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for opened in pool.map(lambda _: Ledger.open(ledger_url), range(4)):
            opened.close()


def test_values_that_a_peer_may_send_are_kept_as_they_are(ledger: Ledger) -> None:
    strange = ListedStudy("1.9", study_description="\u5c71^\u592a\u90ce \\ % ' \" \U0001f600", accession_number="A" * 64)
    with ledger.leases.held("inventory", "legacy") as lease:
        ledger.sources.record_study(lease, strange, [], [])
    assert ledger.studies_where("legacy", f"AccessionNumber = '{'A' * 64}'") == ["1.9"]


def test_sizes_above_four_gigabytes_are_kept(ledger: Ledger) -> None:
    ledger.absorb([row(A1, size=5 << 32, seq=1 << 40)])
    assert ledger.positions() == {"w1": 1 << 40}
    assert figures(ledger)["stored"] == 1
