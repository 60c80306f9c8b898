"""The lines of the report, read from the archive's index and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.config import IGNORE
from pydicom.uid import UID

from indexer.problems import PROBLEMS
from vna.archive import Archive
from vna.demo.result import FindingLine, ModalityLine, UnmigratedLine
from vna.ledger import SOURCE_CODES, Ledger, Unmigrated
from vna.model import InstanceState
from vna.validate import ValidateResult, codes

_COLUMNS = ("sha256", "Modality", "StudyInstanceUID", "SOPClassUID", "TransferSyntaxUID", "size")
_TEXTS = {
    "UID_CONFLICT": "Another object was stored under this SOP Instance UID first.",
    "NOT_PULLED": "The archive has not retrieved it yet.",
    "NOT_FORWARDED": "It was not sent yet.",
    "NOT_VERIFIED": "The target was not asked for it yet.",
    "DIFFERENT": "The target holds other values than were sent.",
    "0x0122": "SOP class not supported.",
}


def modality_lines(archive: Archive, ledger: Ledger, target: str) -> tuple[ModalityLine, ...]:
    """Add up what the archive holds by modality, and how much of it is verified at the target."""
    unverified = {unit.sha256 for unit in ledger.unmigrated(target)}
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in archive.select(columns=_COLUMNS):
        rows.setdefault(str(row["Modality"] or ""), []).append(row)
    return tuple(
        ModalityLine(
            modality,
            len({row["StudyInstanceUID"] for row in group}),
            len(group),
            sum(int(row["size"]) for row in group),
            sum(row["sha256"] not in unverified for row in group),
        )
        for modality, group in sorted(rows.items(), key=lambda item: -len(item[1]))
    )


def unmigrated_lines(archive: Archive, ledger: Ledger, target: str) -> tuple[UnmigratedLine, ...]:
    """List every instance that is not verified at the target, with its reason in words."""
    by_digest = {row["sha256"]: row for row in archive.select(columns=_COLUMNS)}
    return tuple(_line(unit, by_digest.get(unit.sha256, {})) for unit in ledger.unmigrated(target))


def finding_lines(result: ValidateResult) -> tuple[FindingLine, ...]:
    """List the findings by code, the severest first."""
    texts = {entry["code"]: entry["text"] for entry in codes()}
    return tuple(
        FindingLine(found.code, found.severity.value, texts.get(found.code, ""), found.count) for found in result.findings
    )


def _line(unit: Unmigrated, row: Mapping[str, Any]) -> UnmigratedLine:
    what = [_name(row.get("SOPClassUID"))]
    if unit.state == InstanceState.REFUSED:
        what.append(_name(row.get("TransferSyntaxUID")))
    return UnmigratedLine(
        state=unit.state,
        code=unit.code,
        text=reason(unit.code, unit.detail),
        node=unit.node,
        modality=str(row.get("Modality") or ""),
        what=", ".join(filter(None, what)),
        study_instance_uid=unit.study_instance_uid,
        sop_instance_uid=unit.sop_instance_uid,
    )


def reason(code: str, detail: str = "") -> str:
    """Say a code in words: the peer's own detail first, then what is registered for it."""
    plain = code.partition(":")[0]
    problem = PROBLEMS.get(plain)
    text = detail or _TEXTS.get(plain) or SOURCE_CODES.get(plain) or (problem.text if problem is not None else "")
    return text[:1].upper() + text[1:]


def _name(uid: object) -> str:
    """Name a SOP class or transfer syntax as PS3.6 does; a private one keeps its UID."""
    return UID(str(uid), IGNORE).name if uid else ""
