"""The report tells everything, to people and to programs, and nothing from outside can break out of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

from rich.console import Console

from vna.demo import terminal
from vna.demo.page import render, write_page
from vna.demo.result import STATES, DemoResult, FindingLine, ModalityLine, StageLine, UnmigratedLine, verdict

FIGURES = {"expected": 12, "stored": 11, "verified": 9, "quarantined": 1, "refused": 1, "missing": 1, "pending": 0}


def _result(**changes: object) -> DemoResult:
    values: dict[str, object] = {
        "source": "legacy",
        "target": "newpacs",
        "folder": "vna-demo/archive",
        "report": "vna-demo/report.html",
        "instances": FIGURES,
        "closed": True,
        "seconds": 7.25,
        "stages": (StageLine("inventory", "3 studies, 12 instances", 1.5),),
        "modalities": (ModalityLine("CT", 3, 11, 2**20, 9),),
        "findings": (FindingLine("BAD_DATE", "warning", "A date is none.", 2),),
        "unmigrated": (
            UnmigratedLine("refused", "0x0122", "SOP class not supported", "newpacs", "ECG", "ECG Storage", "1.2", "1.2.3"),
        ),
        "commands": (("vna status", "where every instance stands"),),
    }
    return DemoResult(**{**values, **changes})  # type: ignore[arg-type]


class _Tags(HTMLParser):
    """Collects the tags, and complains of one that is closed and was not open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.outside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.outside += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_from_outside() -> None:
    page = render(_result())
    tags = _Tags(page)
    assert tags.open == []
    assert tags.outside == []
    assert not re.search(r"https?:|@import|url\(", page)
    assert "prefers-color-scheme" in page or "color-scheme: light dark" in page
    assert "@media print" in page


def test_the_page_tells_every_figure_finding_and_reason() -> None:
    page = render(_result())
    for state in STATES:
        assert state in page
    for text in (
        "legacy",
        "newpacs",
        "CT",
        "BAD_DATE",
        "A date is none.",
        "0x0122",
        "SOP class not supported",
        "1.2.3",
        "vna status",
    ):
        assert text in page
    assert "Project manager" in page
    assert "signature" in page


def test_values_from_outside_are_escaped() -> None:
    evil = "<script>alert(1)</script>'\"&"
    line = UnmigratedLine("refused", evil, evil, evil, evil, evil, evil, evil)
    page = render(_result(source=evil, unmigrated=(line,), modalities=(ModalityLine(evil, 1, 1, 1, 1),)))
    assert "script" not in _Tags(page).seen
    assert "&lt;script&gt;" in page


def test_the_verdict_says_whether_the_ledger_closes() -> None:
    assert verdict(_result()) == (
        "The ledger is closed: every one of 12 instances is accounted for (9 verified, 1 quarantined, 1 refused, 1 missing)."
    )
    open_end = _result(closed=False, instances={**FIGURES, "pending": 2})
    assert verdict(open_end) == "The ledger is open: 2 of 12 instances are pending."
    assert "class='verdict closed'" in render(_result())
    assert "class='verdict'" in render(open_end)


def test_the_page_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    path = write_page(_result(), tmp_path / "new" / "report.html")
    assert path.read_text("utf-8").startswith("<!doctype html>")


def test_the_terminal_tells_the_same() -> None:
    out = StringIO()
    Console(file=out, width=160).print(terminal.render(_result()))
    shown = out.getvalue()
    for text in (
        "inventory",
        "expected",
        "CT",
        "BAD_DATE",
        "0x0122",
        "The ledger is closed",
        "vna-demo/report.html",
        "vna status",
    ):
        assert text in shown


def test_markup_in_values_is_shown_as_it_is() -> None:
    out = StringIO()
    line = FindingLine("[bold]X[/bold]", "warning", "[red]text", 1)
    Console(file=out, width=160).print(terminal.render(_result(findings=(line,))))
    assert "[bold]X[/bold]" in out.getvalue()


def test_programs_get_the_promised_keys() -> None:
    shown = _result().as_json()
    assert shown["instances"] == FIGURES
    assert shown["closed"] is True
    assert shown["seconds"] == 7.25
    assert shown["report"] == "vna-demo/report.html"
