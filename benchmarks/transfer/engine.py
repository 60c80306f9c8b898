"""``python -m benchmarks.transfer.engine FOLDER``: our engine alone, into a sink that only writes files.

No digest, no header scan, no journal, no fsync, no index: what a plain storescp does too. It shows what the promises cost.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from pathlib import Path

from vna.dimse.storage_scp import storage_scp
from vna.model import Local, Provenance, Receipt
from vna.part10 import file_meta


class PlainSink:
    """Writes each object into one folder under its SOP Instance UID."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)
        self._numbers = itertools.count(1)

    def __call__(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, provenance: Provenance
    ) -> PlainIncoming:
        """Begin one object."""
        temporary = f"{self._folder}/{next(self._numbers)}.part"
        incoming = PlainIncoming(temporary, f"{self._folder}/{sop_instance_uid}.dcm", sop_instance_uid)
        incoming.write(file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid))
        return incoming


class PlainIncoming:
    """One file that is being written."""

    __slots__ = ("_descriptor", "_final", "_size", "_sop_instance_uid", "_temporary")

    def __init__(self, temporary: str, final: str, sop_instance_uid: str) -> None:
        self._temporary, self._final, self._sop_instance_uid = temporary, final, sop_instance_uid
        self._descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self._size = 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append a piece."""
        view = memoryview(chunk)
        self._size += len(view)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def commit(self) -> Receipt:
        """Give the file its name."""
        os.close(self._descriptor)
        os.rename(self._temporary, self._final)
        return Receipt("stored", "", self._final, self._size, self._sop_instance_uid)

    def tidy(self) -> None:
        """Do nothing: storescp has nothing to tidy either."""

    def abort(self) -> None:
        """Remove the file."""
        os.close(self._descriptor)
        os.unlink(self._temporary)


def main() -> None:
    """Serve on a free port, which is the first line of output, until standard input is closed."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with storage_scp(Local(), PlainSink(folder), port=0) as scp:
        sys.stdout.write(f"{scp.port}\n")
        sys.stdout.flush()
        waiting = threading.Thread(target=sys.stdin.read)
        waiting.start()
        waiting.join()


if __name__ == "__main__":
    main()
