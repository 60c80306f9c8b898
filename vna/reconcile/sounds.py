"""How a name sounds, coarsely, in many languages at once; and how many typing errors lie between two words.

Double Metaphone hears English. Here one key must bring together Meyer/Maier, Gonzalez/Gonsales, Youssef/Yusuf, Hernandez/Ernandez
and Wojcik/Voytsik, and it only has to propose pairs: the comparison that follows is precise. So the key is deliberately coarse
(ADR 0021).
"""

from __future__ import annotations

import re
from functools import lru_cache

_RULES = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        (r"^(KN|GN|PN)", "N"),
        (r"^WR", "R"),
        (r"^PS", "S"),
        (r"^(J|Y|DJ|DZH|ZH)(?=[AEIOUY])", "1"),
        (r"^G(?=[EIY])", "1"),
        (r"TSCH|TCH|SCH|SHCH|SZCZ|CZ|SH|CH(?=[EI])|SZ|RZ|TZ|TS|ZH|DZ|ZZ|X", "S"),
        (r"PH|V(?=$)|FF", "F"),
        (r"GH(?=T|$)", ""),
        (r"KH|CK|CQ|CH|GH|Q|G|K|C(?![EIY])", "K"),
        (r"C|Z|S", "S"),
        (r"TH|DT|D|T", "T"),
        (r"[BVW]", "B"),
        (r"P", "P"),
        (r"LL", "L"),
    )
)
_VOWELS = re.compile(r"[AEIOUYHJ]")
_DOUBLED = re.compile(r"(.)\1+")


@lru_cache(maxsize=400_000)
def sound_key(word: str) -> str:
    """Spell the consonants of a folded word by coarse classes, ``A`` for a vowel at its beginning; "" for an empty word.

    Words of other alphabets come back unchanged.
    """
    if not word or not word.isascii():
        return word
    first = word.lstrip("H") or word
    text = first
    for pattern, sound in _RULES:
        text = pattern.sub(sound, text)
    lead = (
        "A" if first[0] in "AEIOU" and text[:1] in "AEIOUYHJ" else text[:1].replace("Y", "1").replace("J", "1").replace("H", "A")
    )
    return (_DOUBLED.sub(r"\1", lead + _VOWELS.sub("", text[1:])))[:6]


def letters(word: str) -> int:
    """Give the set of a word's letters as a bit mask: words that differ in many letters need no closer look."""
    mask = 0
    for letter in word:
        mask |= 1 << (ord(letter) & 63)
    return mask


def typing_errors(left: str, right: str, most: int = 2) -> int:
    """Count insertions, deletions, substitutions and swapped neighbours between two words, giving up beyond ``most``.

    The optimal string alignment distance; ``most + 1`` stands for "more than that".
    """
    if left == right:
        return 0
    short, long = (left, right) if len(left) <= len(right) else (right, left)
    if len(long) - len(short) > most:
        return most + 1
    start = 0
    while start < len(short) and short[start] == long[start]:
        start += 1
    end = 0
    while end < len(short) - start and short[-1 - end] == long[-1 - end]:
        end += 1
    short, long = short[start : len(short) - end], long[start : len(long) - end]
    if not short:
        return len(long)
    if most == 1:
        return (
            1
            if len(long) == len(short) and (len(long) == 1 or (len(long) == 2 and long[0] == short[1] and long[1] == short[0]))
            else 2
        )
    return min(_alignment(short, long, most), most + 1)


def _alignment(short: str, long: str, most: int) -> int:
    before: list[int] = []
    row = list(range(len(short) + 1))
    for i, b in enumerate(long, 1):
        last, before, row = before, row, [i]
        for j, a in enumerate(short, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if last and j > 1 and a == long[i - 2] and b == short[j - 2]:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
