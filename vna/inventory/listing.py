"""Listings: the series and instances of one study, and the proof that no answer was cut off.

As with studies, only an answer as large as the largest of its level can have been cut off silently. It is believed where the
source's own count agrees, or where questions for the numbers that were not listed (InstanceNumber, SeriesNumber) find nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from vna.inventory.survey import PLAUSIBLE_CAP, Answer, set_digest
from vna.ledger import ListedSeries
from vna.model import InstanceRef

PROBES = 8
EMPTY_IN_A_ROW = 50
LONGEST_ENUMERATION = 20_000
_SERIES, _IMAGE = "SERIES", "IMAGE"

AskSeries = Callable[[str, Mapping[str, str]], Answer]
AskImages = Callable[[str, str, Mapping[str, str]], Answer]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source lists of one study. ``unproved`` says in words what may be hidden."""

    study_instance_uid: str
    series: tuple[ListedSeries, ...]
    instances: tuple[InstanceRef, ...]
    unproved: tuple[str, ...] = ()

    def digest(self) -> str:
        """Digest the UIDs of the series and instances."""
        uids = [one.series_instance_uid for one in self.series]
        uids += [f"{one.series_instance_uid} {one.sop_instance_uid}" for one in self.instances]
        return set_digest(uids)


@dataclass(slots=True)
class _Level:
    """What is known about the answers of one level: the largest, who gave one as large, and whether any was cut off."""

    largest: int = 0
    doubtful: set[str] = field(default_factory=set)
    has_cap: bool = False

    def note(self, answers: int, study_instance_uid: str, *, is_agreed: bool) -> None:
        if answers > self.largest:
            self.largest, self.doubtful = answers, set()
        if answers and answers == self.largest and not is_agreed:
            self.doubtful.add(study_instance_uid)


@dataclass(frozen=True, slots=True)
class _Question:
    """What is below one study or series. ``count`` is how many the source said there are, in its own words."""

    level: str
    study_instance_uid: str
    where: str
    ask: Callable[[Mapping[str, str]], Answer]
    count: str

    @property
    def key(self) -> str:
        return "SeriesInstanceUID" if self.level == _SERIES else "SOPInstanceUID"

    @property
    def number(self) -> str:
        return "SeriesNumber" if self.level == _SERIES else "InstanceNumber"


