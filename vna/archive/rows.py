"""The journal row: everything there is to say about one object that the archive took.

A row is one line of JSON in a journal segment. It holds the index row too, so that the index is made from the journal without
reading the objects again. Keys that are DICOM attributes have the attribute's keyword, ours are in snake_case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from itertools import compress
from json.encoder import encode_basestring_ascii as _text
from operator import is_not
from typing import Any, NamedTuple

from vna.model import Provenance, Receipt


class JournalRow(NamedTuple):
    """One object that the archive took, as its journal tells it.

    ``seq`` ascends within one writer and has gaps. ``sop_class_uid``, ``sop_instance_uid`` and ``transfer_syntax_uid`` are what
    announced the object (the C-STORE request, or a file's meta information) and stand in its canonical file meta; ``row`` holds
    the index columns read from its data set. ``received_at`` is UTC, ISO 8601.
    """

    writer: str
    seq: int
    state: str
    path: str
    sha256: str
    size: int
    received_at: str
    codes: tuple[str, ...] = ()
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    provenance: Provenance = Provenance(source="")
    row: Mapping[str, object] = {}

    @property
    def source(self) -> str:
        """The node's name, or the calling AE title, that handed the object over."""
        return self.provenance.source

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID of the data set; empty if it has none."""
        return str(self.row.get("StudyInstanceUID") or "")

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID of the data set; empty if it has none."""
        return str(self.row.get("SeriesInstanceUID") or "")

    def receipt(self) -> Receipt:
        """Say what became of the object, to whoever handed it over."""
        codes = self.provenance.codes
        return Receipt(
            self.state,
            self.sha256,
            self.path,
            self.size,
            self.sop_instance_uid,
            self.study_instance_uid,
            self.series_instance_uid,
            self.sop_class_uid,
            self.transfer_syntax_uid,
            self.codes + tuple(code for code in codes if code not in self.codes) if codes else self.codes,
        )


_PROVENANCE = tuple(each.name for each in fields(Provenance))
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_KEPT = 20_000
_members: dict[tuple[str, object], str] = {}  # of index rows, encoded: most of them are alike from object to object
_last_columns: tuple[list[str], list[object], list[str]] = ([], [], [])
_last_told: tuple[Mapping[str, Any], Provenance] = ({}, Provenance(source=""))
_last_provenance: tuple[Provenance | None, str] = (None, "")  # and so is this, within an association


def encode(row: JournalRow) -> bytes:
    """Write a row as JSON without its ``seq``, which the journal sets in front when it writes the line."""
    return (
        f'{{"state":{_text(row.state)},"path":{_text(row.path)},"sha256":{_text(row.sha256)},"size":{row.size},'
        f'"received_at":{_text(row.received_at)},"codes":{_ENCODER.encode(list(row.codes)) if row.codes else "[]"},'
        f'"SOPClassUID":{_text(row.sop_class_uid)},"SOPInstanceUID":{_text(row.sop_instance_uid)},'
        f'"TransferSyntaxUID":{_text(row.transfer_syntax_uid)},'
        f'"provenance":{_encoded_provenance(row.provenance)},"row":{_encoded_columns(row.row)}}}'
    ).encode("ascii")


def _encoded_provenance(provenance: Provenance) -> str:
    global _last_provenance
    known, text = _last_provenance
    if known is not provenance:
        text = _ENCODER.encode({name: value for name in _PROVENANCE if (value := getattr(provenance, name))})
        _last_provenance = (provenance, text)
    return text


def _encoded_columns(columns: Mapping[str, object]) -> str:
    """Write index columns as JSON; those that are the very values of the row before are not looked at again."""
    global _last_columns
    names, values = list(columns), list(columns.values())
    known_names, known_values, members = _last_columns
    if known_names == names:
        members = members.copy()
        for position in compress(range(len(names)), map(is_not, values, known_values)):
            members[position] = _member(names[position], values[position])
    else:
        members = list(map(_member, names, values))
    _last_columns = (names, values, members)
    return "{" + ",".join(filter(None, members)) + "}"


def _member(name: str, value: object) -> str:
    """Write one column; nothing where it has no value."""
    if value is None:
        return ""
    text = _members.get((name, value))
    if text is None:
        if len(_members) >= _KEPT:
            _members.clear()
        text = _members[name, value] = f"{_text(name)}:{_ENCODER.encode(value)}"
    return text


def numbered(seq: int, payload: bytes) -> bytes:
    """Make the journal line of an encoded row."""
    return b'{"seq":%d,%b\n' % (seq, payload[1:])


def decode(writer: str, line: bytes) -> JournalRow:
    """Read one journal line. Raises ValueError when it is not one."""
    try:
        return from_fields(writer, json.loads(str(line, "utf-8")))  # to find the encoding out takes longer
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError("not a journal row") from exc


def from_fields(writer: str, told: Mapping[str, Any]) -> JournalRow:
    """Make a row of the decoded JSON of one; an intent has the same fields but no ``seq``."""
    return JournalRow(
        writer=writer,
        seq=int(told.get("seq", 0)),
        state=told["state"],
        path=told["path"],
        sha256=told["sha256"],
        size=int(told["size"]),
        received_at=told["received_at"],
        codes=tuple(told["codes"]),
        sop_class_uid=told["SOPClassUID"],
        sop_instance_uid=told["SOPInstanceUID"],
        transfer_syntax_uid=told["TransferSyntaxUID"],
        provenance=_decoded_provenance(told.get("provenance", {})),
        row=told["row"],
    )


def _decoded_provenance(told: Mapping[str, Any]) -> Provenance:
    """Make a provenance of the decoded JSON of one; one that says what the one before said is that one."""
    global _last_told
    known, provenance = _last_told
    if known != told:
        provenance = Provenance(**{"source": "", **told, "codes": tuple(told.get("codes", ()))})
        _last_told = (told, provenance)
    return provenance


def index_columns(row: JournalRow) -> dict[str, object]:
    """Make the index row of a journal row: the columns read from the object, and ours."""
    return {
        **row.row,
        "path": row.path,
        "size": row.size,
        "sha256": row.sha256,
        "source": row.source or None,
        "received_at": row.received_at or None,
        "status": row.state,
        "codes": row.codes,
    }
