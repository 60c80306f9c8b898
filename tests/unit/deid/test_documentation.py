"""The page of ``vna deid`` says what the program does."""

from __future__ import annotations

import re
from pathlib import Path

from vna.deid.holds import HOLDS
from vna.deid.recipe import BUILT_IN, parse_recipe
from vna.deid.table import EDITION, Profile

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "deid.md").read_text("utf-8")


def test_every_reason_to_hold_an_object_is_on_the_page() -> None:
    listed = {match[1]: (match[2], match[3]) for match in re.finditer(r"^\| `([A-Z_]+)` \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)}
    assert listed == HOLDS


def test_the_recipe_on_the_page_compiles() -> None:
    example = re.search(r"```\n(FORMAT.*?)```", PAGE, re.DOTALL)
    assert example is not None
    recipe = parse_recipe(example[1], "example")
    assert recipe.compiled == 5 and len(recipe.pixel_rules) == 1


def test_the_page_names_edition_recipes_and_options() -> None:
    assert EDITION in PAGE
    offered = {str(option) for option in Profile} - {"basic", "clean_pixels", "clean_recognizable"}
    assert [name for name in (*BUILT_IN, *offered) if f"`{name}`" not in PAGE] == []
