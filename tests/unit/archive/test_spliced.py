"""A file made of a new head, the middle of a stored file and a new tail reads as one, however it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
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
