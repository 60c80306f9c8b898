"""The rules of a match, each named and documented, and what a site adds to them in TOML.

A rule decides; the score only ranks and proposes. The tables below are what `docs/reconcile.md` lists and what a decision file's
``rule`` column says. ``--rules FILE`` may switch rules off, add rules of its own, and tell how the site writes its numbers.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from vna.errors import ConfigError
from vna.reconcile.identifiers import IdRules

RULE_SET = 1
"""Raised whenever a built-in rule, level or weight changes its meaning; part of the hash in each decision file."""


class Outcome(StrEnum):
    """What is said of a pair, or of a row that has none."""

    AUTO = "auto"
    REVIEW = "review"
    CONFLICT = "conflict"
    ORPHAN_PACS = "orphan_pacs"
    ORPHAN_RIS = "orphan_ris"
    JUNK = "junk"


class MatchLevel(StrEnum):
    """Patients are matched by who they are, exams by the order that asked for them."""

    PATIENT = "patient"
    EXAM = "exam"


PATIENT_RULES = {
    "P1": "same patient ID, birth date, family and given name (short forms and romanisations included), sex not against it",
    "P2": "same patient ID and birth date; one name part has a typing error, is an initial or part of a double name; no rival",
    "P3": "same patient ID and name; the birth date has a typing error or day and month exchanged; the years lie close",
    "P4": "no comparable patient ID: same birth date and same name, unique on both sides, and too rare to be chance",
    "P5": "patient ID with a typing error; same birth date and name, unique on both sides, and too rare to be chance",
    "P6": "same patient ID and name, birth date missing on one side; name rare, sex the same",
    "P7": "same patient ID, another person: neither name nor birth date agrees; never automatic",
    "P8": "same patient ID; name or birth date disagrees (sibling, twin, parent, marriage or a wrong entry); never automatic",
    "P9": "different patient IDs of one issuer, same person by name and birth date: a duplicate registration or a namesake",
    "P10": "more than one candidate fits; never automatic",
    "P11": "the score alone proposes this pair",
    "P12": "no candidate",
    "P13": "test patient, phantom or other junk",
}
"""Patient level: name -> what it says."""

EXAM_RULES = {
    "R1": "accession number (with issuer) and patient agree, date within a day, modality and procedure not against it",
    "R2": "Study Instance UID equals that of the order, and the patient agrees",
    "R3": "as R1, once prefixes, zeros and one typing error in the accession number are put right",
    "R4": "patient, date, modality group and procedure agree, and no other order or study fits as well",
    "R5": "accession number agrees, patient does not: a wrong worklist pick or an unknown merge; never automatic",
    "R6": "grouped: several orders of one study, or several studies of one order",
    "R7": "no order (or no study) belongs to it: kept, tagged, reported",
    "R8": "accession number and patient agree, date, modality or procedure do not, or another order fits better; never automatic",
    "R9": "several orders or studies fit about as well, or the evidence is thin; never automatic",
    "R10": "test patient, phantom or other junk",
    "R11": "accession number, patient and modality agree, date within three days, and neither has a nearer partner",
}
"""Exam level: name -> what it says."""

MODALITY_GROUPS = (
    ("CR", "DX", "RG", "RF", "DR", "PX", "IO", "XR", "XA", "CF", "DF", "XC"),
    ("CT", "PT", "PET", "PETCT"),
    ("NM", "ST", "PT", "SPECT"),
    ("MR", "MRI", "MS"),
    ("US", "IVUS", "BDUS", "ECHO", "EC"),
    ("MG", "BI"),
    ("ES", "GM", "SM", "OP", "OT", "XC"),
    ("BMD", "DXA", "OT", "DEXA"),
)
"""Modalities (PS3.3 C.7.3.1.1.1) that one order may ask for and another device answer."""


@dataclass(frozen=True, slots=True)
class SiteRule:
    """A rule of the site: when all fields stand at one of these levels, the outcome is this one."""

    name: str
    level: MatchLevel
    outcome: Outcome
    when: Mapping[str, tuple[str, ...]]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """``review``: the least score shown to a person; ``false_autos``: how many wrong pairs a run may expect of P4 and P5."""

    review: float = 0.02
    candidates: int = 3
    false_autos: float = 0.02
    days: int = 1
    group_minutes: int = 90


@dataclass(frozen=True, slots=True)
class SiteRules:
    """Everything that a site may say."""

    patient_ids: IdRules = field(default_factory=IdRules)
    accessions: IdRules = field(default_factory=IdRules)
    modality_groups: tuple[tuple[str, ...], ...] = MODALITY_GROUPS
    procedures: Mapping[str, str] = field(default_factory=dict)
    junk_names: tuple[str, ...] = ()
    junk_ids: tuple[str, ...] = (r"^(TEST|PHANTOM|PHANT|QA|QC|DEMO|DUMMY|ZZZ|SERVICE)[\W_]*\d*$", r"^(TEST|PHANTOM|QA|QC)[-_ ]")
    disabled: tuple[str, ...] = ()
    rules: tuple[SiteRule, ...] = ()
    thresholds: Thresholds = Thresholds()

    def digest(self) -> str:
        """Hash the rule set: two decision files with one digest were made by the same rules."""
        text = json.dumps([RULE_SET, asdict(self)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


FIELD_LEVELS = {
    "patient_id": ("same", "typo", "different", "incomparable"),
    "family": ("exact", "equivalent", "partial", "close", "initial", "weak", "different", "missing"),
    "given": ("exact", "equivalent", "partial", "close", "initial", "weak", "different", "missing"),
    "birth_date": ("exact", "swapped", "typo", "part", "different", "missing"),
    "sex": ("same", "different", "missing"),
    "accession": ("same", "typo", "different", "incomparable"),
    "study_uid": ("same", "different", "incomparable"),
    "person": ("same", "likely", "unknown", "other"),
    "date": ("same", "near", "far", "missing"),
    "modality": ("same", "group", "different", "missing"),
    "procedure": ("same", "similar", "different", "missing"),
}
"""What a site's rule may ask for: field -> its levels."""

