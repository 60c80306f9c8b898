"""Bit rot on the scale of an archive: 2,000 objects, 1,000 random injuries, a copy with some of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.bitrot import bitrot
from tests.support.folders import quick_folder
from tests.support.objects import WireObject, send, wire_object
from tests.unit.scrub.rot import content, copied, cut_off, filled, flip_bit, overwrite, swap, zero_page
from vna.archive import Archive, Durability
from vna.ledger import Ledger
from vna.scrub import ScrubOptions, run
from vna.store import open_store

STUDIES, INSTANCES = 20, 100
INJURIES = 1000
LOST_IN_COPY = 50


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with quick_folder() as made:
        yield made


@pytest.fixture(scope="module")
def archive(folder: Path) -> Archive:
    """2,000 objects of about 9 KB: one that was encoded, and others that differ in their UIDs and pixels."""
    archive = Archive.create(str(folder / "archive"))
    template = wire_object(
        StudyInstanceUID="1.2.3.90", SOPInstanceUID="1.2.4.90.900", SeriesInstanceUID="1.2.5.90", Rows=64, Columns=64
    )
    with archive.sink(durability=Durability.STUDY) as sink:
        for study in range(STUDIES):
            for number in range(INSTANCES):
                send(sink, _like(template, f"{study:02d}", f"{number:03d}"))
    archive.sync_index()
    return archive


def _like(template: WireObject, study: str, number: str) -> WireObject:
    data_set = template.data_set.replace(b"1.2.4.90.900", f"1.2.4.{study}.{number}".encode())
    data_set = data_set.replace(b"1.2.3.90", f"1.2.3.{study}".encode()).replace(b"1.2.5.90", f"1.2.5.{study}".encode())
    return WireObject(template.sop_class_uid, f"1.2.4.{study}.{number}", template.transfer_syntax_uid, data_set)


def test_every_injury_is_found_repaired_where_there_is_a_good_copy_and_never_repaired_wrongly(
    archive: Archive, folder: Path
) -> None:
    dice = random.Random(20260101)
    copy = copied(archive, folder / "copy")
    good = content(archive.root)
    assert len(good) == STUDIES * INSTANCES

    names = dice.sample(sorted(good), INJURIES)
    for i, name in enumerate(names):
        path = archive.root / name
        match i % 5:
            case 0:
                flip_bit(path, dice)
            case 1:
                zero_page(path, dice)
            case 2:
                cut_off(path, dice)
            case 3:
                swap(path, archive.root / names[i + 1])
            case 4:
                pass  # the other one of the swap
    lost = dice.sample(names, LOST_IN_COPY)
    for name in lost:
        flip_bit(copy / name, dice)
    for name in dice.sample(sorted(set(good) - set(names)), LOST_IN_COPY):
        overwrite(copy / name, b"a copy may rot where the archive does not")
    there, injured = content(copy), {name for name, data in content(archive.root).items() if data != good[name]}
    assert len(injured) > INJURIES * 0.95  # a page may have been zeros before

    with Ledger.open(f"sqlite:///{folder}/ledger.sqlite") as ledger:
        found = run(archive, ledger, ScrubOptions())
        assert {finding.path for finding in found.corrupt} == injured
        result = run(archive, ledger, ScrubOptions(), copy=open_store(str(copy)))

    after = content(archive.root)
    assert {finding.path for finding in result.corrupt} == injured
    unrepaired = {finding.path for finding in result.corrupt if not finding.repaired}
    assert {name for name in good if after[name] != good[name]} == unrepaired
    reasons = {finding.path: finding.detail for finding in result.corrupt if not finding.repaired}
    pairs = [{names[i], names[i + 1]} for i in range(3, INJURIES, 5)]
    swapped = set().union(*pairs)
    assert {name for name, why in reasons.items() if why == "COPY_DAMAGED"} == (injured & set(lost)) - swapped
    # Of two objects in each other's place one good copy is enough.
    both_lost = set().union(*(pair for pair in pairs if pair <= set(lost)))
    assert {name for name, why in reasons.items() if why == "HOLDS_ANOTHER"} == both_lost
    assert set(reasons.values()) <= {"COPY_DAMAGED", "HOLDS_ANOTHER"}
    assert content(copy) == there


def test_the_benchmark_accounts_for_every_injury(tmp_path: Path) -> None:
    archive = filled(tmp_path / "archive", studies=4, instances=10)
    result = bitrot(
        archive, copied(archive, tmp_path / "copy"), f"sqlite:///{tmp_path}/ledger.sqlite", injuries=20, lost=4, seed=7
    )
    assert result.problems == 0
    assert set(result.injured) == {"bit", "page", "truncation", "swap"}
    assert result.found == result.injured.total() == result.repaired + result.left.total()
    assert result.left_with_a_good_copy == 0
