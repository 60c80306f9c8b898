"""Rules about the attributes that an IOD requires (PS3.3 Annex A; types in PS3.5 7.4), nested ones included.

They find something only where the optional extra ``objects`` is installed: its tables say what each IOD requires.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vna.model import Severity
from vna.validate.instance import Element, Instance, name_of
from vna.validate.iods import Requirements, requirements_of
from vna.validate.registry import Found, rule
from vna.validate.rules.classes import sop_class_of

PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_ITEMS = 50  # items of one sequence that are looked at: per-frame items repeat the same defect


def _lacks(instance: Instance, kind: str, *, empty: bool) -> Iterator[Found]:
    yield from _in(instance.elements, requirements_of(sop_class_of(instance)), "", kind, empty=empty)


def _in(elements: Mapping[int, Element], required: Requirements, prefix: str, kind: str, *, empty: bool) -> Iterator[Found]:
    for tag, (own, within) in required.items():
        element = elements.get(tag)
        if element is None:
            if own == kind and not empty and tag not in PIXEL_DATA:
                yield Found(prefix + name_of(tag))
            continue
        if own == kind and empty and element.is_empty:
            yield Found(prefix + name_of(tag))
        if within:
            for number, item in enumerate(element.items[:_ITEMS], 1):
                yield from _in(item, within, f"{prefix}{name_of(tag)}[{number}].", kind, empty=empty)


@rule("TYPE1_MISSING", Severity.WARNING, "An attribute that the IOD requires is absent (type 1).", "PS3.5 7.4.1; PS3.3 A")
def type_1_missing(instance: Instance) -> Iterator[Found]:
    """Find type 1 attributes of mandatory modules that are not there."""
    return _lacks(instance, "1", empty=False)


@rule("TYPE1_EMPTY", Severity.WARNING, "An attribute that must have a value is empty (type 1).", "PS3.5 7.4.1; PS3.3 A")
def type_1_empty(instance: Instance) -> Iterator[Found]:
    """Find type 1 attributes of mandatory modules without a value."""
    return _lacks(instance, "1", empty=True)


@rule(
    "TYPE2_MISSING",
    Severity.WARNING,
    "An attribute that must be there, if empty, is absent (type 2).",
    "PS3.5 7.4.3; PS3.3 A",
)
def type_2_missing(instance: Instance) -> Iterator[Found]:
    """Find type 2 attributes of mandatory modules that are not there."""
    return _lacks(instance, "2", empty=False)
