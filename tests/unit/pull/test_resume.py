"""A pull that was killed or interrupted goes on where it stood, and pulls nothing durable twice."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from tests.unit.pull.conftest import Site
from vna.archive import Archive
from vna.demo.faults import Faults
from vna.ledger import Ledger
from vna.model import Progress
from vna.pull import Method, PullOptions, run

PULL = """
import sys
from vna.archive import Archive
from vna.ledger import Ledger
from vna.model import Local, Node
from vna.pull import Method, PullOptions, run
archive, ledger, port, local, method = sys.argv[1:]
node = Node("legacy", ae_title="LEGACY", port=int(port), dimse_timeout_s=30, retrieve_timeout_s=60)
with Ledger.open(ledger) as opened:
    print("ready", flush=True)
    run(Archive.open(archive), opened, node, Local(port=int(local)), PullOptions(Method(method), workers=2, settle_s=0.4))
"""


def start(site: Site, method: Method) -> subprocess.Popen[str]:
    ledger = f"sqlite:///{site.ledger.folder}/ledger.sqlite"
    arguments = [site.archive.url, ledger, str(site.pacs.port), str(site.local.port), method.value]
    command = [sys.executable, "-c", PULL, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("method", [Method.MOVE, Method.GET])
def test_a_killed_pull_is_resumed_without_pulling_anything_durable_again(site: Site, method: Method) -> None:
    uids = {uid for n in range(6) for uid in site.fill(f"P{n}", 4)}
    site.inventory()
    site.pacs.faults = Faults(delay_s=0.01)
    chance = random.Random(method.value)
    for _ in range(5):
        process = start(site, method)
        time.sleep(chance.uniform(0.05, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        site.archive.sweep()
        before, there = len(site.retrieves()), set(site.stored())
        assert there <= uids
        site.pull(method, limit=1)
        for keys in site.retrieves()[before:]:
            named = set(keys.get("SOPInstanceUID", "").split("\\")) - {""}
            assert named.isdisjoint(there)
            if not named:
                assert there.isdisjoint(_under(site, keys))
    site.pacs.faults = Faults()
    site.pull(method)
    rows = list(site.archive.journal_rows())
    assert sorted(row.sop_instance_uid for row in rows) == sorted(uids)
    assert site.figures() == {"expected": 24, "stored": 24, "pending": 24}


def _under(site: Site, keys: dict[str, str]) -> set[str]:
    """Name the instances below the keys of a STUDY or SERIES level request."""
    return {
        uid
        for uid, stored in site.pacs.objects().items()
        if all(
            stored.value(keyword) == keys[keyword] for keyword in ("StudyInstanceUID", "SeriesInstanceUID") if keys.get(keyword)
        )
    }


KILL = """
import os, sys
from tests.support.crash import KillAt, WatchedOperations
from vna.archive import Archive
from vna.ledger import Ledger
from vna.model import Local, Node
from vna.pull import Method, PullOptions, run
for line in sys.stdin:
    k, archive, ledger, port = line.split()
    child = os.fork()
    if child == 0:
        node = Node("legacy", ae_title="LEGACY", port=int(port), dimse_timeout_s=30, retrieve_timeout_s=60)
        with Ledger.open(ledger) as opened:
            operations = WatchedOperations(KillAt(int(k)))
            run(Archive.open(archive, operations=operations), opened, node, Local(), PullOptions(Method.GET))
        os._exit(0)
    print("killed" if os.WIFSIGNALED(os.waitpid(child, 0)[1]) else "done", flush=True)
"""


def test_a_pull_killed_before_any_operation_of_the_store_ends_like_an_unbroken_one(site: Site, tmp_path: Path) -> None:
    uids = set(site.fill("P1", 2))
    site.inventory()
    site.ledger.close()
    with subprocess.Popen([sys.executable, "-c", KILL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None
        for k in count(1):
            folder = tmp_path / f"run{k}"
            shutil.copytree(site.archive.root, folder / "archive")
            shutil.copy(tmp_path / "ledger.sqlite", folder)
            ledger = f"sqlite:///{folder}/ledger.sqlite"
            killer.stdin.write(f"{k} {folder}/archive {ledger} {site.pacs.port}\n")
            killer.stdin.flush()
            was_killed = killer.stdout.readline() == "killed\n"
            archive = Archive.open(f"{folder}/archive")
            archive.sweep()
            before, there = len(site.retrieves()), {row.sop_instance_uid for row in archive.journal_rows()}
            with Ledger.open(ledger) as opened:
                run(archive, opened, site.node, site.local, PullOptions(Method.GET))
                assert opened.status().instances["stored"] == opened.status().instances["expected"] == 2
            for keys in site.retrieves()[before:]:
                assert there.isdisjoint(keys.get("SOPInstanceUID", "").split("\\"))
                assert keys.get("SOPInstanceUID") or not there
            rows = list(archive.journal_rows())
            assert {row.sop_instance_uid for row in rows} == uids
            assert len(rows) == 2
            if not was_killed:
                break
        killer.stdin.close()
    assert k > 20


def test_an_interrupted_pull_gives_its_leases_back_and_stays_resumable(site: Site) -> None:
    for n in range(4):
        site.fill(f"P{n}", 2)
    site.inventory()

    def interrupt(progress: Progress) -> None:
        if progress.done == 1:
            raise KeyboardInterrupt

    options = PullOptions(settle_s=0.4, first_wait_s=0.01, workers=2)
    with pytest.raises(KeyboardInterrupt):
        run(site.archive, site.ledger, site.node, site.local, options, interrupt)
    assert site.figures()["pending"] == 8
    assert "missing" not in site.figures()
    result = site.pull()
    assert result.locked == 0
    assert site.figures() == {"expected": 8, "stored": 8, "pending": 8}


def test_two_pulls_at_once_share_the_work_and_the_receiver(site: Site) -> None:
    uids = {uid for n in range(8) for uid in site.fill(f"P{n}", 2)}
    site.inventory()
    site.pacs.faults = Faults(delay_s=0.02)
    other = start(site, Method.MOVE)
    site.pull()
    assert other.wait(60) == 0
    assert site.stored() == uids
    assert len(list(site.archive.journal_rows())) == len(uids)
    asked = [keys["StudyInstanceUID"] for keys in site.retrieves() if not keys.get("SeriesInstanceUID")]
    assert len(asked) == len(set(asked))
