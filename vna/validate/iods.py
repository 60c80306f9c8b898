"""Which attributes an IOD requires (types 1 and 2 of PS3.3), read from the tables that the package highdicom carries.

Nothing is copied: without the optional extra ``objects`` there are no tables, and the rules that need them find nothing.
Only mandatory modules count, since whether a conditional or optional one applies is not machine-readable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword

_BY_VALUE_TYPE = frozenset({"sr-document-content"})
"""Modules of which nearly every requirement depends on another value: PS3.3 C.17.3 requires by Value Type."""

_BY_FUNCTIONAL_GROUP = frozenset({"SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"})
"""Sequences in which the functional group macros that an IOD uses, and no others, are required (PS3.3 C.7.6.16)."""

Requirements = Mapping[int, tuple[str, "Requirements"]]
"""Tag -> (type "1", "2" or "" where the element itself may be absent, what each of its items must have)."""

_tables: dict[str, Requirements] = {}


def highdicom_tables() -> Path | None:
    """Find the folder of highdicom's tables without importing the package; None where the extra ``objects`` is not installed."""
    spec = find_spec("highdicom")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "_standard"
    return folder if (folder / "module_attribute_map.json").is_file() else None


@cache
def load_requirements() -> dict[str, Requirements]:
    """Read SOP Class UID -> requirements, once a process (some tenths of a second); empty without the tables."""
    folder = highdicom_tables()
    if folder is None:
        return {}
    iod_of: dict[str, str] = _json(folder / "sop_class_iod_map.json")
    modules_of: dict[str, list[dict[str, Any]]] = _json(folder / "iod_module_map.json")
    attributes_of: dict[str, list[dict[str, Any]]] = _json(folder / "module_attribute_map.json")
    built: dict[str, Requirements] = {}
    for iod in set(iod_of.values()):
        mandatory = [
            module["key"] for module in modules_of.get(iod, []) if module["usage"] == "M" and module["key"] not in _BY_VALUE_TYPE
        ]
        built[iod] = _build(attribute for key in mandatory for attribute in attributes_of.get(key, []))
    return {uid: built[iod] for uid, iod in iod_of.items()}


def _json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _build(attributes: Iterable[Mapping[str, Any]]) -> Requirements:
    tree: dict[int, tuple[str, Any]] = {}
    for attribute in attributes:
        kind = attribute["type"]
        if kind not in ("1", "2") or not _BY_FUNCTIONAL_GROUP.isdisjoint(attribute["path"]):
            continue
        here = tree
        for keyword in attribute["path"]:
            here = here.setdefault(tag_for_keyword(keyword) or 0, ("", {}))[1]
        tag = tag_for_keyword(attribute["keyword"]) or 0
        known = here.get(tag, ("", {}))
        here[tag] = (min(filter(None, (known[0], kind))), known[1])
    tree.pop(0, None)
    return tree


def use_tables(tables: Mapping[str, Requirements]) -> None:
    """Give this process the tables that another one read: a pool's parent reads them once for all its workers."""
    _tables.clear()
    _tables.update(tables)


def requirements_of(sop_class_uid: str) -> Requirements:
    """List what an object of that SOP class must have; empty where the class or the tables are unknown."""
    return _tables.get(sop_class_uid, {})
