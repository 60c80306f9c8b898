"""One accepting process of ``vna receive``: ``python -m vna.receive.worker``, started by :mod:`vna.receive.service`.

It is told what to do by one JSON line on standard input; each later line asks it to seal its journal segment, so that the parent
can commit it. It drains when standard input is closed, so it never outlives its parent. It tells what happens by JSON lines on
standard output.
"""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys

from vna.archive import Archive
from vna.dimse.limits import ScpLimits
from vna.dimse.storage_scp import storage_scp
from vna.model import Local
from vna.receive.telling import Teller


def main() -> None:
    """Serve until standard input is closed; exit 0 when everything acknowledged is in a sealed journal segment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    logging.basicConfig(level=order["log_level"], stream=sys.stderr)
    local = Local(**{**order["local"], "allow": tuple(order["local"]["allow"])})
    sources: dict[str, str] = order["sources"]
    limits = ScpLimits(**order["limits"])
    if order["owes"]:  # it takes objects whether the service answers or not
        archive = Archive.known(order["archive"], order["archive_id"], order["storage_options"], spool=order["spool"])
    else:
        archive = Archive.open(order["archive"], order["storage_options"], spool=order["spool"])
    teller = Teller(sys.stdout.fileno(), all_objects=order["all_objects"])
    listener = socket.socket(fileno=order["listener"])
    with (
        archive.sink(owes=order["owes"]) as sink,
        storage_scp(
            local,
            sink,
            listener=listener,
            is_shared=order["is_shared"],
            limits=limits,
            source_of=lambda title: sources.get(title, title),
            on_event=teller.tell,
        ),
    ):
        for _ in sys.stdin:
            sink.seal()
            teller.tell_counts()
            teller.tell_fields({"event": "sealed"})
    teller.tell_counts()


if __name__ == "__main__":
    main()
