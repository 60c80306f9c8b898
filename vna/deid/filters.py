"""Rules about burned-in text, in the dialect of the ``deid`` package: which images, and which rectangles of them.

A rule's conditions are lines joined by ``+`` (and) or ``||`` (or), read from left to right; each is one or more tests joined
the same way. Values are regular expressions without regard to case. Only top-level attributes are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Lookup = Callable[[str], list[str] | None]
"""Give the values of an attribute by keyword, None where it is absent."""

TESTS = ("contains", "notcontains", "equals", "notequals", "missing", "present", "empty")
_WITHOUT_VALUE = ("missing", "present", "empty")
_JOINT = re.compile(r"\s*(\|\||\+)\s*(?=(?:" + "|".join(TESTS) + r")\b)", re.IGNORECASE)
_COORDINATES = re.compile(r"(ctpkeepcoordinates|ctpcoordinates|keepcoordinates|coordinates)\s*(.*)$", re.IGNORECASE)
REGIONS = "from:SequenceOfUltrasoundRegions"


@dataclass(frozen=True, slots=True)
class Test:
    """One test of one attribute."""

    verb: str
    keyword: str
    value: str = ""

    def holds(self, lookup: Lookup) -> bool:
        """Apply the test to an object."""
        values = lookup(self.keyword)
        if self.verb == "missing":
            return values is None
        if self.verb == "present":
            return values is not None
        if self.verb == "empty":
            return values is not None and not any(values)
        texts = [value.lower().strip() for value in values or []]
        wanted = self.value.lower().strip()
        if self.verb in ("equals", "notequals"):
            return (wanted in texts) is (self.verb == "equals")
        found = any(re.search(wanted, text) for text in texts)
        return found is (self.verb == "contains")


@dataclass(frozen=True, slots=True)
class Condition:
    """One line: how it is joined to the lines before it, and its tests with the operators between them."""

    joint: str
    tests: tuple[Test, ...]
    operators: tuple[str, ...]

    def holds(self, lookup: Lookup) -> bool:
        """Apply the line's tests from left to right."""
        result = self.tests[0].holds(lookup)
        for operator, test in zip(self.operators, self.tests[1:], strict=True):
            result = (result or test.holds(lookup)) if operator == "||" else (result and test.holds(lookup))
        return result


@dataclass(frozen=True, slots=True)
class Coordinates:
    """One rectangle to blank, or with ``keep`` to spare: x0, y0, x1, y1 in pixels; ``all``; or the ultrasound regions."""

    keep: bool
    where: str
    rectangle: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class PixelRule:
    """One LABEL of a ``%filter``: its group (whitelist, graylist, blacklist), conditions and coordinates."""

    group: str
    label: str
    conditions: tuple[Condition, ...]
    coordinates: tuple[Coordinates, ...]

    def holds(self, lookup: Lookup) -> bool:
        """Say whether the rule is about this object; one with coordinates and no condition is about every object."""
        if not self.conditions:
            return bool(self.coordinates)
        result = self.conditions[0].holds(lookup)
        for condition in self.conditions[1:]:
            holds = condition.holds(lookup)
            result = (result or holds) if condition.joint == "||" else (result and holds)
        return result


def parse_condition_line(line: str) -> Condition | None:
    """Read one line of tests; None where it is not understood."""
    joint = "+"
    for operator in ("+", "||"):
        if line.startswith(operator):
            joint, line = operator, line[len(operator) :].strip()
    pieces = _JOINT.split(line)
    tests = [_test(piece) for piece in pieces[::2]]
    known = tuple(test for test in tests if test is not None)
    return Condition(joint, known, tuple(pieces[1::2])) if known and len(known) == len(tests) else None


def _test(text: str) -> Test | None:
    words = text.split(None, 2)
    verb = words[0].lower() if words else ""
    if verb not in TESTS or len(words) < (2 if verb in _WITHOUT_VALUE else 3):
        return None
    value = words[2].strip() if len(words) > 2 else ""
    try:
        re.compile(value)
    except re.error:
        return None
    return Test(verb, words[1], value)


def parse_coordinates(line: str) -> Coordinates | None:
    """Read ``coordinates``, ``keepcoordinates`` (x0,y0,x1,y1) or their ``ctp`` forms (x,y,width,height); None for others."""
    found = _COORDINATES.match(line)
    if found is None:
        return None
    kind, text = found[1].lower(), found[2].replace(" ", "")
    keep = "keep" in kind
    if text == "all":
        return Coordinates(keep, "all")
    if text == REGIONS:
        return Coordinates(keep, "regions")
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdigit() for number in numbers):
        return None
    x0, y0, x1, y1 = (int(number) for number in numbers)
    if kind.startswith("ctp"):
        x1, y1 = x0 + x1, y0 + y1
    return Coordinates(keep, "rectangle", (x0, y0, x1, y1))
