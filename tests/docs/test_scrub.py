"""The page of scrub names the codes of the program."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT
from vna.scrub import CODES


def test_the_page_lists_what_a_scrub_can_find_in_the_words_of_the_program() -> None:
    page = (ROOT / "docs" / "scrub.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", page, flags=re.MULTILINE))
    assert listed == {code: CODES[code] for code in listed}
    assert {code for code in CODES if f"`{code}`" not in page} == set()
