"""``python -m benchmarks.crash``: kill ``vna receive`` at random moments under load and look what became of every object.

Each round starts the service, has our own sender and dcmsend send small objects, and kills one of its processes with SIGKILL: the
parent, or a worker. Then the service comes back (a worker is replaced by its parent), is stopped in order, and the archive is
held against what the senders were told.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.transfer.receive import dcmsend
from benchmarks.transfer.send import item_of
from benchmarks.transfer.systems import Receiver, children, vna_receive
from vna.archive import Archive
from vna.dimse.echo import echo
from vna.dimse.send import send
from vna.errors import PeerError
from vna.model import Local, Node, Outcome
from vna.part10 import file_meta

_ROOT = "1.2.826.0.1.3680043.10.9999"
_MR, _EXPLICIT = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"
_PIXEL_BYTES = 2048
_OBJECTS = 200
_LONGEST_S = 0.4
_BACK_S = 60.0
_ROUNDS_PER_ARCHIVE = 25
_REPORTED = re.compile(r"^SOP Instance\s+: ([0-9.]+)$.*?^DIMSE Status\s+: (\S+)", re.MULTILINE | re.DOTALL)


@dataclass
class Crashes:
    """What the kills did: how many of which process, what was sent and acknowledged, and everything that was wrong."""

    parents: int = 0
    workers: int = 0
    sent: int = 0
    acknowledged: int = 0
    filed: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def _data_set(uid: str, root: str, number: int) -> bytes:
    """Encode a small data set in a way that dcmsend, which decodes and encodes it again, leaves as it is."""
    elements: tuple[tuple[int, int, bytes, bytes], ...] = (
        (0x0008, 0x0016, b"UI", _MR.encode()),
        (0x0008, 0x0018, b"UI", uid.encode()),
        (0x0008, 0x0060, b"CS", b"MR"),
        (0x0010, 0x0020, b"LO", b"CRASH "),
        (0x0020, 0x000D, b"UI", f"{root}.1.{number // 50 + 1}".encode()),
        (0x0020, 0x000E, b"UI", f"{root}.2.{number // 50 + 1}".encode()),
        (0x0020, 0x0013, b"IS", str(number + 1).encode()),
    )
    encoded = b""
    for group, element, vr, value in elements:
        padded = value + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        encoded += struct.pack("<HH2sH", group, element, vr, len(padded)) + padded
    return encoded + struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", _PIXEL_BYTES) + os.urandom(_PIXEL_BYTES)


class _Loads:
    """What was offered to the receiver of one archive, by SOP Instance UID, and which of it was acknowledged."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self.acknowledged: set[str] = set()

    def offer(self, folder: Path, seed: str) -> list[Path]:
        """Make files in ``folder`` and note the digest that each has in the archive."""
        folder.mkdir(parents=True)
        files = []
        for number in range(_OBJECTS):
            uid = f"{_ROOT}.{seed}.3.{number + 1}"
            content = file_meta(_MR, uid, _EXPLICIT) + _data_set(uid, f"{_ROOT}.{seed}", number)
            files.append(folder / f"{number:06d}.dcm")
            files[-1].write_bytes(content)
            self.digests[uid] = hashlib.sha256(content).hexdigest()
        return files


def crash(folder: Path, kills: int, seed: int) -> Crashes:
    """Kill ``kills`` times and say what was found; ``problems`` is empty when every promise held."""
    result, chance = Crashes(), random.Random(seed)
    begun = time.monotonic()
    for first in range(0, kills, _ROUNDS_PER_ARCHIVE):
        place = folder / f"from-{first}"
        loads = _Loads()
        for number in range(first, min(first + _ROUNDS_PER_ARCHIVE, kills)):
            _round(place, number, loads, chance, result)
            for problem in check(Archive.open(str(place / "archive")), loads.digests, loads.acknowledged):
                result.problems[problem] += 1
        result.sent += len(loads.digests)
        result.acknowledged += len(loads.acknowledged)
        result.filed += len(list((place / "archive" / "instances").rglob("*.dcm")))
        shutil.rmtree(place)
    result.seconds = round(time.monotonic() - begun, 1)
    return result


