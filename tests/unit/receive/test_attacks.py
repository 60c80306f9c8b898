"""Strangers against the whole service: honest peers are served meanwhile, memory stays bounded, nothing half is kept."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.support.associations import CT, RawPeer, p_data, store_request
from tests.support.attackers import stalled
from tests.support.instances import make_uid
from tests.support.objects import wire_object
from vna.archive import Archive
from vna.dimse import pdus
from vna.dimse.echo import echo
from vna.dimse.send import SendItem, sender
from vna.model import Local, Node
from vna.receive import ReceiveOptions, ReceiveService

PATIENCE_S = 5
"""What an honest peer is served in at the latest; far above what it takes, so that a busy machine does not fail the test."""

GROWTH_KIB = 64 << 10
COMMAND = pdus.COMMAND | pdus.LAST


@dataclass
class Running:
    """A service under attack, with what it told."""

    archive: Archive
    service: ReceiveService
    thread: threading.Thread
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.events[0]["port"])

    @property
    def node(self) -> Node:
        """The service as a peer sees it."""
        return Node("vna", ae_title="VNA", port=self.port)

    def codes(self) -> set[str]:
        """The codes of what was turned away."""
        return {str(event.get("code")) for event in self.events if event["event"] == "rejected"}

    def states(self) -> dict[str, str]:
        """SOP Instance UID -> what became of it."""
        return {str(event["sop_instance_uid"]): str(event["state"]) for event in self.events if event["event"] == "stored"}


def start(tmp_path: Path, **options: Any) -> Running:
    archive = Archive.create(str(tmp_path / "archive"))
    events: list[dict[str, Any]] = []
    settings = ReceiveOptions(port=0, **options)
    service = ReceiveService(archive, Local(port=0), {}, settings, lambda event: events.append(dict(event)))
    running = Running(archive, service, threading.Thread(target=service.run), events)
    running.thread.start()
    wait_until(lambda: bool(events))
    return running


@contextlib.contextmanager
def running(tmp_path: Path, **options: Any) -> Iterator[Running]:
    made = start(tmp_path, **options)
    try:
        yield made
    finally:
        made.service.stop()
        made.thread.join(60)
        assert not made.thread.is_alive()


def wait_until(condition: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def worker_pid() -> int:
    """Find the accepting process of this test."""
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"vna.receive.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("no worker runs")


def peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def items(prefix: str, count: int) -> list[SendItem]:
    made = []
    for number in range(count):
        item = wire_object(
            SOPInstanceUID=make_uid(prefix, number), StudyInstanceUID=make_uid(prefix, "study"), InstanceNumber=number
        )
        made.append(
            SendItem(
                item.sop_instance_uid,
                item.sop_class_uid,
                item.sop_instance_uid,
                item.transfer_syntax_uid,
                lambda data=item.data_set: BytesIO(data),  # type: ignore[misc]
                0,
            )
        )
    return made


def assert_served(scp: Running) -> None:
    """An honest peer gets its association, echo and store, in time."""
    started = time.monotonic()
    assert echo(scp.node, Local()) < PATIENCE_S
    with sender(scp.node, Local()) as session:
        (outcome,) = session.send(items(f"honest-{time.monotonic_ns()}", 1))
    assert outcome.state == "sent"
    assert time.monotonic() - started < PATIENCE_S


def test_5000_stalled_connections_keep_nobody_out_and_cost_no_memory(tmp_path: Path) -> None:
    with running(tmp_path) as scp:
        assert_served(scp)
        pid = worker_pid()
        before = peak_kib(pid)
        served = threading.Event()

        def be_honest() -> int:
            rounds = 0
            while not served.is_set():
                assert_served(scp)
                rounds += 1
            return rounds

        with ThreadPoolExecutor(1) as pool:
            honest = pool.submit(be_honest)
            with stalled(scp.port, 5000) as count:
                assert_served(scp)
                served.set()
                assert honest.result() > 0
                assert count >= 900  # what the least system grants one process
                assert len(list(Path(f"/proc/{pid}/task").iterdir())) < 20
                assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < 400
        assert peak_kib(pid) - before < GROWTH_KIB
        wait_until(lambda: "WAITING_LIMIT" in scp.codes())


def test_endless_data_and_huge_claims_cost_neither_memory_nor_disk(tmp_path: Path) -> None:
    with running(tmp_path, limits={"object_bytes": 32 << 20}) as scp:
        assert_served(scp)
        pid = worker_pid()
        before = peak_kib(pid)
        for claimed in (0, 1 << 30, 0xFFFFFFFF):
            for associated in (False, True):
                with RawPeer(scp.port, source="127.0.0.2") as liar:
                    if associated:
                        liar.associate()
                    with contextlib.suppress(ConnectionError):
                        liar.send(pdus.HEADER.pack(pdus.P_DATA_TF if associated else pdus.A_ASSOCIATE_RQ, claimed))
                        for _ in range(64):
                            liar.send(bytes(1 << 20))
                    assert liar.read_pdu()[:1] in (b"", b"\x07")
                assert_served(scp)
        with RawPeer(scp.port, source="127.0.0.3") as attacker:
            attacker.associate().send(p_data(store_request("1.2"), 1, COMMAND))
            endless = p_data(bytes(200_000), 1, 0)
            with contextlib.suppress(ConnectionError):
                for _ in range(500):
                    attacker.send(endless)
            assert_served(scp)
        wait_until(lambda: "DATASET_LIMIT" in scp.codes())
        assert "PDU_LENGTH" in scp.codes()
        assert peak_kib(pid) - before < GROWTH_KIB
        assert not any(path.stat().st_size for path in tmp_path.rglob("*.part"))  # but what is ready for the next object
    assert "1.2" not in scp.states()


@pytest.mark.parametrize("disagrees", ["instance", "class"])
def test_uids_of_the_command_that_disagree_with_the_data_set_put_the_object_into_quarantine(
    tmp_path: Path, disagrees: str
) -> None:
    item = wire_object(SOPInstanceUID="1.2.3.4")
    claimed = "1.2.3.5" if disagrees == "instance" else "1.2.3.4"
    sop_class = CT if disagrees == "instance" else "1.2.840.10008.5.1.4.1.1.4"
    assert item.sop_class_uid == CT
    with running(tmp_path) as scp, RawPeer(scp.port, source="127.0.0.2") as attacker:
        attacker.associate()
        attacker.send(p_data(store_request(claimed, sop_class_uid=sop_class), 1, COMMAND) + p_data(item.data_set, 1))
        assert attacker.read_response().number(0x0900) == 0  # its bytes are kept
        assert attacker.store("1.2.3.4", item.data_set) == 0
    (kept,) = scp.archive.query("SELECT path, codes FROM instances WHERE status = 'quarantined'")
    assert "SOP_MISMATCH" in kept["codes"]
    with scp.archive.open_object(str(kept["path"])) as file:
        assert file.read().endswith(item.data_set)
    assert [row["SOPInstanceUID"] for row in scp.archive.query("SELECT * FROM instances WHERE status = 'stored'")] == ["1.2.3.4"]


def test_under_load_the_service_drains_in_time_and_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    drain_s = 2
    scp = start(tmp_path, workers=2, drain_s=drain_s)
    acknowledged: list[str] = []
    enough = threading.Event()

    def load(number: int) -> None:
        with sender(scp.node, Local(ae_title=f"LOAD{number}")) as session:
            for round_ in range(1000):
                for outcome in session.send(items(f"{number}-{round_}", 20)):
                    if outcome.state != "sent":
                        return
                    acknowledged.append(outcome.key)
                if len(acknowledged) > 200:
                    enough.set()

    with ThreadPoolExecutor(4) as pool, RawPeer(scp.port, source="127.0.0.2") as slow:
        loads = [pool.submit(load, number) for number in range(4)]
        slow.associate().send(p_data(store_request("1.2"), 1, COMMAND) + p_data(b"half", 1, 0))
        assert enough.wait(60)
        started = time.monotonic()
        scp.service.stop()
        scp.thread.join(60)
        elapsed = time.monotonic() - started
        for each in loads:
            with contextlib.suppress(Exception):  # the peers find that we are gone, one way or the other
                each.result()
    assert not scp.thread.is_alive()
    assert elapsed < drain_s + 15  # 2 s of it are due to the peer that never finishes
    held = {row["SOPInstanceUID"] for row in scp.archive.query("SELECT SOPInstanceUID FROM instances")}
    assert set(acknowledged) <= held
    assert len(acknowledged) > 200
    assert not list(tmp_path.rglob("*.part"))
