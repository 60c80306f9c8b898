"""The decision file: what matching found, and what people decided on it.

One row a pair, or a row alone where there is no pair. A file is frozen: it carries the hash of the rules and of both lists, and a
decision makes a new file (``revision`` one higher, ``supersedes`` the digest of the one before) instead of changing it. CSV files
open in spreadsheets, so that cells which a spreadsheet would run as a formula are written behind an apostrophe.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vna.errors import ConfigError, RefusedError
from vna.reconcile.links import Link, Matching, groups
from vna.reconcile.lists import ReadList, Row, decode_text
from vna.reconcile.rules import MatchLevel, Outcome

SHOWN = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "IssuerOfAccessionNumber",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "Modality",
    "StudyDescription",
    "StationName",
)
"""What stands in the file of each side, as ``pacs_<Keyword>`` and ``ris_<Keyword>``."""

PROPOSED = {
    MatchLevel.PATIENT: ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    MatchLevel.EXAM: ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
}
"""What a correction takes over from the RIS, per level."""

_FIRST = (
    "outcome",
    "rule",
    "score",
    "pacs_key",
    "ris_key",
    "group",
    "cardinality",
    "decision",
    "reviewer",
    "decided_at",
    "reason",
    "explanation",
)
_LAST = ("level", "revision", "supersedes", "rules_hash", "inputs_hash")
COLUMNS = (*_FIRST, *(f"{side}_{keyword}" for keyword in SHOWN for side in ("pacs", "ris")), *_LAST)
"""All columns, in order."""

ANSWERS = ("accept", "reject", "")
"""What a person may say of a pair; "" takes an answer back."""

_EDITABLE = frozenset(("decision", "reviewer", "reason", "decided_at"))
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_NUMBER = re.compile(r"^-?\d+(\.\d+)?$")


@dataclass(frozen=True, slots=True)
class DecisionFile:
    """A decision file as read or made. ``digest`` is that of the file on disk, "" before it is written."""

    rows: Sequence[Mapping[str, Any]]
    digest: str = ""

    @property
    def level(self) -> MatchLevel:
        """Give the level that was matched."""
        return MatchLevel(self.rows[0]["level"]) if self.rows else MatchLevel.PATIENT

    @property
    def revision(self) -> int:
        """Give the revision: 1 as matched, one more with each round of decisions."""
        return int(self.rows[0]["revision"]) if self.rows else 1

    @property
    def is_decided(self) -> bool:
        """Tell whether it holds people's answers."""
        return any(row["decision"] for row in self.rows)

    def accepted(self) -> Iterator[Mapping[str, Any]]:
        """Give the pairs to be carried out: automatic ones that nobody rejected, and the accepted ones."""
        for row in self.rows:
            if (
                row["pacs_key"]
                and row["ris_key"]
                and row["decision"] != "reject"
                and (row["outcome"] == Outcome.AUTO or row["decision"] == "accept")
            ):
                yield row

    def waiting(self) -> list[int]:
        """Give the places of the pairs that wait for a person."""
        return [
            i for i, row in enumerate(self.rows) if row["outcome"] in (Outcome.REVIEW, Outcome.CONFLICT) and not row["decision"]
        ]


