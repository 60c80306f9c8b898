"""A peer 30 ms away: one association, and as many as it takes well, through a user-space proxy that holds every byte back."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Results
from benchmarks.transfer.send import item_of
from benchmarks.transfer.systems import HOST, python_environment, storescp
from benchmarks.workloads import WORKLOADS, generate
from vna.dimse.lanes import Lanes
from vna.dimse.send import SendItem
from vna.model import Local, Node

ONE = "vna send, 1 association"
ADAPTIVE = "vna send, adaptive associations"
_PIECE = 1 << 16
_IN_FLIGHT_BYTES = 16 << 20


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Hand on what comes, each piece ``delay_s`` after it came, without holding up the pieces behind it."""
    loop = asyncio.get_running_loop()
    held: deque[tuple[float, bytes]] = deque()
    waiting = asyncio.Semaphore(0)
    room = asyncio.Semaphore(_IN_FLIGHT_BYTES // _PIECE)

    async def hand_on() -> None:
        while True:
            await waiting.acquire()
            due, piece = held.popleft()
            await asyncio.sleep(max(due - loop.time(), 0))
            if not piece:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()
            room.release()

    task = asyncio.create_task(hand_on())
    try:
        while piece := await reader.read(_PIECE):
            await room.acquire()
            held.append((loop.time() + delay_s, piece))
            waiting.release()
    except ConnectionError:
        pass
    held.append((loop.time() + delay_s, b""))
    waiting.release()
    await task


async def _serve(target: int, round_trip_s: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, target)
        await asyncio.gather(
            _pump(reader, back, round_trip_s / 2), _pump(there, writer, round_trip_s / 2), return_exceptions=True
        )

    server = await asyncio.start_server(connected, HOST, 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def far_away(port: int, round_trip_ms: int) -> Iterator[int]:
    """Run a proxy to a port of this machine in a process of its own; gives the proxy's port."""
    command = [sys.executable, "-m", "benchmarks.transfer.distance", str(port), str(round_trip_ms)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=python_environment())
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def distance(results: Results, scratch: Path, count: int, runs: int, *, round_trip_ms: int = 30) -> None:
    """Measure our sender to a peer ``round_trip_ms`` away: one association, and as many as the target takes well.

    One association sends a fifth of the objects: its rate is the same, and it is slow.
    """
    files = generate(WORKLOADS["M"], count, scratch / "files")
    items = [item_of(path) for path in files]
    workload = f"send M to storescp --fork --ignore, {round_trip_ms} ms away"
    for run in range(runs):
        folder = scratch / f"far-{run}"
        with (
            storescp(folder, "--fork", "--ignore", "-pdu", "131072") as receiver,
            far_away(receiver.port, round_trip_ms) as port,
        ):
            node = Node("far", ae_title=receiver.ae_title, port=port)
            for system, most, some in ((ONE, 1, items[: max(count // 5, 1)]), (ADAPTIVE, 0, items)):
                size = sum(item.size for item in some)
                results.add(system, workload, _timed(node, some, most), instances=len(some), size=size)
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(scratch / "files")


def _timed(node: Node, items: list[SendItem], most: int) -> float:
    """Send the items over at most so many associations (0: the default of the command), from the first to the release."""
    begun = time.perf_counter()
    with Lanes(node, Local(), most=most) as lanes:
        done = lanes.send(items)
    seconds = time.perf_counter() - begun
    if any(outcome.state != "sent" for outcome in done):
        raise RuntimeError("our sender could not send everything")
    return seconds


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]) / 1000))
