"""Archives to injure, and the injuries of the benchmark: what disks and people do to files that nobody looks at."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.bitrot import content, cut_off, flip_bit, objects, overwrite, swap, zero_page
from tests.support.objects import send, wire_object
from vna.archive import Archive
from vna.model import Provenance

__all__ = ["content", "copied", "cut_off", "filled", "flip_bit", "objects", "overwrite", "swap", "zero_page"]


def filled(folder: Path, studies: int = 3, instances: int = 4, *, pixels: int = 8) -> Archive:
    """Make an archive with some studies, a variant and something in quarantine, indexed and with manifests."""
    archive = Archive.create(str(folder))
    with archive.sink() as sink:
        for study in range(studies):
            for number in range(1, instances + 1):
                send(sink, wire_object(PatientID=f"P{study}", InstanceNumber=number, Rows=pixels, Columns=pixels))
        send(sink, wire_object(PatientID="P0", InstanceNumber=1, StudyDescription="another"))
        sink.quarantine_bytes(Path(__file__), "NOT_DICOM", Provenance("folder"))
    archive.sync_index()
    return archive


def copied(archive: Archive, folder: Path) -> Path:
    """Copy an archive as rsync does."""
    shutil.copytree(archive.root, folder)
    return folder
