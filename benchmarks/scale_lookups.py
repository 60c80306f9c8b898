"""Look-ups as a service makes them, in an index of any size: which, with what keys, and how long they take."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from indexer.catalogue import Catalogue
from vna.query import Level, ask, question

Study = Mapping[str, Any]
"""What is known of a study that is looked for: its UID, patient, accession number, date and name."""

Keys = tuple[str, dict[str, str]]
"""A level, and keys by keyword."""


def _week_from(day: str) -> str:
    last = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC) + timedelta(days=6)
    return f"{day}-{last:%Y%m%d}"


LOOKUPS: dict[str, Callable[[Study], Keys]] = {
    "Patient ID": lambda study: ("STUDY", {"PatientID": study["PatientID"]}),
    "Study UID": lambda study: ("STUDY", {"StudyInstanceUID": study["StudyInstanceUID"]}),
    "accession number": lambda study: ("STUDY", {"AccessionNumber": study["AccessionNumber"]}),
    "name wildcard": lambda study: ("STUDY", {"PatientName": study["PatientName"][:4] + "*^" + study["GivenName"][:2] + "*"}),
    "date range": lambda study: ("STUDY", {"StudyDate": _week_from(study["StudyDate"])}),
    "instances of a study": lambda study: ("IMAGE", {"StudyInstanceUID": study["StudyInstanceUID"]}),
}
PAGE = 100


@dataclass(frozen=True, slots=True)
class Timed:
    """How long one kind of look-up took, in seconds, and how many answers came."""

    median_s: float
    p99_s: float
    cpu_s: float
    answers: int


def timed(lookup: Callable[[Keys], int], asked: Sequence[Keys]) -> Timed:
    """Time each of some look-ups."""
    seconds, cpu, answers = [], [], 0
    for keys in asked:
        started, before = time.perf_counter(), time.process_time()
        answers += lookup(keys)
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - before)
    seconds.sort()
    return Timed(statistics.median(seconds), seconds[int(len(seconds) * 0.99)], statistics.median(cpu), answers)


@contextmanager
def opened(folder: Path) -> Iterator[Catalogue]:
    """Open the index in a folder."""
    with Catalogue.open(folder / "instances", studies_url=folder / "studies") as catalogue:
        yield catalogue


def answer(catalogue: Catalogue, keys: Keys, page: int | None = PAGE) -> int:
    """Answer one look-up; gives the number of answers. Studies come in pages, as QIDO-RS sends them."""
    level, asked = keys
    return len(ask(catalogue, question(Level(level), asked, limit=page if level == "STUDY" else None)))


def sample(catalogue: Catalogue, number: int, seed: int = 1) -> list[Study]:
    """Draw studies that have all that is looked for."""
    found = catalogue.query(
        "SELECT StudyInstanceUID, PatientID, AccessionNumber, StudyDate, split_part(PatientName, '^', 1) AS PatientName, "
        "split_part(split_part(PatientName, '=', 1), '^', 2) AS GivenName FROM studies "
        "WHERE StudyDate IS NOT NULL AND PatientID IS NOT NULL ORDER BY StudyInstanceUID"
    )
    return random.Random(seed).sample(found, min(number, len(found)))


def forget(folder: Path) -> None:
    """Ask the system to drop a folder's files from its cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def warm(folder: Path, studies: Sequence[Study], rounds: int = 2, page: int | None = PAGE) -> dict[str, Timed]:
    """Time every kind of look-up in a catalogue that stays open; what counts is the last round."""
    result: dict[str, Timed] = {}
    with opened(folder) as catalogue:
        for _ in range(rounds):
            for name, keys in LOOKUPS.items():
                result[name] = timed(lambda asked: answer(catalogue, asked, page), [keys(study) for study in studies])
    return result


def cold(folder: Path, studies: Sequence[Study]) -> dict[str, Timed]:
    """Time every kind of look-up with files that are not in the system's cache and an index that must be opened first."""

    def lookup(keys: Keys) -> int:
        with opened(folder) as catalogue:
            return answer(catalogue, keys)

    result = {}
    for name, keys in LOOKUPS.items():
        each = []
        for study in studies:
            forget(folder)
            each.append(timed(lookup, [keys(study)]))
        seconds = sorted(one.median_s for one in each)
        cpu = statistics.median(one.cpu_s for one in each)
        result[name] = Timed(statistics.median(seconds), seconds[-1], cpu, sum(one.answers for one in each))
    return result
