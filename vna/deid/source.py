"""Where the objects come from: rows that say what there is, and an opener for their files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from vna.errors import StoreError, VnaError

if TYPE_CHECKING:
    from vna.archive import Archive
    from vna.archive.address import Address

OPENING = ("path", "sha256", "revision", "received_StudyInstanceUID")
"""The columns by which an object is opened, as it leaves: with the active revisions of its study applied."""

PATIENT = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "AccessionNumber")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
RECEIVED = ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", *UIDS)
"""What a correction may have changed: the old values name the patient too."""

COLUMNS = tuple(dict.fromkeys((*OPENING, "size", "status", *PATIENT, *UIDS, *(f"received_{name}" for name in RECEIVED))))
"""The columns of the view that a run reads."""

Row = Mapping[str, Any]


class SourceLostError(StoreError):
    """The archive is not where it was: no object is missing, rather all are out of reach."""


class Source(Protocol):
    """The objects of one run. It travels to worker processes, so it must pickle."""

    def rows(self) -> Sequence[Row]:
        """List the objects: dictionaries with :data:`COLUMNS`, those of corrections where there are any."""

    def open(self, row: Row) -> BinaryIO:
        """Open one object's Part 10 file by the columns :data:`OPENING` of its row; the caller closes it.

        Raises SourceLostError where the objects are out of reach altogether, any other VnaError for one that cannot be read.
        """


@dataclass(slots=True)
class ArchiveSource:
    """Objects of the archive, selected by SQL over the view ``instances`` and by study."""

    url: str
    storage_options: dict[str, Any] = field(default_factory=dict)
    where: str | None = None
    studies: tuple[str, ...] = ()
    limit: int | None = None
    spool: str = ""
    _archive: Archive | None = field(init=False, default=None, repr=False, compare=False)
    _address: Address | None = field(init=False, default=None, repr=False, compare=False)

    def rows(self) -> Sequence[Row]:
        """Select the rows; with ``limit``, those of the first so many studies."""
        rows = self._opened().select(self.where, self.studies, COLUMNS)
        if self.limit is None:
            return rows
        studies = dict.fromkeys(row["StudyInstanceUID"] for row in rows)
        wanted = set(list(studies)[: self.limit])
        return [row for row in rows if row["StudyInstanceUID"] in wanted]

    def open(self, row: Row) -> BinaryIO:
        """Open an object of the archive, corrected. Raises SourceLostError where this process does not find the archive."""
        try:
            return self._open(row)
        except (VnaError, FileNotFoundError) as exc:
            self._confirm(exc)
            raise

    def _open(self, row: Row) -> BinaryIO:
        if row.get("revision") is None:
            return self._opened().open_object(row["path"])
        file = self._opened().open_effective(row["path"], row["sha256"], row["received_StudyInstanceUID"])[1]
        # What is spliced is read raw, in pieces; a reader of headers wants what it asked for.
        return cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", file)))

    def _confirm(self, cause: Exception) -> None:
        if self._address is None:
            return
        try:
            self._address.open()
        except VnaError as exc:
            raise SourceLostError(str(exc), hint=exc.hint) from cause

    def __getstate__(self) -> tuple[Any, ...]:
        """Leave the opened archive behind: a worker opens its own."""
        return (self.url, self.storage_options, self.where, self.studies, self.limit, self.spool, self._address)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.url, self.storage_options, self.where, self.studies, self.limit, self.spool, self._address = state
        self._archive = None

    def _opened(self) -> Archive:
        if self._archive is None:
            from vna.archive import Archive
            from vna.archive.address import Address

            self._archive = Archive.open(self.url, self.storage_options, spool=self.spool)
            self._address = self._address or Address.of(self._archive)
        return self._archive
