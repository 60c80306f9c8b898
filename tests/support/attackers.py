"""``python -m tests.support.attackers PORT COUNT``: open connections from 127.0.0.2 and up, send 0-3 bytes, and hold them.

A process of its own, so that its sockets count against nobody else's limit. It prints how many it opened and ends when standard
input is closed.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ADDRESSES = 250
_SPARE_DESCRIPTORS = 100


@contextmanager
def stalled(port: int, count: int) -> Iterator[int]:
    """Hold ``count`` stalled connections to a port, or as many as this system grants one process; gives their number."""
    command = [sys.executable, "-m", "tests.support.attackers", str(port), str(count)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def _attack(port: int, count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _SPARE_DESCRIPTORS
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    held = []
    for number in range(min(count, limit - _SPARE_DESCRIPTORS)):
        sock = socket.socket()
        sock.bind((f"127.0.0.{2 + number % _ADDRESSES}", 0))
        sock.settimeout(10)
        with contextlib.suppress(OSError):  # dropped already: that is what is hoped for
            sock.connect(("127.0.0.1", port))
            sock.sendall(b"\x01\x00\x00"[: number % 4])
        held.append(sock)
    sys.stdout.write(f"{len(held)}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _attack(int(sys.argv[1]), int(sys.argv[2]))
