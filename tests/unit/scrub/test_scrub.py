"""What a scrub finds, what it repairs, and what it leaves alone."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.objects import send, wire_object
from tests.unit.scrub.rot import content, copied, cut_off, filled, flip_bit, objects, overwrite, swap, zero_page
from vna.archive import Archive
from vna.errors import ConfigError, LockedError
from vna.ledger import Ledger
from vna.scrub import ScrubOptions, ScrubResult, run
from vna.store import open_store

DICE = random.Random(1)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return filled(tmp_path / "archive")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as opened:
        yield opened


@pytest.fixture
def copy(archive: Archive, tmp_path: Path) -> Path:
    return copied(archive, tmp_path / "copy")


def scrub(archive: Archive, ledger: Ledger, copy: Path | None = None, **options: object) -> ScrubResult:
    source = open_store(str(copy)) if copy else None
    return run(archive, ledger, ScrubOptions(**options), copy=source)  # type: ignore[arg-type]


def codes(result: ScrubResult) -> list[str]:
    return sorted(finding.code for finding in result.findings)


def instance(archive: Archive, number: int = 0) -> Path:
    return sorted(path for path in archive.root.glob("instances/**/*.dcm") if "~" not in path.name)[number]


def test_an_intact_archive_is_read_whole_and_nothing_is_found(archive: Archive, ledger: Ledger) -> None:
    result = scrub(archive, ledger)
    assert (result.objects, result.corrupt, result.waits) == (14, (), False)
    assert result.bytes == sum(path.stat().st_size for path in objects(archive.root))
    assert set(result.as_json()) >= {"objects", "bytes", "corrupt", "repaired", "seconds"}


@pytest.mark.parametrize(
    ("injure", "code"),
    [(flip_bit, "CHANGED"), (zero_page, "CHANGED"), (cut_off, "TRUNCATED"), (lambda p, _: p.unlink(), "MISSING")],
)
def test_an_injury_is_found_named_and_left_alone_without_a_copy(archive: Archive, ledger: Ledger, injure, code: str) -> None:
    path = instance(archive)
    injure(path, DICE)
    before = content(archive.root)
    result = scrub(archive, ledger)
    assert [(f.path, f.code, f.repaired) for f in result.corrupt] == [(str(path.relative_to(archive.root)), code, False)]
    assert result.waits
    assert content(archive.root) == before


@pytest.mark.parametrize("kind", ["instances/**/*~*.dcm", "quarantine/**/*.dcm"])
def test_variants_and_quarantine_are_read_and_repaired_too(archive: Archive, ledger: Ledger, copy: Path, kind: str) -> None:
    (path,) = archive.root.glob(kind)
    good = path.read_bytes()
    flip_bit(path, DICE)
    assert codes(scrub(archive, ledger)) == ["CHANGED"]
    assert scrub(archive, ledger, copy).repaired == 1
    assert path.read_bytes() == good


def test_an_object_that_grew_is_named_so(archive: Archive, ledger: Ledger) -> None:
    overwrite(instance(archive), instance(archive).read_bytes() + b"\0")
    assert codes(scrub(archive, ledger)) == ["EXTENDED"]


def test_a_repair_keeps_the_damaged_bytes_and_restores_the_recorded_ones(archive: Archive, ledger: Ledger, copy: Path) -> None:
    path = instance(archive)
    good = path.read_bytes()
    flip_bit(path, DICE)
    damaged = path.read_bytes()
    result = scrub(archive, ledger, copy)
    assert (result.repaired, len(result.corrupt), result.waits) == (1, 1, False)
    assert path.read_bytes() == good
    sha256 = hashlib.sha256(damaged).hexdigest()
    assert (archive.root / f"quarantine/{sha256[:2]}/{sha256}.dcm").read_bytes() == damaged
    kept = [row for row in archive.journal_rows() if row.sha256 == sha256]
    assert [(row.codes, row.source, row.provenance.source_path) for row in kept] == [
        (("BIT_ROT",), "scrub", str(path.relative_to(archive.root)))
    ]
    again = scrub(archive, ledger)
    assert (again.objects, again.findings) == (15, ())


def test_a_missing_object_comes_back_from_the_copy(archive: Archive, ledger: Ledger, copy: Path) -> None:
    path = instance(archive)
    good = path.read_bytes()
    path.unlink()
    assert scrub(archive, ledger, copy).repaired == 1
    assert path.read_bytes() == good


def test_swapped_objects_are_told_and_repaired_without_a_third_copy_of_their_bytes(
    archive: Archive, ledger: Ledger, copy: Path
) -> None:
    before = content(archive.root)
    swap(instance(archive, 0), instance(archive, 5))
    assert codes(scrub(archive, ledger)) == ["SWAPPED", "SWAPPED"]
    assert scrub(archive, ledger, copy).repaired == 2
    assert content(archive.root) == before


@pytest.mark.parametrize(("first", "second"), [(0, 5), (5, 0)])
def test_an_object_that_no_copy_holds_is_taken_from_where_it_stands_by_mistake(
    archive: Archive, ledger: Ledger, copy: Path, first: int, second: int
) -> None:
    before = content(archive.root)
    one, other = instance(archive, first), instance(archive, second)
    swap(one, other)
    (copy / other.relative_to(archive.root)).unlink()
    assert scrub(archive, ledger, copy).repaired == 2
    assert content(archive.root) == before


def test_the_perhaps_only_good_bytes_of_another_object_are_not_replaced(archive: Archive, ledger: Ledger, copy: Path) -> None:
    one, other = instance(archive, 0), instance(archive, 5)
    swap(one, other)
    swapped = content(archive.root)
    for path in (one, other):
        (copy / path.relative_to(archive.root)).unlink()
    result = scrub(archive, ledger, copy)
    assert {f.detail for f in result.corrupt} == {"HOLDS_ANOTHER"}
    assert content(archive.root) == swapped


@pytest.mark.parametrize("injure", [flip_bit, cut_off, lambda p, _: p.unlink()])
def test_a_good_object_is_never_repaired_from_a_damaged_copy(archive: Archive, ledger: Ledger, copy: Path, injure) -> None:
    for path in objects(copy):
        injure(path, DICE)
    before, there = content(archive.root), content(copy)
    result = scrub(archive, ledger, copy)
    assert (result.findings, content(archive.root), content(copy)) == ((), before, there)


def test_a_damaged_object_is_never_replaced_by_a_damaged_copy(archive: Archive, ledger: Ledger, copy: Path) -> None:
    path = instance(archive)
    flip_bit(path, DICE)
    flip_bit(copy / path.relative_to(archive.root), DICE)
    before = content(archive.root)
    result = scrub(archive, ledger, copy)
    assert [(f.repaired, f.detail) for f in result.corrupt] == [(False, "COPY_DAMAGED")]
    assert content(archive.root) == before


def test_an_archive_that_took_the_same_objects_in_another_order_is_a_copy_too(
    archive: Archive, ledger: Ledger, tmp_path: Path
) -> None:
    other = Archive.create(str(tmp_path / "other"))
    with other.sink() as sink:
        send(sink, wire_object(PatientID="P0", InstanceNumber=1, StudyDescription="another"))
        send(sink, wire_object(PatientID="P0", InstanceNumber=1))
    (variant,) = archive.root.glob("instances/**/*~*.dcm")
    first = variant.with_name(f"{variant.name.partition('~')[0]}.dcm")
    before = content(archive.root)
    flip_bit(variant, DICE)
    flip_bit(first, DICE)
    assert scrub(archive, ledger, other.root).repaired == 2
    assert content(archive.root).items() >= before.items()


def test_a_rotten_journal_does_not_make_good_objects_bad(archive: Archive, ledger: Ledger, copy: Path) -> None:
    before = content(archive.root)
    for segment in archive.root.glob("journal/*/*"):
        lines = segment.read_bytes().splitlines(keepends=True)
        for i, line in enumerate(lines):
            at = line.index(b'"sha256":"') + 10
            lines[i] = line[:at] + (b"0" if line[at : at + 1] != b"0" else b"1") + line[at + 1 :]
        overwrite(segment, b"".join(lines))
    result = scrub(archive, ledger, copy)
    assert (result.corrupt, set(codes(result))) == ((), {"RECORD_DAMAGED"})
    assert content(archive.root) == before
    path = instance(archive)
    flip_bit(path, DICE)
    assert scrub(archive, ledger, copy).repaired == 1
    assert path.read_bytes() == before[str(path.relative_to(archive.root))]


def test_without_journal_and_index_the_manifest_is_believed(archive: Archive, ledger: Ledger) -> None:
    shutil.rmtree(archive.root / "journal")
    shutil.rmtree(archive.root / "index")
    assert scrub(archive, ledger).findings == ()
    flip_bit(instance(archive), DICE)
    assert codes(scrub(archive, ledger)) == ["CHANGED"]


def test_an_unreadable_index_hinders_nothing(archive: Archive, ledger: Ledger) -> None:
    for file in archive.root.glob("index/instances/*.parquet"):
        overwrite(file, b"rot")
    flip_bit(instance(archive), DICE)
    assert codes(scrub(archive, ledger)) == ["CHANGED"]


def test_an_object_that_no_record_knows_is_reported(archive: Archive, ledger: Ledger) -> None:
    path = instance(archive)
    shutil.copy(path, path.with_name("1.2.3.4.dcm"))
    result = scrub(archive, ledger)
    assert (codes(result), result.corrupt, result.waits) == (["UNRECORDED"], (), True)


def test_objects_that_come_in_meanwhile_are_no_findings(archive: Archive, ledger: Ledger) -> None:
    with archive.sink() as sink:
        numbers = iter(range(100))

        def receive(step: object) -> None:
            send(sink, wire_object(PatientID=f"new {next(numbers)}"))

        result = run(archive, ledger, ScrubOptions(workers=1), receive)
    assert result.findings == ()
    assert result.objects > 14


def test_an_interrupted_pass_goes_on_where_it_stopped(archive: Archive, ledger: Ledger, copy: Path) -> None:
    flip_bit(instance(archive, 0), DICE)
    flip_bit(instance(archive, -1), DICE)

    class StoppedError(Exception):
        pass

    seen: list[int] = []

    def stop(step) -> None:
        seen.append(step.done)
        if len(seen) == 6:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(archive, ledger, ScrubOptions(), stop)
    seen.clear()
    result = run(archive, ledger, ScrubOptions(), lambda step: seen.append(step.done))
    assert seen == list(range(7, 15))
    assert (result.resumed, result.objects, len(result.corrupt)) == (True, 14, 2)
    assert scrub(archive, ledger, copy).repaired == 2


def test_a_pass_that_is_restarted_reads_everything_again(archive: Archive, ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError):
        run(archive, ledger, ScrubOptions(), lambda step: 1 // (step.done - 6) and None)
    result = scrub(archive, ledger, restart=True)
    assert (result.resumed, result.objects) == (False, 14)


def test_a_selection_reads_its_studies_and_leaves_the_pass_where_it_is(archive: Archive, ledger: Ledger) -> None:
    result = scrub(archive, ledger, where="PatientID = 'P1'")
    assert result.objects == 4
    assert not (archive.root / "scrub").exists()


def test_a_dry_run_looks_for_copies_and_changes_nothing(archive: Archive, ledger: Ledger, copy: Path) -> None:
    flip_bit(instance(archive), DICE)
    before = {path: path.read_bytes() for path in archive.root.rglob("*") if path.is_file()}
    result = scrub(archive, ledger, copy, dry_run=True)
    assert [(f.repaired, f.detail) for f in result.corrupt] == [(False, "")]
    assert {path: path.read_bytes() for path in archive.root.rglob("*") if path.is_file()} == before


def test_an_archive_is_no_copy_of_itself(archive: Archive, ledger: Ledger) -> None:
    with pytest.raises(ConfigError):
        scrub(archive, ledger, archive.root)


def test_two_scrubs_do_not_run_at_once(archive: Archive, ledger: Ledger) -> None:
    with ledger.leases.held("scrub", ""), pytest.raises(LockedError):
        scrub(archive, ledger)


def test_what_cannot_be_kept_is_not_replaced(archive: Archive, ledger: Ledger, copy: Path) -> None:
    path = instance(archive)
    flip_bit(path, DICE)
    damaged = path.read_bytes()
    sha256 = hashlib.sha256(damaged).hexdigest()
    taken = archive.root / f"quarantine/{sha256[:2]}/{sha256}.dcm"
    taken.parent.mkdir(parents=True, exist_ok=True)
    taken.write_bytes(b"something else stands there")
    result = scrub(archive, ledger, copy)
    assert [f.detail for f in result.corrupt if f.code == "CHANGED" and "instances" in f.path] == ["NOT_KEPT"]
    assert path.read_bytes() == damaged
