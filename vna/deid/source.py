"""Where the objects come from: rows that say what there is, and an opener for their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:
    from vna.archive import Archive

COLUMNS = (
    "path",
    "size",
    "sha256",
    "status",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
)
"""The columns of the index that a run reads."""

Row = Mapping[str, Any]


class Source(Protocol):
    """The objects of one run. It travels to worker processes, so it must pickle."""

    def rows(self) -> Sequence[Row]:
        """List the objects: dictionaries with at least :data:`COLUMNS`, in a stable order."""

    def open(self, path: str) -> BinaryIO:
        """Open one object's Part 10 file; the caller closes it."""


@dataclass(slots=True)
class ArchiveSource:
    """Objects of the archive, selected by SQL over the view ``instances`` and by study."""

    url: str
    storage_options: dict[str, Any] = field(default_factory=dict)
    where: str | None = None
    studies: tuple[str, ...] = ()
    limit: int | None = None
    _archive: Archive | None = field(init=False, default=None, repr=False, compare=False)

    def rows(self) -> Sequence[Row]:
        """Select the rows; with ``limit``, those of the first so many studies."""
        rows = self._opened().select(self.where, self.studies, COLUMNS)
        if self.limit is None:
            return rows
        studies = dict.fromkeys(row["StudyInstanceUID"] for row in rows)
        wanted = set(list(studies)[: self.limit])
        return [row for row in rows if row["StudyInstanceUID"] in wanted]

    def open(self, path: str) -> BinaryIO:
        """Open an object of the archive."""
        return self._opened().open_object(path)

    def __getstate__(self) -> tuple[Any, ...]:
        """Leave the opened archive behind: a worker opens its own."""
        return (self.url, self.storage_options, self.where, self.studies, self.limit)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.url, self.storage_options, self.where, self.studies, self.limit = state
        self._archive = None

    def _opened(self) -> Archive:
        if self._archive is None:
            from vna.archive import Archive

            self._archive = Archive.open(self.url, self.storage_options)
        return self._archive
