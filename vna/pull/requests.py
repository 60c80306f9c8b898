"""What to ask a source for next, by what has come so far: the whole study first, single instances last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vna.ledger import ExpectedInstance

UIDS_A_REQUEST = 50
"""How many instances one IMAGE level request names (UID list matching, PS3.4 C.2.2.2.2)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One retrieve: a study, one of its series, or some instances of a series."""

    study_instance_uid: str
    series_instance_uid: str = ""
    sop_instance_uids: tuple[str, ...] = ()

    def keys(self) -> dict[str, str]:
        """Give the unique keys of the identifier, which may hold no other keys (PS3.4 C.4.2.1.4)."""
        keys = {
            "StudyInstanceUID": self.study_instance_uid,
            "SeriesInstanceUID": self.series_instance_uid,
            "SOPInstanceUID": "\\".join(self.sop_instance_uids),
        }
        return {keyword: value for keyword, value in keys.items() if value}

    def names(self, instance: ExpectedInstance) -> bool:
        """Say whether an instance is among what the request asks for."""
        if self.study_instance_uid != instance.study_instance_uid:
            return False
        if self.series_instance_uid and self.series_instance_uid != instance.series_instance_uid:
            return False
        return not self.sop_instance_uids or instance.sop_instance_uid in self.sop_instance_uids


def ladder(
    study: Sequence[ExpectedInstance], outstanding: Sequence[ExpectedInstance], made: set[Request], *, knows_images: bool = False
) -> list[Request]:
    """Say what to request next of one study; nothing once everything sensible was requested in vain.

    What is durable is not asked for again: a study that has begun to arrive is completed by series of which nothing is there, and
    by single instances. Only where a source is not seen to know the IMAGE level (``knows_images``) is a series that has begun to
    arrive asked for as a whole, at the end.
    """
    rungs = [_whole_study, _untouched, _in_lists, _one_by_one]
    for rung in rungs if knows_images else [*rungs, _whole_series]:
        requests = [request for request in rung(study, outstanding) if request not in made]
        if requests:
            return requests
    return []


def _whole_study(study: Sequence[ExpectedInstance], outstanding: Sequence[ExpectedInstance]) -> Iterator[Request]:
    if len(outstanding) == len(study):
        yield Request(study[0].study_instance_uid)


def _untouched(study: Sequence[ExpectedInstance], outstanding: Sequence[ExpectedInstance]) -> Iterator[Request]:
    """Ask for series of which nothing is there, and for what is missing of the others."""
    wanted = _by_series(outstanding)
    sizes = {uid: len(instances) for uid, instances in _by_series(study).items()}
    for uid, instances in wanted.items():
        if len(instances) == sizes[uid]:
            yield Request(instances[0].study_instance_uid, uid)
        else:
            yield from _lists(instances, UIDS_A_REQUEST)


def _in_lists(study: Sequence[ExpectedInstance], outstanding: Sequence[ExpectedInstance]) -> Iterator[Request]:
    for instances in _by_series(outstanding).values():
        yield from _lists(instances, UIDS_A_REQUEST)


def _one_by_one(study: Sequence[ExpectedInstance], outstanding: Sequence[ExpectedInstance]) -> Iterator[Request]:
    for instances in _by_series(outstanding).values():
        yield from _lists(instances, 1)


def _whole_series(study: Sequence[ExpectedInstance], outstanding: Sequence[ExpectedInstance]) -> Iterator[Request]:
    for uid, instances in _by_series(outstanding).items():
        yield Request(instances[0].study_instance_uid, uid)


def _lists(instances: Sequence[ExpectedInstance], size: int) -> Iterator[Request]:
    uids = sorted({instance.sop_instance_uid for instance in instances})
    first = instances[0]
    for start in range(0, len(uids), size):
        yield Request(first.study_instance_uid, first.series_instance_uid, tuple(uids[start : start + size]))


def _by_series(instances: Iterable[ExpectedInstance]) -> Mapping[str, list[ExpectedInstance]]:
    series: dict[str, list[ExpectedInstance]] = {}
    for instance in instances:
        series.setdefault(instance.series_instance_uid, []).append(instance)
    return series
