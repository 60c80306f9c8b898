"""Field by field, in words: why a pair got its score."""

from __future__ import annotations

from collections.abc import Mapping

from vna.reconcile.dates import DateLevel
from vna.reconcile.exam_records import DayLevel, ExamComparison, PersonLevel
from vna.reconcile.identifiers import IdLevel
from vna.reconcile.names import Level
from vna.reconcile.procedures import ModalityLevel, ProcedureLevel
from vna.reconcile.scoring import Comparison

_NAME = {
    Level.MISSING: "missing on one side",
    Level.DIFFERENT: "different",
    Level.WEAK: "only sounds alike, or one word of several agrees",
    Level.INITIAL: "agrees as far as an initial goes",
    Level.CLOSE: "one typing error apart, or cut short",
    Level.PARTIAL: "one is part of the other",
    Level.EQUIVALENT: "a short form or other spelling of the same name",
    Level.EXACT: "the same",
}
_DATE = {
    DateLevel.MISSING: "missing on one side",
    DateLevel.DIFFERENT: "different",
    DateLevel.PART: "two of year, month and day agree",
    DateLevel.TYPO: "one digit apart",
    DateLevel.SWAPPED: "day and month exchanged",
    DateLevel.EXACT: "the same",
}
_ID = {
    IdLevel.INCOMPARABLE: "not comparable (missing, or of another issuer)",
    IdLevel.DIFFERENT: "different",
    IdLevel.TYPO: "one digit apart",
    IdLevel.SAME: "the same",
}
_SEX = {-1: "missing on one side", 0: "different", 1: "the same"}


def explain_patients(comparison: Comparison, weights: Mapping[str, float]) -> str:
    """Say how each field agrees and what it weighs in bits, without any patient's value."""
    words = (
        (
            "patient_id",
            "patient ID",
            _ID[comparison.patient_id]
            + (" under one issuer" if comparison.qualified and comparison.patient_id == IdLevel.SAME else ""),
        ),
        ("family", "family name", _NAME[comparison.family]),
        ("given", "given name", _NAME[comparison.given]),
        ("birth_date", "birth date", _DATE[comparison.birth_date]),
        ("sex", "sex", _SEX[comparison.sex]),
    )
    parts = [f"{label} {text}" + (f" ({weights[field]:+.1f})" if field in weights else "") for field, label, text in words]
    if comparison.contact == 1:
        parts.append(f"telephone or address the same ({weights.get('contact', 0):+.1f})")
    if comparison.note:
        parts.append(comparison.note)
    return "; ".join(parts)


def explain_exams(comparison: ExamComparison, note: str = "") -> str:
    """Say how a study and an order agree, without any patient's value."""
    c = comparison
    apart = (
        "missing on one side"
        if c.date is DayLevel.MISSING
        else "the same"
        if c.days == 0
        else f"{abs(c.days)} day(s) {'after' if c.days > 0 else 'before'} the order"
    )
    accession = {**_ID, IdLevel.SAME: "the same" if c.literal else "the same, once prefix and zeros are put right"}[c.accession]
    parts = [
        f"accession number {accession}",
        f"patient {_PERSON[c.person]}",
        f"date {apart}",
        f"modality {_MODALITY[c.modality]}",
        f"procedure {_PROCEDURE[c.procedure]}",
    ]
    if c.uid >= 0:
        parts.insert(0, "Study Instance UID " + ("the same" if c.uid else "different"))
    if c.gap is not None:
        parts.append(f"{abs(c.gap)} min apart")
    return "; ".join(parts + ([note] if note else []))


_PERSON = {
    PersonLevel.SAME: "the same",
    PersonLevel.LIKELY: "the same by name and birth date, or with an error in the ID",
    PersonLevel.UNKNOWN: "not known",
    PersonLevel.OTHER: "another",
}
_MODALITY = {
    ModalityLevel.MISSING: "missing on one side",
    ModalityLevel.DIFFERENT: "different",
    ModalityLevel.GROUP: "of one group",
    ModalityLevel.SAME: "the same",
}
_PROCEDURE = {
    ProcedureLevel.MISSING: "not comparable",
    ProcedureLevel.DIFFERENT: "different",
    ProcedureLevel.SIMILAR: "similar",
    ProcedureLevel.SAME: "the same",
}
