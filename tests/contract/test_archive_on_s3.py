"""An archive on a real S3 server: what it promises on a local disk it promises there, whatever dies in between."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

from indexer.columns import INSTANCES, OVERLAYS
from indexer.errors import IndexerError, UntrustedServiceError
from indexer.lease import maintaining
from indexer.table import Table
from tests.support.crash import KillAt, WatchedOperations, WatchedStore, run_and_kill
from tests.support.instances import make_instance
from tests.support.objects import send, send_all, wire_object
from tests.support.revisions import revise
from tests.support.s3 import S3Service
from tests.support.sites import S3, Place
from vna.archive import Archive, Durability
from vna.archive.index import index_errors
from vna.archive.manifests import read_manifest
from vna.archive.revisions import put_revision
from vna.errors import ConfigError, RefusedError, StoreError
from vna.ledger import Ledger
from vna.model import Provenance, Receipt
from vna.scrub import ScrubOptions
from vna.scrub import run as scrub

pytestmark = pytest.mark.parametrize("place", [S3], indirect=True)

ITEMS = [
    wire_object(InstanceNumber=1, PatientName="Müller^Ä"),
    wire_object(InstanceNumber=1, PatientName="Müller^Ä"),  # the same again
    wire_object(InstanceNumber=1, PatientName="Other^Name"),  # other bytes under the same UIDs
    wire_object(StudyInstanceUID=None),  # cannot be filed
    wire_object(make_instance("1.2.840.10008.1.2.2", InstanceNumber=3)),
]
LOGICAL = "SELECT * FROM instances ORDER BY path"


def objects(archive: Archive) -> dict[str, str]:
    """The digests of everything under a final name."""
    names = [name for folder in ("instances", "quarantine") for name in archive.store.list(folder) if name.endswith(".dcm")]
    return {name: hashlib.sha256(archive.store.read_bytes(name)).hexdigest() for name in names}


def journal(archive: Archive) -> Counter[tuple[str, str, str, tuple[str, ...], str]]:
    return Counter((row.path, row.sha256, row.state, row.codes, row.source) for row in archive.journal_rows())


def left_here(archive: Archive) -> list[str]:
    """What the workspace holds but locks."""
    files = [path for path in archive.workspace.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return [path.relative_to(archive.workspace).as_posix() for path in files]


def test_an_object_is_in_the_bucket_and_its_row_on_the_disk_when_it_is_acknowledged(place: Place) -> None:
    archive = place.create()
    with archive.sink() as sink:
        receipt = send(sink, ITEMS[0])
        assert archive.store.read_bytes(receipt.path) == ITEMS[0].stored
        (segment,) = (name for name in left_here(archive) if name.startswith("journal/"))
        assert segment.endswith(".open")
        assert [row.sha256 for row in archive.journal_rows()] == [receipt.sha256]
        assert [row["path"] for row in archive.query(LOGICAL)] == [receipt.path]
    assert archive.sync_index() == 1
    assert left_here(archive) == []
    assert list(archive.store.list("journal")) == [segment.removesuffix(".open")]
    assert [row.sha256 for row in archive.journal_rows()] == [receipt.sha256]


def test_everything_stands_there_that_stands_in_a_local_archive(place: Place, tmp_path: Path) -> None:
    local = Archive.create(str(tmp_path / "local"))
    archive = place.create()
    for each in (archive, local):
        with each.sink() as sink:
            send_all(sink, ITEMS)
            sink.quarantine_bytes(Path(__file__), "NOT_DICOM", Provenance("folder"))
        assert each.sync_index() == 5
    assert objects(archive) == objects(local)
    assert journal(archive) == journal(local)
    kept = ("README.txt", "instances/", "quarantine/", "manifests/")
    there, here = ([name for name in each.store.list() if name.startswith(kept)] for each in (archive, local))
    assert sorted(there) == sorted(here)
    for name in (name for name in here if name.startswith(("README", "manifests"))):
        assert archive.store.read_bytes(name) == local.store.read_bytes(name)
    rows = archive.query(LOGICAL)
    assert [{**row, "received_at": None} for row in rows] == [{**row, "received_at": None} for row in local.query(LOGICAL)]


def test_a_second_sync_writes_nothing(place: Place) -> None:
    archive = place.create()
    with archive.sink() as sink:
        send_all(sink, ITEMS)
    archive.sync_index()
    before = place.snapshot()
    assert archive.sync_index() == 0
    assert place.create().archive_id == archive.archive_id
    assert place.snapshot() == before


def test_a_rebuilt_index_is_the_one_before(place: Place) -> None:
    archive = place.create()
    with archive.sink() as sink:
        send_all(sink, ITEMS)
        sink.quarantine_bytes(Path(__file__), "NOT_DICOM", Provenance("folder"))
    archive.sync_index()
    before = archive.query(LOGICAL)
    assert archive.rebuild_index() == 5
    assert archive.query(LOGICAL) == before
    assert archive.sync_index() == 0
    with archive.sink() as sink:
        send(sink, wire_object(InstanceNumber=9))
    assert archive.sync_index() == 1
    assert len(archive.query(LOGICAL)) == 6


def test_objects_in_flight_while_the_index_is_rebuilt_come_once(place: Place) -> None:
    archive = place.create()
    with archive.sink() as sink:
        send_all(sink, ITEMS[:2])
        assert archive.rebuild_index() == 0  # its segment is open: the next sync takes it
        assert len(archive.query(LOGICAL)) == 1
        sink.seal()
        archive.sync_index()
        send(sink, ITEMS[2])
        assert archive.rebuild_index() == 1
        assert len(archive.query(LOGICAL)) == 2
    archive.sync_index()
    assert len(archive.query(LOGICAL)) == 2


def test_a_rebuild_waits_for_no_maintainer_who_then_can_do_no_harm(place: Place) -> None:
    archive = place.create()
    with archive.sink() as sink:
        send_all(sink, ITEMS)
    archive.sync_index()
    before = archive.query(LOGICAL)
    with overtaken(), maintaining(f"{archive.url}/index/instances", INSTANCES, place.storage_options) as slow:
        assert archive.rebuild_index() == 4
        slow.commit(())
    assert archive.query(LOGICAL) == before


@contextmanager
def overtaken() -> Iterator[None]:
    with pytest.raises(StoreError, match="another maintainer has taken over") as caught, index_errors():
        yield
    assert caught.value.exit_code == 20


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (IndexerError("the service took too long"), StoreError),
        (UntrustedServiceError("it overwrites"), RefusedError),
        (IndexerError("has schema version 99"), StoreError),
    ],
)
def test_an_index_that_cannot_be_opened_is_left_alone(
    error: IndexerError, raised: type[StoreError | RefusedError], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = place.create()
    with archive.sink() as sink:
        send_all(sink, ITEMS)
    archive.sync_index()
    before = place.snapshot()
    genuine = Table.create

    def create(url: Any, *arguments: Any, **options: Any) -> Table:
        if str(url).startswith("s3://"):
            raise error
        return genuine(url, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Table, "create", create)
        with pytest.raises(raised):
            archive.rebuild_index()
    assert place.snapshot() == before


@pytest.mark.parametrize("damage", ["zeros", "a gap"])
def test_an_index_whose_log_is_none_is_made_anew(damage: str, place: Place) -> None:
    archive = place.create()
    for item in ITEMS[:3:2]:
        with archive.sink() as sink:
            send(sink, item)
        archive.sync_index()
    before = archive.query(LOGICAL)
    log = sorted(name for name in archive.store.list("index/instances/_delta_log") if name.endswith(".json"))
    if damage == "zeros":
        archive.store.replace_bytes(bytes(100), log[1])
    else:
        fs, path = fsspec.core.url_to_fs(f"{archive.url}/{log[1]}", **place.storage_options)
        fs.rm(path)
    with pytest.raises(StoreError):
        archive.query(LOGICAL)
    assert archive.rebuild_index() == 2
    assert archive.query(LOGICAL) == before
    assert archive.sync_index() == 0


def work(place: Place, durability: Durability) -> Callable[[WatchedOperations], None]:
    """Take the items, note what is acknowledged where it outlives the process, and put the journal into the bucket."""

    def run(operations: WatchedOperations) -> None:
        descriptor = os.open(f"{place.spool}.acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def note(receipt: Receipt) -> None:
            os.write(descriptor, f"{receipt.sha256} {receipt.path}\n".encode())

        archive = Archive.open(place.url, place.storage_options, spool=place.spool, operations=operations)
        archive.store = WatchedStore(archive.store, object.__getattribute__(operations, "_before"))  # type: ignore[assignment]
        with archive.sink(durability=durability, on_receipt=lambda receipt, provenance: note(receipt)) as sink:
            study = next(receipt.study_instance_uid for receipt in send_all(sink, ITEMS))
            sink.commit_study(study)
        archive.sweep()

    return run


def places(place: Place, s3: S3Service, tmp_path: Path) -> Iterator[Place]:
    """Give one place for a new archive after the other."""
    number = 0
    while True:
        number += 1
        yield Place(s3.url(), place.ledger_url, place.storage_options, str(tmp_path / "spools" / str(number)))


@pytest.mark.parametrize("durability", list(Durability))
def test_killed_at_any_operation_and_started_again_nothing_acknowledged_is_lost_or_there_twice(
    durability: Durability, place: Place, seaweedfs: S3Service, tmp_path: Path
) -> None:
    (tmp_path / "spools").mkdir()
    fresh = places(place, seaweedfs, tmp_path)
    unbroken = next(fresh)
    archive, counter = unbroken.create(), KillAt(-1)
    work(unbroken, durability)(WatchedOperations(counter))
    expected = objects(archive), journal(archive)
    assert len(expected[0]) == len(expected[1]) == 4
    assert {"publish", "put_file", "write", "sync"} <= set(counter.kinds)
    step = 1 if os.environ.get("VNA_EVERY_KILL") else 11
    done = []
    for k in range(1 + (durability is Durability.STUDY) * 5, counter.count, step):
        broken = next(fresh)
        archive = broken.create()
        assert run_and_kill(k, work(broken, durability)), k
        told = f"killed before operation {k}, {counter.kinds[k - 1]}"
        acknowledged = Path(f"{broken.spool}.acknowledged")
        for line in acknowledged.read_text().splitlines() if acknowledged.exists() else []:
            sha256, path = line.split()
            assert hashlib.sha256(archive.store.read_bytes(path)).hexdigest() == sha256, told
        work(broken, durability)(WatchedOperations(lambda kind, arguments: None))
        assert (objects(archive), journal(archive)) == expected, told
        assert left_here(archive) == [], told
        done.append(archive)
    for archive in done[:3]:
        assert archive.sync_index() == 4
        assert len(archive.query(LOGICAL)) == 4


def test_what_another_writer_stored_meanwhile_is_recorded_once(place: Place) -> None:
    archive = place.create()

    def to_the_publication(operations: WatchedOperations) -> None:
        killer = object.__getattribute__(operations, "_before")
        opened = Archive.open(place.url, place.storage_options, spool=place.spool)

        def before(name: str, arguments: tuple[Any, ...]) -> None:
            if name == "publish":
                killer("publish", ())

        opened.store = WatchedStore(opened.store, before)  # type: ignore[assignment]
        with opened.sink() as sink:
            send(sink, ITEMS[0])

    assert run_and_kill(1, to_the_publication)
    spool, place_of_dead = place.spool, archive.workspace
    other = Archive.open(place.url, place.storage_options, spool=f"{spool}-of-another-machine")
    with other.sink() as sink:
        assert send(sink, ITEMS[0]).state == "stored"
    assert list(place_of_dead.rglob("*.part"))
    recovered = archive.sweep()
    assert (recovered.writers, recovered.completed, recovered.dropped) == (1, 0, 1)
    other.sweep()
    assert [row.sha256 for row in archive.journal_rows()] == [ITEMS[0].sha256]


def test_two_machines_write_and_both_see_everything_that_was_sealed(place: Place) -> None:
    first = place.create()
    second = Archive.open(place.url, place.storage_options, spool=f"{place.spool}-of-another-machine")
    with first.sink() as sink, second.sink() as other:
        assert send(sink, ITEMS[0]).state == "stored"
        assert send(other, ITEMS[1]).state == "duplicate"
        assert send(other, ITEMS[2]).state == "variant"
    assert first.sync_index() + second.sync_index() == 2
    assert first.query(LOGICAL) == second.query(LOGICAL)
    assert len(first.query(LOGICAL)) == 2


def test_two_machines_that_list_objects_of_one_study_at_once_lose_no_line(place: Place) -> None:
    first = place.create()
    second = Archive.open(place.url, place.storage_options, spool=f"{place.spool}-of-another-machine")
    with first.sink() as sink, second.sink() as other:
        ours, theirs = send(sink, wire_object(InstanceNumber=1)), send(other, wire_object(InstanceNumber=2))
    second.sweep()
    genuine = first.store.amend_bytes  # type: ignore[attr-defined]
    syncs = iter([second.sync_index])

    def overtaken(path: str, amend: Callable[[bytes | None], bytes | None]) -> bool:
        def amended(found: bytes | None) -> bytes | None:
            made = amend(found)
            if sync := next(syncs, None):
                sync()
            return made

        return bool(genuine(path, amended))

    first.store.amend_bytes = overtaken  # type: ignore[method-assign]
    first.sync_index()
    (manifest,) = (name for name in first.store.list("manifests") if name.endswith(".sha256"))
    assert sorted(read_manifest(second.store, manifest)) == sorted([ours.path, theirs.path])


def patients(archive: Archive) -> list[str]:
    return [row["PatientID"] for row in archive.query("SELECT PatientID FROM instances ORDER BY path")]


def test_a_revision_of_what_another_machine_has_not_told_of_yet_stays_due(place: Place) -> None:
    first = place.create()
    second = Archive.open(place.url, place.storage_options, spool=f"{place.spool}-of-another-machine")
    with first.sink() as sink, second.sink() as other:
        ours, theirs = send(sink, wire_object(InstanceNumber=1)), send(other, wire_object(InstanceNumber=2))
        revise(second, "NEW", ours, theirs)
        revise(second, "NEWER", ours)
        assert first.sync_revisions() == 0
        assert patients(first) == ["P1"]
    second.sweep()
    first.sync_index()
    assert sorted(patients(first)) == ["NEW", "NEWER"]


def test_a_revision_does_not_wait_for_objects_that_are_gone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = place.create()
    with archive.sink() as sink:
        here = send(sink, wire_object(InstanceNumber=1))
        gone = here._replace(sha256="ab" * 32)
        first = revise(archive, "NEW", here, gone)
        put_revision(archive.store, replace(first, groups=(), reverts=1))
        archive.sync_index()
        assert patients(archive) == ["P1"]
        monkeypatch.setattr("vna.archive.overlays.UPLOADED_WITHIN", timedelta(0))
        assert archive.sync_revisions() == 2
        monkeypatch.undo()
        put_revision(archive.store, first)
        assert archive.sync_revisions() == 1, "what was given up once is not waited for again"
    assert patients(archive) == ["NEW"]


def test_a_rebuild_never_shows_values_that_were_corrected(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = place.create()
    with archive.sink() as sink:
        receipt = send(sink, ITEMS[0])
    archive.sync_index()
    revise(archive, "NEW", receipt)
    archive.sync_index()
    seen = []
    genuine = Table.replace_by

    def watched(*arguments: Any) -> None:
        seen.append(patients(archive))
        genuine(*arguments)

    monkeypatch.setattr(Table, "replace_by", watched)
    identity = Table.open(f"{archive.url}/index/overlays", OVERLAYS, place.storage_options).identity()
    archive.rebuild_index()
    assert [*seen, patients(archive)] == [["NEW"]] * 3
    assert Table.open(f"{archive.url}/index/overlays", OVERLAYS, place.storage_options).identity() == identity
    assert archive.sync_revisions() == 0


def test_what_another_machine_has_not_told_of_yet_is_left_to_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place.create()
    second = Archive.open(place.url, place.storage_options, spool=f"{place.spool}-of-another-machine")
    with first.sink() as sink:
        send(sink, wire_object(InstanceNumber=1))
    first.sync_index()
    with second.sink() as other, Ledger.open(f"sqlite:///{tmp_path}/scrub.sqlite") as ledger:
        path = send(other, wire_object(InstanceNumber=2)).path
        assert first.rebuild_index() == 1
        assert scrub(first, ledger, ScrubOptions()).findings == ()
        with monkeypatch.context() as long_after:
            long_after.setattr("vna.archive.writers.UPLOADED_WITHIN", timedelta(0))
            found = scrub(first, ledger, ScrubOptions()).findings
            assert [(finding.path, finding.code) for finding in found] == [(path, "UNRECORDED")]
    second.sweep()
    assert first.sync_index() == 1
    assert len(first.query(LOGICAL)) == 2
    assert first.rebuild_index() == 2


class _ShowsNothing:
    """A store whose list shows nothing below a prefix."""

    def __init__(self, store: Any, prefix: str) -> None:
        self._store, self._prefix = store, prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def list(self, prefix: str = "") -> Iterator[str]:
        return (name for name in self._store.list(prefix) if not name.startswith(self._prefix))


@pytest.mark.parametrize("hidden", ["instances/", "instances/71/"])
def test_an_empty_list_does_not_empty_the_index(hidden: str, place: Place) -> None:
    archive = place.create()
    with archive.sink() as sink:
        send_all(sink, ITEMS)
    archive.sync_index()
    before = place.snapshot()
    archive.store = _ShowsNothing(archive.store, hidden)  # type: ignore[assignment]
    with pytest.raises(RefusedError, match="does not show"):
        archive.rebuild_index()
    assert place.snapshot() == before


def test_a_list_without_journal_and_objects_does_not_empty_the_index(place: Place) -> None:
    archive = place.create()
    with archive.sink() as sink:
        send_all(sink, ITEMS)
    archive.sync_index()
    archive.store = _ShowsNothing(archive.store, "")  # type: ignore[assignment]
    with pytest.raises(RefusedError, match="the index holds 4"):
        archive.rebuild_index()


def test_objects_are_read_without_a_spool_and_nothing_else_is(place: Place) -> None:
    archive = place.create()
    with archive.sink() as sink:
        receipt = send(sink, ITEMS[0])
    reader = Archive.open(place.url, place.storage_options)
    with reader.open_object(receipt.path) as file, reader.local_file(receipt.path) as copy:
        assert file.read() == copy.read_bytes() == ITEMS[0].stored
    with pytest.raises(ConfigError, match="needs a folder on the local disk"):
        reader.sink()


@pytest.mark.parametrize(
    ("changes", "url", "kind", "said"),
    [
        ({"secret": "wrong"}, "", StoreError, "SignatureDoesNotMatch"),
        ({"key": "nobody"}, "", StoreError, "InvalidAccessKeyId"),
        ({}, "s3://no-such-bucket-here/a", StoreError, "there is no bucket no-such-bucket-here"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "", StoreError, "EndpointConnectionError"),
        ({}, "s3:///a", ConfigError, "names no bucket"),
        ({"endpoint": "http://127.0.0.1"}, "", ConfigError, "endpoint is not known"),
    ],
)
def test_what_is_wrong_with_the_way_to_it_is_said_with_a_hint(
    changes: dict[str, str], url: str, kind: type[StoreError | ConfigError], said: str, place: Place
) -> None:
    with pytest.raises(kind, match=said) as caught:
        Archive.create(url or place.url, place.storage_options | changes, spool=place.spool)
    assert caught.value.hint
    assert caught.value.exit_code == (20 if kind is StoreError else 2)


def test_a_receiver_needs_none_of_the_heavy_libraries(place: Place) -> None:
    place.create()
    program = (
        "import json, sys\nfrom tests.support.objects import send, wire_object\nfrom vna.archive import Archive\n"
        "from vna.receive import worker\n"
        "order = json.loads(sys.argv[1])\narchive = Archive.open(*order[:2], spool=order[2])\n"
        "with archive.sink() as sink:\n    assert send(sink, wire_object()).state == 'stored'\n"
        "sys.exit(any(name in sys.modules for name in ('pyarrow', 'duckdb', 'deltalake', 'sqlalchemy')))"
    )
    order = json.dumps([place.url, place.storage_options, place.spool])
    done = subprocess.run([sys.executable, "-c", program, order], cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
