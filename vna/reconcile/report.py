"""The steward's report: what was matched, what waits, what looks wrong in both systems, and the sample to sign.

Written as one HTML page and as CSV and Parquet tables. Everything is computed from the decision file alone.
"""

from __future__ import annotations

import csv
import html
import io
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vna.reconcile.dates import parse_day
from vna.reconcile.decisions import DecisionFile, link_rows, proposals, safe_cell
from vna.reconcile.identifiers import IdRules, normalise
from vna.reconcile.links import tally
from vna.reconcile.names import Level, compare_names, parse_name
from vna.reconcile.rules import EXAM_RULES, PATIENT_RULES, MatchLevel, Outcome

Table = list[dict[str, Any]]

_BY = {"year": "StudyDate", "modality": "Modality", "station": "StationName", "issuer": "IssuerOfPatientID"}


@dataclass(frozen=True, slots=True)
class StewardReport:
    """The report's tables, by name. ``bound``: the share of wrong automatic pairs that the sample excludes (95 %)."""

    tables: Mapping[str, Table]
    bound: float
    heading: Mapping[str, Any]


def upper_bound(sample: int, wrong: int = 0, confidence: float = 0.95) -> float:
    """Give the exact upper bound of a rate after ``wrong`` of ``sample`` (Clopper-Pearson, one-sided): 0 of 300 is below 1 %."""
    if sample <= 0 or wrong >= sample:
        return 1.0
    low, high = wrong / sample, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(wrong, sample, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(wrong: int, sample: int, rate: float) -> float:
    total, term = 0.0, (1 - rate) ** sample
    for k in range(wrong + 1):
        total += term
        term *= (sample - k) / (k + 1) * rate / (1 - rate) if rate < 1 else 0
    return total


def steward_report(file: DecisionFile, *, sample: int = 300, seed: int = 1) -> StewardReport:
    """Compute the report. The sample of automatic pairs is even over rules, years and modalities; same seed, same sample."""
    counts = tally(link_rows(file))
    total = sum(n for outcome, n in counts.items() if outcome is not Outcome.ORPHAN_RIS) or 1
    rules = EXAM_RULES if file.level is MatchLevel.EXAM else PATIENT_RULES
    by_rule = Counter((row["outcome"], row["rule"]) for row in file.rows)
    drawn = stratified_sample([row for row in file.rows if row["outcome"] == Outcome.AUTO], sample, seed)
    tables: dict[str, Table] = {
        "outcomes": [{"outcome": o.value, "rows": counts[o], "share": round(counts[o] / total, 5)} for o in Outcome],
        "rules": [
            {"outcome": o, "rule": r, "rows": n, "text": rules.get(r, "a rule of this site")}
            for (o, r), n in sorted(by_rule.items())
        ],
        **{f"by_{name}": _by(file.rows, name, keyword) for name, keyword in _BY.items()},
        "overlays": overlays(file.rows),
        "duplicates": duplicates(file.rows),
        "reused_accessions": reused_accessions(file.rows),
        "changes": _changes(file),
        "sample": drawn,
    }
    heading = {
        "level": file.level.value,
        "revision": file.revision,
        "rules_hash": file.rows[0]["rules_hash"],
        "inputs_hash": file.rows[0]["inputs_hash"],
        "decided": sum(bool(row["decision"]) for row in file.rows),
        "waiting": len(file.waiting()),
    }
    return StewardReport(tables, upper_bound(len(drawn)), heading)


def _by(rows: Sequence[Mapping[str, Any]], name: str, keyword: str) -> Table:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if not row["pacs_key"] or (row["pacs_key"], row["outcome"]) in seen:
            continue
        seen.add((row["pacs_key"], row["outcome"]))
        value = str(row[f"pacs_{keyword}"])
        found[value[:4] if name == "year" else value][row["outcome"]] += 1
    if set(found) <= {""}:
        return []
    names = [o.value for o in Outcome if o is not Outcome.ORPHAN_RIS]
    return [{name: value or "(none)", **{o: found[value][o] for o in names}} for value in sorted(found)]


def _records(rows: Sequence[Mapping[str, Any]], side: str) -> Iterable[Mapping[str, Any]]:
    seen = set()
    for row in rows:
        key = row[f"{side}_key"]
        if key and key not in seen:
            seen.add(key)
            yield row


def overlays(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Find IDs that two persons bear, within one system: names and birth dates of one ID that cannot be one person's."""
    found: Table = []
    for side in ("pacs", "ris"):
        behind: dict[object, list[Mapping[str, Any]]] = defaultdict(list)
        for row in _records(rows, side):
            identifier = normalise(str(row[f"{side}_PatientID"]), str(row[f"{side}_IssuerOfPatientID"]), IdRules())
            if identifier is not None:
                behind[identifier.issuer, identifier.text].append(row)
        for same in behind.values():
            first = same[0]
            for other in same[1:]:
                names = compare_names(
                    parse_name(str(first[f"{side}_PatientName"])), parse_name(str(other[f"{side}_PatientName"]))
                )
                born = [parse_day(str(row[f"{side}_PatientBirthDate"])) for row in (first, other)]
                if (
                    min(names.family, names.given) < Level.INITIAL
                    and names.family >= 0
                    and names.given >= 0
                    and born[0] != born[1]
                    and all(born)
                ):
                    found.append(
                        {
                            "system": side,
                            "PatientID": first[f"{side}_PatientID"],
                            "key": first[f"{side}_key"],
                            "other_key": other[f"{side}_key"],
                            "PatientName": first[f"{side}_PatientName"],
                            "other_PatientName": other[f"{side}_PatientName"],
                        }
                    )
    for row in rows:
        if row["rule"] in ("P7", "R5"):
            found.append(
                {
                    "system": "pacs/ris",
                    "PatientID": row["pacs_PatientID"],
                    "key": row["pacs_key"],
                    "other_key": row["ris_key"],
                    "PatientName": row["pacs_PatientName"],
                    "other_PatientName": row["ris_PatientName"],
                }
            )
    return found


def duplicates(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Find patients registered twice: several PACS IDs of one RIS patient, and pairs that differ in the ID alone (P9)."""
    behind: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for row in rows:
        if row["outcome"] == Outcome.AUTO or row["rule"] == "P9":
            identifier = normalise(str(row["pacs_PatientID"]), "", IdRules())
            behind[row["ris_key"]][identifier.text if identifier else ""] = row
    return [
        {
            "ris_key": key,
            "ris_PatientID": row["ris_PatientID"],
            "pacs_key": row["pacs_key"],
            "pacs_PatientID": row["pacs_PatientID"],
            "rule": row["rule"],
        }
        for key, several in behind.items()
        if len(several) > 1 or any(r["rule"] == "P9" for r in several.values())
        for row in several.values()
    ]


def reused_accessions(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Find accession numbers that stand at several patients of one system."""
    found: Table = []
    for side in ("pacs", "ris"):
        behind: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for row in _records(rows, side):
            number = str(row[f"{side}_AccessionNumber"])
            identifier = normalise(str(row[f"{side}_PatientID"]), "", IdRules())
            if number and identifier is not None:
                behind[number, str(row[f"{side}_IssuerOfAccessionNumber"])].setdefault(identifier.text, row[f"{side}_key"])
        found += [
            {
                "system": side,
                "AccessionNumber": number,
                "issuer": issuer,
                "patients": len(persons),
                "keys": " ".join(persons.values()),
            }
            for (number, issuer), persons in sorted(behind.items())
            if len(persons) > 1
        ]
    return found


def stratified_sample(rows: Sequence[Mapping[str, Any]], size: int, seed: int) -> Table:
    """Draw pairs evenly over (rule, year, modality): every stratum gives one before any gives two."""
    strata: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        strata[row["rule"], str(row["pacs_StudyDate"])[:4], str(row["pacs_Modality"])].append(row)
    rng = random.Random(seed)  # noqa: S311 - a reproducible sample, no secret
    queues = [rng.sample(strata[key], len(strata[key])) for key in sorted(strata)]
    drawn: list[Mapping[str, Any]] = []
    while queues and len(drawn) < size:
        for queue in queues:
            if len(drawn) < size:
                drawn.append(queue.pop())
        queues = [queue for queue in queues if queue]
    names = (
        "rule",
        "score",
        "pacs_key",
        "ris_key",
        "pacs_PatientID",
        "ris_PatientID",
        "pacs_PatientName",
        "ris_PatientName",
        "pacs_PatientBirthDate",
        "ris_PatientBirthDate",
        "pacs_AccessionNumber",
        "ris_AccessionNumber",
        "explanation",
    )
    return [{**{name: row[name] for name in names}, "verdict": ""} for row in drawn]


def _changes(file: DecisionFile) -> Table:
    return [
        {
            "pacs_key": row["pacs_key"],
            "keyword": keyword,
            "old": old,
            "new": new,
            "rule": row["rule"],
            "reviewer": row["reviewer"],
            "explanation": row["explanation"],
        }
        for row in file.accepted()
        for keyword, (old, new) in proposals(row).items()
    ]


def write_report(report: StewardReport, folder: Path) -> Path:
    """Write ``report.html`` and each table as CSV and Parquet into a folder; give the page's path. Safe to repeat."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for name, table in report.tables.items():
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer)
        if table:
            writer.writerow(table[0])
            writer.writerows([safe_cell(value) for value in row.values()] for row in table)
            pq.write_table(pa.Table.from_pylist(table), folder / f"{name}.parquet")
        (folder / f"{name}.csv").write_bytes(buffer.getvalue().encode("utf-8-sig"))
    page = folder / "report.html"
    page.write_text(render(report), "utf-8")
    return page


def render(report: StewardReport, *, most: int = 200) -> str:
    """Draw the page; long tables are cut at ``most`` rows, the CSV and Parquet files hold all of them."""
    size = len(report.tables["sample"])
    head = "".join(
        f"<li>{html.escape(str(key))}: <code>{html.escape(str(value))}</code></li>" for key, value in report.heading.items()
    )
    sample = (
        f"<p>The sample holds {size} automatic pairs. If a person finds none of them wrong, the share of wrong automatic pairs "
        f"is below {report.bound:.2%} with 95 % confidence.</p>"
        "<p>Reviewed by: ____________________ &nbsp; Date: ____________ &nbsp; Signature: ____________________</p>"
    )
    parts = [
        f"<section><h2>{html.escape(name.replace('_', ' '))}</h2>"
        f"{sample if name == 'sample' else ''}{_html(table, most)}</section>"
        for name, table in report.tables.items()
    ]
    return _PAGE.replace("{head}", head).replace("{body}", "".join(parts))


def _html(table: Table, most: int) -> str:
    if not table:
        return "<p>none</p>"
    heads = "".join(f"<th>{html.escape(str(name))}</th>" for name in table[0])
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row.values()) + "</tr>" for row in table[:most]
    )
    more = f"<p>{len(table) - most:,} more rows stand in the CSV and Parquet files.</p>" if len(table) > most else ""
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{more}"


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Reconciliation report</title><style>
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b1f23}
table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}
th,td{border:1px solid #d0d7de;padding:.25rem .5rem;text-align:left;vertical-align:top}
th{background:#f6f8fa}h2{text-transform:capitalize;margin-top:2rem}code{font-size:12px}@media print{table{display:table}}
</style></head><body><h1>Reconciliation with the RIS</h1><ul>{head}</ul>{body}</body></html>
"""
