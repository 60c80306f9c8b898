"""Decide before doing: which objects of the selection are tried, in what order, and which are held before they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from vna.deid.audit import Known
from vna.deid.identifiers import birth_dates, is_number, name_parts
from vna.deid.source import OPENING, UIDS, Row
from vna.deid.values import Key

_MOST_KNOWN = 64
_RANKS = {"variant": 1, "quarantined": 2}
"""Of several objects under one UID, the one that the archive filed first stands; the others wait for a decision."""


@dataclass(frozen=True, slots=True)
class Task:
    """One object to de-identify. ``source_key`` is the keyed name of its source, the only one that outputs may hold."""

    source_key: str
    row: Row
    size: int
    issuer: bytes = b""
    known: tuple[bytes, ...] = ()
    hold: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do: its tasks in a stable order, and by source key what the audit searches for and whose each object is."""

    tasks: tuple[Task, ...]
    known: dict[str, Known]
    patients: dict[str, str]

    @property
    def bytes(self) -> int:
        """Give the size of what will be read."""
        return sum(task.size for task in self.tasks)


def make_plan(rows: Sequence[Row], key: Key, *, retain_uids: bool = False) -> Plan:
    """Plan a run over the rows of a source. Pure; the order of the rows does not matter."""
    identities = _identities(rows)
    tasks, known = [], {}
    taken: set[str] = set()
    for row in sorted(rows, key=lambda row: (_text(row, "SOPInstanceUID"), _RANKS.get(_text(row, "status"), 0), _sha256(row))):
        source_key = _source_key(row, key)
        uid, status = _text(row, "SOPInstanceUID"), _text(row, "status")
        hold = "QUARANTINED" if status == "quarantined" else "UID_CONFLICT" if status == "variant" or uid in taken else ""
        if uid and not hold:
            taken.add(uid)
        names, numbers, births = identities[_patient(row)]
        tasks.append(
            Task(
                source_key,
                {name: row[name] for name in OPENING if name in row},
                int(row.get("size") or 0),
                _text(row, "IssuerOfPatientID").encode(),
                _bytes_of(names, numbers, births),
                hold,
            )
        )
        old = tuple(dict.fromkeys(_both(row, UIDS)))
        uids = () if retain_uids else old
        known[source_key] = Known(names, numbers, births, uids)
    return Plan(tuple(tasks), known, _patient_names(rows, key))


def _source_key(row: Row, key: Key) -> str:
    """Name an object as it leaves: another correction of the same bytes is another source."""
    return key.digest("source", f"{_sha256(row)}|{_text(row, 'revision')}".encode()).hex()[:32]


def _both(row: Row, names: Sequence[str]) -> list[str]:
    """Give what the row says and, where a correction changed it, what it said when it was received."""
    values = [_text(row, f"{prefix}{name}") for name in names for prefix in ("", "received_")]
    return [value for value in values if value]


def _patient_names(rows: Sequence[Row], key: Key) -> dict[str, str]:
    """Name the patient of each object for the crosswalk: by Patient ID, with its issuer where the ID alone is ambiguous."""
    issuers = defaultdict(set)
    for row in rows:
        issuers[_text(row, "PatientID")].add(_text(row, "IssuerOfPatientID"))
    names = {}
    for row in rows:
        patient_id = _text(row, "PatientID")
        is_ambiguous = patient_id and len(issuers[patient_id]) > 1
        names[_source_key(row, key)] = f"{patient_id}^^^{_text(row, 'IssuerOfPatientID')}" if is_ambiguous else patient_id
    return names


def _identities(rows: Sequence[Row]) -> dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]:
    """Collect by patient what the rows know: an identifier that one object omits may still stand in another's text."""
    collected: dict[tuple[str, str], tuple[set[str], set[str], set[str]]] = defaultdict(lambda: (set(), set(), set()))
    for row in rows:
        names, numbers, births = collected[_patient(row)]
        names.update(_both(row, ("PatientName",)))
        numbers.update(_both(row, ("PatientID", "AccessionNumber")))
        births.update(_both(row, ("PatientBirthDate",)))
    return {patient: (_few(names), _few(numbers), _few(births)) for patient, (names, numbers, births) in collected.items()}


def _few(values: set[str]) -> tuple[str, ...]:
    return tuple(sorted(value for value in values if value)[:_MOST_KNOWN])


def _bytes_of(names: tuple[str, ...], numbers: tuple[str, ...], births: tuple[str, ...]) -> tuple[bytes, ...]:
    parts = [part for name in names for part in name_parts(name.encode())]
    parts += [number.encode() for number in numbers if is_number(number.encode())]
    parts += [form for birth in births for form in birth_dates(birth.encode())]
    return tuple(dict.fromkeys(parts))


def _patient(row: Row) -> tuple[str, str]:
    patient_id = _text(row, "PatientID")
    return (_text(row, "IssuerOfPatientID"), patient_id) if patient_id else ("study", _text(row, "StudyInstanceUID"))


def _text(row: Row, name: str) -> str:
    return str(row.get(name) or "")


def _sha256(row: Row) -> str:
    value = row.get("sha256")
    return value.hex() if isinstance(value, bytes | bytearray) else str(value or row.get("path") or "")
