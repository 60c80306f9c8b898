"""The work list of a steward: one pair after the other, side by side, one key a decision, with undo.

:class:`Worklist` holds the state and knows no terminal; ``vna.cli.reconcile`` feeds it keys and draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vna.reconcile.decisions import SHOWN, Answer, DecisionFile
from vna.reconcile.rules import EXAM_RULES, PATIENT_RULES, MatchLevel, Outcome

KEYS = {
    "a": "accept: both are one patient (or one exam)",
    "r": "reject: they are not",
    "n": "none of these: reject every open candidate of this PACS row",
    "s": "skip: decide later",
    "b": "back to the one before",
    "u": "undo the last decision",
    "q": "save and leave",
    "x": "leave without saving",
    "?": "show the keys",
}
"""What each key does."""


@dataclass(frozen=True, slots=True)
class Line:
    """One field of a pair, side by side."""

    keyword: str
    pacs: str
    ris: str

    @property
    def differs(self) -> bool:
        """Tell whether both sides have a value and these differ."""
        return bool(self.pacs and self.ris) and self.pacs != self.ris


@dataclass(slots=True)
class Worklist:
    """The open pairs of a decision file. ``press`` takes one key; ``answers`` is what was decided so far."""

    file: DecisionFile
    places: list[int] = field(default_factory=list)
    position: int = 0
    given: dict[int, str] = field(default_factory=dict)
    history: list[tuple[int, dict[int, str]]] = field(default_factory=list)
    is_done: bool = False
    is_saved: bool = False
    message: str = ""

    def __post_init__(self) -> None:
        """Line up what waits: pairs of one PACS row together, the likeliest first."""
        if not self.places:
            best: dict[str, float] = {}
            waiting = self.file.waiting()
            for place in waiting:
                row = self.file.rows[place]
                best[row["pacs_key"]] = max(best.get(row["pacs_key"], 0.0), row["score"])
            self.places = sorted(
                waiting,
                key=lambda p: (-best[self.file.rows[p]["pacs_key"]], self.file.rows[p]["pacs_key"], -self.file.rows[p]["score"]),
            )
        self.is_done = not self.places

    @property
    def row(self) -> Mapping[str, Any]:
        """Give the pair shown."""
        return self.file.rows[self.places[self.position]]

    def lines(self) -> list[Line]:
        """Give the fields of the pair shown; those that neither side has are left out."""
        row = self.row
        found = [Line(keyword, str(row[f"pacs_{keyword}"]), str(row[f"ris_{keyword}"])) for keyword in SHOWN]
        return [line for line in found if line.pacs or line.ris]

    def rule_text(self) -> str:
        """Say what the rule of the pair shown means."""
        rules = EXAM_RULES if self.file.level is MatchLevel.EXAM else PATIENT_RULES
        return rules.get(self.row["rule"], "a rule of this site")

    def press(self, key: str) -> None:
        """Do what a key says; unknown keys only say so."""
        self.message = ""
        if key in ("q", "x"):
            self.is_done, self.is_saved = True, key == "q"
        elif key == "u":
            self._undo()
        elif key == "b":
            self.position = max(self.position - 1, 0)
        elif key == "s":
            self._next()
        elif key == "?":
            self.message = "   ".join(f"{k}  {text}" for k, text in KEYS.items())
        elif key in ("a", "r", "n"):
            self._decide(key)
        else:
            self.message = "unknown key; ? shows the keys"

    def _decide(self, key: str) -> None:
        self.history.append((self.position, dict(self.given)))
        place, pacs_key = self.places[self.position], self.row["pacs_key"]
        siblings = [p for p in self.places if self.file.rows[p]["pacs_key"] == pacs_key and p != place]
        if key == "a":
            self.given[place] = "accept"
            if self.file.level is MatchLevel.PATIENT:
                for other in siblings:
                    self.given[other] = "reject"
        else:
            self.given[place] = "reject"
            if key == "n":
                for other in siblings:
                    self.given.setdefault(other, "reject")
        self._next()

    def _next(self) -> None:
        """Go to the next pair without an answer; after the last one, the list is done."""
        for position in range(self.position + 1, len(self.places)):
            if self.places[position] not in self.given:
                self.position = position
                return
        if all(place in self.given for place in self.places):
            self.is_done = self.is_saved = True
        else:
            self.message = "that was the last one; q saves, b goes back"

    def _undo(self) -> None:
        if not self.history:
            self.message = "nothing to undo"
            return
        self.position, self.given = self.history.pop()

    def answers(self) -> list[Answer]:
        """Give what was decided."""
        rows = self.file.rows
        return [
            Answer(rows[place]["pacs_key"], rows[place]["ris_key"], decision) for place, decision in sorted(self.given.items())
        ]


def is_conflict(row: Mapping[str, Any]) -> bool:
    """Tell whether a pair contradicts itself (one number, two persons)."""
    return bool(row["outcome"] == Outcome.CONFLICT)
