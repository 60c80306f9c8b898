"""Turn a header into the index's columns, and judge the UIDs that identify the object.

Most values repeat from file to file, so that decoded values are kept for a while by their raw bytes.
"""

from __future__ import annotations

import re
from itertools import compress
from operator import ne

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
_UID = re.compile(r"(?:0|[1-9][0-9]*+)(?:\.(?:0|[1-9][0-9]*+))*+")
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
    global _last
    last, elements = _last, header.elements
    tags, values, encoding = list(elements), list(elements.values()), header.encoding
    due = changed = tags
    row = _EMPTY_ROW
    if last[0] is encoding and last[1] == tags:
        changed = list(compress(tags, map(ne, values, last[2])))
        if SPECIFIC_CHARACTER_SET not in changed:
            row, due = last[3], changed
    row = row.copy()
    found: list[Problem] = []
    if due:
        _fill(row, due, header, found)
    row[TRANSFER_SYNTAX_UID] = header.transfer_syntax_uid or None
    if not found and len(changed) > _FEW:
        _last = (encoding, tags, values, row.copy())
    elif found and problems is not None:
        known = {problem.code for problem in problems}
        problems.extend(problem for problem in found if problem.code not in known)
    return row


_FEW = 8
_last: tuple[Encoding | None, list[int], list[bytes], dict[str, object]] = (None, [], [], {})
"""A row in which no value had a problem, and the encoding, tags and values that it was made of. The next one differs from it in
a few columns only, and where these become more, it takes its place."""


def _fill(row: dict[str, object], tags: list[int], header: Header, problems: list[Problem]) -> None:
    """Set the columns that these tags stand for."""
    slots = _BIG if header.encoding is Encoding.EXPLICIT_BIG else _LITTLE
    for tag in tags:
        slot = slots.get(tag)
        if slot is None:
            continue
        name, kind, kept = slot
        raw = header.elements[tag]
        value = kept.get(raw)
        if value is None and raw:
            value = _decode(header, tag, raw, kind, kept, problems)
        row[name] = value


def _decode(header: Header, tag: int, raw: bytes, kind: Kind, kept: dict[bytes, object], problems: list[Problem]) -> object:
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


def _note(problems: list[Problem], code: str, tag: int) -> None:
    if all(problem.code != code for problem in problems):
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
    found = header.elements
    instance = found.get(SOP_INSTANCE_UID, b"").removesuffix(b"\0").decode("latin_1")
    shared = (found.get(SOP_CLASS_UID), found.get(STUDY_INSTANCE_UID), found.get(SERIES_INSTANCE_UID), sop_class_uid)
    if shared in _SOUND and sop_instance_uid in ("", instance) and is_uid(instance):
        return []
    if MEDIA_STORAGE_DIRECTORY in (sop_class_uid, header.uid(SOP_CLASS_UID)):
        return [Problem("MEDIA_DIRECTORY")]
    problems: list[Problem] = []
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
        if raw is not None and not is_uid(raw.removesuffix(b"\0").decode("latin_1")):
            problems.append(Problem("BAD_UID", tag_text(tag)))
            break
    if not problems and shared[1] and shared[2]:
        if len(_SOUND) >= _KEPT:
            _SOUND.clear()
        _SOUND[shared] = None
    return problems


_SOUND: dict[tuple[bytes | None, bytes | None, bytes | None, str], None] = {}
"""What all objects of a series have in common, judged before and found without a problem: class, study, series, and the class
that was announced. The problems of the instance's own UID do not depend on it."""
