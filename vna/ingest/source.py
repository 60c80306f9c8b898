"""One source file: what it is, what it would become in the archive, and its bytes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from pydicom.datadict import dictionary_keyword, dictionary_VR

from indexer.meta import FileMeta
from indexer.problems import codes
from indexer.record import SOP_CLASS_UID, SOP_INSTANCE_UID
from indexer.row import MEDIA_STORAGE_DIRECTORY
from indexer.scan import Scan, scan_file
from vna.archive import Announced, JournalRow
from vna.archive.examine import judge, raw_row, receipt_row
from vna.model import Provenance

CHUNK = 1 << 20
_CANONICAL = frozenset({0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010})
_BYTES = frozenset({"OB", "UN"})
_LONGEST_TEXT = 1024


class SourceChangedError(OSError):
    """The file was written to while it was read, so that what was read is neither its old nor its new content."""


class OpenedSource:
    """A source file that is being read, from where it stands to the end that it had; a change meanwhile shows there."""

    def __init__(self, file: FileIO, before: os.stat_result) -> None:
        self._file = file
        self._before = before
        self._left = before.st_size - file.tell()

    def read(self, size: int, /) -> bytes:
        """Read the next bytes. Raises SourceChangedError at the end of a file that was written to meanwhile."""
        chunk = self._file.read(min(size, self._left)) if self._left else b""
        self._left -= len(chunk or b"")
        if not chunk:
            after = os.fstat(self._file.fileno())
            if self._left or (self._before.st_size, self._before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise SourceChangedError("the file was written to while it was read")
        return chunk or b""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was scanned. Without ``announced`` it can be no DICOM object and is kept as it is, for the reason ``code``."""

    path: Path
    scan: Scan
    announced: Announced | None
    code: str

    @classmethod
    def scanned(cls, path: Path) -> SourceFile:
        """Scan a file; never raises for its content. Raises OSError when it cannot be read."""
        scan = scan_file(path)
        if scan.problems and scan.problems[0].code == "UNREADABLE":
            raise OSError(scan.problems[0].detail or "cannot be read")
        meta = scan.meta
        if meta.data_set_offset is None or not meta.transfer_syntax_uid:
            return cls(path, scan, None, (*codes(meta.problems), "NOT_DICOM")[0])
        # A file without meta information is announced by nobody but its own data set.
        sop_class = meta.sop_class_uid or scan.header.uid(SOP_CLASS_UID)
        sop_instance = meta.sop_instance_uid or scan.header.uid(SOP_INSTANCE_UID)
        announced = Announced(sop_class, sop_instance, meta.transfer_syntax_uid)
        return cls(path, scan, announced if _fits(announced) else None, "BAD_UID")

    @property
    def is_directory(self) -> bool:
        """Whether it is a DICOMDIR under another name: a directory of files, no object (PS3.10 8.6)."""
        return MEDIA_STORAGE_DIRECTORY in (self.scan.meta.sop_class_uid, self.scan.header.uid(SOP_CLASS_UID))

    def provenance(self, source: str) -> Provenance:
        """Say where the file came from, and what its own meta information said that the stored file will not."""
        meta = self.scan.meta
        return Provenance(
            source, source_path=str(self.path), file_meta=meta_texts(meta, self.preamble()), codes=codes(meta.problems)
        )

    def preamble(self) -> bytes:
        """Read the preamble; empty where there is none or it is all zeros, as it is in the stored file."""
        if not self.scan.meta.has_preamble:
            return b""
        with self.path.open("rb") as file:
            return file.read(128).rstrip(b"\0")

    @contextmanager
    def opened(self) -> Iterator[OpenedSource]:
        """Open the file at its data set (or, if it has none, at its start). Raises OSError."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with FileIO(descriptor, "rb") as file:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode) or before.st_size != self.scan.size:
                raise SourceChangedError("the file is not the one that was scanned")
            file.seek(self.scan.meta.data_set_offset or 0 if self.announced else 0)
            yield OpenedSource(file, before)

    def foreseen(self, source: str) -> JournalRow:
        """Tell what the file would become, by reading it once to its end."""
        start = self.announced.file_meta() if self.announced else b""
        total, size = hashlib.sha256(start), len(start)
        with self.opened() as file:
            while chunk := file.read(CHUNK):
                total.update(chunk)
                size += len(chunk)
        sha256, provenance = total.hexdigest(), self.provenance(source)
        if self.announced is None:
            return raw_row("", (self.code,), sha256, size, "", provenance)
        verdict = judge(self.scan.header, self.announced, sha256)
        return receipt_row("", self.announced, verdict, sha256, size, "", provenance)

    def likely_path(self) -> str:
        """Tell where the file would stand as the first under its UIDs; '' for quarantine, where only the digest tells."""
        if self.announced is None:
            return ""
        path = judge(self.scan.header, self.announced, "").path
        return path if path.startswith("instances/") else ""


def meta_texts(meta: FileMeta, preamble: bytes) -> dict[str, str]:
    """Give what a file's own meta information said beyond the canonical elements: keyword (or tag) -> text, or bytes in hex."""
    texts = {"Preamble": preamble.hex()} if preamble else {}
    for tag, value in meta.elements.items():
        if tag not in _CANONICAL:
            name, is_bytes = _described(tag)
            raw = value[:_LONGEST_TEXT]
            text = raw.hex() if is_bytes else raw.decode("latin_1").rstrip(" \0")
            if text:
                texts[name] = text
    return texts


def _described(tag: int) -> tuple[str, bool]:
    try:
        return dictionary_keyword(tag), dictionary_VR(tag) in _BYTES
    except KeyError:
        return f"({tag >> 16:04X},{tag & 0xFFFF:04X})", True


def _fits(announced: Announced) -> bool:
    return all(len(uid) < CHUNK >> 4 for uid in (announced.sop_class_uid, announced.sop_instance_uid))
