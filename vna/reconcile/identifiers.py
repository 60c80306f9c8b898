"""Patient IDs and accession numbers: normalised by site rules, qualified by their issuer, compared.

Nouns: :class:`Identifier` (issuer, normalised text, digits), :class:`IdLevel`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

from vna.reconcile.sounds import typing_errors

_PUNCTUATION = re.compile(r"[\W_]+")
_SHAPE = re.compile(r"^([A-Z]*)(\d+)([A-Z]?)$")
_NO_ID = frozenset(
    ("", "NONE", "NULL", "UNKNOWN", "UNK", "NA", "NN", "NOID", "PATIENTID", "ID", "TBD", "XXX", "XXXX", "EMERGENCY", "ANONYMOUS")
)


class IdLevel(IntEnum):
    """How well two identifiers agree, in rising order."""

    INCOMPARABLE = -1  # one is missing, or the issuers differ
    DIFFERENT = 0
    TYPO = 1  # one digit wrong, missing, too many, or two swapped
    SAME = 2


@dataclass(frozen=True, slots=True)
class Identifier:
    """``text`` compares; ``digits`` is its number without zeros and letters before it, "" where there is none to speak of."""

    issuer: str
    text: str
    digits: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class IdRules:
    """What a site says of its numbers: prefixes and suffixes to drop, issuers to rename, whether leading zeros count."""

    strip_prefixes: tuple[str, ...] = ()
    strip_suffixes: tuple[str, ...] = ()
    issuers: dict[str, str] = field(default_factory=dict)
    zeros_count: bool = False
    assume_issuer: str = ""


def normalise(text: str, issuer: str, rules: IdRules) -> Identifier | None:
    """Normalise an identifier; None for an empty one or a word like UNKNOWN.

    An ID of the form ``ID^^^ISSUER`` (HL7 CX) gives up its issuer.
    """
    raw = text.strip()
    if "^^^" in raw:
        raw, _, authority = raw.partition("^^^")
        issuer = issuer or authority.split("&")[0].split("^")[0]
    text, prefix, digits = _parts(raw, rules.strip_prefixes, rules.strip_suffixes, rules.zeros_count)
    if text in _NO_ID or (text and not text.strip("0")) or (len(text) >= 4 and text.strip("9") == ""):
        return None
    return Identifier(_issuer(issuer, rules), text, digits, prefix)


def _issuer(issuer: str, rules: IdRules) -> str:
    name = issuer.strip() or rules.assume_issuer
    return _PUNCTUATION.sub("", rules.issuers.get(name, name).split("&")[0]).upper()


@lru_cache(maxsize=400_000)
def _parts(raw: str, prefixes: tuple[str, ...], suffixes: tuple[str, ...], zeros_count: bool) -> tuple[str, str, str]:
    text = raw.upper()
    for prefix in prefixes:
        if text.startswith(prefix.upper()) and len(text) > len(prefix):
            text = text[len(prefix) :]
            break
    for suffix in suffixes:
        if text.endswith(suffix.upper()) and len(text) > len(suffix):
            text = text[: -len(suffix)]
            break
    text = _PUNCTUATION.sub("", text)
    shape = _SHAPE.match(text)
    if not shape:
        return text, "", ""
    prefix, number, suffix = shape[1], shape[2], shape[3]
    if not zeros_count:
        number = number.lstrip("0") or "0"
    return prefix + number + suffix, prefix, number + suffix


def compare_ids(left: Identifier, right: Identifier) -> IdLevel:
    """Compare two identifiers. Issuers that are both known and differ make them incomparable, equal numbers or not."""
    if left.issuer and right.issuer and left.issuer != right.issuer:
        return IdLevel.INCOMPARABLE
    if left.text == right.text:
        return IdLevel.SAME
    if left.digits and left.digits == right.digits and (not left.prefix or not right.prefix):
        return IdLevel.SAME
    a, b = left.digits or left.text, right.digits or right.text
    if (
        min(len(a), len(b)) >= 4
        and (left.prefix == right.prefix or not left.prefix or not right.prefix)
        and typing_errors(a, b, 1) <= 1
    ):
        return IdLevel.TYPO
    if left.digits and left.digits == right.digits and len(left.digits) >= 4:
        return IdLevel.TYPO
    return IdLevel.DIFFERENT


def compare_all(left: Iterable[Identifier], right: Iterable[Identifier]) -> tuple[IdLevel, bool]:
    """Compare all identifiers of two records; the best counts. Also tells whether the best stands under one known issuer."""
    best, qualified = IdLevel.INCOMPARABLE, False
    others = tuple(right)
    for a in left:
        for b in others:
            level = compare_ids(a, b)
            known = bool(a.issuer and a.issuer == b.issuer)
            if level > best or (level == best and known and not qualified):
                best, qualified = level, known
    return best, qualified
