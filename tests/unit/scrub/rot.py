"""Archives to injure, and injuries: what disks and people do to files that nobody looks at."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from tests.support.objects import send, wire_object
from vna.archive import Archive
from vna.model import Provenance


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


def objects(root: Path) -> list[Path]:
    """List the files of all objects."""
    return sorted([*root.glob("instances/**/*.dcm"), *root.glob("quarantine/**/*.dcm")])


def overwrite(path: Path, data: bytes) -> None:
    """Change a file behind the archive's back."""
    path.chmod(0o640)
    path.write_bytes(data)


def content(root: Path) -> dict[str, bytes]:
    """Read all objects, by path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in objects(root)}


def flip_bit(path: Path, dice: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    overwrite(path, bytes(data))


def zero_page(path: Path, dice: random.Random) -> None:
    """Lose a page of the file to zeros."""
    data = bytearray(path.read_bytes())
    start = dice.randrange(max(1, len(data) - 4096))
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    overwrite(path, bytes(data))


def cut_off(path: Path, dice: random.Random) -> None:
    """Lose the end of the file."""
    path.chmod(0o640)
    os.truncate(path, dice.randrange(path.stat().st_size))


def swap(one: Path, other: Path) -> None:
    """Exchange two files."""
    first, second = one.read_bytes(), other.read_bytes()
    overwrite(one, second)
    overwrite(other, first)
