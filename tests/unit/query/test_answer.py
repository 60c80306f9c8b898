"""What is told of a series follows from all of its instances, wherever they were received."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.catalogue import Catalogue
from indexer.columns import OVERLAYS
from indexer.schema import study_hash
from indexer.table import Table
from vna.query import Level, ask, question

MOVED = "1.2.1.1.7"


def row(number: int, study: str, sop: str, description: str) -> dict[str, object]:
    made: dict[str, object] = {"path": f"p{number}", "size": 1, "sha256": f"{number:064x}", "SeriesDescription": description}
    return made | {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": sop, "Modality": "CT"}


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """A series of 1.2.2 that consists of an object received there, and of one that a correction moved there from 1.2.1."""
    Table.create(tmp_path / "instances").append(
        [row(1, "1.2.1", MOVED, "A"), row(2, "1.2.1", "1.2.1.1.8", "A"), row(3, "1.2.2", "1.2.2.1.9", "Z")], "w", 1
    )
    moved = row(1, "1.2.2", MOVED, "A") | {"revision": 1, "study_hash": study_hash("1.2.1")}
    Table.create(tmp_path / "overlays", OVERLAYS).append([moved], "r", 1)
    with Catalogue.open(tmp_path / "instances", overlays_url=tmp_path / "overlays") as opened:
        yield opened


@pytest.mark.parametrize(
    "keys", [{}, {"StudyInstanceUID": "1.2.2"}, {"SeriesInstanceUID": "1.2.2.1"}, {"SeriesDescription": "Z"}]
)
def test_an_instance_that_was_moved_is_told_with_the_values_of_the_series_it_is_in(
    catalogue: Catalogue, keys: dict[str, str]
) -> None:
    told = ["NumberOfSeriesRelatedInstances", "SeriesDescription", "NumberOfStudyRelatedInstances"]
    (found,) = ask(catalogue, question(Level.IMAGE, {"SOPInstanceUID": MOVED, **keys}, include=told))
    assert {name: found[name] for name in ("StudyInstanceUID", "SeriesInstanceUID", *told)} == {
        "StudyInstanceUID": "1.2.2",
        "SeriesInstanceUID": "1.2.2.1",
        "NumberOfSeriesRelatedInstances": 2,
        "SeriesDescription": "Z",
        "NumberOfStudyRelatedInstances": 2,
    }


def test_an_instance_is_not_found_by_a_value_that_its_series_does_not_have(catalogue: Catalogue) -> None:
    assert ask(catalogue, question(Level.IMAGE, {"SOPInstanceUID": MOVED, "SeriesDescription": "A"})) == []
    assert ask(catalogue, question(Level.IMAGE, {"SOPInstanceUID": "1.2.3.4"})) == []
