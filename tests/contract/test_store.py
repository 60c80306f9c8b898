"""What every store promises: a local folder (with and without hard links), S3 (moto, SeaweedFS), fsspec's memory file system."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.s3 import S3Service
from vna.errors import DigestMismatchError, InstanceMissingError, StoreError, StoreFullError
from vna.store import LocalStore, Spool, Store, open_store
from vna.store.s3 import S3Store


@pytest.fixture(params=["local", "local without hard links", "memory", "moto", "seaweedfs"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "memory":
        return open_store(f"memory://{uuid.uuid4().hex}")
    if request.param in ("moto", "seaweedfs"):
        service = request.getfixturevalue(request.param)
        return open_store(service.url(), service.storage_options())
    root = tmp_path / "store"
    root.mkdir()
    if request.param == "local without hard links":
        monkeypatch.setattr("os.link", _unsupported)
    return open_store(str(root))


def _unsupported(*arguments: object, **options: object) -> None:
    raise OSError(errno.EOPNOTSUPP, "no hard links here")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    folder = tmp_path / "store" / "spool" if (tmp_path / "store").exists() else tmp_path / "spool"
    folder.mkdir(exist_ok=True)
    return Spool(folder)


def spooled(spool: Spool, data: bytes) -> Path:
    file = spool.create()
    file.write(data)
    file.sync()
    return file.path


def test_a_published_file_is_read_back_as_it_was(store: Store, spool: Spool) -> None:
    assert store.publish([(spooled(spool, b"bytes"), "instances/aa/1/2/3.dcm")]) == [True]
    assert store.read_bytes("instances/aa/1/2/3.dcm") == b"bytes"
    assert store.size("instances/aa/1/2/3.dcm") == 5
    with store.open("instances/aa/1/2/3.dcm") as file:
        file.seek(2)
        assert file.read() == b"tes"


def test_a_taken_path_keeps_its_object_and_the_second_file_stays_where_it_was(store: Store, spool: Spool) -> None:
    first, second = spooled(spool, b"first"), spooled(spool, b"second")
    assert store.publish([(first, "instances/a.dcm")]) == [True]
    assert store.publish([(second, "instances/a.dcm")]) == [False]
    assert store.read_bytes("instances/a.dcm") == b"first"
    assert second.read_bytes() == b"second"


def test_publishing_tells_whether_the_local_name_stays(store: Store, spool: Spool) -> None:
    local = spooled(spool, b"bytes")
    store.publish([(local, "instances/a.dcm")])
    assert local.exists() is store.keeps_source


def test_several_files_are_published_at_once_and_each_has_its_own_answer(store: Store, spool: Spool) -> None:
    store.put_bytes(b"there already", "instances/s/2.dcm")
    files = [(spooled(spool, bytes([i])), f"instances/s/{i}.dcm") for i in range(4)]
    assert store.publish(files) == [True, True, False, True]
    assert list(store.list("instances/s")) == [f"instances/s/{i}.dcm" for i in range(4)]


def test_of_racing_writers_exactly_one_wins(store: Store, spool: Spool) -> None:
    files = [spooled(spool, bytes([i]) * 100) for i in range(8)]
    barrier = threading.Barrier(len(files))
    answers: list[bool] = [False] * len(files)

    def publish(i: int) -> None:
        barrier.wait()
        answers[i] = store.publish([(files[i], "instances/race.dcm")])[0]

    threads = [threading.Thread(target=publish, args=(i,)) for i in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(True) == 1
    assert store.read_bytes("instances/race.dcm") == bytes([answers.index(True)]) * 100


def test_a_folder_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes(b"1", "manifests/aa/1")
    shutil.rmtree(store.root / "manifests")
    store.replace_bytes(b"2", "manifests/aa/1")
    shutil.rmtree(store.root / "manifests")
    assert store.put_bytes(b"3", "manifests/aa/1")
    assert store.read_bytes("manifests/aa/1") == b"3"


def test_put_file_copies_and_never_overwrites(store: Store, tmp_path: Path) -> None:
    local = tmp_path / "file"
    local.write_bytes(b"a" * 3_000_000)
    assert store.put_file(local, "journal/w/1")
    assert not store.put_file(local, "journal/w/1")
    assert local.exists()
    assert store.size("journal/w/1") == 3_000_000


def test_put_bytes_never_overwrites(store: Store) -> None:
    assert store.put_bytes(b"1", "vna-archive.json")
    assert not store.put_bytes(b"2", "vna-archive.json")
    assert store.read_bytes("vna-archive.json") == b"1"


def test_derived_objects_are_replaced_and_others_never(store: Store) -> None:
    store.replace_bytes(b"1", "manifests/aa/1.sha256")
    store.replace_bytes(b"2", "manifests/aa/1.sha256")
    assert store.read_bytes("manifests/aa/1.sha256") == b"2"
    for prefix in ("instances", "quarantine", "journal", "revisions"):
        with pytest.raises(ValueError, match="written once"):
            store.replace_bytes(b"x", f"{prefix}/a")


def test_of_what_several_writers_make_of_a_derived_object_at_once_nothing_is_lost(store: Store) -> None:
    barrier = threading.Barrier(8)

    def add(i: int) -> None:
        barrier.wait()
        for number in range(2):
            assert store.amend_bytes("manifests/aa/1.sha256", lambda found: (found or b"") + f"{i}.{number}\n".encode())  # noqa: B023

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    lines = store.read_bytes("manifests/aa/1.sha256").decode().splitlines()
    assert sorted(lines) == [f"{i}.{number}" for i in range(8) for number in range(2)]


def test_an_object_that_somebody_else_amended_meanwhile_is_read_again(s3: S3Service) -> None:
    store = open_store(s3.url(), s3.storage_options())
    seen: list[bytes | None] = []

    def amend(found: bytes | None) -> bytes:
        seen.append(found)
        if len(seen) in (1, 3):  # once before there is anything, and once after
            store.replace_bytes(b"theirs" * len(seen), "manifests/aa/1.sha256")
        return (found or b"") + b"ours"

    assert store.amend_bytes("manifests/aa/1.sha256", amend)
    assert store.amend_bytes("manifests/aa/1.sha256", amend)
    assert seen == [None, b"theirs", b"theirsours", b"theirs" * 3]
    assert store.read_bytes("manifests/aa/1.sha256") == b"theirs" * 3 + b"ours"


def test_what_is_left_as_it_is_is_not_written(store: Store) -> None:
    assert not store.amend_bytes("manifests/aa/1.sha256", lambda found: None)
    assert not store.exists("manifests/aa/1.sha256")
    with pytest.raises(ValueError, match="written once"):
        store.amend_bytes("instances/a", lambda found: b"x")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", ".", "a\\b", "a\0b", "instances/"])
def test_paths_that_leave_the_store_are_refused(store: Store, spool: Spool, path: str) -> None:
    local = spooled(spool, b"x")
    for attempt in (
        lambda: store.publish([(local, path)]),
        lambda: store.put_file(local, path),
        lambda: store.put_bytes(b"x", path),
        lambda: store.replace_bytes(b"x", path),
        lambda: store.amend_bytes(path, lambda found: b"x"),
        lambda: store.replace_damaged(local, path, ""),
        lambda: store.open(path),
        lambda: store.read_bytes(path),
        lambda: store.exists(path),
        lambda: store.size(path),
        lambda: store.age_s(path),
        lambda: store.settle(path),
    ):
        with pytest.raises(ValueError):
            attempt()


def test_what_is_not_there_is_missing_not_empty(store: Store) -> None:
    assert not store.exists("instances/none.dcm")
    for attempt in (store.open, store.read_bytes, store.size, store.age_s, store.settle):
        with pytest.raises(InstanceMissingError):
            attempt("instances/none.dcm")
    assert list(store.list("instances")) == []


def test_a_local_object_is_read_without_a_buffer_as_with_one(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes(bytes(range(256)) * 100, "instances/aa/1.dcm")
    with store.open("instances/aa/1.dcm") as buffered, store.open_unbuffered("instances/aa/1.dcm") as raw:
        assert raw.read(1000) == buffered.read(1000)
        assert (raw.seek(77), raw.read()) == (buffered.seek(77), buffered.read())
    for missing in ("instances/none.dcm", "instances/aa", "instances/aa/1.dcm/2.dcm"):
        with pytest.raises(InstanceMissingError):
            store.open_unbuffered(missing)
    with pytest.raises(ValueError):
        store.open_unbuffered("../1.dcm")


def test_an_object_tells_how_long_it_has_been_there(store: Store) -> None:
    store.put_bytes(b"x", "instances/a.dcm")
    assert -5 < store.age_s("instances/a.dcm") < 600


def test_listing_names_objects_at_every_depth_in_a_stable_order(store: Store) -> None:
    paths = [f"instances/{a}/{b}.dcm" for a in ("10", "9", "x") for b in ("2", "1")]
    for path in paths:
        store.put_bytes(b"x", path)
    store.put_bytes(b"x", "manifests/a")
    assert list(store.list("instances")) == sorted(paths)
    assert {*store.list()} >= {*paths, "manifests/a"}


def test_what_was_published_is_told_from_what_only_looks_alike(store: Store, spool: Spool) -> None:
    first, second = spooled(spool, b"first"), spooled(spool, b"other")
    assert not store.came_from(first, "instances/a.dcm")
    store.publish([(first, "instances/a.dcm")])
    assert store.came_from(first, "instances/a.dcm")
    assert not store.came_from(second, "instances/a.dcm")


def test_a_source_that_fails_at_its_end_is_not_stored(store: Store) -> None:
    class BrokenOffError(Exception):
        pass

    class Source:
        pieces = [b"a" * 5000, b"b" * 5000]  # noqa: RUF012

        def read(self, size: int) -> bytes:
            if not self.pieces:
                raise BrokenOffError
            return self.pieces.pop()

    with pytest.raises(BrokenOffError):
        store.put_stream(Source(), "a/b")
    assert list(store.list("a")) == []
    assert store.put_stream(BytesIO(b"whole"), "a/b")
    assert not store.put_stream(BytesIO(b"again"), "a/b")
    assert store.read_bytes("a/b") == b"whole"


def test_an_object_of_a_finished_writer_is_settled(store: Store, spool: Spool) -> None:
    local = spooled(spool, b"x")
    store.publish([(local, "instances/a.dcm")])
    local.unlink(missing_ok=True)
    store.settle("instances/a.dcm")
    if isinstance(store, LocalStore) and store.keeps_source:
        assert store.settle("instances/a.dcm") is True


def test_a_large_object_survives_whole(store: Store, spool: Spool) -> None:
    data = bytes(range(256)) * 4096 * 66  # above the size that goes to a service in one put
    assert store.publish([(spooled(spool, data), "instances/large.dcm")]) == [True]
    assert store.size("instances/large.dcm") == len(data)
    assert store.publish([(spooled(spool, b"other"), "instances/large.dcm")]) == [False]


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, StoreFullError), (errno.EDQUOT, StoreFullError), (errno.EIO, StoreError)]
)
def test_errors_of_the_disk_or_service_become_the_stores_own(
    store: Store, spool: Spool, monkeypatch: pytest.MonkeyPatch, code: int, error: type[StoreError]
) -> None:
    local = spooled(spool, b"x")
    store.exists("instances/a.dcm")
    store.keeps_source  # noqa: B018 - probe before the disk fails

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(code, "")

    if isinstance(store, LocalStore):
        monkeypatch.setattr("os.link", fail)
        monkeypatch.setattr("os.rename", fail)
    elif isinstance(store, S3Store):
        pytest.skip("what a service says is in test_s3_faults")
    else:
        monkeypatch.setattr(type(store._fs), "pipe_file", fail)  # type: ignore[attr-defined]
    with pytest.raises(error) as raised:
        store.publish([(local, "instances/a.dcm")])
    assert type(raised.value) is error
    assert not store.exists("instances/a.dcm")


def can_exchange(store: Store) -> bool:
    """Tell whether the store has a safe way to do it; a plain fsspec file system has none."""
    return isinstance(store, LocalStore | S3Store)


def test_damaged_bytes_are_exchanged_only_while_they_are_the_damaged_ones(store: Store, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(b"good")
    store.put_bytes(b"rotten", "instances/a.dcm")
    for other in (hashlib.sha256(b"something else").hexdigest(), ""):
        with pytest.raises(DigestMismatchError if can_exchange(store) else StoreError):
            store.replace_damaged(good, "instances/a.dcm", other)
    assert store.read_bytes("instances/a.dcm") == b"rotten"
    if not can_exchange(store):
        return
    store.replace_damaged(good, "instances/a.dcm", hashlib.sha256(b"rotten").hexdigest())
    assert store.read_bytes("instances/a.dcm") == b"good"
    assert [path for path in store.list() if not path.startswith("spool/")] == ["instances/a.dcm"]


def test_nothing_is_put_in_the_place_of_an_object_that_is_not_there(store: Store, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(b"good")
    with pytest.raises(InstanceMissingError if can_exchange(store) else StoreError):
        store.replace_damaged(good, "instances/a.dcm", hashlib.sha256(b"rotten").hexdigest())
    assert not store.exists("instances/a.dcm")
