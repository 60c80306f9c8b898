"""Turn a header into the index's columns, and judge the UIDs that identify the object.

Most values repeat from file to file, so that decoded values are kept for a while by their raw bytes.
"""

from __future__ import annotations

import re

from indexer.encodings import Encoding
from indexer.problems import Problem, tag_text
from indexer.record import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    SPECIFIC_CHARACTER_SET,
    STUDY_INSTANCE_UID,
    Header,
)
from indexer.schema import DICOM_COLUMNS, TRANSFER_SYNTAX_UID, Kind
from indexer.text import decode_checked, strip

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"

_KEPT = 4096  # decoded values kept a column
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}")

_VR_OF = {Kind.NAME: "PN", Kind.TEXT: "LO"}
_EMPTY_ROW: dict[str, object] = {column.name: None for column in DICOM_COLUMNS}
_Slot = tuple[str, Kind, dict[bytes, object]]
_LITTLE: dict[int, _Slot] = {column.tag: (column.name, column.kind, {}) for column in DICOM_COLUMNS}
_BIG: dict[int, _Slot] = {column.tag: (column.name, column.kind, {}) for column in DICOM_COLUMNS}


def index_row(header: Header, problems: list[Problem] | None = None) -> dict[str, object]:
    """Give every DICOM column of the schema, text as str and numbers as int; None for what is missing, empty or no number.

    Problems of the values (CHARSET, BAD_NUMBER), each code once, are appended to ``problems``. Never raises.
    """
    row = _EMPTY_ROW.copy()
    row[TRANSFER_SYNTAX_UID] = header.transfer_syntax_uid or None
    slots = _BIG if header.encoding is Encoding.EXPLICIT_BIG else _LITTLE
    for tag, raw in header.elements.items():
        slot = slots.get(tag)
        if slot is None or not raw:
            continue
        name, kind, kept = slot
        value = kept.get(raw)
        if value is None:
            value = _decode(header, tag, raw, kind, kept, problems)
        row[name] = value
    return row


def _decode(
    header: Header, tag: int, raw: bytes, kind: Kind, kept: dict[bytes, object], problems: list[Problem] | None
) -> object:
    if kind is Kind.SHORT:
        if len(raw) % 2:
            _note(problems, "BAD_NUMBER", tag)
            return None
        value: object = header.number(tag)
    elif kind in _VR_OF:
        text, worked = decode_checked(raw, _VR_OF[kind], header.elements.get(SPECIFIC_CHARACTER_SET, b""))
        if not worked:
            _note(problems, "CHARSET", tag)
        if not raw.isascii() or b"\x1b" in raw:
            return text or None
        value = text or None
    elif kind is Kind.INTEGER:
        value = _integer(raw)
        if value is None and raw.strip(b" \0"):
            _note(problems, "BAD_NUMBER", tag)
            return None
    else:
        value = strip(raw.decode("latin_1")) or None
    if tag != SOP_INSTANCE_UID and len(raw) <= 256:
        if len(kept) >= _KEPT:
            kept.clear()
        kept[bytes(raw)] = value
    return value


def _integer(raw: bytes) -> int | None:
    first = raw.partition(b"\\")[0].decode("latin_1").strip(" \0\t\r\n")
    return int(first) if _NUMBER.fullmatch(first) else None


def _note(problems: list[Problem] | None, code: str, tag: int) -> None:
    if problems is not None and all(problem.code != code for problem in problems):
        problems.append(Problem(code, tag_text(tag)))


_REQUIRED = (
    (SOP_INSTANCE_UID, "NO_SOP_INSTANCE_UID"),
    (STUDY_INSTANCE_UID, "NO_STUDY_INSTANCE_UID"),
    (SERIES_INSTANCE_UID, "NO_SERIES_INSTANCE_UID"),
)


def is_uid(value: str) -> bool:
    """Tell whether ``value`` is a UID: digits and dots, no leading zeros, at most 64 characters (PS3.5 9.1)."""
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def identity_problems(header: Header, sop_class_uid: str = "", sop_instance_uid: str = "") -> list[Problem]:
    """Judge the UIDs of a data set: missing, malformed, or not those that announced it (file meta, or C-STORE command).

    Each code comes once at most. An empty UID counts as missing and as malformed; where the header could not be read to its
    end, nothing is said to be missing. A DICOMDIR has none of them and is no instance: its only problem is MEDIA_DIRECTORY.
    """
    if MEDIA_STORAGE_DIRECTORY in (sop_class_uid, header.uid(SOP_CLASS_UID)):
        return [Problem("MEDIA_DIRECTORY")]
    problems: list[Problem] = []
    found = header.elements
    for tag, code in _REQUIRED:
        raw = found.get(tag)
        if (raw is None and header.has_header_end) or (raw is not None and not raw.strip(b" \0")):
            problems.append(Problem(code, tag_text(tag)))
    for announced, tag in ((sop_instance_uid, SOP_INSTANCE_UID), (sop_class_uid, SOP_CLASS_UID)):
        if announced and header.uid(tag) not in ("", announced):
            problems.append(Problem("SOP_MISMATCH", tag_text(tag)))
            break
    for tag in (SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_CLASS_UID):
        raw = found.get(tag)
        if raw is not None and raw not in _GOOD_UIDS and not _is_padded_uid(raw, tag != SOP_INSTANCE_UID):
            problems.append(Problem("BAD_UID", tag_text(tag)))
            break
    return problems


_GOOD_UIDS: dict[bytes, None] = {}  # raw values that were judged before, since most repeat


def _is_padded_uid(raw: bytes, is_repeated: bool) -> bool:
    is_good = is_uid(raw.removesuffix(b"\0").decode("latin_1"))
    if is_good and is_repeated:
        if len(_GOOD_UIDS) >= _KEPT:
            _GOOD_UIDS.clear()
        _GOOD_UIDS[raw] = None
    return is_good
