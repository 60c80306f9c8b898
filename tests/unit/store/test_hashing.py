"""The digest of large pieces on a thread of its own is the digest of the same bytes in the same order."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from vna.store import SYSTEM
from vna.store.hashing import LARGE, MIDDLING, HashingThread, Trials
from vna.store.spool import SpoolFile

PIECE = 1 << 20


@pytest.mark.parametrize("sizes", [(10, LARGE, LARGE), (MIDDLING, 10, MIDDLING), (LARGE, 10, 10), (10, 10), (PIECE,) * 40])
def test_a_spool_file_has_the_digest_of_its_bytes_whatever_the_pieces(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    pieces = [os.urandom(size) for size in sizes]
    file = SpoolFile(f"{tmp_path}/1.part", SYSTEM, HashingThread())
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
    files = {name: SpoolFile(f"{tmp_path}/{name}.part", SYSTEM, thread) for name in pieces}
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


def test_a_middling_object_is_handed_over_or_not_and_has_the_same_digest(tmp_path: Path) -> None:
    thread = HashingThread()
    pieces = [os.urandom(size) for size in (MIDDLING, MIDDLING + 2, 100)]
    for number in range(40):
        file = SpoolFile(f"{tmp_path}/{number}.part", SYSTEM, thread)
        for piece in pieces:
            file.write(piece)
        assert file.sha256() == hashlib.sha256(b"".join(pieces)).hexdigest()
        file.discard()
    assert thread.claim(), "it was given back each time"


@pytest.mark.parametrize("pays", [True, False])
def test_what_took_less_time_goes_on_and_the_other_way_is_tried_now_and_then(pays: bool) -> None:
    trials, ways = Trials(), []
    for _ in range(160):
        ways.append(trials.next_is_handed())
        trials.note(is_handed=ways[-1], seconds=1.0 if ways[-1] is pays else 2.0, size=1000)
    assert 140 <= ways.count(pays) < 160
    ways.clear()
    for _ in range(320):  # something else changes sides
        ways.append(trials.next_is_handed())
        trials.note(is_handed=ways[-1], seconds=2.0 if ways[-1] is pays else 1.0, size=1000)
    assert ways[-16:].count(pays) <= 1


def test_one_object_that_waited_for_its_peer_does_not_decide() -> None:
    trials = Trials()
    for is_handed, seconds in ((True, 1.0), (False, 1.4), (True, 60.0)):
        trials.note(is_handed=is_handed, seconds=seconds, size=1)
    assert trials.next_is_handed()
