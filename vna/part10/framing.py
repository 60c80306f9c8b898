"""The canonical file meta information, frozen for format 1 of the archive.

A stored file is a function of its SOP class, SOP instance, transfer syntax and the data set's bytes, whatever route they came
by, so that one SHA-256 is identity, fixity and manifest line at once. For that, nothing here may ever change without a new
archive format: not the implementation's UID, not its version name, not the padding.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import BinaryIO, NamedTuple

IMPLEMENTATION_CLASS_UID = "2.25.198597067001029556934292427634988382717"
"""Implementation Class UID (0002,0012) of format 1: a UUID-derived UID (PS3.5 B.2), not that of any release."""

IMPLEMENTATION_VERSION_NAME = "VNA_1"
"""Implementation Version Name (0002,0013) of format 1."""

PREAMBLE_AND_PREFIX = bytes(128) + b"DICM"

_LONGEST_VALUE = 0xFFFE
_GROUP_LENGTH = struct.Struct("<HH2sHI")
_SHORT_FORM = struct.Struct("<HH2sH")
_LONG_FORM = struct.Struct("<HH2s2xI")
_BEFORE_GROUP = len(PREAMBLE_AND_PREFIX) + _GROUP_LENGTH.size
_CLASS_AT = _BEFORE_GROUP + _LONG_FORM.size + 2  # Media Storage SOP Class UID, behind the File Meta Information Version
_CLASS_VALUE_AT = _CLASS_AT + _SHORT_FORM.size
_USUAL_LENGTH = 1024
_KEPT = 256


class Head(NamedTuple):
    """What the canonical file meta of one stored file says; ``data_set_offset`` is where its data set begins, in bytes."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Build preamble, prefix and the canonical group 0002, Explicit VR Little Endian (PS3.10 7.1).

    The UIDs are written as given, without judging them. Raises ValueError for one that the two-byte length of VR UI cannot hold.
    """
    before, after = _around_instance(sop_class_uid, transfer_syntax_uid)
    instance = _uid_element(0x0003, sop_instance_uid)
    length = len(before) + len(instance) + len(after)
    return PREAMBLE_AND_PREFIX + _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, length) + before + instance + after


@lru_cache(maxsize=256)
def _around_instance(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """Build what stands before and behind Media Storage SOP Instance UID: alike for one object after the other."""
    before = _LONG_FORM.pack(0x0002, 0x0001, b"OB", 2) + b"\x00\x01" + _uid_element(0x0002, sop_class_uid)
    after = (
        _uid_element(0x0010, transfer_syntax_uid)
        + _uid_element(0x0012, IMPLEMENTATION_CLASS_UID)
        + _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode(), b" ")
    )
    return before, after


def read_head(file: BinaryIO) -> Head:
    """Read the canonical file meta of a file of our own store and leave ``file`` at the start of its data set.

    Raises ValueError when the file does not begin with canonical file meta, byte for byte: such a file is not one of format 1.
    """
    start = file.read(_BEFORE_GROUP)
    return head_of(start + file.read(_group_length(start)))


def head_of(data: bytes) -> Head:
    """Read the canonical file meta at the beginning of ``data``; see :func:`read_head`.

    One object's differs from the next one's by its SOP Instance UID alone. So what stands before that value and what stands
    behind it are compared, as they are, with those of a file meta that was found to be canonical.
    """
    value_at = _CLASS_VALUE_AT + int.from_bytes(data[_CLASS_VALUE_AT - 2 : _CLASS_VALUE_AT], "little") + _SHORT_FORM.size
    if (known := _known.get(data[:value_at])) is not None:
        after, after_at, sop_class_uid, transfer_syntax_uid, offset = known
        if data.startswith(after, after_at):
            sop_instance_uid = data[value_at:after_at].removesuffix(b"\0").decode("latin-1")
            return Head(sop_class_uid, sop_instance_uid, transfer_syntax_uid, offset)
    head = _compared(data)
    if head.data_set_offset <= _USUAL_LENGTH:
        if len(_known) >= _KEPT:
            _known.clear()
        after_at = value_at + int.from_bytes(data[value_at - 2 : value_at], "little")
        after = data[after_at : head.data_set_offset]
        _known[data[:value_at]] = after, after_at, head.sop_class_uid, head.transfer_syntax_uid, head.data_set_offset
    return head


_known: dict[bytes, tuple[bytes, int, str, str, int]] = {}
"""What stands before the SOP Instance UID's value -> what stands behind it, and where; SOP class, transfer syntax, length."""


def _compared(data: bytes) -> Head:
    """Read the UIDs of a file meta, and compare it with the canonical one that they make."""
    length, at = _group_length(data), _CLASS_AT
    uids = []
    for _ in range(3):
        value_at = at + _SHORT_FORM.size
        value = data[value_at : value_at + int.from_bytes(data[at + 6 : value_at], "little")]
        uids.append(value.removesuffix(b"\0").decode("latin-1"))
        at = value_at + len(value)
    sop_class_uid, sop_instance_uid, transfer_syntax_uid = uids
    meta = file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
    if len(meta) != _BEFORE_GROUP + length or not data.startswith(meta):
        raise ValueError("the file meta information is not the canonical one")
    return Head(sop_class_uid, sop_instance_uid, transfer_syntax_uid, len(meta))


def _group_length(start: bytes) -> int:
    """Give how many bytes follow the Group Length (0002,0000) of the canonical file meta."""
    if len(start) < _BEFORE_GROUP or not start.startswith(PREAMBLE_AND_PREFIX):
        raise ValueError("the file does not begin with the canonical preamble")
    length = _GROUP_LENGTH.unpack_from(start, len(PREAMBLE_AND_PREFIX))[4]
    if length > 4 * _LONGEST_VALUE:
        raise ValueError("the file meta information is longer than the canonical one can be")
    return int(length)


def _uid_element(element: int, uid: str) -> bytes:
    return _element(element, b"UI", _encoded(uid), b"\x00")


def _element(element: int, vr: bytes, value: bytes, padding: bytes) -> bytes:
    if len(value) % 2:
        value += padding
    if len(value) > _LONGEST_VALUE:
        raise ValueError(f"a UID of {len(value)} bytes does not fit into the file meta information")
    return _SHORT_FORM.pack(0x0002, element, vr, len(value)) + value


def _encoded(uid: str) -> bytes:
    # A UID is ASCII. One that is not was read byte by byte as Latin-1 and goes back as the same bytes.
    try:
        return uid.encode("latin-1")
    except UnicodeEncodeError:
        return uid.encode("utf-8", "surrogatepass")
