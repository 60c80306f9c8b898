"""Writers, living and dead, and what they are about to do."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.support.crash import FailAt, WatchedOperations
from vna.archive.writers import Intents, intended_paths, read_intents
from vna.errors import StoreError


def record(intents: Intents, *numbers: int) -> None:
    for number in numbers:
        intents.record(f"{number:08d}.part", b'{"path":"instances/%d.dcm"}' % number, durable=False)


def test_intents_that_a_living_writer_is_done_with_do_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vna.archive.writers._LINES_PER_FILE", 2)
    folder = tmp_path / "spool" / "writer"
    folder.mkdir(parents=True)
    intents = Intents(folder)
    record(intents, 1, 2, 3)
    read_bytes = Path.read_bytes

    def read_late(path: Path) -> bytes:
        for number in (1, 2):  # the writer removes the first file after it was found and before it is read
            intents.finish(f"{number:08d}.part")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read_late)
    assert intended_paths(tmp_path) == {"instances/3.dcm"}
    assert read_intents(folder) == {"00000003.part": {"spool": "00000003.part", "path": "instances/3.dcm"}}
    intents.close()


def test_intents_whose_name_could_not_be_forced_to_the_disk_are_trusted_no_more(tmp_path: Path) -> None:
    fail = FailAt("sync_folder", errno.EIO)
    intents = Intents(tmp_path, WatchedOperations(fail))
    for said in ("Input/output error", "an earlier fsync"):
        with pytest.raises(StoreError, match=said):
            intents.record("00000001.part", b'{"path":"instances/1.dcm"}', durable=True)
        intents.finish("00000001.part", given_up=True)
        fail.armed = False
    assert read_intents(tmp_path) == {}
    intents.close()
