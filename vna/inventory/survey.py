"""The survey: find every study of a source that may hide some, and say what could not be proved.

A source may refuse a large answer, or cut it off silently and report Success. An answer that is smaller than the largest one seen
cannot have been cut off by a constant cap; only refusals and answers as large as the largest are doubted. What is doubted is cut
into parts and asked again, and the union of the parts is compared with the whole, until everything agrees or nothing is left to
cut. A study without the attribute that a cut goes by is in none of its parts, so a cut that does not cover its window needs a
second, independent one beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from vna.errors import QueryTruncatedError
from vna.inventory.windows import EVERYTHING, Partition, Window, dated_windows, partitions

REFUSALS_IN_A_ROW = 100
EXTRA_QUERIES = 50_000
PLAUSIBLE_CAP = 100
"""No real source answers fewer studies than this and hides the rest, unless it was caught doing so."""

CAPPED = "CAPPED"
PARTS_AGREE = "PARTS_AGREE"
BELOW_LARGEST = "BELOW_LARGEST"
_LISTED_DUPLICATES = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a source answered to one window: its records, and the code of the refusal where it did not end with Success."""

    records: tuple[Mapping[str, str], ...]
    refusal: str = ""


Ask = Callable[[Window], Answer]


@dataclass(slots=True)
class Asked:
    """One window that was asked for; ``strangers`` are answers that its keys do not match.

    ``state`` is ``whole``, ``split`` (not believed) or ``unproved``; ``reason`` says why.
    """

    ordinal: int
    parent: int
    window: Window
    answers: int
    uids: frozenset[str]
    strangers: int
    refusal: str
    digest: str
    state: str = "whole"
    reason: str = BELOW_LARGEST


@dataclass(slots=True)
class Survey:
    """Everything that was found, and how. ``unproved`` says in words what may be hidden still; empty means complete."""

    studies: dict[str, Mapping[str, str]] = field(default_factory=dict)
    windows: list[Asked] = field(default_factory=list)
    duplicates: int = 0
    duplicated: dict[str, int] = field(default_factory=dict)
    nameless: int = 0
    largest: int = 0
    unproved: list[str] = field(default_factory=list)

    @property
    def truncated(self) -> int:
        """How many answers were refused or proved to be cut off."""
        return sum(asked.state == "split" for asked in self.windows)


def survey(
    ask: Ask, today: date, *, extra_queries: int = EXTRA_QUERIES, on_answer: Callable[[Survey], None] | None = None
) -> Survey:
    """Find every study. ``extra_queries`` bounds those that cut by patient or modality; ``on_answer`` is told after each query.

    Raises what ``ask`` raises, and QueryTruncatedError when the source refuses whatever it is asked.
    """
    surveyor = _Surveyor(ask, extra_queries, on_answer or (lambda _found: None))
    surveyor.run(today)
    return surveyor.found


