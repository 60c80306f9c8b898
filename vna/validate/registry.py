"""The one registry of finding codes, and the decorator with which a rule enters it.

Nouns: code (a stable name, its severity, one line of text, its place in the Standard), rule (a small function that finds one
code), found (one place where a rule found it), scope (where a code comes from: the receipt, an instance, the archive).

A code is never used again for something else and never leaves the registry: what is no longer looked for stays listed, without
a rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from indexer.problems import PROBLEMS, Disposition
from vna.model import Severity

if TYPE_CHECKING:
    from vna.validate.instance import Instance

MAX_FOUND = 20
"""Places kept for one code in one object: more of the same tell nothing new, and a hostile object has millions of them."""


class Scope(StrEnum):
    """Where a code comes from."""

    RECEIPT = "receipt"
    INSTANCE = "instance"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Code:
    """One finding code: its severity, what it says, and the part and section of the Standard that says so."""

    code: str
    severity: Severity
    text: str
    reference: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class Found:
    """One place where a rule found its code: an element, and the values that show it (these may identify a patient)."""

    where: str = ""
    values: tuple[str, ...] = ()


Check = Callable[["Instance"], Iterable[Found]]
"""A rule: it yields where its code applies, and nothing for an object that is right."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One registered rule: the code it finds and the function that finds it."""

    code: Code
    check: Check

    @property
    def name(self) -> str:
        """The function's name, for logs."""
        return getattr(self.check, "__name__", self.code.code)


_SEVERITIES = {
    Disposition.QUARANTINE: Severity.ERROR,
    Disposition.WARN: Severity.WARNING,
    Disposition.ACCEPT: Severity.INFO,
}

CODES: dict[str, Code] = {
    problem.code: Code(problem.code, _SEVERITIES[problem.disposition], problem.text, problem.reference, Scope.RECEIPT)
    for problem in PROBLEMS.values()
}
"""Every code, by its name. What the indexer finds on receipt is surfaced under the same code."""

RULES: list[Rule] = []
"""Every rule, in the order of registration: importing :mod:`vna.validate.rules` fills it."""


def define(code: str, severity: Severity, text: str, reference: str, *, scope: Scope) -> Code:
    """Enter a new code. Raises ValueError where it is taken: a code means one thing, for good."""
    if code in CODES:
        raise ValueError(f"the finding code {code} is registered already")
    CODES[code] = Code(code, severity, text, reference, scope)
    return CODES[code]


def rule(code: str, severity: Severity, text: str, reference: str) -> Callable[[Check], Check]:
    """Register the decorated function as the rule that finds the new ``code``."""
    entry = define(code, severity, text, reference, scope=Scope.INSTANCE)

    def register(check: Check) -> Check:
        RULES.append(Rule(entry, check))
        return check

    return register


def finds(code: str) -> Callable[[Check], Check]:
    """Register the decorated function as one more rule that finds ``code``, which is registered already."""
    entry = CODES[code]

    def register(check: Check) -> Check:
        RULES.append(Rule(entry, check))
        return check

    return register


def fingerprint(revision: int, extra: str = "") -> str:
    """Name this set of rules by 12 hex digits: objects validated under another set are due again.

    ``revision`` is raised whenever a rule's judgement changes without a new code; ``extra`` names optional tables at hand.
    """
    lines = sorted(f"{entry.code}={entry.severity}" for entry in CODES.values())
    lines += sorted(f"{entry.code.code}:{entry.name}" for entry in RULES)
    return hashlib.sha256("\n".join([str(revision), extra, *lines]).encode()).hexdigest()[:12]
