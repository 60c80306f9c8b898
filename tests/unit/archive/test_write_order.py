"""The write order of each durability, operation by operation: leaving one out, or turning two round, turns a test red."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.crash import Recorder
from tests.support.objects import send, wire_object
from vna.archive import Archive, Durability
from vna.model import Receipt

NEW_FOLDERS = [
    "make_folder instances", "sync_folder .",
    "make_folder instances", "sync_folder instances",
    "make_folder instances", "sync_folder instances",
    "make_folder object", "sync_folder instances",
]  # fmt: skip
"""instances/, hh, study and series: each is made and then forced to the disk in its parent."""

NEW_JOURNAL = [
    "make_folder journal", "sync_folder .",
    "make_folder journal", "sync_folder journal",
    "create journal", "sync_folder journal",
]  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(str(tmp_path / "a"))


@pytest.fixture
def recorder(archive: Archive) -> Recorder:
    return Recorder(archive.root)


@pytest.fixture
def recorded(archive: Archive, recorder: Recorder) -> Archive:
    return Archive.open(archive.url, operations=recorder.operations())


def acknowledge(recorder: Recorder) -> object:
    def note(receipt: Receipt, provenance: object) -> None:
        recorder.steps.append(f"receipt {receipt.state}")

    return note


def test_an_object_is_forced_to_the_disk_named_and_journalled_before_its_receipt(recorded: Archive, recorder: Recorder) -> None:
    with recorded.sink(on_receipt=acknowledge(recorder)) as sink:  # type: ignore[arg-type]
        recorder.steps.clear()
        send(sink, wire_object(InstanceNumber=1), chunk=1 << 20)
        first, recorder.steps = recorder.steps, []
        send(sink, wire_object(InstanceNumber=2), chunk=1 << 20)
        second, recorder.steps = recorder.steps, []
    assert first == [
        "create spool", "write spool", "sync spool", "create intent", "write intent",
        *NEW_FOLDERS, "link spool object", "sync_folder object",
        *NEW_JOURNAL, "write journal", "sync journal",
        "unlink spool", "receipt stored",
    ]  # fmt: skip
    assert second == [
        "create spool", "write spool", "sync spool", "write intent",
        "link spool object", "sync_folder object", "write journal", "sync journal",
        "unlink spool", "receipt stored",
    ]  # fmt: skip
    assert recorder.steps == ["rename journal journal", "sync_folder journal"]


def test_an_object_for_quarantine_has_its_reason_beside_it_before_its_receipt(recorded: Archive, recorder: Recorder) -> None:
    with recorded.sink(on_receipt=acknowledge(recorder)) as sink:  # type: ignore[arg-type]
        send(sink, wire_object(InstanceNumber=1))
        recorder.steps.clear()
        send(sink, wire_object(StudyInstanceUID=None), chunk=1 << 20)
        steps = recorder.without("make_folder", "sync_folder .", "sync_folder quarantine")
        named = [step for step in recorder.steps if step in ("link spool quarantine", "sync_folder quarantine", "write journal")]
    assert steps == [
        "create spool", "write spool", "sync spool", "write intent", "link spool quarantine",
        "create spool", "write spool", "sync spool", "link spool quarantine", "unlink spool",
        "write journal", "sync journal", "unlink spool", "receipt quarantined",
    ]  # fmt: skip
    assert named[-5:] == [
        "link spool quarantine", "sync_folder quarantine", "link spool quarantine", "sync_folder quarantine", "write journal",
    ]  # fmt: skip


def test_a_duplicate_writes_nothing_but_its_spool_file(recorded: Archive, recorder: Recorder) -> None:
    with recorded.sink(on_receipt=acknowledge(recorder)) as sink:  # type: ignore[arg-type]
        send(sink, wire_object())
        recorder.steps.clear()
        send(sink, wire_object(), chunk=1 << 20)
        assert recorder.steps == ["create spool", "write spool", "unlink spool", "receipt duplicate"]


def test_a_duplicate_of_what_another_writer_has_in_flight_is_forced_to_the_disk_first(
    recorded: Archive, recorder: Recorder
) -> None:
    with recorded.sink(on_receipt=acknowledge(recorder)) as sink:  # type: ignore[arg-type]
        receipt = send(sink, wire_object())
        (recorded.root / "spool" / "still in the spool of another writer").hardlink_to(recorded.root / receipt.path)
        recorder.steps.clear()
        send(sink, wire_object(), chunk=1 << 20)
        assert recorder.without("create", "write") == ["sync_folder object", "unlink spool", "receipt duplicate"]


def test_a_study_is_forced_to_the_disk_named_and_journalled_at_once(recorded: Archive, recorder: Recorder) -> None:
    items = [wire_object(InstanceNumber=number) for number in (1, 2, 3)]
    with recorded.sink(durability=Durability.STUDY, on_receipt=acknowledge(recorder)) as sink:  # type: ignore[arg-type]
        recorder.steps.clear()
        taken_receipts = [send(sink, item, chunk=1 << 20) for item in items]
        taken, recorder.steps = recorder.steps, []
        receipts = sink.commit_study(taken_receipts[0].study_instance_uid)
        committed, recorder.steps = recorder.steps, []
    assert taken == ["create spool", "write spool"] * 3
    assert committed == [
        "sync spool", "sync spool", "sync spool",
        "create intent", "write intent", "write intent", "write intent",
        *NEW_FOLDERS, "link spool object", "link spool object", "link spool object", "sync_folder object",
        *NEW_JOURNAL, "write journal", "sync journal",
        "unlink spool", "unlink spool", "unlink spool",
        "receipt stored", "receipt stored", "receipt stored",
    ]  # fmt: skip
    assert [receipt.sha256 for receipt in receipts] == [item.sha256 for item in items]


def test_without_hard_links_the_intent_is_forced_to_the_disk_before_the_object_is_renamed(
    archive: Archive, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*arguments: object, **options: object) -> None:
        raise OSError(95, "no hard links here")

    monkeypatch.setattr("os.link", unsupported)
    recorded = Archive.open(archive.url, operations=recorder.operations())
    with recorded.sink() as sink:
        send(sink, wire_object(InstanceNumber=1))
        recorder.steps.clear()
        send(sink, wire_object(InstanceNumber=2), chunk=1 << 20)
        assert recorder.steps == [
            "create spool", "write spool", "sync spool", "write intent", "sync intent",
            "rename spool object", "sync_folder object", "write journal", "sync journal", "unlink spool",
        ]  # fmt: skip


def test_a_derived_file_is_forced_to_the_disk_before_it_replaces_the_old_one(archive: Archive, recorder: Recorder) -> None:
    recorded = Archive.open(archive.url, operations=recorder.operations())
    recorded.store.replace_bytes(b"1", "manifests/aa/1.sha256")
    recorder.steps.clear()
    recorded.store.replace_bytes(b"2", "manifests/aa/1.sha256")
    assert recorder.steps == [
        "create spool", "write spool", "sync spool", "rename spool manifests", "sync_folder manifests", "unlink spool",
    ]  # fmt: skip
