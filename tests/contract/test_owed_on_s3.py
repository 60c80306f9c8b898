"""What is owed to a real S3 server: killed, raced by another machine, or answered by nobody, all arrives, and nothing twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.crash import KillAt, WatchedOperations, WatchedStore, run_and_kill
from tests.support.instances import data_set_bytes, make_instance
from tests.support.objects import send, send_all, wire_object
from tests.support.peers import HOST, free_port
from tests.support.s3 import S3Service
from tests.support.s3_proxy import Fault, Request, s3_proxy
from tests.support.sites import S3, Place
from vna.archive import Archive
from vna.archive.receivers import Receiver, announced
from vna.archive.uploading import THREADS, Uploader
from vna.demo.pacs import EmbeddedPacs
from vna.dimse.storage_scp import storage_scp
from vna.inventory import run as take_inventory
from vna.ledger import Ledger
from vna.model import Local, Receipt
from vna.pull import Method, PullOptions
from vna.pull import run as pull
from vna.scrub import ScrubOptions
from vna.scrub import run as scrub

pytestmark = pytest.mark.parametrize("place", [S3], indirect=True)

ITEMS = [
    wire_object(InstanceNumber=1),
    wire_object(InstanceNumber=1),  # the same again
    wire_object(InstanceNumber=1, PatientName="Other^Name"),  # other bytes under the same UIDs
    wire_object(StudyInstanceUID=None),  # cannot be filed
    wire_object(InstanceNumber=2),
]
DIGESTS = sorted({item.sha256 for item in ITEMS})
UPLOAD_S = 60.0


def objects(archive: Archive) -> dict[str, str]:
    """The digests of everything under a final name."""
    names = [name for folder in ("instances", "quarantine") for name in archive.store.list(folder) if name.endswith(".dcm")]
    return {name: hashlib.sha256(archive.store.read_bytes(name)).hexdigest() for name in names}


def journal(archive: Archive) -> Counter[tuple[str, str]]:
    return Counter((row.path, row.sha256) for row in archive.journal_rows())


def left_here(archive: Archive) -> list[str]:
    """What the workspace holds but locks."""
    files = [path for path in archive.workspace.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return [str(path.relative_to(archive.workspace)) for path in files]


def opened(place: Place, operations: WatchedOperations) -> Archive:
    archive = Archive.open(place.url, place.storage_options, spool=place.spool, operations=operations)
    archive.store = WatchedStore(archive.store, object.__getattribute__(operations, "_before"))
    return archive


def work(place: Place) -> Callable[[WatchedOperations], None]:
    """Acknowledge the items and note that where it outlives the process; upload what is owed, and put the journal there."""

    def run(operations: WatchedOperations) -> None:
        descriptor = os.open(f"{place.spool}.acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def note(receipt: Receipt, provenance: object) -> None:
            os.write(descriptor, f"{receipt.sha256}\n".encode())

        archive = opened(place, operations)
        with archive.sink(owes=True, on_receipt=note) as sink:
            send_all(sink, ITEMS)
        archive.sweep()

    return run


def places(place: Place, s3: S3Service, tmp_path: Path) -> Iterator[Place]:
    """Give one place for a new archive after the other."""
    number = 0
    while True:
        number += 1
        yield Place(s3.url(), place.ledger_url, place.storage_options, str(tmp_path / "spools" / str(number)))


def acknowledged(place: Place) -> set[str]:
    path = Path(f"{place.spool}.acknowledged")
    return set(path.read_text().split()) if path.exists() else set()


@pytest.mark.parametrize("threads", [1, THREADS])
def test_killed_at_any_operation_nothing_acknowledged_is_lost_or_there_twice(
    threads: int, place: Place, seaweedfs: S3Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Uploader.__init__.__kwdefaults__ or {}, "threads", threads)
    (tmp_path / "spools").mkdir()
    fresh = places(place, seaweedfs, tmp_path)
    unbroken = next(fresh)
    archive, counter = unbroken.create(), KillAt(-1)
    work(unbroken)(WatchedOperations(counter))
    assert sorted(objects(archive).values()) == DIGESTS
    assert {"publish", "put_file", "rename", "link", "unlink"} <= set(counter.kinds)
    step = 1 if os.environ.get("VNA_EVERY_KILL") else 9
    for k in range(1, counter.count, step):
        broken = next(fresh)
        archive = broken.create()
        run_and_kill(k, work(broken))  # threads need not do as many steps each time: it may have come to its end
        told = f"killed before operation {k}, {counter.kinds[k - 1]}"
        owed = acknowledged(broken)
        archive.sweep()
        assert owed <= set(objects(archive).values()), told
        assert all(count == 1 for count in journal(archive).values()), told
        assert {(path, digest) for path, digest in journal(archive)} == set(objects(archive).items()), told
        work(broken)(WatchedOperations(lambda kind, arguments: None))
        assert sorted(objects(archive).values()) == DIGESTS, told
        assert sorted(journal(archive).values()) == [1] * len(DIGESTS), told
        assert left_here(archive) == [], told


def test_killed_while_it_uploads_again_and_again_everything_arrives_once(place: Place, tmp_path: Path) -> None:
    archive = place.create()
    items = [wire_object(InstanceNumber=number) for number in range(60)]
    with archive.sink(owes=True) as sink:
        send_all(sink, items)
    assert archive.owed().objects == len(items)
    for k in (40, 90, 150, 220):

        def upload(operations: WatchedOperations) -> None:
            opened(place, operations).sweep()

        run_and_kill(k, upload)
    assert 0 < archive.owed().objects < len(items)
    archive.sweep()
    assert sorted(objects(archive).values()) == sorted(item.sha256 for item in items)
    assert sorted(journal(archive).values()) == [1] * len(items)
    assert left_here(archive) == []
    assert archive.sync_index() == len(items)


def test_the_index_names_nothing_that_is_owed_and_nothing_absent(place: Place, tmp_path: Path) -> None:
    archive = place.create()
    with archive.sink(owes=True) as sink, archive.uploader():  # whose turn it is: the sync does not upload by itself
        pass
    with archive.sink(owes=True) as sink:
        send_all(sink, ITEMS)
    elsewhere = Archive.open(place.url, place.storage_options, spool=f"{place.spool}-of-another-machine")
    assert elsewhere.sync_index() == 0
    assert elsewhere.rebuild_index() == 0
    assert elsewhere.query("SELECT path FROM instances") == []
    assert archive.sync_index() == len(DIGESTS)
    assert sorted(row["path"] for row in archive.query("SELECT path FROM instances")) == sorted(objects(archive))
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        assert scrub(archive, ledger, ScrubOptions()).findings == ()


def test_two_machines_that_owe_other_bytes_under_the_same_uids_lose_none(place: Place) -> None:
    first = place.create()
    second = Archive.open(place.url, place.storage_options, spool=f"{place.spool}-of-another-machine")
    with first.sink(owes=True) as sink, second.sink(owes=True) as other:
        assert send(sink, ITEMS[0]).path == send(other, ITEMS[2]).path
        assert [send(sink, ITEMS[4]).state, send(other, ITEMS[4]).state] == ["owed", "owed"]
    with first.uploader() as one, second.uploader() as another:
        assert one.stop(UPLOAD_S)
        assert another.stop(UPLOAD_S)
    first.sweep()
    second.sweep()
    states = sorted((row.state, row.codes) for row in first.journal_rows())
    assert states == [("stored", ()), ("stored", ()), ("variant", ("UID_CONFLICT",))]
    assert sorted(objects(first).values()) == sorted({ITEMS[0].sha256, ITEMS[2].sha256, ITEMS[4].sha256})
    assert set(journal(first)) == set(objects(first).items())


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.ERROR_AFTER, Fault.INTERNAL_ERROR, Fault.REFUSE_CONNECTION])
def test_answers_that_are_lost_lose_nothing_and_store_nothing_twice(
    fault: Fault, place: Place, seaweedfs: S3Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = place.create()
    with s3_proxy(seaweedfs.port) as proxy:
        through = Archive.open(place.url, seaweedfs.storage_options(proxy.port), spool=place.spool)
        events: list[dict[str, Any]] = []
        with through.sink(owes=True) as sink, through.uploader(lambda event: events.append(dict(event))) as uploader:
            seen: Counter[str] = Counter()

            def decide(request: Request) -> Fault:
                if request.operation != "put" or "/instances/" not in request.path:
                    return Fault.NONE
                seen[request.path] += 1
                return fault if seen[request.path] <= 2 else Fault.NONE

            proxy.decide = decide
            send_all(sink, ITEMS)
            assert uploader.stop(UPLOAD_S)
        assert proxy.faults[fault]
    assert archive.owed().objects == 0
    assert sorted(objects(archive).values()) == DIGESTS
    assert sorted(journal(archive).values()) == [1] * len(DIGESTS)
    assert sum(event["event"] == "uploaded" for event in events) == len(DIGESTS)


def test_a_pull_waits_for_what_the_receiver_that_it_relies_on_owes(place: Place, seaweedfs: S3Service, tmp_path: Path) -> None:
    archive, port = place.create(), free_port()
    local, goes_on = Local(port=port), threading.Event()
    images = [make_instance(InstanceNumber=number) for number in range(4)]

    def decide(request: Request) -> Fault:
        if request.operation == "put" and "/instances/" in request.path:
            goes_on.wait(UPLOAD_S)
        return Fault.NONE

    with (
        s3_proxy(seaweedfs.port) as proxy,
        Ledger.open(f"sqlite:///{tmp_path}/pull.sqlite") as ledger,
        EmbeddedPacs("LEGACY", destinations={"VNA": (HOST, port)}) as pacs,
    ):
        for ds in images:
            pacs.add(ds.SOPClassUID, ds.SOPInstanceUID, ds.file_meta.TransferSyntaxUID, data_set_bytes(ds))
        node = pacs.node("legacy")
        take_inventory(ledger, node, local)
        proxy.decide = decide
        through = Archive.open(place.url, seaweedfs.storage_options(proxy.port), spool=place.spool)
        with (
            through.sink(owes=True) as sink,
            storage_scp(local, sink),
            announced(archive.workspace, Receiver("VNA", HOST, port)),
            through.uploader() as uploader,
            ThreadPoolExecutor(1) as beside,
        ):
            pulling = beside.submit(pull, archive, ledger, node, local, PullOptions(method=Method.MOVE, settle_s=0.3))
            try:
                with pytest.raises(TimeoutError):
                    pulling.result(3)
                assert archive.owed().objects == len(images)
            finally:
                goes_on.set()
            result = pulling.result(UPLOAD_S)
            assert uploader.stop(UPLOAD_S)
        assert (result.instances, result.missing, result.failed) == (len(images), 0, 0)
        assert sum(request.service == "C-MOVE" for request in pacs.requests) == 1
        assert archive.owed().objects == 0


def test_a_sink_that_owes_asks_the_service_nothing_and_needs_no_heavy_library(place: Place) -> None:
    archive = place.create()
    program = (
        "import json, sys\nfrom tests.support.objects import send, wire_object\nfrom vna.archive import Archive\n"
        "url, name, options, spool = json.loads(sys.argv[1])\narchive = Archive.known(url, name, options, spool=spool)\n"
        "with archive.sink(owes=True) as sink:\n    assert send(sink, wire_object()).state == 'owed'\n"
        "sys.exit(any(name in sys.modules for name in ('pyarrow', 'duckdb', 'deltalake', 'sqlalchemy')))"
    )
    nowhere = {**place.storage_options, "endpoint_url": "http://127.0.0.1:9"}
    order = json.dumps([place.url, archive.archive_id, nowhere, place.spool])
    done = subprocess.run([sys.executable, "-c", program, order], cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    archive.sweep()
    assert len(journal(archive)) == 1
