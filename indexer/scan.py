"""Scan one file, or the parts of one: file meta, header, what follows the header, identity, index row.

A scan answers for any bytes: whatever is wrong with them is in its problems. This module gathers what a caller needs;
:func:`read_file_meta`, :func:`check_tail`, :func:`identity_problems` and :func:`index_row` serve those who hold no file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from indexer.header import HeaderScanner
from indexer.meta import TRANSFER_SYNTAX_UID, FileMeta, read_file_meta
from indexer.problems import Disposition, Problem, codes, disposition
from indexer.record import DEFAULT_LIMITS, Header, Limits
from indexer.row import identity_problems, index_row, is_uid
from indexer.tail import check_tail, expected_pixel_bytes

__all__ = [
    "FileMeta",
    "Scan",
    "check_tail",
    "expected_pixel_bytes",
    "identity_problems",
    "index_row",
    "is_uid",
    "read_file_meta",
    "scan_file",
    "scan_open",
    "unreadable",
]

_FIRST_READ = 8192
_LARGEST_READ = 1 << 20
_LARGEST_META = 16 << 20

_ReadAt = Callable[[int, int], bytes]
"""Reads so many bytes from a position on, as ``os.pread`` does."""


@dataclass(slots=True)
class Scan:
    """What one file is: its meta information, its header, and everything that is wrong with them, in file order."""

    path: str
    size: int
    meta: FileMeta
    header: Header
    problems: list[Problem]

    @property
    def disposition(self) -> Disposition:
        """What follows from the problems."""
        return disposition(self.problems)

    @property
    def codes(self) -> tuple[str, ...]:
        """The distinct codes of the problems, the deciding ones first."""
        return codes(self.problems)

    def row(self) -> dict[str, object]:
        """Give the DICOM columns of the index; problems of the values are added to ``problems``."""
        return index_row(self.header, self.problems)


def scan_file(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Scan:
    """Scan the file at ``path``, reading as little of it as possible; never raises on bad content, nor when it cannot be read."""
    name = os.fspath(path)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        return unreadable(name, exc.strerror or "")
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return unreadable(name, "not a regular file")
        return _scan(name, lambda length, at: os.pread(fd, length, at), status.st_size, limits)
    except OSError as exc:
        return unreadable(name, exc.strerror or "")
    finally:
        os.close(fd)


def scan_open(file: BinaryIO, name: str = "", limits: Limits = DEFAULT_LIMITS) -> Scan:
    """Scan an open, seekable file of whatever kind, as :func:`scan_file` does. What reading raises goes through to the caller."""
    size = file.seek(0, os.SEEK_END)

    def read_at(length: int, at: int) -> bytes:
        file.seek(at)
        return file.read(length)

    return _scan(name, read_at, size, limits)


def unreadable(path: str, detail: str) -> Scan:
    """Give the scan of a file that could not be read."""
    return Scan(path, 0, FileMeta(), Header(""), [Problem("UNREADABLE", "", detail)])


def _scan(path: str, read_at: _ReadAt, size: int, limits: Limits) -> Scan:
    head = read_at(_FIRST_READ, 0)
    meta = read_file_meta(head, size)
    while meta.needed:
        if meta.needed > min(size, _LARGEST_META):
            meta = read_file_meta(head)
            break
        head = read_at(meta.needed + _FIRST_READ, 0)
        meta = read_file_meta(head, max(len(head), size) if len(head) >= meta.needed else len(head))
    offset = meta.data_set_offset
    if offset is None:
        return Scan(path, size, meta, Header(meta.transfer_syntax_uid), meta.problems)
    scanner = HeaderScanner(meta.transfer_syntax_uid, limits)
    if not scanner.feed(head[offset:]):
        _read_on(scanner, read_at, len(head), size)
    header = scanner.close()
    if header.pixel is not None and header.pixel.length is None and TRANSFER_SYNTAX_UID not in meta.elements:
        header.transfer_syntax_uid = ""  # compressed somehow: what was inferred is the encoding of the header only
    check_tail(header, size - offset, lambda at, length: read_at(length, offset + at), limits)
    problems = meta.problems + header.problems
    problems += identity_problems(header, meta.sop_class_uid, meta.sop_instance_uid)
    return Scan(path, size, meta, header, problems)


def _read_on(scanner: HeaderScanner, read_at: _ReadAt, at: int, size: int) -> None:
    length = _FIRST_READ
    while at < size:
        jump = min(scanner.skippable, size - at)
        if jump:
            scanner.skip(jump)
            at, length = at + jump, _FIRST_READ
            continue
        chunk = read_at(length, at)
        if not chunk or scanner.feed(chunk):
            return
        at, length = at + len(chunk), min(2 * length, _LARGEST_READ)
