"""Fuzz the gatekeeper: structure-aware mutations of real files through the scanner, the verdict and the header editor.

Every case is a file of pydicom or pydicom-data of which a few elements were changed as elements: their tags, VRs, lengths and
values, their order, number and nesting, delimiters, the label of the transfer syntax, the file's end. A case fails when anything
is raised, when it takes longer than two seconds of processor time, or when the verdict is none: no state, or quarantine without
a code. One case in eight that would be stored is also corrected: it is either refused in words or corrected. A case is a function
of its number: ``--only N`` runs that one again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.report import machine
from indexer.problems import PROBLEMS
from indexer.scan import read_file_meta, scan_file
from tests.support.instances import odd_files, real_images
from vna.archive.effective import effective_object
from vna.archive.examine import Announced, Reading
from vna.archive.revisions import ElementChange, Group, Revision, StudyRevisions
from vna.errors import RefusedError
from vna.model import ObjectStatus
from vna.part10.elements import EXPLICIT_LE, StructureError, encoding_of, header_bytes
from vna.part10.original import Attribution
from vna.part10.raw import RawElement, walk

LARGEST = 40_000
SECONDS = 2.0
GIVEN_UP_S = 20
BATCH = 2_000
_CHUNKS = (1, 7, 64, 1000, 1 << 14, 1 << 20)
_ODD_LENGTHS = (0, 1, 2, 3, 7, 0xFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)
_VRS = (b"SQ", b"UN", b"OB", b"OW", b"UT", b"LO", b"PN", b"UI", b"US", b"DS", b"\0\0", b"??", b"ZZ", b"ox")
_TAGS = (
    0,
    0x00020010,
    0x00080005,
    0x00080018,
    0x0020000D,
    0x0020000E,
    0x00280010,
    0x7FE00010,
    0xFFFEE000,
    0xFFFEE00D,
    0xFFFEE0DD,
)
_SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
)
_ITEM, _ITEM_END, _SEQUENCE_END = (struct.pack("<HHI", 0xFFFE, element, 0) for element in (0xE000, 0xE00D, 0xE0DD))

_SOP = (0x00080016, 0x00080018)

_BY = Attribution("VNA", "20260101000000+0000")
_CHANGES = (
    ElementChange((0x00100020,), "LO", {"vr": "LO", "Value": ["FUZZ"]}),
    ElementChange((0x00100010,), "PN", {"vr": "PN", "Value": [{"Alphabetic": "Füzz^山田"}]}),
)
_GROUP = Group(("x",), _CHANGES, {"1.2.3": "1.2.4"})
_CORRECTIONS = [
    StudyRevisions([Revision("1", 1, "", "", "", _BY, (group,))]).standing("x") for group in (_GROUP, Group(("x",), _CHANGES))
]


@dataclass(frozen=True)
class Base:
    """A real file: its label, its data set's elements, and what follows them unread."""

    syntax: str
    sop_class_uid: str
    sop_instance_uid: str
    elements: tuple[RawElement, ...]
    rest: bytes


