"""Person names (PN, PS3.5 6.2): taken apart, folded, and compared with what clerks and interfaces do to them in mind.

Nouns: :class:`Name` (a normalised name), :class:`Level` (how well two parts agree), :class:`NameComparison` (family and given
name, straight or crossed).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from vna.reconcile.equivalents import (
    BABY,
    BABY_AROUND,
    FAMILY_GROUPS,
    GENERATIONS,
    GIVEN_GROUPS,
    GIVEN_PARTICLES,
    GLUED,
    HONORIFICS,
    NO_NAME,
    PARTICLES,
    TEST_WORDS,
)
from vna.reconcile.sounds import letters, sound_key, typing_errors

_LATIN = {
    "ß": "SS",
    "ẞ": "SS",
    "Ø": "O",
    "Æ": "AE",
    "Œ": "OE",
    "Ł": "L",
    "Đ": "D",
    "Ð": "D",
    "Þ": "TH",
    "İ": "I",
    "ı": "I",
    "Ħ": "H",
    "Ŋ": "N",
}
_CYRILLIC = "А A Б B В V Г G Д D Е E Ё E Ж ZH З Z И I Й Y К K Л L М M Н N О O П P Р R С S Т T У U Ф F Х KH Ц TS Ч CH Ш SH Щ SHCH"
_CYRILLIC_MORE = "Ы Y Э E Ю YU Я YA І I Ї YI Є YE Ґ G"
_GREEK = "Α A Β V Γ G Δ D Ε E Ζ Z Η I Θ TH Ι I Κ K Λ L Μ M Ν N Ξ X Ο O Π P Ρ R Σ S Τ T Υ Y Φ F Χ CH Ψ PS Ω O"


def _table(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


_SPECIAL = str.maketrans(_LATIN | _table(_CYRILLIC) | _table(_CYRILLIC_MORE) | _table(_GREEK) | {"Ъ": "", "Ь": ""})
_SQUASHED = (("AE", "A"), ("OE", "O"), ("UE", "U"))
_WORD = re.compile(r"[^\W_]+")
_APOSTROPHES = re.compile(r"['’‘`´ʼ]")


class Level(IntEnum):
    """How well two parts of a name agree, in rising order."""

    MISSING = -1
    DIFFERENT = 0
    WEAK = 1  # sounds alike, or one word of several
    INITIAL = 2
    CLOSE = 3  # one typing error (two in a long word), or cut short
    PARTIAL = 4  # all words of one are among those of the other
    EQUIVALENT = 5  # a short form or another romanisation
    EXACT = 6


@dataclass(frozen=True, slots=True)
class Part:
    """The family or the given name: its words without particles, and all of it in one word with and without them."""

    words: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Name:
    """A normalised name. ``generation`` is 0 or tells father (1) from son (2); ``is_baby``: the given name is not known
    yet. ``family_key`` and ``given_key`` (the first given name) are for counting."""

    family: Part = Part()
    given: Part = Part()
    ideographic: str = ""
    generation: int = 0
    is_baby: bool = False
    is_test: bool = False
    multiple: str = ""
    sounds: tuple[str, ...] = ()
    family_key: str = ""
    given_key: str = ""

    @property
    def is_empty(self) -> bool:
        """Tell whether the name is no evidence at all."""
        return not self.family.words and not self.given.words

    @property
    def words(self) -> tuple[str, ...]:
        """Give all words, family name first."""
        return self.family.words + self.given.words


@dataclass(frozen=True, slots=True)
class NameComparison:
    """How two names agree. ``note`` says in words what had to be assumed (order swapped, maiden name, split components...)."""

    family: Level
    given: Level
    crossed: bool = False
    note: str = ""


@lru_cache(maxsize=400_000)
def fold(text: str) -> str:
    """Upper case, no diacritics, Cyrillic and Greek in Latin letters."""
    return text.upper() if text.isascii() else _fold_wide(text)


def squash(word: str) -> str:
    """Give one spelling to ``Müller``, ``Mueller`` and ``Muller``, once folded."""
    if len(word) > 3:
        for double, single in _SQUASHED:
            if double in word:
                word = word.replace(double, single)
    return word


def _fold_wide(text: str) -> str:
    upper = unicodedata.normalize("NFKC", text).upper().translate(_SPECIAL)
    return "".join(c for c in unicodedata.normalize("NFKD", upper) if not unicodedata.combining(c))


@lru_cache(maxsize=400_000)
def parse_name(text: str) -> Name:
    """Take a PN value apart, or what stands in its place (``Doe, John``, ``JOHN DOE``, ``BABY BOY OF DOE``)."""
    groups = text.replace("\x00", "").split("=")
    alphabetic = groups[0].strip(" ^")
    ideographic = "".join(_WORD.findall(groups[1])) if len(groups) > 1 else ""
    if not alphabetic:
        alphabetic = next((group.strip(" ^") for group in groups[1:] if group.strip(" ^")), "")
    if not alphabetic.isascii() and not ideographic and any(ord(c) > 0x2E7F for c in alphabetic):
        ideographic = "".join(_WORD.findall(alphabetic))
    family, given, others = _components(alphabetic)
    words = family + given + others
    generation, is_test, is_baby, multiple = 0, False, False, ""
    if not _SPECIAL_WORDS.isdisjoint(words) or "ZZZ" in alphabetic.upper():
        generation = next((GENERATIONS[word] for word in words if word in GENERATIONS and word not in given[:1]), 0)
        is_test = any(word in TEST_WORDS or word.startswith("ZZZ") for word in words)
        family, given = ([w for w in part if w not in GENERATIONS and w not in NO_NAME] for part in (family, given))
        is_baby, multiple = _is_baby(family, given)
        if is_baby:
            family = [w for w in family + given if w not in BABY and w not in BABY_AROUND]
            given = []
        family, given = _without_titles(family, given)
    one, other = _part(family, PARTICLES), _part(given, GIVEN_PARTICLES)
    return Name(
        one,
        other,
        ideographic,
        generation,
        is_baby,
        is_test,
        multiple,
        _sounds(one.words, other.words),
        " ".join(one.words),
        "".join(other.words[:1]),
    )


def _sounds(family: tuple[str, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    """Give the sound keys of at most four words; initials and empty keys are left out."""
    words = family[:2] + given[:2]
    if len(words) < 3:
        words += (family + given)[len(words) : 4]
    keys = dict.fromkeys([sound_key(word) for word in words if len(word) > 1])
    keys.pop("", None)
    return tuple(keys)


_SPECIAL_WORDS = frozenset(GENERATIONS) | NO_NAME | BABY | TEST_WORDS | HONORIFICS
"""Words that make a closer look at a name worth while."""


def _components(text: str) -> tuple[list[str], list[str], list[str]]:
    if "^" in text:
        parts = text.split("^")
        others = _words(" ".join(parts[3:]))
        if "," in parts[0] and not any(p.strip() for p in parts[1:]):
            return _components(parts[0])
        return _words(parts[0]), _words(" ".join(parts[1:3])), others
    if "," in text:
        family, _, given = text.partition(",")
        return _words(family), _words(given.replace(",", " ")), []
    return _words(text), [], []


def _words(text: str) -> list[str]:
    if text.isascii():
        upper = text.upper()
        if upper.isalpha():
            return [upper]
        return _WORD.findall(upper.replace("'", "").replace("`", ""))
    return _WORD.findall(fold(_APOSTROPHES.sub("", text)))


def _is_baby(family: list[str], given: list[str]) -> tuple[bool, str]:
    """See whether the name only says "child of": the given name holds nothing else, or all stands in one component."""
    for part, other in ((given, family), (family, given)):
        hits = [w for w in part if w in BABY]
        if not hits:
            continue
        rest = [w for w in part if w not in BABY and w not in BABY_AROUND]
        strong = any(w.startswith(("BABY", "NEW", "NEO", "INFANT", "BOYOF", "GIRLOF")) for w in hits) or "OF" in part
        if (not rest and (other or strong)) or strong:
            letter = next((w for w in part[1:] if w in ("A", "B", "C", "1", "2", "3", "I", "II", "III")), "")
            return True, letter
    return False, ""


def _without_titles(family: list[str], given: list[str]) -> tuple[list[str], list[str]]:
    kept_family = [w for w in family if w not in HONORIFICS]
    kept_given = [w for w in given if w not in HONORIFICS]
    if not kept_family and family:
        kept_family = family
    if not kept_given and given and not kept_family:
        kept_given = given
    return kept_family, kept_given


def _part(words: list[str], particles: frozenset[str]) -> Part:
    if not words:
        return Part()
    if len(words) == 1:
        word = squash(words[0])
        return Part((word,), (word,))
    glued: list[str] = []
    for word in words:
        if glued and glued[-1] in GLUED and len(word) > 1 and particles is PARTICLES:
            glued[-1] += word
        else:
            glued.append(word)
    core = [w for w in glued if w not in particles] or glued
    joined = {squash("".join(core)), squash("".join(glued))}
    return Part(tuple(map(squash, core[:6])), tuple(sorted(joined)))


def compare_names(left: Name, right: Name) -> NameComparison:
    """Compare two names: straight, with family and given name exchanged, and word by word where components were mixed up."""
    if left.family == right.family and left.given == right.given and left.family.words and left.given.words:
        return NameComparison(Level.EXACT, Level.EXACT)
    if left.ideographic and left.ideographic == right.ideographic and len(left.ideographic) > 1:
        return NameComparison(Level.EXACT, Level.EXACT, note="same ideographic name")
    family = compare_family(left.family, right.family)
    given = compare_given(left.given, right.given)
    if family >= Level.INITIAL and given >= Level.INITIAL:
        return NameComparison(family, given, note=_note(left, right, family))
    best = NameComparison(family, given, note=_note(left, right, family))
    if not _share(left.sounds, right.sounds):
        return best
    crossed = _crossed(left, right)
    if crossed is not None and crossed.family + crossed.given > max(best.family, 0) + max(best.given, 0) + 1:
        best = crossed
    mixed = _mixed(left, right)
    if mixed is not None and mixed.family + mixed.given > max(best.family, 0) + max(best.given, 0) + 1:
        best = mixed
    return best


def _share(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    return any(sound in right for sound in left)


def _note(left: Name, right: Name, family: Level) -> str:
    if left.is_baby or right.is_baby:
        return "newborn without a given name"
    if family is Level.PARTIAL:
        return "part of a double or maiden name"
    return ""


def _crossed(left: Name, right: Name) -> NameComparison | None:
    if not (left.family.words and right.given.words) and not (left.given.words and right.family.words):
        return None
    one = compare_given(left.family, right.given)
    other = compare_given(left.given, right.family)
    if one < Level.INITIAL and other < Level.INITIAL:
        return None
    if min(one, other) is Level.DIFFERENT or max(one, other) is Level.MISSING:
        return None
    return NameComparison(other, one, crossed=True, note="family and given name exchanged")


def _mixed(left: Name, right: Name) -> NameComparison | None:
    """Find the words of one name among all words of the other: whole name in one component, or components split elsewhere."""
    a, b = left.words, right.words
    if len(a) < 2 or len(b) < 2:
        return None
    if set("".join(a)) and ("".join(a) == "".join(b) or sorted(a) == sorted(b)):
        return NameComparison(Level.EXACT, Level.EXACT, note="name components split differently")
    if left.family.words and left.given.words and right.family.words and right.given.words and len(a) == len(b) == 2:
        return None
    shown = right if right.family.words and right.given.words else left if left.family.words and left.given.words else None
    if shown is None:
        level = _aligned(a, b)
        return NameComparison(level, level, note="name components split differently") if level > Level.WEAK else None
    pool = list(b if shown is left else a)
    family = _take(shown.family.words, pool, FAMILY_GROUPS)
    given = _take(shown.given.words, pool, GIVEN_GROUPS)
    if family < Level.CLOSE or given < Level.INITIAL:
        return None
    if pool and family >= Level.PARTIAL and left.family.words and left.given.words and right.family.words and right.given.words:
        family = min(family, Level.PARTIAL)
    return NameComparison(family, given, note="name components split differently")


def _take(words: tuple[str, ...], pool: list[str], groups: dict[str, frozenset[int]]) -> Level:
    """Find each word in ``pool`` and take it out; the first word decides, the others may be missing."""
    levels = []
    for word in words:
        best, at = Level.DIFFERENT, -1
        for index, other in enumerate(pool):
            level = compare_words(word, other, groups)
            if level > best:
                best, at = level, index
        if at >= 0 and best >= Level.INITIAL:
            pool.pop(at)
        levels.append(best)
    if not levels:
        return Level.MISSING
    worst = min(levels)
    return (
        worst
        if worst >= Level.INITIAL
        else min(Level.PARTIAL, max(levels))
        if len(levels) > 1 and levels[0] >= Level.CLOSE
        else worst
    )


def _aligned(left: tuple[str, ...], right: tuple[str, ...]) -> Level:
    short, long = (left, right) if len(left) <= len(right) else (right, left)
    pool = list(long)
    level = _take(short, pool, GIVEN_GROUPS)
    return min(level, Level.PARTIAL) if pool else level


def compare_family(left: Part, right: Part) -> Level:
    """Compare two family names; one of two surnames (double, hyphenated, maiden) is PARTIAL."""
    if not left.words or not right.words:
        return Level.MISSING
    if left.words == right.words or _share(left.joined, right.joined) or sorted(left.words) == sorted(right.words):
        return Level.EXACT
    if len(left.words) == 1 and len(right.words) == 1:
        best = compare_words(left.words[0], right.words[0], FAMILY_GROUPS)
        return best if best >= Level.CLOSE else max(best, _joined(left, right))
    short, long = (left.words, right.words) if len(left.words) <= len(right.words) else (right.words, left.words)
    pool = list(long)
    levels = []
    for word in short:
        level, at = max(
            ((compare_words(word, other, FAMILY_GROUPS), -i) for i, other in enumerate(pool)), default=(Level.DIFFERENT, 0)
        )
        if level >= Level.CLOSE:
            pool.pop(-at)
        levels.append(level)
    worst = min(levels)
    if worst >= Level.CLOSE:
        return min(worst, Level.PARTIAL) if pool else worst
    return max(Level.WEAK if max(levels) >= Level.CLOSE else Level.DIFFERENT, _joined(left, right))


def _joined(left: Part, right: Part) -> Level:
    for a in left.joined:
        for b in right.joined:
            if (
                len(a) > 4
                and len(b) > 4
                and -2 < len(a) - len(b) < 2
                and (letters_of(a) ^ letters_of(b)).bit_count() <= 2
                and typing_errors(a, b, 1) <= 1
            ):
                return Level.CLOSE
    return Level.DIFFERENT


def compare_given(left: Part, right: Part) -> Level:
    """Compare two given names with their middle names. Two different middle names make siblings possible: WEAK."""
    if not left.words or not right.words:
        return Level.MISSING
    if left.words == right.words or _share(left.joined, right.joined):
        return Level.EXACT
    first = compare_words(left.words[0], right.words[0], GIVEN_GROUPS)
    if len(left.words) == 1 and len(right.words) == 1:
        return first if first >= Level.CLOSE else max(first, _joined(left, right))
    if len(left.words) > 1 and len(right.words) > 1:
        second = compare_words(left.words[1], right.words[1], GIVEN_GROUPS)
        if first >= Level.INITIAL and second >= Level.INITIAL:
            return min(first, max(second, Level.PARTIAL) if first >= Level.CLOSE else second)
        if sorted(left.words[:2]) == sorted(right.words[:2]):
            return Level.PARTIAL
        return Level.WEAK if max(first, second) >= Level.CLOSE else Level.DIFFERENT
    if first >= Level.EQUIVALENT:
        return Level.EXACT if first is Level.EXACT else Level.EQUIVALENT
    if first >= Level.INITIAL:
        return first
    short, long = (left.words, right.words) if len(left.words) == 1 else (right.words, left.words)
    others = max((compare_words(short[0], word, GIVEN_GROUPS) for word in long[1:] if len(word) > 1), default=Level.DIFFERENT)
    if others >= Level.CLOSE:
        return Level.PARTIAL if others >= Level.EQUIVALENT else Level.CLOSE  # known by the middle name
    return max(Level.DIFFERENT, first, _joined(left, right))


_WORDS: dict[tuple[str, str], Level] = {}


def compare_words(left: str, right: str, groups: dict[str, frozenset[int]]) -> Level:
    """Compare two folded words."""
    if left == right:
        return Level.EXACT
    if len(left) == 1 or len(right) == 1:
        return Level.INITIAL if left[0] == right[0] else Level.DIFFERENT
    mine, theirs = groups.get(left), groups.get(right)
    if mine and theirs and not mine.isdisjoint(theirs):
        return Level.EQUIVALENT
    key = (left, right)
    level = _WORDS.get(key)
    if level is None:
        if len(_WORDS) > 1_000_000:
            _WORDS.clear()
        level = _WORDS[key] = _spelling(left, right)
    return level


letters_of = lru_cache(maxsize=400_000)(letters)


def _spelling(left: str, right: str) -> Level:
    short, long = len(left), len(right)
    if short > long:
        short, long = long, short
    most = 1 if short < 5 else 2
    unlike = (letters_of(left) ^ letters_of(right)).bit_count()
    if unlike <= 2 * most and long - short <= most and short >= 3:
        errors = typing_errors(left, right, most)
        if errors == 1 or (errors == 2 and short >= 6):
            return Level.CLOSE
        if errors == 2:
            return Level.WEAK
    if short >= 4 and (left.startswith(right) or right.startswith(left)):
        return Level.CLOSE if long >= 8 and short >= 6 else Level.WEAK
    if unlike <= 7 and short >= 3 and sound_key(left) == sound_key(right) and (short >= 4 or left[0] == right[0]):
        return Level.WEAK
    return Level.DIFFERENT
