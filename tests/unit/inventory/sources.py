"""Sources made of a list of studies, which answer C-FIND windows and can cut answers off, refuse them or ignore keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vna.inventory.survey import Answer
from vna.inventory.windows import Window


def study(number: int, day: str = "", time: str = "", patient: str = "", modality: str = "CT") -> dict[str, str]:
    """Make one STUDY-level record."""
    return {
        "StudyInstanceUID": f"1.2.{number}",
        "StudyDate": day,
        "StudyTime": time,
        "PatientID": patient,
        "ModalitiesInStudy": modality,
    }


@dataclass
class FakeSource:
    """Answers windows from ``studies``, newest first; ``cap`` is cut off silently, ``limit`` is refused."""

    studies: Iterable[Mapping[str, str]]
    cap: int = 10**9
    limit: int = 10**9
    ignores: tuple[str, ...] = ()
    empty_for: tuple[str, ...] = ()
    refuses_everything: bool = False
    asked: list[Window] = field(default_factory=list)

    def __call__(self, window: Window) -> Answer:
        self.asked.append(window)
        keys = {keyword: value for keyword, value in window.keys().items() if keyword not in self.ignores}
        if any(keyword in self.empty_for for keyword in keys):
            return Answer(())
        found = sorted((one for one in self.studies if _matches(one, keys)), key=lambda one: one["StudyDate"], reverse=True)
        if self.refuses_everything or len(found) > self.limit:
            return Answer((), "0xA700")
        return Answer(tuple(found[: self.cap]))


def _matches(record: Mapping[str, str], keys: Mapping[str, str]) -> bool:
    return all(_matches_key(record[keyword], value) for keyword, value in keys.items())


def _matches_key(value: str, key: str) -> bool:
    if "-" in key and key.replace("-", "").replace(".", "").isdigit():
        low, _, high = key.partition("-")
        return value != "" and (low or value) <= value <= (high or value)
    if key.endswith("*"):
        return value != "" and value.startswith(key[:-1])
    return key in value.split("\\")
