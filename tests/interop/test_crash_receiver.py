"""The receiver is killed at random moments under load, and keeps every promise. ``scripts/bench crash`` does more of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from benchmarks.crash import check, crash
from tests.support.objects import send, wire_object
from tests.support.peers import require_peer
from vna.archive import Archive

pytestmark = pytest.mark.interop

KILLS = 4


def test_nothing_acknowledged_is_lost_torn_or_indexed_in_vain_when_processes_are_killed(tmp_path: Path) -> None:
    require_peer("dcmtk")
    result = crash(tmp_path, KILLS, seed=2)
    assert not result.problems
    assert (result.parents, result.workers) == (2, 2)
    assert 0 < result.acknowledged <= result.filed <= result.sent


def test_the_check_sees_what_is_lost_torn_absent_not_indexed_and_left_over(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    items = [wire_object(InstanceNumber=number) for number in (1, 2, 3)]
    with archive.sink() as sink:
        paths = [archive.root / send(sink, item).path for item in items]
    archive.sync_index()
    digests = {item.sop_instance_uid: item.sha256 for item in items}
    acknowledged = set(digests)
    assert list(check(archive, digests, acknowledged)) == []
    paths[0].unlink()
    paths[1].chmod(0o640)
    paths[1].write_bytes(b"other bytes")
    stranger = paths[2].with_name("1.2.3.dcm")
    stranger.write_bytes(b"not indexed")
    (archive.root / "spool" / "dead").mkdir()
    digests["1.2.3"] = hashlib.sha256(b"not indexed").hexdigest()
    assert sorted(check(archive, digests, acknowledged)) == ["absent", "left over", "lost", "lost", "not indexed", "torn", "torn"]
