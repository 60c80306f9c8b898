"""The certificate: what was sent to a target, what was found there and how that is known; as JSON, and as a page to read.

It holds UIDs, digests, codes, counts and keywords; no value of any data set. ``sha256`` is that of the canonical JSON (sorted
keys, no spaces, UTF-8) of everything else in it, and each study has the digest of its verified instances, so that both can be
checked by a few lines in any language.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vna.errors import StoreError
from vna.ledger import TargetRow
from vna.verify.comparing import Verdict
from vna.verify.study import UID_SET, VERIFY_CODES

FORMAT = 1
COMPARED = tuple(verdict.value for verdict in Verdict)
_EXPECTED = ("verified", "missing", "different", "unverified")


@dataclass(slots=True)
class Tally:
    """The sums over a target's rows: instances by state, verified ones by how that is known, one entry a study, exceptions."""

    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*_EXPECTED, "refused", "unsent"), 0))
    codes: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*COMPARED, UID_SET), 0))
    studies: list[dict[str, Any]] = field(default_factory=list)
    exceptions: list[dict[str, str]] = field(default_factory=list)

    @property
    def expected(self) -> int:
        """How many instances the target said that it keeps."""
        return sum(self.states[state] for state in _EXPECTED)

    @property
    def compared(self) -> int:
        """How many data sets came back and were compared."""
        return sum(self.codes[code] for code in COMPARED)


def tally(rows: Iterable[TargetRow]) -> Tally:
    """Add up rows that are in the order of their studies."""
    made = Tally()
    for uid, study in _by_study(rows):
        verified = []
        for row in study:
            state, code, detail = _verdict(row)
            made.states[state] += 1
            if row.verify_code in made.codes and state in ("verified", "different"):
                made.codes[row.verify_code] += 1
            if state == "verified":
                verified.append(f"{row.sop_instance_uid} {row.sha256}\n")
            else:
                made.exceptions.append(_exception(row, state, code, detail))
        digest = hashlib.sha256("".join(sorted(verified)).encode()).hexdigest()
        made.studies.append({"StudyInstanceUID": uid, "instances": len(study), "verified": len(verified), "sha256": digest})
    return made


def _by_study(rows: Iterable[TargetRow]) -> Iterator[tuple[str, list[TargetRow]]]:
    study: list[TargetRow] = []
    for row in rows:
        if study and study[0].study_instance_uid != row.study_instance_uid:
            yield study[0].study_instance_uid, study
            study = []
        study.append(row)
    if study:
        yield study[0].study_instance_uid, study


def _verdict(row: TargetRow) -> tuple[str, str, str]:
    """Say where a row stands: state, code, detail. What verify has found goes before what forward was told."""
    if row.verify_state in ("missing", "different") or (row.verify_state == "verified" and row.forward_state != "refused"):
        return row.verify_state, row.verify_code, row.verify_detail
    if row.forward_state == "refused":
        return "refused", row.forward_code, row.forward_detail
    if row.forward_state == "failed":
        return "unsent", row.forward_code, row.forward_detail
    return "unverified", "NOT_VERIFIED", ""


def _exception(row: TargetRow, state: str, code: str, detail: str) -> dict[str, str]:
    return {
        "StudyInstanceUID": row.study_instance_uid,
        "SeriesInstanceUID": row.series_instance_uid,
        "SOPInstanceUID": row.sop_instance_uid,
        "sha256": row.sha256,
        "state": state,
        "code": code,
        "detail": detail,
    }


def digest_of(content: Mapping[str, Any], *, without: Iterable[str] = ("sha256",)) -> str:
    """Digest the canonical JSON of a certificate without some of its keys."""
    left_out = set(without)
    kept = {key: value for key, value in content.items() if key not in left_out}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def write_certificate(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write a certificate as JSON, and as HTML beside it, durably and under a new name; return the JSON's path.

    Raises StoreError.
    """
    sealed = {**content, "sha256": digest_of(content)}
    for number in range(1000):
        path = folder / f"{name}{f'-{number}' if number else ''}.json"
        try:
            _write(path, json.dumps(sealed, indent=1, ensure_ascii=False) + "\n")
            _write(path.with_suffix(".html"), page(sealed))
        except FileExistsError:
            continue
        except OSError as exc:
            raise StoreError(f"the certificate cannot be written to {folder}: {exc.strerror}") from exc
        return path
    raise StoreError(f"too many files of one name in {folder}")


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}"
    "td,th{padding:.2rem .8rem;border-bottom:1px solid #ccc;text-align:left;vertical-align:top}td.n{text-align:right}"
    "code{font-size:.85em;word-break:break-all}"
)
_SHOWN = 5000


def page(content: Mapping[str, Any]) -> str:
    """Write a certificate as one HTML page without any reference to elsewhere."""
    rows = [_row(key, value) for key, value in content["instances"].items()]
    rows += [_row(f"of those {code}", count) for code, count in content["comparison"]["codes"].items()]
    listed = content["exceptions"][:_SHOWN]
    more = len(content["exceptions"]) - len(listed)
    return "\n".join(
        (
            "<!doctype html>",
            f'<html lang="en"><meta charset="utf-8"><title>Verification of {_text(content["node"])}</title>',
            f"<style>{_STYLE}</style>",
            f"<h1>Verification of {_text(content['node'])}</h1>",
            f"<p>{_text(content['statement'])}</p>",
            f"<p>Issued {_text(content['issued_at'])} for archive <code>{_text(content['archive_id'])}</code>, "
            f"target AE title <code>{_text(content['ae_title'])}</code>. Scope: {_text(content['scope'])}.</p>",
            "<h2>Instances</h2><table>",
            *rows,
            "</table>",
            f"<p>{_text(content['comparison']['note'])}</p>",
            f"<h2>Not verified: {len(content['exceptions'])}</h2>",
            *(["<table><tr><th>SOP Instance UID<th>state<th>reason", *map(_exception_row, listed), "</table>"] if listed else []),
            *([f"<p>and {more} more in the JSON file.</p>"] if more else []),
            "<h2>What the codes mean</h2><table>",
            *(f"<tr><td><code>{code}</code><td>{_text(text)}" for code, text in VERIFY_CODES.items()),
            "</table>",
            f"<p>SHA-256 of the JSON beside this page, canonical and without this digest: <code>{content['sha256']}</code></p>",
            "</html>",
            "",
        )
    )


def _row(name: str, value: int) -> str:
    return f'<tr><td>{_text(name)}<td class="n">{value:,}'


def _exception_row(exception: Mapping[str, str]) -> str:
    reason = " ".join(part for part in (exception["code"], exception["detail"]) if part)
    return f"<tr><td><code>{_text(exception['SOPInstanceUID'])}</code><td>{_text(exception['state'])}<td>{_text(reason)}"


def _text(value: object) -> str:
    return html.escape(str(value))
