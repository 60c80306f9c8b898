"""Reading the lists: CSV and Parquet whose columns are DICOM keywords, or are made so by a column map.

Nothing is guessed where a wrong guess would change a name: text that is not UTF-8 (or UTF-16 with its mark) is refused until the
user names the encoding. Near misses of a column's name are errors with the nearest keyword, since a silently ignored
``PatientBirthdate`` would turn every namesake into a match.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import hashlib
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vna.errors import ConfigError, RefusedError
from vna.reconcile.rules import MatchLevel

Row = dict[str, str]

COLUMNS = (
    "key",
    "PatientID",
    "IssuerOfPatientID",
    "OtherPatientIDs",
    "PatientName",
    "PatientBirthName",
    "PatientBirthDate",
    "PatientSex",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientMotherBirthName",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "IssuerOfAccessionNumber",
    "StudyID",
    "RequestedProcedureID",
    "StudyDescription",
    "Modality",
    "ModalitiesInStudy",
    "StationName",
    "InstitutionName",
    "BodyPartExamined",
    "ReferringPhysicianName",
    "NumberOfStudyRelatedInstances",
    "RequestedAccessionNumbers",
)
"""The columns that matching reads; all others are left alone."""

ALIASES = {
    "RequestedProcedureDescription": "StudyDescription",
    "ScheduledProcedureStepDescription": "StudyDescription",
    "ScheduledProcedureStepStartDate": "StudyDate",
    "ScheduledProcedureStepStartTime": "StudyTime",
    "IssuerOfAccessionNumberSequence": "IssuerOfAccessionNumber",
    "ScheduledStationName": "StationName",
    "OtherPatientID": "OtherPatientIDs",
    "OtherPatientIDsSequence": "OtherPatientIDs",
}
"""Keywords of order lists (PS3.4 K.6) that say the same thing; used where the column on the right is absent."""

NEEDED = {
    MatchLevel.PATIENT: (("PatientID", "PatientName"),),
    MatchLevel.EXAM: (("AccessionNumber", "StudyInstanceUID", "PatientID"), ("PatientID", "PatientName", "AccessionNumber")),
}
"""Per level: of each group, at least one column must be there."""


@dataclass(frozen=True, slots=True)
class ReadList:
    """A list as read: ``rows`` in file order with known columns only, the file's ``digest``, and what was ``ignored``."""

    rows: Sequence[Row]
    columns: tuple[str, ...]
    digest: str
    ignored: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Renames columns: their name -> DICOM keyword, for all files, or for one side only."""

    both: Mapping[str, str] = field(default_factory=dict)
    ris: Mapping[str, str] = field(default_factory=dict)
    pacs: Mapping[str, str] = field(default_factory=dict)

    def of(self, side: str) -> dict[str, str]:
        """Give the renamings of one side (``ris`` or ``pacs``)."""
        return {**self.both, **(self.ris if side == "ris" else self.pacs)}


def load_column_map(path: Path | None) -> ColumnMap:
    """Read a column map: ``"their name" = "Keyword"`` (either way), at the top or under ``[columns]``, ``[ris]``, ``[pacs]``."""
    if path is None:
        return ColumnMap()
    try:
        data = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as exc:
        raise ConfigError(f"the column map {path} cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the column map {path} is not TOML: {exc}") from exc
    problems: list[str] = []
    top = {key: value for key, value in data.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping)}
    sides: dict[str, dict[str, str]] = {"both": _pairs(top, problems), "ris": {}, "pacs": {}}
    for name, table in tables.items():
        side = {"columns": "both", "ris": "ris", "pacs": "pacs"}.get(name)
        if side is None:
            problems.append(f"unknown table [{name}]; known are [columns], [ris] and [pacs]")
            continue
        inner = table.get("columns", table) if isinstance(table.get("columns"), Mapping) else table
        sides[side].update(_pairs(inner, problems))
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return ColumnMap(**sides)


def _pairs(table: Mapping[str, Any], problems: list[str]) -> dict[str, str]:
    pairs = {}
    known = (*COLUMNS, *ALIASES)
    for left, right in table.items():
        if not isinstance(right, str):
            problems.append(f"{left!r} must be given a column's name")
        elif right in known:
            pairs[left] = right
        elif left in known:
            pairs[right] = left
        else:
            close = difflib.get_close_matches(right, known, n=1)
            problems.append(
                f"{left!r} = {right!r}: neither is a column that is read" + (f"; did you mean {close[0]!r}?" if close else "")
            )
    return pairs


def read_list(
    path: Path, side: str, level: MatchLevel, *, renames: Mapping[str, str] | None = None, encoding: str = ""
) -> ReadList:
    """Read one list; ``side`` is ``ris`` or ``pacs``.

    Raises ConfigError for a file that cannot be understood (encoding, columns, keys), RefusedError for one without rows.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"the {side.upper()} list {path} cannot be read: {exc.strerror}") from exc
    name = f"the {side.upper()} list {path.name}"
    if data[:4] == b"PAR1" or path.suffix.lower() in (".parquet", ".pq"):
        header, raw = _parquet(data, name)
    else:
        header, raw = _csv(decode_text(data, name, encoding), name)
    return from_rows(header, raw, name, level, hashlib.sha256(data).hexdigest(), renames or {})


