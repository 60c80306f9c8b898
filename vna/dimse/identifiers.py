"""Identifiers of queries and retrieves: keywords and text to a data set and back (PS3.4 C.4), by Specific Character Set."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator, Mapping
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag

from indexer import text
from vna.dimse.pdus import ProtocolError
from vna.dimse.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN

LEVELS: Final = ("PATIENT", "STUDY", "SERIES", "IMAGE")
_UNIQUE_KEYS: Final = (
    ("IMAGE", "SOPInstanceUID"),
    ("SERIES", "SeriesInstanceUID"),
    ("STUDY", "StudyInstanceUID"),
    ("PATIENT", "PatientID"),
)
"""Unique key of each level, the deepest first (PS3.4 C.6.1.1)."""

_SPECIFIC_CHARACTER_SET = BaseTag(0x00080005)
_NUMBERS: Final = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i", "FL": "<f", "FD": "<d", "UV": "<Q", "SV": "<q"}
_BINARY: Final = frozenset(("SQ", "OB", "OW", "OD", "OF", "OL", "OV", "UN", "AT"))
_PARSE_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, EOFError, RecursionError, struct.error,
                 NotImplementedError)  # fmt: skip
"""What pydicom was seen to raise for malformed data sets."""


def level_of(keys: Mapping[str, str]) -> str:
    """Return the query/retrieve level that the unique keys in ``keys`` speak of: the deepest one given.

    Raises ValueError where there is none, since a retrieve without a unique key asks for everything.
    """
    for level, keyword in _UNIQUE_KEYS:
        if keys.get(keyword):
            return level
    raise ValueError("a unique key is needed: StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID or PatientID")


def encode(level: str, keys: Mapping[str, str], transfer_syntax: str, *, asks_charset: bool = False) -> bytes:
    """Encode an identifier; an empty value is a universal match and a return key.

    With ``asks_charset`` (0008,0005) stands in it even where no value needs it: some peers name their character set only when
    asked. Raises ValueError for a keyword that the dictionary does not know.
    """
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    is_special = not all(value.isascii() for value in keys.values())
    if is_special or asks_charset:
        dataset.SpecificCharacterSet = "ISO_IR 192" if is_special else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of wildcards in values, and quotes them
        for keyword, value in keys.items():
            tag = tag_for_keyword(keyword)
            if tag is None:
                raise ValueError(f"{keyword!r} is no DICOM keyword")
            vr = dictionary_VR(tag)
            dataset.add_new(tag, vr, [] if vr == "SQ" else value or None)
        out = DicomBytesIO()
        out.is_little_endian = True
        out.is_implicit_VR = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
        write_dataset(out, dataset)
    return out.getvalue()


def decode(data: bytes, transfer_syntax: str) -> dict[str, str]:
    """Decode an identifier: keyword -> text, several values joined by backslashes, all groups of a person name kept.

    Sequences, binary values and elements without a keyword are left out. Raises ProtocolError for what cannot be parsed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = read_dataset(io.BytesIO(data), transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN, True)
            return dict(_texts(dataset))
    except _PARSE_ERRORS as exc:
        raise ProtocolError("IDENTIFIER", f"an identifier that cannot be read ({type(exc).__name__})") from exc


def _texts(dataset: Dataset) -> Iterator[tuple[str, str]]:
    raw: dict[BaseTag, object] = dict(dataset.items())  # what was read, before anything is converted
    charset = raw.get(_SPECIFIC_CHARACTER_SET)
    declared = (charset.value or b"") if isinstance(charset, RawDataElement) else b""
    for tag, element in raw.items():
        keyword = keyword_for_tag(tag)
        if not keyword or not isinstance(element, RawDataElement):
            continue
        vr = element.VR if element.VR and element.VR != "UN" else dictionary_VR(tag)
        if vr not in _BINARY:
            yield keyword, _text(element.value or b"", vr, declared)


def _text(raw: bytes, vr: str, charset: bytes) -> str:
    form = _NUMBERS.get(vr[:2])  # "US or SS" is unsigned here, as in every key that has it
    if form is not None:
        return "\\".join(str(number) for (number,) in struct.iter_unpack(form, raw))
    if not charset and not raw.isascii():
        charset = _undeclared(raw)
    return text.decode(raw, vr, charset).strip()


def _undeclared(raw: bytes) -> bytes:
    """Guess the character set of a peer that names none although it needs one: UTF-8 where it is valid, else Latin-1."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return b"ISO_IR 100"
    return b"ISO_IR 192"
