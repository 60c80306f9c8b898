"""What is to be corrected: ``--set KEYWORD=VALUE``, or rules in a TOML file.

::

    [[rule]]
    name = "site-prefix"
    where = "PatientID LIKE 'OLD%'"
    reason = "CORRECT"                      # or COERCE
    source = "RIS"                          # Source of Previous Values
    remove = ["PatientComments"]
    set.InstitutionName = "General Hospital"
    set.PatientID = { sql = "substr(PatientID, 4)" }

A nested element is written ``RequestAttributesSequence[0].RequestedProcedureID``. Rules apply in the order of the file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vna.errors import ConfigError
from vna.part10.conformance import is_value

_PART = re.compile(r"(?P<name>\w+)(\[(?P<item>\d+)\])?")
_RULE_KEYS = ("name", "where", "reason", "source", "set", "remove")
_REASONS = ("CORRECT", "COERCE")
_NOT_EDITABLE = frozenset(("PixelData", "FloatPixelData", "DoubleFloatPixelData", "OriginalAttributesSequence"))
_UID_PATHS = {(0x0020000D,): "StudyInstanceUID", (0x0020000E,): "SeriesInstanceUID", (0x00080018,): "SOPInstanceUID"}
_UID_PATHS[0x00200052,] = "FrameOfReferenceUID"
_CODED = frozenset(
    ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "NumberOfFrames")
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One element's new value: the same ``values`` for all, the result of ``sql`` for each object, or None to remove it."""

    path: tuple[int, ...]
    vr: str
    name: str
    values: tuple[Any, ...] | None = None
    sql: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which objects (``where``: SQL over the view ``instances``) get which values, and why."""

    name: str
    assignments: tuple[Assignment, ...]
    where: str = ""
    reason: str = "CORRECT"
    source: str = ""
    by_study: Mapping[str, tuple[Assignment, ...]] | None = None
    """Study Instance UID received -> what that study gets, where each is decided by itself; no other study is touched then."""

    def assignments_of(self, study_instance_uid: str) -> tuple[Assignment, ...]:
        """Give what one study gets."""
        return self.assignments if self.by_study is None else self.by_study.get(study_instance_uid, ())

    @property
    def changes_uids(self) -> bool:
        """Whether it changes UIDs that other objects refer to."""
        return any(assignment.path in _UID_PATHS for assignment in self.assignments)


def rule_of_settings(settings: Sequence[str], *, reason: str = "CORRECT", source: str = "") -> Rule:
    """Make one rule of ``KEYWORD=VALUE`` texts; an empty value makes the element zero-length, several are split at backslashes.

    Raises ConfigError with everything that is wrong.
    """
    problems: list[str] = []
    assignments = []
    problems += _provenance_problems(source)
    for text in settings:
        name, sign, value = text.partition("=")
        if not sign:
            problems.append(f"--set {name!r} must read KEYWORD=VALUE")
            continue
        assignment = _assignment(name.strip(), tuple(value.split("\\")) if value else (), problems)
        if assignment is not None:
            assignments.append(assignment)
    if problems:
        raise ConfigError(problems)
    return Rule("set", tuple(assignments), reason=reason, source=source)


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Read rules from a TOML file. Raises ConfigError with everything that is wrong with it."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}") from exc
    problems = [f"unknown key {key!r}" for key in tables if key != "rule"]
    rules = []
    listed = tables.get("rule", [])
    if not isinstance(listed, list) or not listed:
        problems.append("there is no [[rule]]")
        listed = []
    for number, table in enumerate(listed, 1):
        where = f"rule {table.get('name') or number}: " if isinstance(table, dict) else f"rule {number}: "
        found: list[str] = []
        rules.append(_rule(table, number, found))
        problems += [where + problem for problem in found]
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return tuple(rules)


def _rule(table: Any, number: int, problems: list[str]) -> Rule:
    if not isinstance(table, dict):
        problems.append("must be a table")
        return Rule("", ())
    problems += [f"unknown key {key!r}{_nearest(key, _RULE_KEYS)}" for key in table if key not in _RULE_KEYS]
    reason = str(table.get("reason", "CORRECT"))
    if reason not in _REASONS:
        problems.append(f"reason must be {' or '.join(_REASONS)}")
    problems += _provenance_problems(str(table.get("source", "")))
    assignments: list[Assignment | None] = []
    for name, value in _flattened(table.get("set", {}), problems):
        assignments.append(_valued(name, value, problems))
    assignments += [_assignment(str(name), None, problems) for name in table.get("remove", [])]
    if not assignments:
        problems.append("sets and removes nothing")
    kept = tuple(each for each in assignments if each is not None)
    return Rule(
        str(table.get("name") or f"rule-{number}"), kept, str(table.get("where", "")), reason, str(table.get("source", ""))
    )


def _flattened(values: Any, problems: list[str]) -> list[tuple[str, Any]]:
    if not isinstance(values, dict):
        problems.append("set must be a table of KEYWORD = VALUE")
        return []
    return list(values.items())


def _valued(name: str, value: Any, problems: list[str]) -> Assignment | None:
    if isinstance(value, Mapping):
        if set(value) != {"sql"} or not isinstance(value.get("sql"), str):
            problems.append(f"{name}: a computed value reads {{ sql = '...' }}")
            return None
        assignment = _assignment(name, _COMPUTED, problems)
        return assignment and Assignment(assignment.path, assignment.vr, assignment.name, None, value["sql"])
    values = tuple(value) if isinstance(value, list) else (value,) if value != "" else ()
    return _assignment(name, values, problems)


_COMPUTED: tuple[Any, ...] = ("",)
"""In the place of values that are computed for each object."""


def assignment_of(keyword: str, values: tuple[Any, ...]) -> Assignment:
    """Make the assignment of one keyword. Raises ConfigError for a value that its VR cannot take, or what may not be edited."""
    problems: list[str] = []
    assignment = _assignment(keyword, values, problems)
    if assignment is None or problems:
        raise ConfigError(problems)
    return assignment


def _assignment(name: str, values: tuple[Any, ...] | None, problems: list[str]) -> Assignment | None:
    """Resolve a keyword path to tags; what may not be edited is refused here."""
    from pydicom.datadict import dictionary_VR, keyword_dict

    path: list[int] = []
    vr = ""
    parts = name.split(".")
    for position, part in enumerate(parts):
        match = _PART.fullmatch(part)
        keyword = match["name"] if match else part
        tag = keyword_dict.get(keyword)
        if match is None or tag is None:
            problems.append(f"{keyword!r} is no DICOM keyword{_nearest(keyword, keyword_dict)}")
            return None
        if keyword in _NOT_EDITABLE or keyword in _CODED or tag >> 16 in (0x0000, 0x0002):
            problems.append(f"{keyword} describes or holds the encoding and cannot be corrected")
            return None
        is_last = position == len(parts) - 1
        if (match["item"] is None) != is_last:
            problems.append(f"{name!r}: a sequence on the way needs its item number, Keyword[0]; the last keyword has none")
            return None
        vr = dictionary_VR(tag)[:2]
        path += [tag] if is_last else [tag, int(match["item"])]
    if vr == "SQ" and values:
        problems.append(f"{name}: set the elements of its items one by one")
        return None
    found = "" if values is _COMPUTED else values_problem(tuple(path), vr, values)
    if found:
        problems.append(f"{name}: {found}")
        return None
    return Assignment(tuple(path), vr, name, values)


def values_problem(path: tuple[int, ...], vr: str, values: tuple[Any, ...] | None) -> str:
    """Say what keeps these values from being new values of an element; nothing where they may be."""
    from pydicom.datadict import dictionary_VM

    if path in _UID_PATHS and not values and values is not None:
        return "a UID that others refer to cannot be empty"
    if path in _UID_PATHS and values is None and path != (0x00200052,):
        return "an object without it cannot be filed"
    if values and len(values) > 1 and dictionary_VM(path[-1]) == "1":
        return "it holds one value only"
    if not all(is_value(value, vr) for value in values or ()):
        return f"that is no value of VR {vr} (PS3.5 6.2)"
    return ""


def _provenance_problems(source: str) -> list[str]:
    is_fine = source.isascii() and source.isprintable() and len(source) <= 64 and "\\" not in source
    return [] if is_fine else ["the source of previous values must be up to 64 ASCII characters"]


def _nearest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