def from_rows(
    header: Sequence[str], raw: Sequence[Sequence[str]], name: str, level: MatchLevel, digest: str, renames: Mapping[str, str]
) -> ReadList:
    """Check the columns and keys of rows that were read somewhere; the archive's index comes in here too."""
    columns, ignored = _columns(header, name, level, renames)
    if not raw:
        raise RefusedError(f"{name} holds no rows", hint="an empty list would make every record of the other side an orphan")
    places = [(index, column) for index, column in enumerate(columns) if column]
    rows = [{column: line[index] for index, column in places if index < len(line)} for line in raw]
    _check_keys(rows, name)
    return ReadList(rows, tuple(column for column in columns if column), digest, tuple(ignored), name)


def decode_text(data: bytes, name: str, encoding: str = "") -> str:
    """Decode a text file: UTF-8 with or without mark, UTF-16 with mark, or what the user names; anything else is refused."""
    if encoding:
        try:
            return data.decode(encoding)
        except LookupError as exc:
            raise ConfigError(
                f"there is no encoding {encoding!r}", hint="utf-8, utf-16, latin-1, cp1252, cp1250, shift_jis, gb18030 ..."
            ) from exc
        except UnicodeDecodeError as exc:
            raise ConfigError(f"{name} is not {encoding}: byte {exc.start} cannot be read") from exc
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as exc:
            raise ConfigError(f"{name} starts as UTF-16 but is cut short or damaged") from exc
    if b"\x00" in data[:4096]:
        raise ConfigError(
            f"{name} is not UTF-8: it holds zero bytes, as UTF-16 without its mark or a binary file would",
            hint="save it as UTF-8, or name the encoding: --encoding utf-16-le",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError(
            f"{name} is not UTF-8: line {line} has a byte that belongs to another encoding",
            hint="save it as UTF-8, or name the encoding: --encoding latin-1 (Western Europe), cp1250 (Central Europe) ...",
        ) from exc


def _csv(text: str, name: str) -> tuple[list[str], list[list[str]]]:
    if not text.strip():
        raise RefusedError(f"{name} is empty", hint="an empty list would make every record of the other side an orphan")
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(",;\t|", key=first.count)
    csv.field_size_limit(1 << 24)
    try:
        lines = [
            line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(cell.strip() for cell in line)
        ]
    except csv.Error as exc:
        raise ConfigError(f"{name} is no CSV: {exc}") from exc
    header = [cell.strip() for cell in lines[0]]
    wrong = [
        number
        for number, line in enumerate(lines[1:], 2)
        if len(line) > len(header) and any(cell.strip() for cell in line[len(header) :])
    ]
    if wrong:
        shown = ", ".join(map(str, wrong[:5]))
        raise ConfigError(
            f"{name}: {len(wrong)} row(s) have more cells than the header (first: row {shown})",
            hint="quote cells that hold the delimiter",
        )
    return header, lines[1:]


def _parquet(data: bytes, name: str) -> tuple[list[str], list[list[str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowInvalid, OSError) as exc:
        raise ConfigError(f"{name} is no readable Parquet file") from exc
    return table_rows(table)


def table_rows(table: Any) -> tuple[list[str], list[list[str]]]:
    """Turn an arrow table into a header and rows of text, as a CSV file would give them."""
    columns = [[_text(value) for value in column.to_pylist()] for column in table.columns]
    return list(table.column_names), [list(line) for line in zip(*columns, strict=True)]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, list | tuple):
        return "\\".join(map(_text, value))
    if hasattr(value, "strftime"):
        return str(value.strftime("%H%M%S")) if not hasattr(value, "year") else str(value.strftime("%Y%m%d"))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _columns(header: Sequence[str], name: str, level: MatchLevel, renames: Mapping[str, str]) -> tuple[list[str], list[str]]:
    named = [renames.get(column, column) for column in header]
    columns = [column if column in COLUMNS else "" for column in named]
    for index, column in enumerate(named):
        target = ALIASES.get(column)
        if target and target not in columns:
            columns[index] = target
    problems = [f"{name} has the column {column} twice" for column in sorted({c for c in columns if c and columns.count(c) > 1})]
    ignored = [column for column, kept in zip(named, columns, strict=True) if not kept]
    near = []
    plain = {column.lower(): column for column in COLUMNS}
    for column in ignored:
        guess = plain.get("".join(c for c in column if c.isalnum()).lower())
        if guess and guess not in columns and guess != "key":
            near.append(f"{name}: column {column!r} is not a DICOM keyword; did you mean {guess!r}?")
    lacking = [group for group in NEEDED[level] if not any(column in columns for column in group)]
    for group in lacking:
        guesses = {g for wanted in group for g in difflib.get_close_matches(wanted, ignored, n=2, cutoff=0.5)}
        problems.append(
            f"{name} has none of the columns {', '.join(group)}; it has: {', '.join(header[:30]) or 'no columns'}"
            + (f" (near: {', '.join(sorted(guesses))})" if guesses else "")
        )
    if problems or near:
        raise ConfigError(near + problems, hint='rename columns with --columns map.toml, for example: "MRN" = "PatientID"')
    return columns, ignored


def _check_keys(rows: Sequence[Row], name: str) -> None:
    seen: dict[str, int] = {}
    problems = []
    for number, row in enumerate(rows, 1):
        key = row.get("key")
        if key is None:
            continue
        if not key.strip():
            problems.append(f"row {number} has no key")
        elif key in seen:
            problems.append(f"row {number} repeats the key of row {seen[key]}")
        else:
            seen[key] = number
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ConfigError(
            f"{name}: the column key must be unique: " + "; ".join(problems[:5]) + more,
            hint="correct the keys, or leave the column out",
        )
