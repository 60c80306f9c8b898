"""Identifiers of queries and retrieves (PS3.4 C.4) as mappings of keyword to text, and back, in UTF-8."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode
from pynetdicom.presentation import PresentationContext

from vna.demo.images import odd_values_allowed

_NUMBER_VRS = {"US", "UL", "SS", "SL"}
_IGNORED = {"QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle", ""}


def read_identifier(identifier: BytesIO | None, context: PresentationContext) -> tuple[str, dict[str, str]]:
    """Return the level and the keys of an identifier; several values are joined by backslashes, sequences left out.

    Raises ValueError for what cannot be parsed.
    """
    syntax = UID(context.transfer_syntax[0])
    with odd_values_allowed():
        ds = decode(identifier or BytesIO(), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        keys = {element.keyword: _text(element.value) for element in ds if element.VR != "SQ" and element.keyword not in _IGNORED}
        return str(ds.get("QueryRetrieveLevel", "")).strip(), keys


def write_identifier(values: Mapping[str, str], context: PresentationContext) -> BytesIO:
    """Encode an answer. A value that its VR cannot hold, such as a number that is none, is written empty."""
    syntax = UID(context.transfer_syntax[0])
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        ds.add(_element(keyword, value))
    encoded = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    if encoded is None:
        raise ValueError("the identifier cannot be encoded")
    return BytesIO(encoded)


def _element(keyword: str, value: str) -> DataElement:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword!r} is no DICOM keyword")
    vr = dictionary_VR(tag)
    with odd_values_allowed():
        try:
            return DataElement(tag, vr, int(value) if vr in _NUMBER_VRS and value else value)
        except (ValueError, OverflowError):
            return DataElement(tag, vr, None)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, MultiValue)):
        return "\\".join(str(item) for item in value)
    return str(value).strip()