@dataclass
class Tally:
    """What became of many cases; ``failures`` are numbers of cases and what was raised."""

    cases: int = 0
    states: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    corrected: int = 0
    refused: int = 0
    slowest: float = 0.0
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in the tally of a batch."""
        self.cases += other.cases
        self.states += other.states
        self.codes += other.codes
        self.corrected += other.corrected
        self.refused += other.refused
        self.slowest = max(self.slowest, other.slowest)
        self.failures += other.failures


@cache
def bases() -> tuple[Base, ...]:
    """Cut the smaller real files into elements; what cannot be walked to its end keeps a rest."""
    found = []
    for path in (*real_images(), *odd_files()):
        content = path.read_bytes()
        meta = read_file_meta(content)
        if len(content) > LARGEST or meta.data_set_offset is None:
            continue
        data = content[meta.data_set_offset :]
        elements: list[RawElement] = []
        try:
            at = walk(data, 0, encoding_of(meta.transfer_syntax_uid), elements)
        except StructureError:
            at = sum(len(element.raw) for element in elements)
        if elements:
            uids = [next((e.value.decode("latin-1").rstrip(" \0") for e in elements if e.tag == tag), "") for tag in _SOP]
            found.append(Base(meta.transfer_syntax_uid, *uids, tuple(elements), data[at:]))
    return tuple(found)


def mutate(number: int) -> tuple[Announced, bytes, random.Random]:
    """Make case ``number``: what announces it, the bytes of a data set, and where its chances come from."""
    rng = random.Random(number)
    base = rng.choice(bases())
    pieces = [element.raw for element in base.elements]
    if len(pieces) > 60 and rng.random() < 0.8:  # most of a long header is beside the point
        start = rng.randrange(len(pieces) - 40)
        pieces = pieces[:12] + pieces[start : start + 40] + pieces[-2:]
    syntax = base.syntax if rng.random() > 0.05 else rng.choice(_SYNTAXES)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(_MUTATIONS)(pieces, rng)
    data = b"".join(pieces) + base.rest
    if rng.random() < 0.1:
        data = data[: rng.randrange(len(data) + 1)]
    if rng.random() < 0.05:
        data += rng.choice((bytes(rng.randrange(40)), rng.randbytes(rng.randrange(40)), _ITEM, _SEQUENCE_END))
    announced = Announced(base.sop_class_uid, base.sop_instance_uid, syntax or "1.2.840.10008.1.2")
    return announced, data, rng


Mutation = Callable[[list[bytes], random.Random], None]


def _at(pieces: list[bytes], rng: random.Random) -> int:
    return rng.randrange(len(pieces)) if pieces else 0


def _length(pieces: list[bytes], rng: random.Random) -> None:
    if not pieces:
        return
    at = _at(pieces, rng)
    piece, length = pieces[at], rng.choice(_ODD_LENGTHS) if rng.random() < 0.7 else rng.getrandbits(32)
    if piece[4:6] in (b"OB", b"OW", b"SQ", b"UN", b"UT") and len(piece) >= 12:
        pieces[at] = piece[:8] + struct.pack("<I", length) + piece[12:]
    elif piece[4:6].isalpha():
        pieces[at] = piece[:6] + struct.pack("<H", length & 0xFFFF) + piece[8:]
    else:
        pieces[at] = piece[:4] + struct.pack("<I", length) + piece[8:]


def _vr(pieces: list[bytes], rng: random.Random) -> None:
    if pieces:
        at = _at(pieces, rng)
        pieces[at] = pieces[at][:4] + rng.choice(_VRS) + pieces[at][6:]


def _tag(pieces: list[bytes], rng: random.Random) -> None:
    if pieces:
        at, tag = _at(pieces, rng), rng.choice(_TAGS) if rng.random() < 0.7 else rng.getrandbits(32)
        pieces[at] = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + pieces[at][4:]


def _value(pieces: list[bytes], rng: random.Random) -> None:
    if pieces:
        at = _at(pieces, rng)
        piece = bytearray(pieces[at])
        for _ in range(rng.choice((1, 2, 8))):
            if len(piece) > 8:
                piece[rng.randrange(8, len(piece))] = rng.choice((0, 0x1B, 0x5C, 0x2E, 0x2F, 0xFF, rng.getrandbits(8)))
        pieces[at] = bytes(piece)


def _swap(pieces: list[bytes], rng: random.Random) -> None:
    if pieces:
        one, other = _at(pieces, rng), _at(pieces, rng)
        pieces[one], pieces[other] = pieces[other], pieces[one]


def _repeat(pieces: list[bytes], rng: random.Random) -> None:
    if pieces:
        at = _at(pieces, rng)
        pieces[at:at] = [pieces[at]] * rng.choice((1, 1, 2, 50))


def _drop(pieces: list[bytes], rng: random.Random) -> None:
    if pieces:
        del pieces[_at(pieces, rng)]


def _cut(pieces: list[bytes], rng: random.Random) -> None:
    if pieces:
        at = _at(pieces, rng)
        pieces[at] = pieces[at][: rng.randrange(len(pieces[at]) + 1)]


def _insert(pieces: list[bytes], rng: random.Random) -> None:
    inserted = rng.choice((_ITEM, _ITEM_END, _SEQUENCE_END, bytes(8), bytes(rng.randrange(20)), rng.randbytes(rng.randrange(20))))
    pieces.insert(_at(pieces, rng), inserted)


def _nest(pieces: list[bytes], rng: random.Random) -> None:
    """Put a run of elements into sequences, of defined or undefined length, closed or not."""
    start = _at(pieces, rng)
    content = b"".join(pieces[start : start + rng.randrange(1, 5)])
    for _ in range(rng.choice((1, 2, 5, 70, 300))):
        tag, vr = rng.choice((0x00081140, 0x00400260, 0x00291010)), rng.choice((b"SQ", b"SQ", b"UN"))
        if rng.random() < 0.5:
            content = header_bytes(0xFFFEE000, b"", len(content), EXPLICIT_LE) + content
            content = header_bytes(tag, vr, len(content) + rng.choice((0, 0, 0, 2, -2)) & 0xFFFFFFFF, EXPLICIT_LE) + content
        else:
            opened = header_bytes(tag, vr, 0xFFFFFFFF, EXPLICIT_LE) + header_bytes(0xFFFEE000, b"", 0xFFFFFFFF, EXPLICIT_LE)
            content = opened + content + (_ITEM_END + _SEQUENCE_END if rng.random() < 0.9 else b"")
    pieces.insert(start, content)


_MUTATIONS: tuple[Mutation, ...] = (_length, _length, _vr, _tag, _value, _value, _swap, _repeat, _drop, _cut, _insert, _nest)


def judge(number: int, folder: Path, tally: Tally) -> None:
    """Run one case. Raises what the product raises, and AssertionError for an answer that is none."""
    announced, data, rng = mutate(number)
    head = announced.file_meta()
    if number % 64 == 0:  # as a file, with what stands before the data set damaged too
        content = bytearray(head + data)
        for _ in range(3):
            content[rng.randrange(min(len(content), 400))] = rng.getrandbits(8)
        path = folder / f"{os.getpid()}.dcm"
        path.write_bytes(content)
        scan = scan_file(path)
        scan.row()
        assert set(scan.codes) <= PROBLEMS.keys()
        tally.codes.update(scan.codes[:1])
        return
    reading, chunk = Reading(announced), rng.choice(_CHUNKS)
    for at in range(0, len(data), max(chunk, len(data) // 500)):
        reading.write(data[at : at + max(chunk, len(data) // 500)])
    verdict = reading.verdict("0" * 64, lambda at, length: data[at : at + length])
    assert verdict.path
    assert verdict.codes or verdict.state is ObjectStatus.STORED
    assert set(verdict.codes) <= PROBLEMS.keys()
    tally.states[verdict.state.value] += 1
    tally.codes.update(verdict.codes[:1])
    if verdict.state is not ObjectStatus.QUARANTINED and number % 8 == 1:
        try:
            effective = effective_object(BytesIO(head + data), _CORRECTIONS[number % 16 > 8])
            assert effective.size > 0
            tally.corrected += 1
        except RefusedError:
            tally.refused += 1


def _give_up(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"no end within {GIVEN_UP_S} s")


def run_batch(first: int, count: int) -> Tally:
    """Run some cases in this process."""
    tally = Tally()
    signal.signal(signal.SIGALRM, _give_up)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        for number in range(first, first + count):
            begun = time.process_time()
            signal.alarm(GIVEN_UP_S)
            try:
                judge(number, Path(folder), tally)
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is what is looked for
                last = traceback.extract_tb(exc.__traceback__)[-1]
                tally.failures.append((number, f"{type(exc).__name__}: {exc} ({Path(last.filename).name}:{last.lineno})"))
            signal.alarm(0)
            seconds = time.process_time() - begun
            tally.slowest = max(tally.slowest, seconds)
            if seconds > SECONDS:
                tally.failures.append((number, f"took {seconds:.1f} s"))
            tally.cases += 1
    return tally


def batches(cases: int, first: int) -> Iterator[tuple[int, int]]:
    """Cut the cases into batches."""
    for at in range(first, first + cases, BATCH):
        yield at, min(BATCH, first + cases - at)


def run(cases: int, first: int = 0, workers: int = 0) -> tuple[Tally, float]:
    """Run ``cases`` cases from number ``first`` on, in parallel; give the tally and the seconds."""
    total, begun = Tally(), time.perf_counter()
    if workers == 1:
        for batch in batches(cases, first):
            total.add(run_batch(*batch))
        return total, time.perf_counter() - begun
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("fork")) as pool:
        bases()
        for tally in pool.map(run_batch, *zip(*batches(cases, first), strict=True)):
            total.add(tally)
            if sys.stderr.isatty():
                print(f"\r{total.cases:,} cases, {len(total.failures)} failures", end="", file=sys.stderr)
    return total, time.perf_counter() - begun


def told(total: Tally, seconds: float) -> dict[str, Any]:
    """Put the result together as ``--json`` prints it."""
    return {
        "name": "fuzz",
        "cases": total.cases,
        "seconds": round(seconds, 1),
        "cases_per_s": round(total.cases / seconds),
        "slowest_s": round(total.slowest, 3),
        "failures": [{"case": number, "what": what} for number, what in total.failures[:100]],
        "states": dict(total.states.most_common()),
        "corrected": total.corrected,
        "refused": total.refused,
        "codes": dict(total.codes.most_common()),
        "machine": machine(),
    }


def main() -> int:
    """Fuzz, and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("--cases", type=int, default=1_000_000, metavar="N", help="how many cases (default 1,000,000)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first case")
    parser.add_argument("--only", type=int, metavar="N", help="run one case and let it fail")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="how many processes (default: the cores)")
    options = parser.parse_args()
    if options.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            judge(options.only, Path(folder), Tally())
        return 0
    result = told(*run(options.cases, options.first, options.workers))
    if options.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:12} {value[:20] if isinstance(value, list) else value}")
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
