"""Run the corpus through the gatekeeper, in a process of its own whose time and memory are watched.

``python -m tests.unit.gatekeeper.gate files|network`` prints one JSON line a fixture: its name, the codes and the state that it
got, the processor seconds it took, whether the bytes kept are those that came, and how the next good object fared; at the end the
growth of memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pynetdicom import AE

from tests.support.corpus import CT, Fixture, fixtures, good_data_set
from tests.support.folders import quick_folder
from vna.archive import Archive, ArchiveSink
from vna.demo.sending import associate, send_data_set
from vna.dimse.storage_scp import storage_scp
from vna.ingest.folder import FoundFile
from vna.ingest.run import _take
from vna.model import Local, Provenance, Receipt

EXPLICIT = "1.2.840.10008.1.2.1"
NEXT = b"1.2.3.99"


@contextmanager
def fresh(root: Path) -> Iterator[tuple[Archive, ArchiveSink, list[Receipt]]]:
    """Open an archive of its own for one fixture."""
    receipts: list[Receipt] = []
    with tempfile.TemporaryDirectory(dir=root) as folder:
        archive = Archive.create(folder)
        with archive.sink(on_receipt=lambda receipt, provenance: receipts.append(receipt)) as sink:
            yield archive, sink, receipts


def put(sink: ArchiveSink, instance: str, data_set: bytes) -> Receipt:
    """Hand a good object to a sink."""
    incoming = sink(CT, instance, EXPLICIT, Provenance("test"))
    incoming.write(data_set)
    return incoming.commit()


def kept(archive: Archive, receipt: Receipt, came: bytes) -> bool:
    """Tell whether what lies in the store ends with the very bytes that came."""
    return archive.store.read_bytes(receipt.path).endswith(came)


def by_file(fixture: Fixture, root: Path) -> dict[str, object]:
    """Take one fixture as ``vna ingest`` does."""
    with fresh(root) as (archive, sink, receipts):
        if fixture.before is not None:
            put(sink, fixture.instance, fixture.before)
        path = root / "fixture.dcm"
        path.write_bytes(fixture.content)
        receipts.clear()
        begun = time.process_time()
        _take(archive, sink, FoundFile(path), source="test")
        seconds = time.process_time() - begun
        receipt = receipts[-1]
        came = fixture.content if fixture.data_set is None else fixture.data_set
        is_kept = kept(archive, receipt, came[-60:]) and receipt.size >= len(fixture.data_set or b"")
        then = put(sink, NEXT.decode(), good_data_set(NEXT)).state
        return told(fixture, receipt, seconds, is_kept, then)


def by_network(fixture: Fixture, root: Path) -> dict[str, object]:
    """Send one fixture to a Storage SCP, over a real association, and then a good object over the same one."""
    assert fixture.data_set is not None
    ae = AE("TEST")
    ae.dimse_timeout = ae.acse_timeout = 20
    ae.maximum_pdu_size = 1 << 17
    with fresh(root) as (archive, sink, receipts), storage_scp(Local(), sink, port=0) as scp:
        if fixture.before is not None:
            put(sink, fixture.instance, fixture.before)
        receipts.clear()
        pairs = [(CT, fixture.transfer_syntax), (CT, EXPLICIT)]
        assoc = associate(ae, "127.0.0.1", scp.port, "VNA", pairs)
        begun = time.process_time()
        status = send_data_set(assoc, CT, fixture.instance, fixture.transfer_syntax, fixture.data_set)
        seconds = time.process_time() - begun
        is_kept = kept(archive, receipts[0], fixture.data_set)
        send_data_set(assoc, CT, NEXT.decode(), EXPLICIT, good_data_set(NEXT), message_id=2)
        assoc.release()
        return {**told(fixture, receipts[0], seconds, is_kept, receipts[1].state), "status": status}


def told(fixture: Fixture, receipt: Receipt, seconds: float, is_kept: bool, then: str) -> dict[str, object]:
    """Put the answer for one fixture together."""
    codes = list(receipt.codes)
    return {"name": fixture.name, "codes": codes, "state": receipt.state, "seconds": seconds, "kept": is_kept, "then": then}


def memory_mib(name: str) -> float:
    """Read one figure of this process's memory: VmRSS (now), VmHWM (the peak)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def main(way: str) -> None:
    """Run all fixtures that can go this way."""
    with quick_folder() as root:
        for fixture in fixtures():
            if way == "files" or fixture.can_travel:
                Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
                before = memory_mib("VmRSS")
                answer = (by_file if way == "files" else by_network)(fixture, root)
                print(json.dumps({**answer, "grown_mib": memory_mib("VmHWM") - before}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
