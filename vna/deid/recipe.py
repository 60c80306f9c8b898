"""Recipes: a profile, its options and a site's own rules, compiled to opcodes.

Three are built in; any other is a file in the dialect of the ``deid`` package (``FORMAT dicom``, ``%header``, ``%filter``,
``%fields``), read by :mod:`vna.deid.dialect`. A line of our own, a comment to other readers, names the profile to start from::

    # vna: basic retain_device clean_descriptors
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vna.deid.dialect import Document, parse_document
from vna.deid.filters import PixelRule
from vna.deid.selectors import private_selector, selected_tags
from vna.deid.table import EDITION, Actions, Op, Profile, compile_actions, tag_of
from vna.errors import ConfigError
from vna.part10.elements import vr_of

BUILT_IN: dict[str, frozenset[Profile]] = {
    "basic": frozenset(),
    "longitudinal": frozenset((Profile.RETAIN_MODIFIED_DATES,)),
    "limited": frozenset((Profile.RETAIN_FULL_DATES, Profile.RETAIN_PATIENT_CHARACTERISTICS)),
}
"""Name -> the options that it adds to the Basic Profile."""

RULES_VERSION = 1
"""Raised whenever the same recipe would give other bytes, so that a resumed run never mixes two."""

_PROTECTED_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ReferencedSOPClassUID",
    "ReferencedSOPInstanceUID",
    "SpecificCharacterSet",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
)
_PROTECTED = frozenset(tag for tag in map(tag_of, _PROTECTED_KEYWORDS) if tag is not None)
_REMAPPING_FUNCTIONS = ("dicom_uuid", "pydicom_uuid", "suffix_uuid", "basic_uuid")


@dataclass(frozen=True)
class Recipe:
    """What is done to every object of a run. Hashable by its fingerprint; pickles to workers.

    ``shifts`` are a site's fixed date shifts (days by tag), ``replacements`` values by tag, ``additions`` top-level elements
    that every object gets. ``compiled`` counts the site's header lines, all of which took effect.
    """

    name: str
    actions: Actions
    shifts: dict[int, int] = field(default_factory=dict)
    replacements: dict[int, bytes] = field(default_factory=dict)
    additions: dict[int, bytes] = field(default_factory=dict)
    pixel_rules: tuple[PixelRule, ...] = ()
    compiled: int = 0
    text_digest: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """Name everything that decides what comes out, save the key."""
        parts = (str(RULES_VERSION), EDITION, self.name, *sorted(self.actions.options), self.text_digest)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and other.fingerprint == self.fingerprint


def load_recipe(name: str) -> Recipe:
    """Load a built-in recipe by its name, or a recipe file. Raises ConfigError with every line that is not understood."""
    if name in BUILT_IN:
        return Recipe(name, compile_actions(BUILT_IN[name]))
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no recipe {name!r}", hint=f"built in: {', '.join(BUILT_IN)}; any other is a file") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the recipe {name} cannot be read: {exc}") from exc
    return parse_recipe(text, path.stem)


def parse_recipe(text: str, name: str) -> Recipe:
    """Parse and compile the text of a recipe. Raises ConfigError with every line that is not understood."""
    document = parse_document(text)
    problems = list(document.problems)
    options = _options(document, problems)
    compiler = _Compiler(document, compile_actions(options))
    recipe = compiler.compile(name, hashlib.sha256(text.encode()).hexdigest())
    problems += compiler.problems
    if problems:
        raise ConfigError(
            [f"recipe {name}: {problem}" for problem in problems],
            hint="a recipe runs only when every line of it is understood; correct or delete these",
        )
    if recipe.compiled != len(document.actions):
        raise ConfigError(f"recipe {name}: {len(document.actions)} actions were read, {recipe.compiled} took effect")
    return recipe


def _options(document: Document, problems: list[str]) -> frozenset[Profile]:
    """Read the ``# vna:`` line: the built-in recipe to start from, then options."""
    chosen: set[Profile] = set()
    for number, words in document.directives:
        for word in words:
            if word in BUILT_IN:
                chosen |= BUILT_IN[word]
            elif word in set(Profile):
                chosen.add(Profile(word))
            else:
                known = ", ".join([*BUILT_IN, *Profile])
                problems.append(f"line {number}: {word!r} is no profile or option; known are {known}")
    if {Profile.RETAIN_FULL_DATES, Profile.RETAIN_MODIFIED_DATES} <= chosen:
        problems.append("full dates and modified dates cannot both be retained")
    if Profile.CLEAN_RECOGNIZABLE in chosen:
        problems.append("clean_recognizable: faces are not removed by this product")
    return frozenset(chosen)