class _Surveyor:
    def __init__(self, ask: Ask, extra_queries: int, on_answer: Callable[[Survey], None]) -> None:
        self.found = Survey()
        self._ask = ask
        self._extra_queries = extra_queries
        self._on_answer = on_answer
        self._refusals = 0
        self._has_cap = False
        self._is_final = False
        self._waiting: list[Asked] = []

    def run(self, today: date) -> None:
        everything = self._query(EVERYTHING, -1)
        dated = [self._query(window, everything.ordinal) for window in dated_windows(today)]
        by_date = Partition("date", "StudyDate", tuple(asked.window for asked in dated), covers=False)
        if any(self._is_doubtful(asked) for asked in (everything, *dated)):
            self._settle(everything, {by_date: dated})
        self._settle_waiting()
        if self.found.nameless:
            self.found.unproved.append(f"{self.found.nameless} answers that have no StudyInstanceUID")

    def _query(self, window: Window, parent: int) -> Asked:
        answer = self._ask(window)
        self._count_refusals(answer)
        found = self.found
        uids: dict[str, None] = {}
        strangers = 0
        for record in answer.records:
            uid = record.get("StudyInstanceUID", "")
            if not uid:
                found.nameless += 1
                continue
            if uid in uids:
                found.duplicates += 1
                if uid in found.duplicated or len(found.duplicated) < _LISTED_DUPLICATES:
                    found.duplicated[uid] = found.duplicated.get(uid, 1) + 1
            uids[uid] = None
            found.studies.setdefault(uid, record)
            strangers += not window.admits(record)
        found.largest = max(found.largest, len(answer.records))
        asked = Asked(
            len(found.windows), parent, window, len(answer.records), frozenset(uids), strangers, answer.refusal, set_digest(uids)
        )
        found.windows.append(asked)
        self._on_answer(found)
        return asked

    def _count_refusals(self, answer: Answer) -> None:
        self._refusals = self._refusals + 1 if answer.refusal and not answer.records else 0
        if self._refusals >= REFUSALS_IN_A_ROW:
            raise QueryTruncatedError(
                f"the source refused {self._refusals} queries in a row, the last with {answer.refusal}",
                hint="try again when it is less busy, or ask its administrator what limits queries",
            )

    def _is_doubtful(self, asked: Asked) -> bool:
        return bool(asked.refusal) or (asked.answers > 0 and asked.answers >= self.found.largest)

    def _resolve(self, asked: Asked) -> tuple[bool, frozenset[str]]:
        """Settle one window; return whether it is known to be whole, and everything found in it."""
        if not self._is_doubtful(asked):
            return True, asked.uids
        if self._is_small(asked) and self._is_one_patient(asked):
            self._waiting.append(asked)
            return True, asked.uids
        return self._settle(asked, {})

    def _is_small(self, asked: Asked) -> bool:
        """Say whether a window is believed sooner, until this source is seen to cut off answers."""
        return not (asked.refusal or self._has_cap or self._is_final) and asked.answers < PLAUSIBLE_CAP

    def _is_one_patient(self, asked: Asked) -> bool:
        """Say whether cutting further would go letter by letter along one PatientID."""
        is_narrow = bool(asked.window.prefix) or (asked.window.is_one_day and not asked.window.time_halves())
        return is_narrow and len({self.found.studies[uid].get("PatientID", "") for uid in asked.uids}) == 1

    def _settle_waiting(self) -> None:
        """Doubt what was believed for being small, if the source has a cap after all, and what could not be cut."""
        self._is_final = True
        while self._waiting:
            asked = self._waiting.pop()
            if self._is_doubtful(asked) and (self._has_cap or asked.answers >= PLAUSIBLE_CAP):
                self._settle(asked, {})

    def _settle(self, asked: Asked, known: Mapping[Partition, list[Asked]]) -> tuple[bool, frozenset[str]]:
        """Cut a doubtful window in one way after the other until enough of them agree. ``known`` are cuts asked for before."""
        found = asked.uids
        trusted: list[Partition] = []
        tried: set[str] = set()
        has_gap = False
        while not self._is_enough(asked, trusted) and (not has_gap or asked.window == EVERYTHING):
            partition = self._next_partition(asked, known, tried, found)
            if partition is None:
                break
            tried.add(partition.name)
            children = known.get(partition) or [self._query(part, asked.ordinal) for part in partition.parts]
            if any(child.strangers > child.answers / 2 for child in children):  # the source ignores this key
                continue
            told = len(self.found.unproved)
            resolved = [self._resolve(child) for child in children]
            union = frozenset().union(*(uids for _, uids in resolved))
            found |= union
            if not self._reproduces(partition, union, found):
                continue
            if all(is_whole for is_whole, _ in resolved):
                trusted.append(partition)
            has_gap = has_gap or len(self.found.unproved) > told  # in a part that was cut as far as it can be: that part tells
        return self._judge(asked, found, trusted, has_gap), found

    def _next_partition(
        self, asked: Asked, known: Mapping[Partition, list[Asked]], tried: set[str], found: Iterable[str]
    ) -> Partition | None:
        for partition in known:
            if partition.name not in tried:
                return partition
        records = [self.found.studies[uid] for uid in found]
        patient_ids = {record.get("PatientID", "") for record in records}
        modalities = {one for record in records for one in record.get("ModalitiesInStudy", "").split("\\") if one}
        for partition in partitions(asked.window, patient_ids, modalities):
            if partition.name not in tried and self._can_afford(partition):
                return partition
        return None

    def _can_afford(self, partition: Partition) -> bool:
        if partition.attribute in ("StudyDate", "StudyTime"):
            return True
        if self._extra_queries < len(partition.parts):
            return False
        self._extra_queries -= len(partition.parts)
        return True

    def _reproduces(self, partition: Partition, union: frozenset[str], found: Iterable[str]) -> bool:
        """Say whether the parts hold every known study of the window that has the attribute: evidence that the key works."""
        having = {uid for uid in found if self.found.studies[uid].get(partition.attribute, "").strip()}
        if partition.attribute == "StudyDate":
            return having <= union
        return bool(having) and having <= union

    def _is_enough(self, asked: Asked, trusted: list[Partition]) -> bool:
        return _suffices(trusted) or (bool(trusted) and asked.window != EVERYTHING and self._is_small(asked))

    def _judge(self, asked: Asked, found: frozenset[str], trusted: list[Partition], has_gap: bool) -> bool:
        is_truncated = bool(asked.refusal) or bool(found - asked.uids)
        if is_truncated:
            asked.state, asked.reason = "split", asked.refusal or CAPPED
            self._has_cap = self._has_cap or not asked.refusal
        else:
            asked.reason = PARTS_AGREE
        if _suffices(trusted):
            return True
        if asked.window.modality:
            return False  # only a second opinion on what is cut otherwise too
        if not has_gap and not is_truncated and (self._is_enough(asked, trusted) or (not trusted and not self._is_final)):
            self._waiting.append(asked)
            return True
        return not has_gap and self._is_believed(asked, trusted, is_truncated=is_truncated)

    def _is_believed(self, asked: Asked, trusted: list[Partition], *, is_truncated: bool) -> bool:
        """Say whether a window that one cut agrees on, or none, is believed all the same; if not, write down what may hide."""
        if trusted:
            attribute = trusted[0].attribute
            if not is_truncated or (attribute != "StudyDate" and self._always_has(attribute)):
                return True
            self.found.unproved.append(f"studies without {attribute} in the window {asked.window.text()}")
        else:
            asked.state, asked.reason = ("split", asked.reason) if is_truncated else ("unproved", CAPPED)
            self.found.unproved.append(f"studies in the window {asked.window.text()} beyond the {asked.answers} that it answered")
        return False

    def _always_has(self, attribute: str) -> bool:
        """Say whether no study of this source was ever seen without the attribute. A missing StudyDate hides from all but one."""
        return all(record.get(attribute, "").strip() for record in self.found.studies.values())


def _suffices(trusted: list[Partition]) -> bool:
    """Say whether these cuts leave nothing out: one that covers its window, or two that go by different attributes."""
    return len(trusted) > 1 or any(partition.covers for partition in trusted)


def set_digest(uids: Iterable[str]) -> str:
    """Digest a set of UIDs: SHA-256 of the sorted UIDs, a line each."""
    return hashlib.sha256("".join(f"{uid}\n" for uid in sorted(uids)).encode()).hexdigest()
