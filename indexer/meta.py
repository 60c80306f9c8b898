"""Read what stands before the data set in a DICOM file: preamble, prefix and File Meta Information (PS3.10 7.1).

Whatever is missing or wrong becomes a problem, and where there is any way to find the data set, it is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import unpack_from

from indexer.encodings import (
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    LITTLE,
    LONG_VRS,
    SHORT_VRS,
    Encoding,
    sniff,
)
from indexer.problems import Problem, tag_text

MEDIA_STORAGE_SOP_CLASS_UID = 0x00020002
MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00020003
TRANSFER_SYNTAX_UID = 0x00020010
_GROUP_LENGTH = 0x00020000

_PREAMBLE = bytes(128)
_LABEL_OF = {
    Encoding.IMPLICIT_LITTLE: IMPLICIT_LITTLE_ENDIAN,
    Encoding.EXPLICIT_LITTLE: EXPLICIT_LITTLE_ENDIAN,
    Encoding.EXPLICIT_BIG: EXPLICIT_BIG_ENDIAN,
}
_BARE_GROUPS = (0x0002, 0x0004, 0x0008, 0x0010)  # groups that a file without preamble may begin with

# How files that are not DICOM begin, and how preambles begin that make a DICOM file something else as well. A preamble of the
# latter kind is dangerous where something would run or render it; TIFF is legitimate there (PS3.10 7.5).
_FOREIGN = (
    (b"PK\x03\x04", "ZIP archive"),
    (b"PK\x05\x06", "ZIP archive"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"%PDF", "PDF"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"\x89HDF", "HDF5"),
    (b"SQLite format 3", "SQLite"),
    (b"<?xml", "XML"),
    (b"{", "JSON"),
)
_ACTIVE = (
    (b"MZ", "Windows executable"),
    (b"\x7fELF", "ELF executable"),
    (b"\xfe\xed\xfa\xce", "Mach-O executable"),
    (b"\xfe\xed\xfa\xcf", "Mach-O executable"),
    (b"\xce\xfa\xed\xfe", "Mach-O executable"),
    (b"\xcf\xfa\xed\xfe", "Mach-O executable"),
    (b"\xca\xfe\xba\xbe", "Mach-O or Java class"),
    (b"#!", "script"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"<!DOCTYPE", "HTML"),
    (b"<!doctype", "HTML"),
    (b"<html", "HTML"),
    (b"<HTML", "HTML"),
    (b"<script", "HTML"),
    (b"<svg", "SVG"),
    (b"<?", "XML or PHP"),
)


@dataclass(slots=True)
class FileMeta:
    """What stands before the data set: raw values of group 0002 by tag, and where the data set begins.

    ``transfer_syntax_uid`` is the one given, or the one inferred where none is (then TS_MISSING is among the problems);
    ``data_set_offset`` is None where no data set was found. ``needed`` is not 0 when ``head`` was too short to tell.
    """

    has_preamble: bool = False
    elements: dict[int, bytes] = field(default_factory=dict)
    transfer_syntax_uid: str = ""
    data_set_offset: int | None = None
    problems: list[Problem] = field(default_factory=list)
    needed: int = 0

    def text(self, tag: int) -> str:
        """Give the text of an element without its padding; '' when it is missing."""
        return self.elements.get(tag, b"").decode("latin_1").rstrip(" \0")

    @property
    def sop_class_uid(self) -> str:
        """Media Storage SOP Class UID."""
        return self.text(MEDIA_STORAGE_SOP_CLASS_UID)

    @property
    def sop_instance_uid(self) -> str:
        """Media Storage SOP Instance UID."""
        return self.text(MEDIA_STORAGE_SOP_INSTANCE_UID)


def read_file_meta(head: bytes, size: int | None = None) -> FileMeta:
    """Read the beginning of a file of ``size`` bytes (default: ``head`` is all of it); never raises.

    When ``head`` ends before the meta information does and the file goes on, ``needed`` says how many bytes would help.
    """
    size = len(head) if size is None else size
    meta = FileMeta()
    start = 0
    if head[128:132] == b"DICM":
        meta.has_preamble, start = True, 132
        if head[:128] != _PREAMBLE:
            _check_preamble(head, meta)
        if size == 132:
            meta.problems.append(Problem("NO_META"))
            return meta
    elif not _is_bare(head, meta):
        return meta
    if head[start : start + 2] == b"\x02\x00":
        end = _read_group(head, start, size, meta)
        if end < 0:
            return meta
        start = end
    if TRANSFER_SYNTAX_UID in meta.elements:
        meta.transfer_syntax_uid = meta.text(TRANSFER_SYNTAX_UID)
    if not meta.transfer_syntax_uid:
        if len(head) < start + 8 <= size:
            meta.needed = start + 8
            return meta
        found = sniff(head[start : start + 8])
        meta.transfer_syntax_uid = _LABEL_OF[found] if found else ""
        if found or start == size:
            meta.problems.append(Problem("TS_MISSING", "(0002,0010)", f"inferred: {found}" if found else ""))
    meta.data_set_offset = start
    return meta


def _check_preamble(head: bytes, meta: FileMeta) -> None:
    begin = head[:128].lstrip()
    for magic, name in _ACTIVE:
        if begin.startswith(magic):
            meta.problems.append(Problem("PREAMBLE_EXEC", "offset 0", name))
            return


def _is_bare(head: bytes, meta: FileMeta) -> bool:
    """Tell whether a file without prefix begins with meta information or a data set, and note what it lacks."""
    if not head:
        meta.problems.append(Problem("EMPTY"))
        return False
    found = sniff(head[:8])
    if found is not None:
        group = unpack_from(">H" if found is Encoding.EXPLICIT_BIG else "<H", head)[0]
        if group in _BARE_GROUPS:
            meta.problems.append(Problem("NO_PREAMBLE"))
            return True
    if len(head) >= 132 and (head[:128] == _PREAMBLE or head[132:134] == b"\x02\x00"):
        meta.problems.append(Problem("NO_MAGIC", "offset 128"))
    else:
        name = next((name for magic, name in _FOREIGN if head.startswith(magic)), "")
        meta.problems.append(
            Problem("NOT_DICOM", "", name or ("text" if head[:256].isascii() and b"\0" not in head[:256] else ""))
        )
    return False


_SHORT = frozenset(vr.encode() for vr in SHORT_VRS)
_LONG = frozenset(vr.encode() for vr in LONG_VRS)


def _read_group(head: bytes, pos: int, size: int, meta: FileMeta) -> int:  # noqa: C901 - one case after another
    """Read group 0002 from ``pos``; gives where the data set begins, or -1 if that is beyond what there is."""
    elements, unpack = meta.elements, LITTLE.element.unpack_from
    end, last, group_end = len(head), 0, -1
    while True:
        if pos + 12 > end and end < size:
            meta.needed = pos + 12
            return -1
        if pos + 8 > end:
            if pos < end or group_end > end:
                return _truncated(meta, pos)
            break
        group, element, _, length = unpack(head, pos)
        if group != 2:
            break
        tag = group << 16 | element
        if tag <= last and (group_end < 0 or pos == group_end):
            break  # an element of group 0002 that belongs to the data set
        vr, start = head[pos + 4 : pos + 6], pos + 8
        if vr in _LONG and pos + 12 <= end:
            length, start = LITTLE.word.unpack_from(head, start)[0], pos + 12
        elif vr not in _SHORT:
            length = LITTLE.word.unpack_from(head, pos + 4)[0]
        if start + length > size:
            return _truncated(meta, pos)
        if start + length > end:
            meta.needed = start + length + 12
            return -1
        elements[tag] = value = head[start : start + length]
        pos, last = start + length, tag
        if tag == _GROUP_LENGTH and length == 4:
            group_end = pos + LITTLE.word.unpack(value)[0]
    if group_end != pos:
        meta.problems.append(Problem("META_GROUPLEN", tag_text(_GROUP_LENGTH), "missing" if group_end < 0 else "wrong"))
    return pos


def _truncated(meta: FileMeta, pos: int) -> int:
    meta.problems.append(Problem("META_TRUNCATED", f"offset {pos}"))
    return -1
