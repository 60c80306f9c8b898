"""Which attributes a recipe's field means: a keyword, a tag, an expander such as ``contains:``, a private element."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydicom._dicom_dict import DicomDictionary

from vna.deid.table import tag_of
from vna.part10.elements import vr_of

_TAG = re.compile(r"(?:0x)?\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?$")
_PRIVATE = re.compile(r"""\(?([0-9A-Fa-f]{4}),["']([^"']+)["'],([0-9A-Fa-f]{2})\)?$""")
_ANCHORED = {"contains": "{}", "startswith": "^{}", "endswith": "{}$"}


def private_selector(text: str) -> tuple[int, str, int] | None:
    """Read ``(gggg,"CREATOR",ee)``: the group, the private creator and the low byte of the element; None for anything else."""
    found = _PRIVATE.match(text)
    return (int(found[1], 16), found[2], int(found[3], 16)) if found else None


def selected_tags(text: str, fields: Mapping[str, list[str]]) -> frozenset[int] | None:
    """Give the tags that a field or expander selects among the attributes of PS3.6; None where it is not understood.

    ``fields`` are the recipe's named groups (``%fields NAME``), used as ``fields:NAME``. As in the deid package, an expander's
    expression is a regular expression, without regard to case, over name, keyword and tag.
    """
    if text.lower() == "all":
        return frozenset(DicomDictionary)
    tag = tag_of(text)
    if tag is not None:
        return frozenset((tag,))
    found = _TAG.match(text)
    if found:
        return frozenset((int(found[1] + found[2], 16),))
    expander, _, expression = text.partition(":")
    if expander == "fields":
        parts = [selected_tags(each, {}) for each in fields.get(expression, [])]
        return frozenset().union(*(part for part in parts if part)) if parts and None not in parts else None
    return _expanded(expander.lower(), expression)


def _expanded(expander: str, expression: str) -> frozenset[int] | None:
    if not expression:
        return None
    if expander == "select":
        return _selected(*expression.split(":", 1)) if ":" in expression else None
    try:
        pattern = re.compile(_ANCHORED.get(expander, "{}").format(expression), re.IGNORECASE)
    except re.error:
        return None
    if expander in _ANCHORED:
        return frozenset(tag for tag in DicomDictionary if _matches(pattern, tag))
    if expander == "except":
        return frozenset(tag for tag in DicomDictionary if not _matches(pattern, tag))
    return None


def _selected(attribute: str, value: str) -> frozenset[int] | None:
    if attribute.upper() == "VR":
        return frozenset(tag for tag in DicomDictionary if vr_of(tag) == value[:2].upper().encode())
    if attribute.upper() == "GROUP" and re.fullmatch(r"[0-9A-Fa-f]{4}", value):
        return frozenset(tag for tag in DicomDictionary if tag >> 16 == int(value, 16))
    return None


def _matches(pattern: re.Pattern[str], tag: int) -> bool:
    entry = DicomDictionary[tag]
    texts = (entry[4], entry[2], f"({tag >> 16:04x},{tag & 0xFFFF:04x})", f"{tag:08X}")
    return any(pattern.search(text) for text in texts)
