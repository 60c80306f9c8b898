"""The registry of finding codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from indexer.problems import PROBLEMS
from vna.model import Severity
from vna.validate import codes
from vna.validate.document import findings_table
from vna.validate.registry import CODES, RULES, Scope, define, fingerprint

FINDINGS_PAGE = Path(__file__).parents[3] / "docs" / "findings.md"


def test_every_problem_of_the_receipt_is_a_finding_code() -> None:
    assert {code for code, entry in CODES.items() if entry.scope is Scope.RECEIPT} == set(PROBLEMS)


def test_a_code_cannot_be_registered_twice() -> None:
    with pytest.raises(ValueError, match="BAD_DATE"):
        define("BAD_DATE", Severity.INFO, "Something else.", "nowhere", scope=Scope.INSTANCE)


def test_every_code_is_one_sentence_with_a_reference() -> None:
    for entry in CODES.values():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]{2,63}", entry.code)
        assert entry.text.endswith(".") and "\n" not in entry.text
        assert entry.reference


def test_every_instance_rule_finds_a_registered_code() -> None:
    assert {rule.code.code for rule in RULES} <= set(CODES)
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_the_codes_can_be_listed_as_json() -> None:
    listed = codes()
    assert {"code": "BAD_DATE", "severity": "warning", "scope": "instance"}.items() <= next(
        row for row in listed if row["code"] == "BAD_DATE"
    ).items()
    assert [row["code"] for row in listed] == list(CODES)


def test_the_documented_table_is_the_registry() -> None:
    assert findings_table() in FINDINGS_PAGE.read_text("utf-8"), "run: python -m vna.validate.document"


def test_another_revision_or_other_tables_make_another_set_of_rules() -> None:
    assert len({fingerprint(1), fingerprint(2), fingerprint(1, "tables")}) == 3
