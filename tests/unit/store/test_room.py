"""Room on the disk: what comes is refused while a reserve is left, before and in the middle of an object."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.associations import RawPeer
from tests.support.objects import send, wire_object
from vna.archive import Archive
from vna.dimse.storage_scp import storage_scp
from vna.errors import StoreFullError
from vna.model import Local
from vna.store import Spool, spool
from vna.store.room import Reserve, Room

MORE_THAN_THERE_IS = Reserve(bytes=1 << 62, share=1.0)
MORE_FILES_THAN_THERE_ARE = Reserve(bytes=0, files=1 << 62, share=1.0)


def test_with_room_nothing_is_refused(tmp_path: Path) -> None:
    Room(tmp_path).check()
    Room(tmp_path, Reserve(bytes=1 << 62, share=0.0)).check()


@pytest.mark.parametrize("reserve", [MORE_THAN_THERE_IS, MORE_FILES_THAN_THERE_ARE])
def test_below_the_reserve_it_is_refused_with_the_way_out(tmp_path: Path, reserve: Reserve) -> None:
    with pytest.raises(StoreFullError) as caught:
        Room(tmp_path, reserve).check()
    assert "are free on the archive's disk" in str(caught.value)
    assert caught.value.transient


def test_no_spool_file_is_begun_without_room(tmp_path: Path) -> None:
    with pytest.raises(StoreFullError):
        Spool(tmp_path, reserve=MORE_THAN_THERE_IS).create()
    assert not list(tmp_path.iterdir())


def test_a_large_object_is_refused_in_its_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "CHECK_EVERY", 1000)
    file = Spool(tmp_path).create()
    file._room = Room(tmp_path, MORE_THAN_THERE_IS)
    file.write(bytes(999))
    with pytest.raises(StoreFullError):
        file.write(bytes(1))
    file.discard()
    assert not list(tmp_path.iterdir())


def test_a_peer_is_told_a700_and_nothing_of_its_object_is_left(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    item = wire_object()
    with archive.sink(reserve=MORE_THAN_THERE_IS) as sink:
        with storage_scp(Local(), sink, port=0) as scp, RawPeer(scp.port) as peer:
            peer.associate()
            assert peer.store(item.sop_instance_uid, item.data_set) == 0xA700
            assert peer.echo() == 0
        with pytest.raises(StoreFullError):
            send(sink, item)
    assert not list(tmp_path.rglob("*.part"))
    assert not list(archive.journal_rows())
    with archive.sink() as sink:
        assert send(sink, item).state == "stored"
