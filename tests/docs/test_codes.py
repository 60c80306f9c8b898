"""Codes that pages name are those of the program."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT, pages
from vna import errors
from vna.cli import EXIT_CODES
from vna.validate import codes


def _table(page: str) -> dict[str, list[str]]:
    """Read the rows of a page's tables whose first cell is a code."""
    rows = {}
    for line in (ROOT / "docs" / page).read_text("utf-8").splitlines():
        match = re.match(r"\| `([A-Z][A-Z0-9_]+)` \|(.*)\|$", line)
        if match:
            rows[match[1]] = [cell.strip() for cell in match[2].split("|")]
    return rows


def test_the_page_of_findings_is_the_registry() -> None:
    listed, registered = _table("findings.md"), {entry["code"]: entry for entry in codes()}
    assert listed.keys() == registered.keys()
    wrong = [code for code, cells in listed.items() if cells[:2] != [registered[code]["severity"], registered[code]["text"]]]
    assert wrong == []


def _errors() -> list[type[errors.VnaError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.VnaError)]


def test_help_explains_every_exit_code_of_an_error() -> None:
    explained = {int(number) for number in re.findall(r"^\s+(\d+)\s", EXIT_CODES, flags=re.MULTILINE)}
    assert {kind.exit_code for kind in _errors()} <= explained
    assert {0, 1, 2, 3, 10, 11, 20, 21, 130} == explained


def test_pages_speak_of_exit_codes_that_exist() -> None:
    explained = set(re.findall(r"^\s+(\d+)\s", EXIT_CODES, flags=re.MULTILINE))
    for page in pages():
        for number in re.findall(r"\bexit(?:s with)?(?: code)?s? (\d+)\b", page.read_text("utf-8"), flags=re.IGNORECASE):
            assert number in explained, f"{page.name} speaks of exit code {number}"