class _Compiler:
    """Turn the actions of one document into opcodes; what cannot be is a problem, never skipped."""

    def __init__(self, document: Document, actions: Actions) -> None:
        self.document = document
        self.actions = actions
        self.ops = dict(actions.ops)
        self.safe = set(actions.safe_private)
        self.shifts: dict[int, int] = {}
        self.replacements: dict[int, bytes] = {}
        self.additions: dict[int, bytes] = {}
        self.kept: set[int] = set()
        self.problems: list[str] = []

    def compile(self, name: str, text_digest: str) -> Recipe:
        compiled = sum(self._action(number, words) for number, words in self.document.actions)
        for tag in self.kept:  # in the deid package too, KEEP protects a field whatever else is said of it
            self.ops[tag] = Op.KEEP
        actions = Actions(self.actions.options, self.ops, self.actions.codes, frozenset(self.safe))
        return Recipe(
            name,
            actions,
            self.shifts,
            self.replacements,
            self.additions,
            tuple(self.document.pixel_rules),
            compiled,
            text_digest,
        )

    def _action(self, number: int, words: tuple[str, str, str]) -> bool:
        verb, selector, value = words
        private = private_selector(selector)
        if private is not None:
            return self._private(number, verb, private)
        tags = selected_tags(selector, self.document.fields)
        if tags is None or not tags:
            return self._problem(number, f"{selector!r} selects no attribute of PS3.6")
        is_exact = len(tags) == 1 and ":" not in selector
        if not is_exact:
            tags = tags - _PROTECTED  # "REMOVE contains:UID" must not destroy every object
        elif verb in ("REMOVE", "BLANK") and tags & _PROTECTED:
            return self._problem(number, f"{verb} {selector} would leave no valid object")
        return self._apply(number, verb, tags, value)

    def _apply(self, number: int, verb: str, tags: frozenset[int], value: str) -> bool:
        if verb == "KEEP":
            self.kept |= tags
        elif verb == "REMOVE" and not value:
            self._set(tags, Op.REMOVE)
        elif verb == "BLANK":
            self._set(tags, Op.EMPTY)
        elif verb == "JITTER":
            return self._jitter(number, tags, value)
        elif verb in ("ADD", "REPLACE"):
            return self._value(number, verb, tags, value)
        else:
            return self._problem(number, f"{verb} with {value!r} is not supported")
        return True

    def _set(self, tags: frozenset[int], op: Op) -> None:
        for tag in tags:
            # A reference that the profile remaps stays a reference, or what it points to could no longer be found.
            if not (op is Op.REMOVE and self.ops.get(tag) is Op.REMAP_UID and len(tags) > 1):
                self.ops[tag] = op

    def _jitter(self, number: int, tags: frozenset[int], value: str) -> bool:
        try:
            days = int(value)
        except ValueError:
            return self._problem(number, f"JITTER needs a number of days, not {value!r}")
        dates = frozenset(tag for tag in tags if vr_of(tag) in (b"DA", b"DT"))
        if not dates:
            return self._problem(number, "JITTER works on dates (VR DA and DT)")
        self._set(dates, Op.SHIFT)
        self.shifts.update(dict.fromkeys(dates, days))
        return True

    def _value(self, number: int, verb: str, tags: frozenset[int], value: str) -> bool:
        kind, _, function = value.partition(":")
        if kind == "deid_func" and function.split(" ")[0] in _REMAPPING_FUNCTIONS:
            self._set(frozenset(tag for tag in tags if vr_of(tag) == b"UI"), Op.REMAP_UID)
            return True
        if kind in ("var", "func", "deid_func"):
            return self._problem(number, f"{value!r} needs code or a table of the deid package that is not at hand here")
        if any(vr_of(tag) in (b"SQ", b"OB", b"OW", b"UN") for tag in tags):
            return self._problem(number, f"{verb} cannot give a sequence or binary attribute a text value")
        if not value.isascii():
            return self._problem(number, "values must be ASCII, since objects differ in their character sets")
        for tag in tags:
            self.replacements[tag] = value.encode()
            if verb == "ADD":
                self.additions[tag] = value.encode()
        self._set(tags, Op.REPLACE)
        return True

    def _private(self, number: int, verb: str, selector: tuple[int, str, int]) -> bool:
        group, creator, element = selector
        if verb == "KEEP":
            self.safe.add((creator, group, element))
        elif verb == "REMOVE":
            self.safe.discard((creator, group, element))
        else:
            return self._problem(number, f"{verb} is not supported for private elements")
        return True

    def _problem(self, number: int, text: str) -> bool:
        self.problems.append(f"line {number}: {text}")
        return False