def _round(place: Path, number: int, loads: _Loads, chance: random.Random, result: Crashes) -> None:
    by_us, by_dcmsend = (place / f"files-{number}-{name}" for name in ("vna", "dcmsend"))
    files = loads.offer(by_us, f"{number}.1")
    loads.offer(by_dcmsend, f"{number}.2")
    kills_parent = number % 2 == 0
    with vna_receive(place, workers=chance.choice((1, 2))) as receiver, ThreadPoolExecutor(1) as pool:
        report = place / "report.txt"
        report.unlink(missing_ok=True)
        started = threading.Event()
        ours = pool.submit(_send, receiver, files, loads, started)
        theirs = dcmsend(receiver.ae_title, receiver.port, by_dcmsend, "-nh", "+crf", str(report))
        started.wait(10)
        time.sleep(chance.uniform(0, _LONGEST_S))
        parent = receiver.pids[0]
        os.kill(parent if kills_parent else chance.choice(children(parent)), signal.SIGKILL)
        ours.result(_BACK_S)
        _end(theirs)
        if kills_parent:
            _await_end(receiver.pids)
        else:
            _await_answer(receiver)
    if kills_parent:
        result.parents += 1
        with vna_receive(place) as receiver:
            _await_answer(receiver)
    else:
        result.workers += 1
    loads.acknowledged.update(_reported(report))
    for path in (by_us, by_dcmsend):
        shutil.rmtree(path)


def _send(receiver: Receiver, files: list[Path], loads: _Loads, started: threading.Event) -> None:
    """Send by our own sender, which tells of each acknowledgement as it comes."""
    items = [item_of(path) for path in files]
    uids = {item.key: item.sop_instance_uid for item in items}

    def note(outcome: Outcome) -> None:
        if outcome.state == "sent":
            loads.acknowledged.add(uids[outcome.key])
            started.set()

    try:
        send(Node("vna", ae_title=receiver.ae_title, port=receiver.port, acse_timeout_s=10), Local(), items, note)
    except PeerError:
        pass  # killed before anything was settled
    finally:
        started.set()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for dcmsend, which may not have noticed that its peer died."""
    try:
        process.wait(_BACK_S)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def _reported(report: Path) -> Iterator[str]:
    """Read from dcmsend's report which instances the receiver acknowledged."""
    text = report.read_text() if report.exists() else ""
    for entry in text.split("Number        :")[1:]:
        found = _REPORTED.search(entry)
        if found and found[2] == "0x0000":
            yield found[1]


def _await_end(pids: list[int]) -> None:
    """Wait until the workers of a dead parent have ended by themselves."""
    end = time.monotonic() + _BACK_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids[1:]):
        if time.monotonic() > end:
            raise RuntimeError("a worker outlives its parent")
        time.sleep(0.02)


def _await_answer(receiver: Receiver) -> None:
    """Wait until the service answers again."""
    end = time.monotonic() + _BACK_S
    node = Node("vna", ae_title=receiver.ae_title, port=receiver.port, acse_timeout_s=10)
    while True:
        try:
            echo(node, Local())
        except PeerError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def check(archive: Archive, digests: dict[str, str], acknowledged: set[str]) -> Iterator[str]:
    """Yield what is wrong with an archive whose receiver was stopped in order.

    ``lost``: acknowledged, but not there. ``torn``: other bytes than were sent. ``absent``: in the index, but not there.
    ``not indexed``: there, but not in the index. ``left over``: something in the spool that nobody will need.
    """
    indexed = {row["path"]: row["sha256"] for row in archive.query("SELECT path, sha256 FROM instances")}
    found: dict[str, str] = {}
    for path in (archive.root / "instances").rglob("*.dcm"):
        name = path.relative_to(archive.root).as_posix()
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        if digests.get(path.stem) != found[name]:
            yield "torn"
        if name not in indexed:
            yield "not indexed"
    for name, sha256 in indexed.items():
        if name not in found:
            yield "absent"
        elif found[name] != sha256:
            yield "torn"
    held = set(found.values())
    yield from ("lost" for uid in acknowledged if digests[uid] not in held)
    yield from ("left over" for entry in (archive.root / "spool").iterdir() if entry.is_dir() or entry.suffix == ".part")


def main() -> None:
    """Kill and tell."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=100, metavar="N")
    arguments.add_argument("--seed", type=int, default=1, help="of the moments and victims; the timing of the machine adds to it")
    arguments.add_argument("--dir", type=Path, default=Path("/dev/shm"), help="where the archives are made")
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vna-crash-", dir=options.dir))
    try:
        result = crash(folder, options.kills, options.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    told = {"name": "crash", **asdict(result), "problems": dict(result.problems)}
    print(json.dumps(told) if options.json else "\n".join(f"{name:14} {value}" for name, value in told.items()))
    if result.problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
