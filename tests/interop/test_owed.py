"""``vna receive`` that acknowledges from the spool, in processes of its own, while a real S3 server is stopped under it."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.instances import real_images
from tests.support.s3 import S3Service, s3_service
from tests.support.s3_proxy import Fault, Request, s3_proxy
from tests.support.sending import send_files
from vna.archive import Archive
from vna.cli import run

pytestmark = pytest.mark.interop

IMAGES = [path for path in real_images(unique=True) if path.stat().st_size < 200_000][:14]
PATIENCE_S = 120


@dataclass
class Receiver:
    """A running ``vna receive``, and the events that it tells."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)
    _lines: queue.Queue[str] = field(default_factory=queue.Queue)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def until(self, name: str, count: int = 1) -> dict[str, Any]:
        """Wait until there were so many events of that name, and give the last."""
        deadline = time.monotonic() + PATIENCE_S
        while self.count(name) < count:
            try:
                self.events.append(json.loads(self._lines.get(timeout=max(deadline - time.monotonic(), 0.01))))
            except queue.Empty:
                pytest.fail(f"{name} never came: {Counter(event['event'] for event in self.events)}")
        return next(event for event in reversed(self.events) if event["event"] == name)

    def count(self, name: str) -> int:
        return sum(event["event"] == name for event in self.events)

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for path in listed for pid in path.read_text().split()]

    def kill(self) -> None:
        """Kill all of its processes at once."""
        for pid in [*self.children(), self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        while self.count("owed") == 0 and not self._lines.empty():
            self.events.append(json.loads(self._lines.get()))
        return code


@dataclass
class Site:
    folder: Path
    s3: S3Service
    capsys: pytest.CaptureFixture[str]
    url: str
    receivers: list[Receiver] = field(default_factory=list)

    def vna(self, *words: str, codes: tuple[int, ...] = (0,)) -> Any:
        """Run a command in this process and give the JSON that it prints."""
        self.capsys.readouterr()
        code = run(["--config", str(self.folder / "vna.toml"), *words, "--json"])
        out, err = self.capsys.readouterr()
        assert code in codes, err
        return json.loads(out) if out else err

    def receive(self) -> Receiver:
        command = [
            sys.executable,
            "-m",
            "vna",
            "--config",
            str(self.folder / "vna.toml"),
            "receive",
            "--port",
            "0",
            "--workers",
            "2",
        ]
        receiver = Receiver(subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True))
        self.receivers.append(receiver)
        return receiver

    def send(self, receiver: Receiver) -> set[str]:
        """Send all images, which must all be acknowledged, and give their SOP Instance UIDs."""
        port = next(event["port"] for event in receiver.events if event["event"] == "listening")
        sent = send_files("127.0.0.1", port, "VNA", IMAGES)
        assert all(one.is_stored for one in sent)
        return {one.sop_instance_uid for one in sent}

    def spooled(self) -> list[Path]:
        """What this machine keeps of the archive, but locks and announcements."""
        return [
            path for path in (self.folder / "vna-spool").rglob("*") if path.is_file() and path.suffix not in (".lock", ".json")
        ]

    def check(self, sent: set[str]) -> None:
        """Everything that was sent is in the archive once, and nothing is left here."""
        assert self.vna("index", "build")
        rows = self.vna("index", "sql", "SELECT SOPInstanceUID, path FROM instances")
        assert sent <= {row["SOPInstanceUID"] for row in rows}
        paths = sorted(row["path"] for row in rows)
        archive = Archive.open(self.url, self.s3.storage_options(), spool=str(self.folder / "vna-spool"))
        names = [name for prefix in ("instances", "quarantine") for name in archive.store.list(prefix) if name.endswith(".dcm")]
        assert paths == sorted(names)
        assert Counter(row.path for row in archive.journal_rows()).most_common(1)[0][1] == 1
        assert self.vna("scrub")["corrupt"] == []
        assert self.vna("status")["owed"] == {"objects": 0, "bytes": 0, "since": "", "damaged": 0}
        assert self.spooled() == []


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with s3_service("seaweedfs", tmp_path / "seaweedfs") as s3:
        options = s3.storage_options()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["key"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secret"])
        monkeypatch.chdir(tmp_path)
        here = Site(tmp_path, s3, capsys, s3.url())
        here.vna("init", here.url, "--endpoint-url", s3.endpoint)
        config = tmp_path / "vna.toml"
        config.write_text(config.read_text().replace('acknowledge = "stored"', 'acknowledge = "spooled"'))
        try:
            yield here
        finally:
            for receiver in here.receivers:
                if receiver.process.poll() is None:
                    receiver.kill()


def test_what_comes_while_the_service_is_down_is_acknowledged_and_arrives_once(site: Site) -> None:
    receiver = site.receive()
    assert receiver.until("listening")["acknowledges"] == "spooled"
    site.s3.halt()
    sent = site.send(receiver)
    held_up = receiver.until("uploads_held_up")
    assert held_up["objects"] > 0
    assert {event["state"] for event in receiver.events if event["event"] == "stored"} <= {"owed", "duplicate"}
    told = site.vna("status", codes=(20,))
    assert f"{len(sent)} objects" in told
    assert "owed to the archive" in told
    site.s3.resume()
    receiver.until("uploads_caught_up")
    again = site.send(receiver)
    assert again == sent
    assert receiver.end() == 0
    assert receiver.count("owed") == 0
    site.check(sent)


def test_a_receiver_that_is_killed_owes_what_the_next_one_uploads(site: Site) -> None:
    receiver = site.receive()
    receiver.until("listening")
    site.s3.halt()
    sent = site.send(receiver)
    receiver.kill()
    site.s3.resume()
    owed = site.vna("status")
    assert (owed["owed"]["objects"], owed["closed"]) == (len(sent), False)
    assert owed["owed"]["since"]
    second = site.receive()
    second.until("listening")
    second.until("uploaded", 3)
    second.kill()  # while the rest is under way
    third = site.receive()
    third.until("listening")
    deadline = time.monotonic() + PATIENCE_S
    while site.vna("status")["owed"]["objects"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert third.end() == 0
    site.check(sent)


def test_a_receiver_that_ends_while_the_service_is_down_says_what_stays_owed(site: Site) -> None:
    receiver = site.receive()
    receiver.until("listening")
    site.s3.halt()
    sent = site.send(receiver)
    receiver.until("uploads_held_up")
    os.kill(receiver.children()[0], signal.SIGKILL)
    receiver.until("worker_ended")
    assert site.send(receiver) == sent, "the service is not needed to replace a process that died"
    begun = time.monotonic()
    assert receiver.end() == 0
    assert time.monotonic() - begun < 60
    owed = receiver.until("owed")["objects"]
    assert len(sent) <= owed <= 2 * len(sent)
    site.s3.resume()
    assert site.vna("status")["owed"]["objects"] == owed
    config = site.folder / "vna.toml"
    config.write_text(config.read_text().replace('acknowledge = "spooled"', 'acknowledge = "stored"'))
    second = site.receive()
    assert second.until("listening")["acknowledges"] == "stored"
    second.until("uploaded", owed)  # what is owed is uploaded whatever the next run promises
    assert second.end() == 0
    site.check(sent)


def test_it_says_in_words_what_it_promises_and_what_it_owes(
    tmp_path: Path, seaweedfs: S3Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = seaweedfs.storage_options()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secret"])
    monkeypatch.chdir(tmp_path)
    with s3_proxy(seaweedfs.port) as proxy:
        site = Site(tmp_path, seaweedfs, capsys, seaweedfs.url())
        site.vna("init", site.url, "--endpoint-url", f"http://127.0.0.1:{proxy.port}")
        config = tmp_path / "vna.toml"
        config.write_text(config.read_text().replace('acknowledge = "stored"', 'acknowledge = "spooled"'))

        def decide(request: Request) -> Fault:
            return Fault.DENIED if request.operation == "put" and "/instances/" in request.path else Fault.NONE

        proxy.decide = decide
        command = [sys.executable, "-m", "vna", "receive", "--port", "0", "--workers", "1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                port = int(process.stdout.readline().partition(";")[0].rpartition(":")[2])
                assert (
                    process.stdout.readline()
                    == "an object is acknowledged when it is on this machine's disk; its upload is owed\n"
                )
                assert all(one.is_stored for one in send_files("127.0.0.1", port, "VNA", IMAGES[:2]))
                while not (line := process.stdout.readline()).startswith("uploads_held_up: "):
                    assert line
                assert "AccessDenied" in line
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_S) == 0
                rest = process.stdout.read()
            finally:
                process.kill()
        assert re.search("^owed: 2 objects, [0-9,]+ bytes, the oldest since 20.*Z$", rest, re.MULTILINE)
        assert re.search("^stopped: .*owed 2,", rest, re.MULTILINE)
        capsys.readouterr()
        assert run(["status"]) == 0
        assert re.search("owed +objects 2, ", capsys.readouterr().out)
