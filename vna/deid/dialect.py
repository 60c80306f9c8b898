"""The recipe dialect of the ``deid`` package, read line by line. Nothing is skipped: what is not understood is a problem."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vna.deid.filters import PixelRule, parse_condition_line, parse_coordinates

ACTIONS = ("ADD", "BLANK", "JITTER", "KEEP", "REPLACE", "REMOVE")
_WITH_VALUE = ("ADD", "REPLACE", "JITTER")
_WORDS = re.compile(r"""(?:[^\s"']+|"(?:\\.|[^"])*"|'(?:\\.|[^'])*')+""")
_DIRECTIVE = "# vna:"


@dataclass(slots=True)
class Document:
    """A recipe as written: header actions (line, (verb, field, value)), named fields, pixel rules, directives, problems."""

    actions: list[tuple[int, tuple[str, str, str]]] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)
    pixel_rules: list[PixelRule] = field(default_factory=list)
    directives: list[tuple[int, list[str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def parse_document(text: str) -> Document:
    """Read a recipe's text."""
    return _Reader().read(text)


class _Reader:
    def __init__(self) -> None:
        self.document = Document()
        self.section = ""
        self.name = ""
        self.has_format = False

    def read(self, text: str) -> Document:
        for number, raw in enumerate(text.splitlines(), 1):
            line = raw.strip()
            if line.startswith(_DIRECTIVE):
                self.document.directives.append((number, line.removeprefix(_DIRECTIVE).split()))
            elif line and not line.startswith("#"):
                problem = self._line(number, line)
                if problem:
                    self.document.problems.append(f"line {number}: {problem}")
        if not self.has_format:
            self.document.problems.append("the line FORMAT dicom is missing")
        return self.document

    def _line(self, number: int, line: str) -> str:
        if line.upper().startswith("FORMAT"):
            self.has_format = line.split()[1:2] == ["dicom"]
            return "" if self.has_format else "the format must be dicom"
        if line.startswith("%"):
            return self._section(line.split("#")[0].split())
        if self.section == "header":
            return self._header(number, line)
        if self.section == "filter":
            return self._filter(line)
        if self.section == "fields":
            return self._field(line)
        return f"{line.split()[0]!r} stands in no section"

    def _section(self, words: list[str]) -> str:
        self.section, self.name = words[0].lstrip("%").lower(), " ".join(words[1:])
        if self.section not in ("header", "filter", "fields"):
            return f"the section %{self.section} is not supported"
        if self.section != "header" and not self.name:
            return f"the section %{self.section} needs a name"
        if self.section == "fields":
            self.document.fields.setdefault(self.name, [])
        return ""

    def _header(self, number: int, line: str) -> str:
        words = _WORDS.findall(line)
        verb = words[0].upper()
        if verb not in ACTIONS:
            return f"{words[0]!r} is no action; known are {', '.join(ACTIONS)}"
        if len(words) < 2:
            return f"{verb} needs a field"
        value = " ".join(words[2:]).split("#")[0].strip()
        if verb in _WITH_VALUE and not value:
            return f"{verb} needs a value"
        if verb in ("KEEP", "BLANK"):
            value = ""
        self.document.actions.append((number, (verb, words[1], value)))
        return ""

    def _field(self, line: str) -> str:
        words = _WORDS.findall(line)
        if words[0].upper() != "FIELD" or len(words) < 2:
            return "the section %fields takes lines FIELD name"
        self.document.fields[self.name].append(words[1])
        return ""

    def _filter(self, line: str) -> str:
        if line.upper().startswith("LABEL"):
            self.document.pixel_rules.append(PixelRule(self.name.lower(), line[5:].split("#")[0].strip(), (), ()))
            return ""
        if not self.document.pixel_rules:
            return "a filter begins with LABEL"
        rule = self.document.pixel_rules[-1]
        coordinates = parse_coordinates(line.split("#")[0].strip())
        condition = parse_condition_line(line)
        if coordinates is not None:
            changed = PixelRule(rule.group, rule.label, rule.conditions, (*rule.coordinates, coordinates))
        elif condition is not None:
            changed = PixelRule(rule.group, rule.label, (*rule.conditions, condition), rule.coordinates)
        else:
            return f"{line.split()[0]!r} is no filter or coordinate"
        self.document.pixel_rules[-1] = changed
        return ""
