"""The digest of large pieces on a thread of its own is the digest of the same bytes in the same order."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from vna.store import SYSTEM
from vna.store.hashing import LARGE, HashingThread
from vna.store.operations import FILE_MODE
from vna.store.spool import SpoolFile

PIECE = 1 << 20


def spool_file(path: Path, thread: HashingThread) -> SpoolFile:
    return SpoolFile(str(path), SYSTEM, SYSTEM.create(path, FILE_MODE), thread)


@pytest.mark.parametrize("sizes", [(10, LARGE, LARGE), (LARGE, 10, 10), (10, 10), (PIECE,) * 40])
def test_a_spool_file_has_the_digest_of_its_bytes_whatever_the_pieces(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    pieces = [os.urandom(size) for size in sizes]
    file = spool_file(tmp_path / "1.part", HashingThread())
    buffer = bytearray(LARGE)
    for piece in pieces:
        buffer[: len(piece)] = piece  # the same buffer each time, as the network has it
        file.write(memoryview(buffer)[: len(piece)])
    assert file.sha256() == hashlib.sha256(b"".join(pieces)).hexdigest()
    file.write(pieces[0])
    assert file.sha256() == hashlib.sha256(b"".join([*pieces, pieces[0]])).hexdigest()
    file.discard()


def test_one_object_at_a_time_has_the_thread_and_gives_it_back(tmp_path: Path) -> None:
    thread = HashingThread()
    pieces = {name: os.urandom(LARGE) for name in ("1", "2")}
    files = {name: spool_file(tmp_path / f"{name}.part", thread) for name in pieces}
    for name, file in files.items():
        file.write(pieces[name])
        file.write(pieces[name])
    assert not thread.claim()
    assert {name: file.sha256() for name, file in files.items()} == {
        name: hashlib.sha256(piece + piece).hexdigest() for name, piece in pieces.items()
    }
    assert thread.claim()
    thread.release()
    files["1"].write(pieces["1"])
    files["1"].discard()  # dropped in the middle
    assert thread.claim()
