"""A catalogue tells every study as it is now, whatever the table of studies says, and finds the rows of a study by its hash."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.catalogue import Catalogue
from indexer.columns import OVERLAYS, to_arrow
from indexer.errors import IndexerError, UsageError
from indexer.maintenance import optimize
from indexer.schema import study_hash
from indexer.table import Table

COUNTS = (
    "SELECT StudyInstanceUID AS uid, NumberOfStudyRelatedSeries AS series, NumberOfStudyRelatedInstances AS instances, "
    "ModalitiesInStudy AS modalities, PatientName AS name, size FROM studies ORDER BY uid"
)


def row(number: int, study: str = "1.2.1", **values: object) -> dict[str, object]:
    made: dict[str, object] = {"path": f"p{number}", "size": 10, "sha256": f"{number:064x}", "StudyInstanceUID": study}
    made |= {"SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": f"{study}.1.{number}", "Modality": "CT", "PatientID": "P1"}
    return made | {"PatientName": "A^B"} | values


class Place:
    """Three tables in a folder, and what a catalogue says of them."""

    def __init__(self, folder: Path) -> None:
        self.urls = {
            "instances_url": folder / "instances",
            "overlays_url": folder / "overlays",
            "studies_url": folder / "studies",
        }
        self.instances = Table.create(folder / "instances")
        self.number = 0

    def add(self, *rows: dict[str, object]) -> None:
        self.number += 1
        self.instances.append(rows, "w", self.number)

    def revise(self, *rows: dict[str, object]) -> None:
        self.number += 1
        Table.create(self.urls["overlays_url"], OVERLAYS).append(rows, "r", self.number)

    def rewrite(self) -> int:
        with Catalogue.open(**self.urls) as catalogue:
            return catalogue.rewrite_studies()

    def studies(self) -> list[dict[str, Any]]:
        with Catalogue.open(**self.urls) as catalogue:
            return catalogue.query(COUNTS)

    def studies_without_table(self) -> list[dict[str, Any]]:
        with Catalogue.open(self.urls["instances_url"], overlays_url=self.urls["overlays_url"]) as catalogue:
            return catalogue.query(COUNTS)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def catalogue(place: Place) -> Iterator[Catalogue]:
    with Catalogue.open(**place.urls) as opened:
        yield opened


def test_a_study_is_rolled_up_from_its_instances(place: Place) -> None:
    place.add(row(1), row(2, Modality="SR", SeriesInstanceUID="1.2.1.2", PatientName="B^C"), row(3, "1.2.2", Modality=None))
    place.add(row(4, StudyInstanceUID=None), row(5, status="quarantined"), row(6, status="variant"))
    assert place.studies() == [
        {"uid": "1.2.1", "series": 2, "instances": 2, "modalities": "CT\\SR", "name": "B^C", "size": 20},
        {"uid": "1.2.2", "series": 1, "instances": 1, "modalities": None, "name": "A^B", "size": 10},
    ]


def test_an_index_without_rows_has_no_studies(place: Place) -> None:
    assert place.studies() == []
    assert place.rewrite() == 0
    assert place.studies() == []


def test_what_comes_after_the_table_of_studies_was_written_is_seen(place: Place) -> None:
    place.add(row(1), row(2, "1.2.2"))
    assert place.rewrite() == 2
    place.add(row(3), row(4, "1.2.3"))
    with Catalogue.open(**place.urls) as catalogue:
        assert catalogue.stale_studies == 2
    assert [(found["uid"], found["instances"]) for found in place.studies()] == [("1.2.1", 2), ("1.2.2", 1), ("1.2.3", 1)]
    assert place.rewrite() == 3
    with Catalogue.open(**place.urls) as catalogue:
        assert catalogue.stale_studies == 0


def test_rows_that_are_not_committed_are_seen_and_never_written(place: Place, catalogue: Catalogue) -> None:
    place.add(row(1))
    place.rewrite()
    catalogue.refresh(lambda _: to_arrow([row(2), row(3, "1.2.3")]))
    assert [found["instances"] for found in catalogue.query(COUNTS)] == [2, 1]
    with pytest.raises(UsageError):
        catalogue.rewrite_studies()
    catalogue.refresh()
    assert [found["instances"] for found in catalogue.query(COUNTS)] == [1]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_while_the_journal_is_read_shows_no_row_twice(place: Place, catalogue: Catalogue, moment: str) -> None:
    journal = [row(number) for number in range(20)]  # a row a segment

    def uncommitted(table: Table) -> Any:
        """Read what this state of the table lacks, and be overtaken by a commit each time."""
        if moment == "before":
            place.add(journal[place.number])
        rows = to_arrow(journal[table.transaction("w") or 0 :])
        if moment == "after":
            place.add(journal[place.number])
        return rows

    for _ in range(12):
        catalogue.refresh(uncommitted)
        assert [(found["instances"], found["size"]) for found in catalogue.query(COUNTS)] == [(20, 200)]
        assert len(catalogue.query(catalogue.instances([study_hash("1.2.1")]))) == 20


def test_studies_and_rows_are_of_one_state(place: Place, catalogue: Catalogue) -> None:
    place.add(row(1))

    def overtaken(_: Table) -> None:
        place.add(row(2), row(3, "1.2.3"))
        place.rewrite()

    catalogue.refresh(overtaken)
    assert [(found["uid"], found["size"]) for found in catalogue.query(COUNTS)] == [("1.2.1", 10)]
    assert len(catalogue.query(catalogue.instances(None))) == 1


@pytest.mark.parametrize("commits", [1, 3, 6])
def test_a_table_that_was_put_in_the_place_of_another_is_read(place: Place, catalogue: Catalogue, commits: int) -> None:
    """As by a rebuild on a local disk, whose commits are no continuation of those that were read."""
    for number in range(3):
        place.add(row(number))
    place.rewrite()
    place.revise(row(0, "1.2.9", revision=1, PatientName="Z^Z"))
    catalogue.refresh()
    folder, old = Path(place.urls["instances_url"]), Path(f"{place.urls['instances_url']}.replaced")
    fresh = Table.create(f"{folder}.fresh")
    for number in range(commits):
        fresh.append([row(number, "1.2.9")], "w", number)
    folder.rename(old)
    with pytest.raises(UsageError):
        catalogue.refresh()
    Path(fresh.url).rename(folder)
    shutil.rmtree(old)
    catalogue.refresh()
    assert [(found["uid"], found["instances"], found["name"]) for found in catalogue.query(COUNTS)] == [("1.2.9", commits, "Z^Z")]
    assert len(catalogue.query(catalogue.instances(None))) == commits


def test_a_state_that_cannot_be_read_is_an_error_and_the_next_refresh_makes_it_good(place: Place, catalogue: Catalogue) -> None:
    place.add(row(1))
    catalogue.refresh()
    place.add(row(2))
    (added,) = set(place.instances.files()) - set(catalogue._instances.files())
    away = Path(added).rename(f"{added}.away")
    for _ in range(2):
        with pytest.raises(IndexerError, match="cannot be read"):
            catalogue.refresh()
    away.rename(added)
    catalogue.refresh()
    assert [found["instances"] for found in catalogue.query(COUNTS)] == [2]


def test_an_optimised_table_makes_no_study_vanish(place: Place) -> None:
    for number in range(4):
        place.add(row(number, f"1.2.{number}"))
    place.rewrite()
    place.add(row(9, "1.2.0"))
    optimize(place.urls["instances_url"])
    assert [found["instances"] for found in place.studies()] == [2, 1, 1, 1]


def test_a_table_that_was_replaced_is_not_answered_from_the_old_studies(place: Place) -> None:
    place.add(row(1), row(2, "1.2.2"))
    place.rewrite()
    place.instances.overwrite(to_arrow([row(3, "1.2.3")]))
    assert [found["uid"] for found in place.studies()] == ["1.2.3"]


def test_a_correction_of_a_value_is_seen(place: Place) -> None:
    place.add(row(1), row(2))
    place.rewrite()
    place.revise(row(1, revision=1, PatientName="Z^Z"), row(2, revision=1, PatientName="Z^Z"))
    assert [found["name"] for found in place.studies()] == ["Z^Z"]
    place.rewrite()
    assert [found["name"] for found in place.studies()] == ["Z^Z"]


def test_instances_that_a_correction_moved_are_counted_where_they_are_now(place: Place) -> None:
    place.add(row(1), row(2), row(3, "1.2.2", SOPInstanceUID="1.2.1.1.1", SeriesInstanceUID="1.2.1.1"))
    place.rewrite()
    moved = row(1, "1.2.2", revision=1, SOPInstanceUID="1.2.1.1.1", SeriesInstanceUID="1.2.1.1")
    place.revise(moved | {"study_hash": study_hash("1.2.1")})
    expected = [("1.2.1", 1, 1), ("1.2.2", 1, 1)]  # series and instance of 1.2.2 come under one UID from two studies received
    assert [(found["uid"], found["series"], found["instances"]) for found in place.studies()] == expected
    place.rewrite()
    assert [(found["uid"], found["series"], found["instances"]) for found in place.studies()] == expected


def test_rows_are_found_by_the_hash_of_the_study_received(place: Place) -> None:
    place.add(row(1), row(2, "1.2.2"))
    place.revise(row(1, "1.2.9", revision=1, study_hash=study_hash("1.2.1")))
    with Catalogue.open(**place.urls) as catalogue:
        assert catalogue.hashes_holding("StudyInstanceUID", ["1.2.9"]) == [study_hash("1.2.1")]
        found = catalogue.query(catalogue.instances([study_hash("1.2.1")]))
        assert [(each["path"], each["StudyInstanceUID"]) for each in found] == [("p1", "1.2.9")]
        assert catalogue.query(catalogue.instances([])) == []
        many = [study_hash(f"1.2.{number}") for number in range(500)]
        assert len(catalogue.query(catalogue.instances(many))) == 2
        assert len(catalogue.query(catalogue.instances(None))) == 2


def test_only_files_that_can_hold_a_hash_are_opened(place: Place) -> None:
    uids = sorted((f"1.2.{number}" for number in range(40)), key=study_hash)
    place.add(*(row(number, uid) for number, uid in enumerate(uids[:20])))
    place.add(*(row(number, uid) for number, uid in enumerate(uids[20:])))
    with Catalogue.open(**place.urls) as catalogue:
        assert catalogue.instances([study_hash(uids[3])]).count(".parquet") == 1
        assert catalogue.instances([study_hash(uids[3]), study_hash(uids[33])]).count(".parquet") == 2


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happened_the_studies_are_those_of_the_rows(place: Place, seed: int) -> None:
    rng = random.Random(seed)
    received: list[dict[str, object]] = []
    for step in range(12):
        match rng.randrange(4):
            case 0:
                place.rewrite()
            case 1 if received:
                chosen = rng.choice(received)
                uid = f"1.2.{rng.randrange(4)}"
                hashed = study_hash(str(chosen["StudyInstanceUID"]))
                place.revise(chosen | {"revision": step + 1, "StudyInstanceUID": uid, "study_hash": hashed})
            case 2:
                optimize(place.urls["instances_url"])
            case _:
                made = [row(100 * step + number, f"1.2.{rng.randrange(4)}") for number in range(rng.randrange(1, 5))]
                received += made
                place.add(*made)
        assert place.studies() == place.studies_without_table()
