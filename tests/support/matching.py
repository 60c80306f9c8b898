"""The matching of PS3.4 C.2.2.2 over rows in memory, written to be plainly right and not to be quick."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

LEVELS: dict[str, list[str]] = {
    "PATIENT": ["PatientID", "IssuerOfPatientID"],
    "STUDY": ["StudyInstanceUID"],
    "SERIES": ["StudyInstanceUID", "SeriesInstanceUID"],
    "IMAGE": ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"],
}
ATTRIBUTES = {
    "PATIENT": ["PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"],
    "STUDY": ["StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription"],
    "SERIES": ["SeriesInstanceUID", "SeriesNumber", "Modality", "SeriesDescription", "BodyPartExamined"],
    "IMAGE": ["SOPInstanceUID", "SOPClassUID", "InstanceNumber", "ImageType"],
}
NAMES, DATES, TIMES, NUMBERS = (
    {"PatientName"},
    {"PatientBirthDate", "StudyDate"},
    {"StudyTime"},
    {"SeriesNumber", "InstanceNumber"},
)
MULTIPLE = {"ImageType", "ModalitiesInStudy"}


def answers(rows: Iterable[Row], level: str, keys: Mapping[str, str], *, combined: bool = False) -> set[tuple[Any, ...]]:
    """Give what identifies the entities of a level that meet all keys; a patient does if one of their studies does."""
    served = [row for row in rows if row["status"] not in ("quarantined", "variant") and row["StudyInstanceUID"]]
    entities = {
        name: _greatest(served, LEVELS[name], [*LEVELS[name], *ATTRIBUTES[name]]) for name in ("STUDY", "SERIES", "IMAGE")
    }
    patients = _greatest(served, LEVELS["STUDY"], ATTRIBUTES["PATIENT"])
    modalities = {
        study: "\\".join(sorted({row["Modality"] for row in served if row["StudyInstanceUID"] == study[0] and row["Modality"]}))
        for study in entities["STUDY"]
    }
    found = set()
    for row in served:
        if not all(row[uid] for uid in LEVELS[level] if uid.endswith("UID")):
            continue
        whole: dict[str, Any] = {}
        for name in ("IMAGE", "SERIES", "STUDY"):
            whole |= entities[name].get(tuple(row[key] for key in LEVELS[name]), {})
        study = (row["StudyInstanceUID"],)
        whole |= patients[study] | {"ModalitiesInStudy": modalities[study] or None}
        if _meets(whole, keys, combined):
            found.add(tuple(whole[key] for key in LEVELS[level]))
    return found


def _greatest(rows: Sequence[Row], keys: Sequence[str], names: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    grouped: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        made = grouped.setdefault(tuple(row[key] for key in keys), dict.fromkeys(names))
        for name in names:
            if row[name] is not None and (made[name] is None or row[name] > made[name]):
                made[name] = row[name]
    return grouped


def _meets(row: Row, keys: Mapping[str, str], combined: bool) -> bool:
    left = dict(keys)
    if combined and left.get("StudyDate") and left.get("StudyTime"):
        date_range, time_range = _ends(left.pop("StudyDate")), _ends(left.pop("StudyTime"))
        day = _day(row["StudyDate"])
        moment = _moment(row["StudyTime"]) or "000000.000000"
        low = (date_range[0] or "00000000", _bound(time_range[0], "000000.000000"))
        high = (date_range[1] or "99999999", _bound(time_range[1], "235960.999999"))
        if day is None or not low <= (day, moment) <= high:
            return False
    return all(matches(name, text, row[name]) for name, text in left.items())


def matches(name: str, text: str, value: Any) -> bool:
    """Tell whether a value of an attribute meets a key."""
    wanted = [part.strip() for part in text.split("\\") if part.strip()]
    if not wanted or any(set(part) == {"*"} for part in wanted):
        return True
    if wanted == ['""']:
        return value is None
    if value is None:
        return False
    held = str(value).split("\\") if name in MULTIPLE else [value]
    return any(_one(name, part, each) for part in wanted for each in held)


def _one(name: str, wanted: str, value: Any) -> bool:
    if name in NUMBERS:
        return bool(int(wanted) == value)
    if name in DATES:
        first, last = _ends(wanted)
        day = _day(value)
        return day is not None and (first or "00000000") <= day <= (last or "99999999")
    if name in TIMES:
        first, last = _ends(wanted)
        moment = _moment(value)
        return moment is not None and _bound(first, "000000.000000") <= moment <= _bound(last, "235960.999999")
    if name in NAMES:
        return _name(fold(wanted), fold(value))
    return wildcard(wanted, value)


def _ends(text: str) -> tuple[str, str]:
    return (text, text) if "-" not in text else (text.partition("-")[0], text.partition("-")[2])


def _day(value: str | None) -> str | None:
    plain = (value or "").replace(".", "")
    return plain if len(plain) == 8 and all(letter in "0123456789" for letter in plain) else None


def _moment(value: str | None) -> str | None:
    plain = (value or "").replace(":", "")
    whole, dot, fraction = plain.partition(".")
    if not all(letter in "0123456789" for letter in whole + fraction) or len(whole) not in (2, 4, 6):
        return None
    if (dot and (len(whole) < 6 or not 1 <= len(fraction) <= 6)) or whole[:2] > "23" or whole[2:4] > "59" or whole[4:] > "60":
        return None
    return f"{whole.ljust(6, '0')}.{fraction.ljust(6, '0')}"


def _bound(text: str, full: str) -> str:
    return text + full[len(text) :]


def fold(text: str) -> str:
    """Take away case and accents."""
    plain = "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", plain).lower()


def _name(wanted: str, value: str) -> bool:
    groups, patterns = value.split("="), wanted.split("=")
    if len(patterns) == 1:
        return any(_group(wanted, group) for group in groups)
    groups += [""] * (len(patterns) - len(groups))
    return all(not pattern or _group(pattern, group) for pattern, group in zip(patterns, groups, strict=False))


def _group(pattern: str, group: str) -> bool:
    """Compare with and without empty components at the end, which do not count."""
    shortest = group.rstrip("^ ")
    return any(wildcard(pattern.rstrip("^"), shortest + "^" * more) for more in range(6))


def wildcard(pattern: str, value: str, same: Callable[[str, str], bool] = str.__eq__) -> bool:
    """Match ``*`` and ``?``, letter by letter."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(wildcard(pattern[1:], value[at:]) for at in range(len(value) + 1))
    return bool(value) and (pattern[0] == "?" or same(pattern[0], value[0])) and wildcard(pattern[1:], value[1:])
