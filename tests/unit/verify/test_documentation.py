"""The pages of the migration name every code and column that the code has."""

from __future__ import annotations

from pathlib import Path

from vna.ledger import SOURCE_CODES
from vna.ledger.selection import COLUMNS
from vna.verify import VERIFY_CODES

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_of_pull_names_every_reason_and_every_column() -> None:
    page = (DOCS / "pull.md").read_text()
    assert [code for code in SOURCE_CODES if f"`{code}" not in page] == []
    assert [column for column in COLUMNS if column not in page] == []


def test_the_page_of_verify_names_every_code() -> None:
    page = (DOCS / "verify.md").read_text()
    assert [code for code in VERIFY_CODES if f"`{code}`" not in page] == []
