"""One accepting process of ``vna receive``: ``python -m vna.receive.worker``, started by :mod:`vna.receive.service`.

It is told what to do by one JSON line on standard input; each later line asks it to seal its journal segment, so that the parent
can commit it. It drains when standard input is closed, so it never outlives its parent. It tells what happens by JSON lines on
standard output.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from vna.archive import Archive
from vna.dimse.acceptor import Event, EventKind
from vna.dimse.limits import ScpLimits
from vna.dimse.storage_scp import storage_scp
from vna.model import Local


def main() -> None:
    """Serve until standard input is closed; exit 0 when everything acknowledged is in a sealed journal segment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    logging.basicConfig(level=order["log_level"], stream=sys.stderr)
    local = Local(**{**order["local"], "allow": tuple(order["local"]["allow"])})
    sources: dict[str, str] = order["sources"]
    limits = replace(ScpLimits(), **order["limits"])
    archive = Archive.open(order["archive"])
    tell_line = _line_teller()
    tell = partial(_tell, tell_line, all_objects=order["all_objects"])
    listener = socket.socket(fileno=order["listener"])
    with (
        archive.sink() as sink,
        storage_scp(
            local,
            sink,
            listener=listener,
            limits=limits,
            source_of=lambda title: sources.get(title, title),
            on_event=tell,
        ),
    ):
        for _ in sys.stdin:
            sink.seal()
            tell_line({"event": "sealed"})


TellLine = Callable[[dict[str, Any]], None]


def _line_teller() -> TellLine:
    """Make the function that writes one JSON line, whole, whichever thread it is called from."""
    lock = threading.Lock()

    def tell_line(fields: dict[str, Any]) -> None:
        line = json.dumps(fields).encode("ascii") + b"\n"
        with lock:
            os.write(sys.stdout.fileno(), line)

    return tell_line


def _tell(tell_line: TellLine, event: Event, *, all_objects: bool) -> None:
    """Tell an event; without ``all_objects`` stored objects are not told."""
    if event.kind != EventKind.STORED or all_objects:
        tell_line(_fields(event))


def _fields(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "event": event.kind.value,
        "calling_ae_title": event.calling_ae_title,
        "peer_address": event.peer_address,
    }
    if event.receipt is not None:
        receipt = event.receipt
        fields |= {
            "state": receipt.state,
            "sha256": receipt.sha256,
            "path": receipt.path,
            "size": receipt.size,
            "study_instance_uid": receipt.study_instance_uid,
            "sop_instance_uid": receipt.sop_instance_uid,
            "codes": list(receipt.codes),
        }
    return fields | {key: value for key, value in (("code", event.code), ("detail", event.detail)) if value}


if __name__ == "__main__":
    main()
