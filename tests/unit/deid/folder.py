"""A source of objects for tests: files of a folder, described as the archive's index would."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom

from vna.deid.source import Row

_KEYWORDS = (
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
)


@dataclass(frozen=True, slots=True)
class FileSource:
    """Objects from files, in the order given."""

    paths: tuple[str, ...]

    def rows(self) -> Sequence[Row]:
        return [self._row(Path(path)) for path in self.paths]

    def open(self, row: Row) -> BinaryIO:
        return Path(row["path"]).open("rb")

    def _row(self, path: Path) -> Row:
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(path, specific_tags=list(_KEYWORDS), stop_before_pixels=True)
            values = {keyword: str(ds.get(keyword) or "") for keyword in _KEYWORDS}
        return values | {"path": str(path), "size": len(content), "sha256": hashlib.sha256(content).digest(), "status": "stored"}
