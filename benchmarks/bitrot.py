"""``python -m benchmarks.bitrot``: injure objects of an archive at random, scrub it with a copy that is rotten too, and look.

A bit flips, a page turns to zeros, a file loses its end, two files change places. Some injured objects are rotten in the copy as
well, and so are others of the copy that the archive holds intact.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.workloads import M, generate
from vna.archive import Archive
from vna.ingest import IngestOptions
from vna.ingest import run as ingest
from vna.ledger import Ledger
from vna.scrub import ScrubOptions, run
from vna.store import open_store

KINDS = ("bit", "page", "truncation", "swap", "swap")
"""What happens to injured objects in turn; a swap takes two of them."""


@dataclass
class Rot:
    """What a pass did: injuries by kind, what was found and repaired, why the rest was not, and what must not be."""

    objects: int = 0
    injured: Counter[str] = field(default_factory=Counter)
    found: int = 0
    repaired: int = 0
    left: Counter[str] = field(default_factory=Counter)
    not_found: int = 0
    found_wrongly: int = 0
    repaired_wrongly: int = 0
    left_with_a_good_copy: int = 0
    seconds: float = 0.0

    @property
    def problems(self) -> int:
        """How many objects a pass failed."""
        return self.not_found + self.found_wrongly + self.repaired_wrongly + self.left_with_a_good_copy


def overwrite(path: Path, data: bytes) -> None:
    """Change a file behind the archive's back."""
    path.chmod(0o640)
    path.write_bytes(data)


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


def objects(root: Path) -> list[Path]:
    """List the files of all objects."""
    return sorted([*root.glob("instances/**/*.dcm"), *root.glob("quarantine/**/*.dcm")])


def content(root: Path) -> dict[str, bytes]:
    """Read all objects, by path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in objects(root)}


def injure(root: Path, names: list[str], dice: random.Random) -> dict[str, str]:
    """Injure objects, each in the way whose turn it is; give the kind by path."""
    kinds = {}
    for number, name in enumerate(names):
        kinds[name] = KINDS[number % len(KINDS)]
        match number % len(KINDS):
            case 0:
                flip_bit(root / name, dice)
            case 1:
                zero_page(root / name, dice)
            case 2:
                cut_off(root / name, dice)
            case 3 if number + 1 < len(names):
                swap(root / name, root / names[number + 1])
            case _:
                pass  # the other one of the swap
    return kinds


def bitrot(archive: Archive, copy: Path, ledger_url: str, injuries: int, lost: int, seed: int) -> Rot:
    """Injure ``injuries`` objects of an archive, and ``lost`` of them and as many others in its copy, and scrub."""
    dice = random.Random(seed)
    good = content(archive.root)
    names = dice.sample(sorted(good), injuries)
    kinds = injure(archive.root, names, dice)
    rotten = set(dice.sample(names, lost))
    for name in (*rotten, *dice.sample(sorted(set(good) - set(names)), lost)):
        flip_bit(copy / name, dice)
    injured = {name for name, data in content(archive.root).items() if data != good[name]}  # a page may have been zeros before
    begun = time.monotonic()
    with Ledger.open(ledger_url) as ledger:
        result = run(archive, ledger, ScrubOptions(), copy=open_store(str(copy)))
    seconds = time.monotonic() - begun
    reasons = {finding.path: finding.detail for finding in result.corrupt if not finding.repaired}
    return _judged(
        good, content(archive.root), injured, {finding.path for finding in result.corrupt}, reasons, rotten, kinds, seconds
    )


def _judged(
    good: Mapping[str, bytes],
    after: Mapping[str, bytes],
    injured: set[str],
    found: set[str],
    reasons: Mapping[str, str],
    rotten: set[str],
    kinds: Mapping[str, str],
    seconds: float,
) -> Rot:
    wrong = {name for name in good if after[name] != good[name]}
    return Rot(
        objects=len(good),
        injured=Counter(kinds[name] for name in injured),
        found=len(found & injured),
        repaired=len(injured - wrong),
        left=Counter(reasons.values()),
        not_found=len(injured - found),
        found_wrongly=len(found - injured),
        repaired_wrongly=len(wrong - set(reasons)),
        left_with_a_good_copy=len(set(reasons) - rotten),
        seconds=round(seconds, 1),
    )


def main() -> None:
    """Make an archive and its copy, injure both, and tell."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--objects", type=int, default=2000, metavar="N")
    arguments.add_argument("--injuries", type=int, default=1000, metavar="N")
    arguments.add_argument("--lost", type=int, default=50, metavar="N", help="injured objects that are rotten in the copy too")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--dir", type=Path, default=Path("/dev/shm"), help="where the archive and its copy are made")
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vna-bitrot-", dir=options.dir))
    try:
        generate(M, options.objects, folder / "files")
        archive = Archive.create(str(folder / "archive"))
        ingest(archive, folder / "files", IngestOptions(workers=1))
        shutil.copytree(archive.root, folder / "copy")
        url = f"sqlite:///{folder}/ledger.sqlite"
        result = bitrot(archive, folder / "copy", url, options.injuries, options.lost, options.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    told = {"name": "bitrot", **asdict(result), "injured": dict(result.injured), "left": dict(result.left)}
    print(json.dumps(told) if options.json else "\n".join(f"{name:38} {value}" for name, value in told.items()))
    if result.problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
