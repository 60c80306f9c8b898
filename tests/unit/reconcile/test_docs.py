"""The page about reconciliation says what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from vna.reconcile.decisions import COLUMNS
from vna.reconcile.rules import EXAM_RULES, PATIENT_RULES, load_rules
from vna.reconcile.worklist import KEYS

PAGE = (Path(__file__).parents[3] / "docs" / "reconcile.md").read_text("utf-8")


def test_every_rule_stands_on_the_page_in_the_words_of_the_code() -> None:
    rows = dict(re.findall(r"^\| ([PR]\d+) \| (.+?) \| [a-z ]+ \|$", PAGE, re.MULTILINE))
    assert rows == PATIENT_RULES | EXAM_RULES


def test_the_example_of_site_rules_can_be_loaded(tmp_path: Path) -> None:
    text = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert text is not None
    assert tomllib.loads(text[1])
    (tmp_path / "rules.toml").write_text(text[1], "utf-8")
    assert load_rules(tmp_path / "rules.toml").rules[0].name == "S1"


def test_every_key_and_every_column_stands_on_the_page() -> None:
    assert all(f"`{key}`" in PAGE for key in KEYS)
    own = [name for name in COLUMNS if not name.startswith(("pacs_", "ris_")) or name.endswith("_key")]
    assert all(f"`{name}`" in PAGE for name in own)