class Lister:
    """Lists studies one by one; thread-safe. When all are listed, :meth:`doubtful` names those to list again with ``prove``."""

    def __init__(self, ask_series: AskSeries, ask_images: AskImages) -> None:
        self._ask_series = ask_series
        self._ask_images = ask_images
        self._levels = {_SERIES: _Level(), _IMAGE: _Level()}
        self._lock = threading.Lock()
        self.duplicates = 0
        self.truncated = 0

    def list_study(self, study_instance_uid: str, series_count: str = "", *, prove: bool = False) -> Listing:
        """List a study; with ``prove``, doubt the answers that are as large as the largest of their level.

        ``series_count`` is NumberOfStudyRelatedSeries, as the source gave it.
        """
        uid = study_instance_uid
        unproved: list[str] = []
        question = _Question(_SERIES, uid, f"study {uid}", lambda keys: self._ask_series(uid, keys), series_count)
        series, instances = [], []
        for series_uid, record in self._whole(question, unproved, prove).items():
            series.append(ListedSeries(series_uid, record.get("Modality", ""), record.get("SeriesNumber", "")))
            images = self._whole(self._image_question(uid, series_uid, record), unproved, prove)
            instances += [
                InstanceRef(uid, series_uid, sop_uid, found.get("SOPClassUID", "")) for sop_uid, found in images.items()
            ]
        return Listing(uid, tuple(series), tuple(instances), tuple(unproved))

    def doubtful(self) -> set[str]:
        """Name the studies with an answer as large as the largest of its level, which the source's own count does not confirm."""
        with self._lock:
            return set().union(*(level.doubtful for level in self._levels.values()))

    def _image_question(self, study_instance_uid: str, series_instance_uid: str, record: Mapping[str, str]) -> _Question:
        return _Question(
            _IMAGE,
            study_instance_uid,
            f"series {series_instance_uid}",
            lambda keys: self._ask_images(study_instance_uid, series_instance_uid, keys),
            record.get("NumberOfSeriesRelatedInstances", ""),
        )

    def _whole(self, question: _Question, unproved: list[str], prove: bool) -> dict[str, Mapping[str, str]]:
        """Ask a question and return the answers by UID; doubt a refusal always, a large answer when told to."""
        answer = question.ask({})
        found = self._by_uid(answer.records, question.key)
        level = self._levels[question.level]
        is_agreed = question.count.strip() == str(len(found))
        with self._lock:
            level.note(len(answer.records), question.study_instance_uid, is_agreed=is_agreed)
            is_large = bool(answer.records) and len(answer.records) >= level.largest and not is_agreed
        if answer.refusal:
            self._note_cap(level)
            if not self._enumerate(question, found):
                unproved.append(f"what is in {question.where}: the source answered {answer.refusal}")
        elif prove and is_large:
            before = len(found)
            is_proved = self._enumerate(question, found)
            if len(found) > before:
                self._note_cap(level)
            if not is_proved and (level.has_cap or len(answer.records) >= PLAUSIBLE_CAP):
                unproved.append(f"what is in {question.where} beyond the {len(answer.records)} that the source answered")
        return found

    def _note_cap(self, level: _Level) -> None:
        with self._lock:
            level.has_cap = True
            self.truncated += 1

    def _by_uid(self, records: Iterable[Mapping[str, str]], key: str) -> dict[str, Mapping[str, str]]:
        found: dict[str, Mapping[str, str]] = {}
        repeated = 0
        for record in records:
            uid = record.get(key, "")
            repeated += uid in found
            if uid:
                found.setdefault(uid, record)
        with self._lock:
            self.duplicates += repeated
        return found

    def _enumerate(self, question: _Question, found: dict[str, Mapping[str, str]]) -> bool:
        """Ask for numbers that were not listed, and for every number where one of them exists; add to ``found``.

        Returns whether that proves that nothing is left: the source must be seen to match by number, and every record to have
        one.
        """
        if not found:
            return self._ask_all_numbers(question, found) and bool(found)
        numbers = {_number(record.get(question.number, "")) for record in found.values()}
        if None in numbers or not self._matches_number(question, found):
            return False
        known = {one for one in numbers if one is not None}
        if not any(self._ask_number(question, found, probe) for probe in unlisted(known)):
            return True
        return self._ask_all_numbers(question, found)

    def _ask_all_numbers(self, question: _Question, found: dict[str, Mapping[str, str]]) -> bool:
        """Ask for every number from 0 until none is found for long; return whether that came to its end."""
        empty, current = 0, 0
        while empty < EMPTY_IN_A_ROW or current <= self._highest(question, found):
            answer = self._ask_number(question, found, current)
            if answer is None or current > LONGEST_ENUMERATION:
                return False
            empty = 0 if answer else empty + 1
            current += 1
        return True

    def _highest(self, question: _Question, found: Mapping[str, Mapping[str, str]]) -> int:
        return max((_number(record.get(question.number, "")) or 0 for record in found.values()), default=0)

    def _matches_number(self, question: _Question, found: Mapping[str, Mapping[str, str]]) -> bool:
        """Say whether the source answers exactly those of a known number when it is asked for that number."""
        value = next(iter(found.values())).get(question.number, "")
        answer = question.ask({question.number: value})
        have = {uid for uid, record in found.items() if _number(record.get(question.number, "")) == _number(value)}
        got = {record.get(question.key, "") for record in answer.records}
        is_filtered = all(_number(record.get(question.number, "")) == _number(value) for record in answer.records)
        return not answer.refusal and is_filtered and have <= got

    def _ask_number(self, question: _Question, found: dict[str, Mapping[str, str]], value: int) -> bool | None:
        """Ask for one number, add what comes, and say whether anything came; None where that was refused as well."""
        answer = question.ask({question.number: str(value)})
        for uid, record in self._by_uid(answer.records, question.key).items():
            found.setdefault(uid, record)
        return None if answer.refusal else bool(answer.records)


def unlisted(numbers: set[int]) -> list[int]:
    """Choose numbers that were not listed: around both ends and in the gaps between, at most a few."""
    low, high = min(numbers), max(numbers)
    around = [number for number in (low - 1, high + 1, high + 2, 0, 1) if number >= 0 and number not in numbers]
    gaps = [number for number in range(low, min(high, low + LONGEST_ENUMERATION)) if number not in numbers]
    chosen = gaps if len(gaps) <= 2 * PROBES else gaps[:PROBES] + gaps[-PROBES:]
    return list(dict.fromkeys([*around, *chosen]))


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