_TABLES = {
    "ids": ("strip_prefixes", "strip_suffixes", "issuers", "zeros_count", "assume_issuer"),
    "accessions": ("strip_prefixes", "strip_suffixes", "issuers", "zeros_count", "assume_issuer"),
    "modalities": ("groups",),
    "procedures": (),
    "junk": ("names", "ids"),
    "thresholds": tuple(Thresholds.__dataclass_fields__),
    "disable": (),
    "rules": ("name", "level", "outcome", "when", "text"),
}


def load_rules(path: Path | None) -> SiteRules:
    """Read a site's rules. Raises ConfigError that lists everything wrong with the file, with the nearest known word."""
    if path is None:
        return SiteRules()
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise ConfigError(f"the rules {path} cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the rules {path} are not TOML: {exc}") from exc
    problems: list[str] = []
    _check_names(data, problems)
    rules = [_site_rule(number, entry, problems) for number, entry in enumerate(data.get("rules", []), 1)]
    junk, defaults = data.get("junk", {}), SiteRules()
    for pattern in [*junk.get("names", []), *junk.get("ids", [])]:
        try:
            re.compile(pattern)
        except re.error as exc:
            problems.append(f"[junk]: {pattern!r} is no regular expression: {exc}")
    unknown = [name for name in data.get("disable", []) if name not in PATIENT_RULES and name not in EXAM_RULES]
    problems.extend(f"disable: there is no rule {name!r}" for name in unknown)
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return SiteRules(
        patient_ids=_id_rules(data.get("ids", {})),
        accessions=_id_rules(data.get("accessions", {})),
        modality_groups=tuple(tuple(group) for group in data.get("modalities", {}).get("groups", MODALITY_GROUPS)),
        procedures={str(key): str(value) for key, value in data.get("procedures", {}).items()},
        junk_names=tuple(junk.get("names", ())),
        junk_ids=(*defaults.junk_ids, *junk.get("ids", ())),
        disabled=tuple(data.get("disable", ())),
        rules=tuple(rule for rule in rules if rule is not None),
        thresholds=Thresholds(**data.get("thresholds", {})),
    )


def _check_names(data: Mapping[str, Any], problems: list[str]) -> None:
    for table, content in data.items():
        if table not in _TABLES:
            problems.append(f"unknown table [{table}]{_near(table, _TABLES)}")
            continue
        known = _TABLES[table]
        for entry in content if table == "rules" else [content]:
            if known and isinstance(entry, Mapping):
                problems.extend(f"[{table}]: unknown key {key!r}{_near(key, known)}" for key in entry if key not in known)


def _site_rule(number: int, entry: Mapping[str, Any], problems: list[str]) -> SiteRule | None:
    where = f"rule {number}"
    before = len(problems)
    name = str(entry.get("name", ""))
    if not name or name in PATIENT_RULES or name in EXAM_RULES:
        problems.append(f"{where}: needs a name that no built-in rule has")
    if entry.get("level") not in tuple(MatchLevel):
        problems.append(f"{where}: level is patient or exam")
    if entry.get("outcome") not in ("auto", "review", "conflict"):
        problems.append(f"{where}: outcome is auto, review or conflict")
    when: dict[str, tuple[str, ...]] = {}
    for key, levels in entry.get("when", {}).items():
        if key not in FIELD_LEVELS:
            problems.append(f"{where}: unknown field {key!r}{_near(key, FIELD_LEVELS)}")
            continue
        wanted = (levels,) if isinstance(levels, str) else tuple(levels)
        problems.extend(
            f"{where}: {key} has no level {x!r}{_near(x, FIELD_LEVELS[key])}" for x in wanted if x not in FIELD_LEVELS[key]
        )
        when[key] = wanted
    if not when:
        problems.append(f"{where}: `when` is empty; a rule that always holds would decide everything")
    if len(problems) > before:
        return None
    return SiteRule(name, MatchLevel(entry["level"]), Outcome(entry["outcome"]), when, str(entry.get("text", "")))


def _id_rules(table: Mapping[str, Any]) -> IdRules:
    return IdRules(
        tuple(table.get("strip_prefixes", ())),
        tuple(table.get("strip_suffixes", ())),
        dict(table.get("issuers", {})),
        bool(table.get("zeros_count", False)),
        str(table.get("assume_issuer", "")),
    )


def _near(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
