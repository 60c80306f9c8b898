"""The elements of one object, read by pydicom and copied raw: nothing is converted, so nothing can be refused.

pydicom reads only what the header scanner has judged before (:mod:`vna.validate.check`): depth, counts, inflation are bounded.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from vna.validate.instance import Element, defined_vr

MAX_VALUE = 256 * 1024
"""Longer values (look-up tables, ICC profiles) are not held: rules see their length only."""


def read_elements(file: BinaryIO) -> Mapping[int, Element]:
    """Read the elements before Pixel Data of a Part 10 file, from its start."""
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        ds = dcmread(file, stop_before_pixels=True, force=True, defer_size=MAX_VALUE)
        return elements_of(ds, is_little_endian=ds.original_encoding[1] is not False)


def elements_of(ds: Dataset, *, is_little_endian: bool) -> dict[int, Element]:
    """Copy a data set's raw values, nested items included, without converting any."""
    elements: dict[int, Element] = {}
    for tag in sorted(ds.keys()):
        item: object = ds.get_item(tag)
        number = int(tag)
        if isinstance(item, RawDataElement):
            vr = item.VR or _implied_vr(number)
            if vr != "SQ":
                elements[number] = Element(number, vr, item.length, item.value)
                continue
        value = ds[tag].value
        if isinstance(value, Items):
            items = tuple(elements_of(nested, is_little_endian=is_little_endian) for nested in value)
            elements[number] = Element(number, "SQ", len(items), None, items)
        else:
            raw = _converted(value, is_little_endian=is_little_endian)
            elements[number] = Element(number, str(ds[tag].VR), len(raw), raw)
    return elements


def _converted(value: object, *, is_little_endian: bool) -> bytes:
    """Write back the few values that pydicom converts while it reads: Specific Character Set and Pixel Representation."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("latin-1", "replace")
    if isinstance(value, int):
        return (value & 0xFFFF).to_bytes(2, "little" if is_little_endian else "big")
    return "\\".join(map(str, value)).encode("latin-1", "replace") if isinstance(value, Iterable) else b""


def _implied_vr(tag: int) -> str:
    if tag & 0xFFFF == 0:
        return "UL"
    if (tag >> 16) & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    return defined_vr(tag) or "UN"
