"""What an accepting process tells its parent: JSON lines, of which those of stored objects are written by hand."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as _text
from typing import Any, Final

from vna.dimse.acceptor import Event
from vna.model import Receipt

OBJECTS_A_LINE: Final = 500
"""How many objects one line stands for at most where they are not told one by one."""

STORED_PREFIX: Final = '{"event": "stored", '
"""How the line of a stored object begins, so that nobody needs to read it as JSON to hand it on."""


class Teller:
    """Tells what happens by JSON lines, each written whole at once, whichever thread tells. A line outlives this process.

    With ``all_objects`` every stored object is told; without, how many there were of each state, now and then.
    """

    def __init__(self, descriptor: int, *, all_objects: bool) -> None:
        self._descriptor = descriptor
        self._all_objects = all_objects
        self._lock = threading.Lock()
        self._states: Counter[str] = Counter()
        self._count = 0

    def tell(self, event: Event) -> None:
        """Tell one event of the storage SCP."""
        if event.receipt is None:
            self.tell_fields(_fields(event))
        elif self._all_objects:
            self._write(_stored_line(event, event.receipt))
        else:
            with self._lock:
                self._states[event.receipt.state] += 1
                self._count += 1
                is_due = self._count >= OBJECTS_A_LINE
            if is_due:
                self.tell_counts()

    def tell_counts(self) -> None:
        """Tell how many objects of each state came since the last time; nothing where there were none."""
        with self._lock:
            states, self._states, self._count = self._states, Counter(), 0
        if states:
            self.tell_fields({"event": "objects", "states": states})

    def tell_fields(self, fields: Mapping[str, Any]) -> None:
        """Tell anything else."""
        self._write(json.dumps(fields).encode("ascii") + b"\n")

    def _write(self, line: bytes) -> None:
        with self._lock:
            os.write(self._descriptor, line)


def _fields(event: Event) -> dict[str, Any]:
    fields = {
        "event": event.kind.value,
        "calling_ae_title": event.calling_ae_title,
        "peer_address": event.peer_address,
        "code": event.code,
        "detail": event.detail,
    }
    return {name: value for name, value in fields.items() if value or name not in ("code", "detail")}


def _stored_line(event: Event, receipt: Receipt) -> bytes:
    """Write the event of one stored object: by hand, since every acknowledgement waits for it."""
    return (
        f'{STORED_PREFIX}"calling_ae_title": {_text(event.calling_ae_title)}, "peer_address": {_text(event.peer_address)}, '
        f'"state": "{receipt.state}", "sha256": "{receipt.sha256}", "path": {_text(receipt.path)}, "size": {receipt.size}, '
        f'"study_instance_uid": {_text(receipt.study_instance_uid)}, "sop_instance_uid": {_text(receipt.sop_instance_uid)}, '
        f'"codes": {json.dumps(receipt.codes) if receipt.codes else "[]"}}}\n'
    ).encode("ascii")
