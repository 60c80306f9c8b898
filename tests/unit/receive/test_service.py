"""The receiver as a service: it announces itself, files what comes, survives a dead worker, drains when stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.associations import RawPeer, associate_request
from tests.support.instances import real_image_files
from tests.support.peers import load
from vna.archive import Archive
from vna.archive.receivers import Receiver, announced, running_receiver
from vna.dimse import pdus
from vna.errors import LockedError, RefusedError, StoreError
from vna.model import Local, Node
from vna.receive import ReceiveOptions, ReceiveService
from vna.receive.service import _Worker

IMAGES = [image.path for image in real_image_files()][:12]


@contextmanager
def running(archive: Archive, **options: Any) -> Iterator[tuple[int, list[Mapping[str, Any]], ReceiveService]]:
    events: list[Mapping[str, Any]] = []
    settings = ReceiveOptions(port=0, index_interval_s=0.2, **options)
    service = ReceiveService(archive, Local(port=0), {"LOADER": "scanner"}, settings, events.append)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        wait_until(lambda: bool(events))
        yield int(events[0]["port"]), events, service
    finally:
        service.stop()
        thread.join(30)
        assert not thread.is_alive()


def wait_until(condition: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def node(port: int) -> Node:
    return Node("us", ae_title="VNA", port=port)


def test_what_is_stored_is_in_the_index_when_the_service_has_ended(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    with running(archive) as (port, events, _):
        sent = load(node(port), IMAGES)
        assert all(one.status == 0 for one in sent)
    kinds = {event["event"] for event in events}
    assert {"listening", "association", "stored", "closed", "indexed"} <= kinds
    held = archive.query("SELECT sha256, source FROM instances")
    assert {row["sha256"] for row in held} == {event["sha256"] for event in events if event["event"] == "stored"}
    assert {row["source"] for row in held} == {"scanner"}


def test_a_worker_that_dies_is_replaced_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    with running(archive) as (port, events, _):
        assert all(one.status == 0 for one in load(node(port), IMAGES[:6]))
        os.kill(child_of(os.getpid()), signal.SIGKILL)
        wait_until(lambda: any(event["event"] == "worker_ended" for event in events))
        wait_until(lambda: all(one.status == 0 for one in load(node(port), IMAGES[6:])))
    stored = {event["sha256"] for event in events if event["event"] == "stored"}
    assert stored == {row["sha256"] for row in archive.query("SELECT sha256 FROM instances")}


def test_a_worker_that_does_not_come_up_in_the_place_of_another_is_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    wait_ready = _Worker.wait_ready
    late: list[_Worker] = []

    def wait_in_vain(worker: _Worker) -> None:
        if late:
            wait_ready(worker)
        else:
            late.append(worker)
            worker._process.kill()
            raise StoreError("an accepting process did not start")

    with running(archive) as (port, events, _):
        monkeypatch.setattr(_Worker, "wait_ready", wait_in_vain)
        os.kill(child_of(os.getpid()), signal.SIGKILL)
        wait_until(lambda: [event["event"] for event in events].count("worker_ended") == 2)
        wait_until(lambda: all(one.status == 0 for one in load(node(port), IMAGES)))
    stored = {event["sha256"] for event in events if event["event"] == "stored"}
    assert stored == {row["sha256"] for row in archive.query("SELECT sha256 FROM instances")}


def child_of(parent: int) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                status = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"vna.receive.worker" in command and int(status[1]) == parent:
                return int(entry.name)
    raise AssertionError("no worker runs")


def is_accepted(peer: RawPeer) -> bool:
    peer.send(associate_request())
    answer = peer.read_pdu()
    assert answer[:1] == b"\x02" or answer == pdus.reject(2, 3, 2), "turned away for now, if at all"
    return answer[:1] == b"\x02"


def test_workers_share_associations_and_their_limit(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    with running(archive, workers=2, limits={"associations": 4}) as (port, events, _), ExitStack() as held:

        def is_one_more_held() -> bool:
            with ExitStack() as stack:
                if is_accepted(stack.enter_context(RawPeer(port, timeout_s=60))):
                    held.push(stack.pop_all())
                    return True
            return False

        for _ in range(4):  # two in each: a busy machine may have turned one away for which the other had a place
            wait_until(is_one_more_held)
        assert not any(is_one_more_held() for _ in range(12)), "limits hold for all workers together"
        held.close()
        wait_until(is_one_more_held)
    assert {event["code"] for event in events if event["event"] == "rejected"} == {"ASSOC_LIMIT"}


@pytest.mark.parametrize(("workers", "is_shared"), [(1, False), (2, True)])
def test_workers_know_whether_others_accept_too(tmp_path: Path, workers: int, is_shared: bool) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    service = ReceiveService(archive, Local(), {}, ReceiveOptions(workers=workers), lambda event: None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert service._order(listener)["is_shared"] is is_shared


def test_another_address_than_loopback_needs_an_allow_list(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    service = ReceiveService(archive, Local(host="0.0.0.0"), {}, ReceiveOptions(port=0), lambda event: None)
    with pytest.raises(RefusedError):
        service.run()


def test_a_running_receiver_is_found_and_a_dead_one_is_not(tmp_path: Path) -> None:
    receiver = Receiver("VNA", "127.0.0.1", 11112)
    assert running_receiver(tmp_path, 11112) is None
    with announced(tmp_path, receiver):
        assert running_receiver(tmp_path, 11112) == receiver
        with pytest.raises(LockedError), announced(tmp_path, receiver):
            raise AssertionError("two receivers announced on one port")
    assert running_receiver(tmp_path, 11112) is None


def test_a_worker_that_died_unread_can_be_closed(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    with running(archive):
        listener = socket.create_server(("127.0.0.1", 0))
        worker = _Worker({}, listener, lambda lines: None, lambda event: None)
        worker._process.kill()
        worker._process.wait()
        worker.seal()  # nobody reads that, and it stays in the buffer
        worker.close()
        worker.wait(1)
        listener.close()


SIGNALLED = """
import signal, time
from vna.archive import Archive
from vna.model import Local
from vna.receive import ReceiveOptions, ReceiveService

service = ReceiveService(Archive.open({url!r}), Local(), {{}}, ReceiveOptions(index_interval_s=0.001), print)
signal.signal(signal.SIGALRM, lambda *_: service.commit_now())
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
end = time.monotonic() + 3
while time.monotonic() < end:
    service._wait()
signal.setitimer(signal.ITIMER_REAL, 0)
"""
"""Thousands of signals, each between any two steps of the thread that waits."""


def test_a_signal_is_taken_wherever_it_comes(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    script = SIGNALLED.format(url=archive.url)
    subprocess.run([sys.executable, "-c", script], timeout=40, check=True)  # the wait ends, or the test here
