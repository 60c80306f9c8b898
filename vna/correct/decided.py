"""A decision file's accepted pairs as one rule: what the RIS says of each study takes the place of what the archive says.

A study with several orders gets the first one's accession number and one item an order in the Request Attributes Sequence
(IHE Radiology, grouped procedures); several studies with one order each get that one's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vna.correct.request import Assignment, Rule, assignment_of
from vna.errors import ConfigError
from vna.model import Outcome
from vna.part10.edit import Change

REASON = "COERCE"
SOURCE = "RIS"
AMBIGUOUS = "AMBIGUOUS"
"""Code of a study whose accepted pairs contradict each other in something other than the order."""

BAD_VALUE = "BAD_VALUE"
"""Code of a study for which the list holds a value that the attribute cannot take."""

_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_SEXES = {"male": "M", "female": "F", "other": "O"}
_REQUEST_ATTRIBUTES, _ACCESSION_NUMBER, _REQUESTED_PROCEDURE_ID = 0x00400275, 0x00080050, 0x00401001


@dataclass(frozen=True, slots=True)
class Decided:
    """One accepted pair: the study (by the UID received), the values that the RIS gives it, and the order it belongs to."""

    study_instance_uid: str
    values: Mapping[str, str]
    accession_number: str = ""
    requested_procedure_id: str = ""


def rule_of_decisions(decided: Iterable[Decided]) -> tuple[Rule, tuple[Outcome, ...]]:
    """Make one rule of all accepted pairs; studies whose pairs contradict each other are refused, by their UID.

    Raises ConfigError when there is nothing to carry out.
    """
    by_study: dict[str, list[Decided]] = {}
    for one in decided:
        by_study.setdefault(one.study_instance_uid, []).append(one)
    if not by_study:
        raise ConfigError("the decision file has no accepted pair", hint="`vna reconcile review` decides what waits")
    assignments: dict[str, tuple[Assignment, ...]] = {}
    refusals = []
    for study, pairs in by_study.items():
        if _contradict(pairs):
            refusals.append(Outcome(study, "refused", AMBIGUOUS, "its accepted pairs name different patients"))
            continue
        try:
            assignments[study] = tuple(_assignments(pairs))
        except ConfigError as exc:
            refusals.append(Outcome(study, "refused", BAD_VALUE, "; ".join(exc.problems)))
    return Rule("decisions", (), reason=REASON, source=SOURCE, by_study=assignments), tuple(refusals)


def _contradict(pairs: Sequence[Decided]) -> bool:
    seen: dict[str, str] = {}
    return any(
        seen.setdefault(keyword, value) != value
        for one in pairs
        for keyword, value in one.values.items()
        if keyword != "AccessionNumber"
    )


def _assignments(pairs: Sequence[Decided]) -> Iterable[Assignment]:
    values: dict[str, str] = {}
    for one in pairs:
        for keyword, value in one.values.items():
            values.setdefault(keyword, value)
    for keyword, value in values.items():
        yield assignment_of(keyword, (_as_dicom(keyword, value),))
    orders = {(one.accession_number, one.requested_procedure_id) for one in pairs if one.accession_number}
    if len(orders) > 1:
        items = tuple(_item(*order) for order in sorted(orders))
        yield Assignment((_REQUEST_ATTRIBUTES,), "SQ", "RequestAttributesSequence", items)


def _as_dicom(keyword: str, value: str) -> str:
    """Write a value of a list as DICOM does (PS3.5 6.2): ``Doe, Jane`` as ``Doe^Jane``, 1970-12-31 as 19701231, female as F."""
    if keyword == "PatientName" and "^" not in value and value.count(",") == 1:
        return "^".join(part.strip() for part in value.split(","))
    if keyword == "PatientBirthDate" and (date := _ISO_DATE.fullmatch(value)):
        return "".join(date.groups())
    if keyword == "PatientSex":
        return _SEXES.get(value.lower(), value)
    return value


def _item(accession_number: str, requested_procedure_id: str) -> tuple[Change, ...]:
    changes = [Change((_ACCESSION_NUMBER,), "SH", (accession_number,))]
    if requested_procedure_id:
        changes.append(Change((_REQUESTED_PROCEDURE_ID,), "SH", (requested_procedure_id,)))
    return tuple(changes)
