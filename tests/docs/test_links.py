"""Links between the pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import ROOT, name, pages

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _targets(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    return [target for target in LINK.findall(re.sub(r"`[^`]*`", "", text)) if not re.match(r"[a-z]+:", target)]


def _anchors(page: Path) -> set[str]:
    """Name the headings of a page as GitHub does."""
    headings = re.findall(r"^#+\s+(.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_to_a_file_and_a_heading() -> None:
    broken = []
    for page in pages():
        for target in _targets(page):
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or not file.is_relative_to(ROOT):
                broken.append(f"{name(page)}: {target}")
            elif anchor and file.suffix == ".md" and anchor not in _anchors(file):
                broken.append(f"{name(page)}: {target} (no such heading)")
    assert broken == []


def test_the_readme_leads_to_the_pages_that_a_newcomer_needs() -> None:
    linked = {target.partition("#")[0] for target in _targets(ROOT / "README.md")}
    assert {"docs/architecture.md", "docs/store-format.md", "docs/index-schema.md", "CONTRIBUTING.md", "SECURITY.md"} <= linked