def proposals(row: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Give what a correction would change: keyword -> (PACS value, RIS value). An empty RIS value changes nothing."""
    keywords = PROPOSED[MatchLevel(row["level"])]
    pairs = {keyword: (str(row[f"pacs_{keyword}"] or ""), str(row[f"ris_{keyword}"] or "")) for keyword in keywords}
    return {keyword: (old, new) for keyword, (old, new) in pairs.items() if new and old != new}


def make_decisions(matching: Matching, pacs: ReadList, ris: ReadList, rules_hash: str, inputs_hash: str) -> DecisionFile:
    """Turn links into rows; for their keys see :func:`keys_of`."""
    left, right = keys_of(pacs, matching.level), keys_of(ris, matching.level)
    fixed = {"level": matching.level.value, "revision": 1, "supersedes": "", "rules_hash": rules_hash, "inputs_hash": inputs_hash}
    nobody: Row = {}
    rows = []
    for link, (group, shape) in zip(matching.links, groups(matching.links), strict=True):
        a = nobody if link.left is None else pacs.rows[link.left]
        b = nobody if link.right is None else ris.rows[link.right]
        row: dict[str, Any] = {
            "outcome": link.outcome.value,
            "rule": link.rule,
            "score": round(link.score, 6),
            "pacs_key": _key(left, link.left),
            "ris_key": _key(right, link.right),
            "group": group,
            "cardinality": shape,
            "decision": "",
            "reviewer": "",
            "decided_at": "",
            "reason": "",
            "explanation": link.explanation,
        }
        for keyword in SHOWN:
            row["pacs_" + keyword] = a.get(keyword, "")
            row["ris_" + keyword] = b.get(keyword, "")
        row.update(fixed)
        rows.append(row)
    return DecisionFile(rows)


def _key(keys: Sequence[str], index: int | None) -> str:
    return "" if index is None else keys[index]


def keys_of(side: ReadList, level: MatchLevel) -> list[str]:
    """Give each row's key: the column ``key``, else the first identifying column that is full and unique, else ``row N``."""
    wanted = (
        ("key", "StudyInstanceUID", "PatientID")
        if level is MatchLevel.PATIENT
        else ("key", "StudyInstanceUID", "AccessionNumber", "RequestedProcedureID")
    )
    for column in wanted:
        if column in side.columns:
            values = [row.get(column, "") for row in side.rows]
            if all(values) and len(set(values)) == len(values):
                return values
    return [f"row {number}" for number in range(1, len(side.rows) + 1)]


def write_decisions(file: DecisionFile, path: Path) -> DecisionFile:
    """Write a decision file, whole or not at all; CSV or Parquet by its ending.

    A file that holds people's answers is never written over (RefusedError), and no file but an older one of the same kind is.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"the decision file {path} must end in .csv or .parquet")
    if path.exists() and read_decisions(path).is_decided:
        raise RefusedError(
            f"{path} holds decisions that people made", hint="write to another file with --out, or move this one away"
        )
    data = _csv_bytes(file.rows) if path.suffix.lower() == ".csv" else _parquet_bytes(file.rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
    return replace(file, digest=hashlib.sha256(data).hexdigest())


def _parquet_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"score": pa.float64(), "group": pa.int64(), "revision": pa.int32()}
    table = pa.table({name: pa.array([row[name] for row in rows], types.get(name, pa.string())) for name in COLUMNS})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def safe_cell(value: object) -> str:
    """Write a value so that no spreadsheet takes it for a formula."""
    text = "" if value is None else str(value)
    return "'" + text if text.startswith(_FORMULA) and not _NUMBER.match(text) else text


def plain_cell(text: str) -> str:
    """Undo :func:`safe_cell`."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def _csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    writer.writerows([safe_cell(row[name]) for name in COLUMNS] for row in rows)
    return buffer.getvalue().encode("utf-8-sig")


def read_decisions(path: Path) -> DecisionFile:
    """Read a decision file. Raises ConfigError for anything else."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"the decision file {path} cannot be read: {exc.strerror}") from exc
    if data[:4] == b"PAR1":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(data)).to_pylist()
        except (pa.ArrowInvalid, OSError) as exc:
            raise ConfigError(f"{path} is no readable Parquet file") from exc
    else:
        text = decode_text(data, f"the decision file {path.name}")
        delimiter = ";" if text.split("\n", 1)[0].count(";") > text.split("\n", 1)[0].count(",") else ","
        rows = [
            {str(k): plain_cell(v or "") for k, v in row.items() if k}
            for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        ]
    lacking = [name for name in ("outcome", "rule", "score", "pacs_key", "ris_key") if rows and name not in rows[0]]
    if lacking or not rows:
        raise ConfigError(f"{path} is no decision file: " + (f"it lacks {', '.join(lacking)}" if lacking else "it holds no rows"))
    return DecisionFile([_typed(row) for row in rows], hashlib.sha256(data).hexdigest())


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: row.get(name, "") for name in COLUMNS}
    try:
        found |= {
            "score": float(row["score"] or 0),
            "group": int(row.get("group") or 0),
            "revision": int(row.get("revision") or 1),
        }
    except ValueError as exc:
        raise ConfigError("score, group and revision of a decision file are numbers") from exc
    found["level"] = found["level"] or MatchLevel.PATIENT.value
    return {name: "" if value is None else value for name, value in found.items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says of one pair."""

    pacs_key: str
    ris_key: str
    decision: str
    reason: str = ""


def decide(file: DecisionFile, answers: Iterable[Answer], reviewer: str) -> DecisionFile:
    """Make the next revision with these answers.

    At patient level, accepting a pair rejects the other open candidates of its PACS row. Raises ConfigError that lists every
    answer which cannot be given.
    """
    if not reviewer.strip():
        raise ConfigError("a decision needs the name of the person who makes it", hint="--reviewer NAME")
    rows = [dict(row) for row in file.rows]
    given, problems = _placed(rows, answers)
    accepted = [(rows[p]["pacs_key"], p) for p, (decision, _) in given.items() if decision == "accept"]
    if file.level is MatchLevel.PATIENT and len({key for key, _ in accepted}) < len(accepted):
        problems.append("one PACS patient is accepted for two RIS patients")
    if problems:
        raise ConfigError(problems)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for place, (decision, reason) in given.items():
        rows[place] |= {
            "decision": decision,
            "reviewer": reviewer if decision else "",
            "decided_at": now if decision else "",
            "reason": reason,
        }
    if file.level is MatchLevel.PATIENT:
        chosen = dict(accepted)
        for place, row in enumerate(rows):
            if row["pacs_key"] in chosen and place not in given and chosen[row["pacs_key"]] != place and not row["decision"]:
                row |= {"decision": "reject", "reviewer": reviewer, "decided_at": now, "reason": "another candidate was accepted"}
    for row in rows:
        row |= {"revision": file.revision + 1, "supersedes": file.digest}
    return DecisionFile(rows)


def _placed(rows: Sequence[Mapping[str, Any]], answers: Iterable[Answer]) -> tuple[dict[int, tuple[str, str]], list[str]]:
    """Find the row of each answer; also give what is wrong with the others."""
    places = {(row["pacs_key"], row["ris_key"]): i for i, row in enumerate(rows)}
    given: dict[int, tuple[str, str]] = {}
    problems = []
    for number, answer in enumerate(answers, 1):
        place = places.get((answer.pacs_key, answer.ris_key))
        if place is None:
            problems.append(f"decision {number}: the file has no such pair")
        elif answer.decision not in ANSWERS:
            problems.append(f"decision {number}: {answer.decision!r} is not accept or reject")
        elif answer.decision == "accept" and not (answer.pacs_key and answer.ris_key):
            problems.append(f"decision {number}: a row without a partner cannot be accepted")
        else:
            given[place] = (answer.decision, answer.reason)
    return given, problems


def import_edits(file: DecisionFile, edited: DecisionFile, reviewer: str) -> DecisionFile:
    """Take over the answers of an edited copy. Anything else that was changed in it is refused (RefusedError)."""
    if [row["inputs_hash"] for row in edited.rows[:1]] != [row["inputs_hash"] for row in file.rows[:1]]:
        raise RefusedError("the edited file comes from another match", hint="export this decision file again and edit that copy")
    known = {(row["pacs_key"], row["ris_key"]): row for row in file.rows}
    problems, answers = [], []
    for number, row in enumerate(edited.rows, 2):
        own = known.get((row["pacs_key"], row["ris_key"]))
        if own is None:
            problems.append(f"line {number}: a pair that matching did not propose")
            continue
        changed = [
            name
            for name in COLUMNS
            if name not in _EDITABLE and name not in ("score", *_LAST) and str(row[name]) != str(own[name])
        ]
        if changed:
            problems.append(f"line {number}: {', '.join(changed)} changed; only decision and reason may be edited")
        elif str(row["decision"]).strip().lower() != own["decision"]:
            answers.append(Answer(row["pacs_key"], row["ris_key"], str(row["decision"]).strip().lower(), str(row["reason"])))
    if problems:
        raise RefusedError(
            "the edited file cannot be taken over: "
            + "; ".join(problems[:10])
            + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")
        )
    return decide(file, answers, reviewer)


def next_path(path: Path, revision: int) -> Path:
    """Name the file of a revision beside the one it supersedes: ``decisions.parquet`` -> ``decisions.r2.parquet``."""
    stem = re.sub(r"\.r\d+$", "", path.stem)
    return path.with_name(f"{stem}.r{revision}{path.suffix}")


def link_rows(file: DecisionFile) -> list[Link]:
    """Give the file's rows as links again, numbered by key; for counting and reports."""
    left: dict[str, int] = {}
    right: dict[str, int] = {}
    return [
        Link(
            Outcome(row["outcome"]),
            row["rule"],
            row["score"],
            left.setdefault(row["pacs_key"], len(left)) if row["pacs_key"] else None,
            right.setdefault(row["ris_key"], len(right)) if row["ris_key"] else None,
        )
        for row in file.rows
    ]
