"""A file made of a new head, the middle of a stored file and a new tail reads as one, however it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest

from vna.archive.spliced import SplicedFile

HEAD, MIDDLE, TAIL = b"head" * 100, bytes(range(256)) * 40, b"tail"


@pytest.fixture
def file(tmp_path: Path) -> SplicedFile:
    path = tmp_path / "stored"
    path.write_bytes(b"old head" + MIDDLE + b"old tail")
    return SplicedFile(HEAD, path.open("rb"), 8, 8 + len(MIDDLE), TAIL)


def by_read(file: SplicedFile) -> bytes:
    return b"".join(iter(lambda: file.read(97), b""))


def by_readinto(file: SplicedFile) -> bytes:
    buffer, found = bytearray(1000), b""
    while count := file.readinto(buffer):
        found += buffer[:count]
    return found


def by_copy(file: SplicedFile) -> bytes:
    target = os.memfd_create("copy")
    file.copy_to(target)
    return os.pread(target, 1 << 20, 0)


@pytest.mark.parametrize("way", [by_read, by_readinto, by_copy, lambda file: file.read(), lambda file: file.readall()])
def test_every_way_of_reading_gives_the_whole(file: SplicedFile, way: Callable[[SplicedFile], bytes]) -> None:
    with file:
        assert way(file) == HEAD + MIDDLE + TAIL


def test_a_large_object_is_copied_whole_by_each_thread_and_by_a_child(tmp_path: Path) -> None:
    middle = os.urandom(5 << 20)
    path = tmp_path / "stored"
    path.write_bytes(b"old head" + middle)

    def copied(name: str) -> bool:
        target = tmp_path / name
        with SplicedFile(HEAD, path.open("rb"), 8, 8 + len(middle), TAIL) as file, target.open("xb", buffering=0) as out:
            file.copy_to(out.fileno())
        return target.read_bytes() == HEAD + middle + TAIL

    assert copied("first")
    child = os.fork()
    if not child:
        os._exit(0 if copied("child") else 1)
    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(copied, ["a", "b", "c", "d", "e", "f"]))
    assert os.waitpid(child, 0)[1] == 0


def test_what_cannot_be_moved_within_the_system_is_read_and_written(tmp_path: Path) -> None:
    path, target = tmp_path / "stored", tmp_path / "target"
    path.write_bytes(b"old head" + MIDDLE + b"old tail")
    appending = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # to which nothing can be spliced
    with SplicedFile(HEAD, path.open("rb"), 8, 8 + len(MIDDLE), TAIL) as file:
        file.copy_to(appending)
    os.close(appending)
    with SplicedFile(HEAD, BytesIO(path.read_bytes()), 8, 8 + len(MIDDLE), TAIL) as of_a_service:
        assert by_copy(of_a_service) == target.read_bytes() == HEAD + MIDDLE + TAIL


def test_a_copy_that_fails_leaves_nothing_behind_for_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_bytes(b"old head" + MIDDLE * 50)
    reader, full = os.pipe()
    os.set_blocking(full, False)
    file = SplicedFile(b"", path.open("rb"), 8, 8 + len(MIDDLE) * 50)
    with file, pytest.raises(BlockingIOError):
        file.copy_to(full)
    os.close(reader)
    os.close(full)
    with SplicedFile(HEAD, path.open("rb"), 8, 8 + len(MIDDLE), TAIL) as again:
        assert by_copy(again) == HEAD + MIDDLE + TAIL


def test_any_part_can_be_read_by_seeking(file: SplicedFile) -> None:
    whole = HEAD + MIDDLE + TAIL
    with file:
        for at in (0, 399, 400, 401, 5000, len(whole) - 5, len(whole) - 2, len(whole), 3):
            file.seek(at)
            assert whole[at:].startswith(file.read(50))
        assert file.seek(0, os.SEEK_END) == len(whole)


def test_closing_it_closes_what_it_reads(file: SplicedFile) -> None:
    rest = file._rest
    file.close()
    assert rest.closed
