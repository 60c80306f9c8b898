"""The write order of each durability, operation by operation: leaving one out, or turning two round, turns a test red."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.support.crash import Recorder, WatchedOperations
from tests.support.objects import send, wire_object
from vna.archive import Archive, Durability
from vna.model import Receipt
from vna.store import open_store

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
        *NEW_JOURNAL, "write journal", "sync journal", "receipt stored",
        "unlink spool", "create spool",
    ]  # fmt: skip
    assert second == [
        "write spool", "sync spool", "write intent",
        "link spool object", "sync_folder object", "write journal", "sync journal", "receipt stored",
        "unlink spool", "create spool",
    ]  # fmt: skip
    assert recorder.steps == ["rename journal journal", "sync_folder journal", "unlink spool"]


def test_a_writers_folder_is_forced_to_the_disk_when_a_sink_is_opened(recorded: Archive, recorder: Recorder) -> None:
    with recorded.sink():
        assert recorder.steps[-2:] == ["make_folder spool", "sync_folder spool"]


def test_an_object_for_quarantine_has_its_reason_beside_it_before_its_receipt(recorded: Archive, recorder: Recorder) -> None:
    with recorded.sink(on_receipt=acknowledge(recorder)) as sink:  # type: ignore[arg-type]
        send(sink, wire_object(InstanceNumber=1))
        recorder.steps.clear()
        send(sink, wire_object(StudyInstanceUID=None), chunk=1 << 20)
        steps = recorder.without("make_folder", "sync_folder .", "sync_folder quarantine")
        named = [step for step in recorder.steps if step in ("link spool quarantine", "sync_folder quarantine", "write journal")]
    assert steps == [
        "write spool", "sync spool", "write intent", "link spool quarantine",
        "create spool", "write spool", "sync spool", "link spool quarantine", "unlink spool",
        "write journal", "sync journal", "receipt quarantined", "unlink spool", "create spool",
    ]  # fmt: skip
    assert named[-5:] == [
        "link spool quarantine", "sync_folder quarantine", "link spool quarantine", "sync_folder quarantine", "write journal",
    ]  # fmt: skip


def test_the_first_duplicate_is_found_by_its_name_and_those_behind_it_are_asked_for(
    recorded: Archive, recorder: Recorder
) -> None:
    with recorded.sink(on_receipt=acknowledge(recorder)) as sink:  # type: ignore[arg-type]
        send(sink, wire_object())
        recorder.steps.clear()
        send(sink, wire_object(), chunk=1 << 20)
        assert recorder.steps == [
            "write spool", "sync spool", "write intent", "link spool object", "write intent", "unlink spool",
            "receipt duplicate", "create spool",
        ]  # fmt: skip
        recorder.steps.clear()
        send(sink, wire_object(), chunk=1 << 20)
        assert recorder.steps == ["write spool", "unlink spool", "receipt duplicate", "create spool"]
        send(sink, wire_object(SOPInstanceUID="1.2.3.9"), chunk=1 << 20)
        recorder.steps.clear()
        send(sink, wire_object(), chunk=1 << 20)
        assert "link spool object" in recorder.steps  # what was new has ended the run of duplicates


def test_a_duplicate_of_what_another_writer_has_in_flight_is_forced_to_the_disk_first(
    recorded: Archive, recorder: Recorder
) -> None:
    with recorded.sink(on_receipt=acknowledge(recorder)) as sink:  # type: ignore[arg-type]
        receipt = send(sink, wire_object())
        (recorded.root / "spool" / "still in the spool of another writer").hardlink_to(recorded.root / receipt.path)
        recorder.steps.clear()
        send(sink, wire_object(), chunk=1 << 20)
        assert recorder.without("create", "write") == [
            "sync spool", "link spool object", "sync_folder object", "unlink spool", "receipt duplicate",
        ]  # fmt: skip


def test_a_study_is_forced_to_the_disk_named_and_journalled_at_once(recorded: Archive, recorder: Recorder) -> None:
    items = [wire_object(InstanceNumber=number) for number in (1, 2, 3)]
    with recorded.sink(durability=Durability.STUDY, on_receipt=acknowledge(recorder)) as sink:  # type: ignore[arg-type]
        recorder.steps.clear()
        taken_receipts = [send(sink, item, chunk=1 << 20) for item in items]
        taken, recorder.steps = recorder.steps, []
        receipts = sink.commit_study(taken_receipts[0].study_instance_uid)
        committed, recorder.steps = recorder.steps, []
    assert taken == ["create spool", "write spool"] * 3 + ["create spool"]
    assert committed == [
        "sync spool", "sync spool", "sync spool",
        "create intent", "write intent", "write intent", "write intent",
        *NEW_FOLDERS, "link spool object", "link spool object", "link spool object", "sync_folder object",
        *NEW_JOURNAL, "write journal", "sync journal",
        "receipt stored", "receipt stored", "receipt stored",
        "unlink spool", "unlink spool", "unlink spool",
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
            "write spool", "sync spool", "write intent", "sync intent",
            "rename spool object", "sync_folder object", "write journal", "sync journal", "unlink spool", "create spool",
        ]  # fmt: skip


def test_a_derived_file_is_forced_to_the_disk_before_it_replaces_the_old_one(archive: Archive, recorder: Recorder) -> None:
    recorded = Archive.open(archive.url, operations=recorder.operations())
    recorded.store.replace_bytes(b"1", "manifests/aa/1.sha256")
    recorder.steps.clear()
    recorded.store.replace_bytes(b"2", "manifests/aa/1.sha256")
    assert recorder.steps == [
        "create spool", "write spool", "sync spool", "rename spool manifests", "sync_folder manifests", "unlink spool",
    ]  # fmt: skip


# -- the workspace of an archive that is elsewhere


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """What is done to names and files below the test's folder, with ``W`` for the writer's own name."""
    return []


@pytest.fixture
def elsewhere(tmp_path: Path, places: list[str]) -> Archive:
    def note(kind: str, arguments: tuple[Any, ...]) -> None:
        where = arguments[0]
        path = Path(os.readlink(f"/proc/self/fd/{where}") if isinstance(where, int) else where)
        if path.is_relative_to(tmp_path):
            name = path.relative_to(tmp_path).as_posix()
            places.append(f"{kind} {re.sub('[0-9TZ]{20,}-[0-9a-f]{8}', 'W', name)}")

    return Archive(open_store(f"memory://{uuid.uuid4().hex}"), "id", WatchedOperations(note), spool=str(tmp_path / "s"))


@pytest.mark.parametrize("is_there", [False, True])
def test_the_workspace_is_forced_to_the_disk_once_whoever_made_it(is_there: bool, elsewhere: Archive, places: list[str]) -> None:
    if is_there:
        (elsewhere.workspace / "spool").mkdir(parents=True)
    elsewhere.sweep()
    steps = [
        "make_folder s", "sync_folder .",
        "make_folder s/id", "sync_folder s",
        "make_folder s/id/spool", "sync_folder s/id",
    ]  # fmt: skip
    assert places == [step for step in steps if not (is_there and step.startswith("make_folder"))]
    places.clear()
    elsewhere.sweep()
    assert places == []


def test_a_writers_folder_and_its_intents_have_their_names_before_the_object_has_its_own(
    elsewhere: Archive, places: list[str]
) -> None:
    with elsewhere.sink() as sink:
        opened = places[6:]
        places.clear()
        send(sink, wire_object(InstanceNumber=1), chunk=1 << 20)
        first, places[:] = places[:], []
        send(sink, wire_object(InstanceNumber=2), chunk=1 << 20)
        second = places[:]
    spool, intents, journal = "s/id/spool/W/0000000{}.part", "s/id/spool/W/intents-00000001", f"s/id/journal/W/{1:020d}.open"
    assert opened == ["make_folder s/id/spool/W", "sync_folder s/id/spool"]
    assert first == [
        *(f"{kind} {spool.format(1)}" for kind in ("create", "write", "sync")),
        f"create {intents}", "sync_folder s/id/spool/W", f"write {intents}", f"sync {intents}",
        "make_folder s/id/journal", "sync_folder s/id",
        "make_folder s/id/journal/W", "sync_folder s/id/journal",
        f"create {journal}", "sync_folder s/id/journal/W",
        f"write {journal}", f"sync {journal}", f"unlink {spool.format(1)}", f"create {spool.format(2)}",
    ]  # fmt: skip
    assert second == [
        *(f"{kind} {spool.format(2)}" for kind in ("write", "sync")),
        f"write {intents}", f"sync {intents}", f"write {journal}", f"sync {journal}", f"unlink {spool.format(2)}",
        f"create {spool.format(3)}",
    ]  # fmt: skip
