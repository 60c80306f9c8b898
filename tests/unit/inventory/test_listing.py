"""No instance of a study is hidden by a capped answer without being found or named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from vna.inventory.listing import Lister, unlisted
from vna.inventory.survey import Answer


class FakeStudy:
    """One study whose series hold instances numbered as given; answers SERIES and IMAGE queries."""

    def __init__(
        self,
        series: Mapping[str, list[str]],
        *,
        cap: int = 10**9,
        counts: bool = False,
        by_number: bool = True,
        refuses: bool = False,
    ) -> None:
        self._series = series
        self._cap = cap
        self._counts = counts
        self._by_number = by_number
        self._refuses = refuses
        self.asked = 0
        self.shows_nothing = False

    def series(self, _study: str, keys: Mapping[str, str]) -> Answer:
        records = [
            {
                "SeriesInstanceUID": uid,
                "Modality": "CT",
                "SeriesNumber": str(n),
                "NumberOfSeriesRelatedInstances": str(len(numbers)) if self._counts else "",
            }
            for n, (uid, numbers) in enumerate(self._series.items(), 1)
        ]
        return self._answer(records, "SeriesNumber", keys)

    def images(self, _study: str, series: str, keys: Mapping[str, str]) -> Answer:
        records = [
            {"SOPInstanceUID": f"{series}.{n}", "SOPClassUID": "1.2.3", "InstanceNumber": number}
            for n, number in enumerate(self._series[series])
        ]
        return self._answer(records, "InstanceNumber", keys)

    def _answer(self, records: list[dict[str, str]], number: str, keys: Mapping[str, str]) -> Answer:
        self.asked += 1
        if self._by_number and number in keys:
            records = [record for record in records if record[number] == keys[number]]
        if self._refuses and len(records) > self._cap:
            return Answer(() if self.shows_nothing else tuple(records[: self._cap]), "0xA700")
        return Answer(tuple(records[: self._cap]))

    def lister(self) -> Lister:
        return Lister(self.series, self.images)


def numbered(*counts: int) -> dict[str, list[str]]:
    return {f"1.{s}": [str(n) for n in range(1, count + 1)] for s, count in enumerate(counts, 1)}


def test_a_study_is_listed_with_its_series_and_instances() -> None:
    listing = FakeStudy(numbered(3, 2)).lister().list_study("1")
    assert [series.series_instance_uid for series in listing.series] == ["1.1", "1.2"]
    assert len(listing.instances) == 5
    assert listing.instances[0].sop_class_uid == "1.2.3"


def test_only_the_largest_answers_are_doubtful_and_a_count_that_agrees_settles_them() -> None:
    lister = FakeStudy(numbered(3, 2)).lister()
    lister.list_study("1", "2")
    assert lister.doubtful() == {"1"}
    lister = FakeStudy(numbered(3, 2), counts=True).lister()
    lister.list_study("1", "2")
    assert lister.doubtful() == set()


def test_probing_unlisted_numbers_proves_an_uncapped_series() -> None:
    study = FakeStudy(numbered(30))
    lister = study.lister()
    lister.list_study("1")
    asked = study.asked
    assert lister.list_study("1", prove=True).unproved == ()
    assert study.asked - asked < 20
    assert lister.truncated == 0


@pytest.mark.parametrize("refuses", [False, True])
def test_a_capped_series_is_completed_number_by_number(refuses: bool) -> None:
    lister = FakeStudy(numbered(130), cap=50, refuses=refuses).lister()
    lister.list_study("1")
    listing = lister.list_study("1", prove=True)
    assert len(listing.instances) == 130
    assert listing.unproved == ()
    assert lister.truncated > 0


def test_capped_series_of_a_study_are_completed_too() -> None:
    lister = FakeStudy(numbered(*[2] * 30), cap=10).lister()
    lister.list_study("1")
    listing = lister.list_study("1", prove=True)
    assert len(listing.series) == 30
    assert len(listing.instances) == 60


def test_a_capped_series_without_numbers_is_named_once_the_cap_is_known() -> None:
    series = numbered(130) | {"1.9": [""] * 120}
    lister = FakeStudy(series, cap=50).lister()
    lister.list_study("1")
    assert lister.list_study("1", prove=True).unproved == ("what is in series 1.9 beyond the 50 that the source answered",)


def test_a_large_series_that_cannot_be_proved_is_named_and_a_small_one_is_believed() -> None:
    for count, expected in ((20, 0), (200, 1)):
        lister = FakeStudy(numbered(count), by_number=False).lister()
        lister.list_study("1")
        assert len(lister.list_study("1", prove=True).unproved) == expected


def test_a_series_whose_listing_is_refused_with_nothing_is_asked_for_number_by_number() -> None:
    study = FakeStudy(numbered(30), cap=5, refuses=True)
    study.shows_nothing = True
    listing = study.lister().list_study("1")
    assert len(listing.instances) == 30
    assert listing.unproved == ()


def test_a_refusal_that_cannot_be_mended_is_named() -> None:
    lister = FakeStudy({"1.1": [""] * 20}, cap=5, refuses=True).lister()
    assert lister.list_study("1").unproved == ("what is in series 1.1: the source answered 0xA700",)


def test_probes_lie_at_the_ends_and_in_the_gaps() -> None:
    assert unlisted({1, 2, 3}) == [0, 4, 5]
    assert unlisted({5, 7}) == [4, 8, 9, 0, 1, 6]
    assert len(unlisted({1, 10_000})) < 25
