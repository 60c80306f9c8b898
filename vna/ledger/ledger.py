"""The ledger as a whole: one database, seen through its parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sqlalchemy.engine import make_url

from vna.ledger.accounts import Accounts, Status, Unmigrated
from vna.ledger.backup import back_up
from vna.ledger.database import Database
from vna.ledger.expected import Expected
from vna.ledger.leases import Leases
from vna.ledger.objects import JournalRow, Objects
from vna.ledger.outcomes import Outcomes
from vna.ledger.selection import studies_where
from vna.ledger.sources import Sources

EVIDENCE = "evidence"


class Journaled(Protocol):
    """What the ledger reads of an archive; :class:`vna.archive.Archive` has it."""

    def journal_rows(self, after: Mapping[str, int] | None = None, /) -> Iterator[JournalRow]: ...
    def revised(self, known: Mapping[str, int], /) -> Iterator[tuple[str, int, Mapping[str, tuple[int, str]]]]: ...


class Ledger:
    """What was done to which study, and where every expected instance stands. Thread-safe; a context manager.

    ``folder`` is where the evidence of inventories and the certificates of verifications are written, in ``evidence/``.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder
        self.leases = Leases(database)
        self.sources = Sources(database)
        self.objects = Objects(database)
        self.expected = Expected(database)
        self.outcomes = Outcomes(database)
        self._accounts = Accounts(database, self.outcomes)
        self._database = database

    @classmethod
    def open(cls, url: str, *, folder: Path | None = None) -> Self:
        """Open the ledger at an SQLAlchemy URL, and create its tables where there are none. Safe to repeat.

        ``folder`` defaults to the one that holds the SQLite file, and to the current one for PostgreSQL. Raises ConfigError for
        a URL that cannot be used, RefusedError for a ledger of a newer version, StoreError when the database does not answer.
        """
        database = Database(url)
        if folder is None:
            parsed = make_url(url)
            folder = Path(parsed.database or ".").parent if database.dialect == "sqlite" else Path.cwd()
        return cls(database, folder)

    def absorb(self, rows: Iterable[JournalRow]) -> int:
        """Copy what the archive's journal says beyond :meth:`positions`, and say how many objects were new."""
        return self.objects.absorb(rows)

    def catch_up(self, archive: Journaled) -> int:
        """Absorb what the archive's journal and revisions say beyond what is known; return how many objects were new."""
        added = self.absorb(archive.journal_rows(self.positions()))
        for study, number, revised in archive.revised(self.objects.revised()):
            self.objects.revise(study, number, revised)
        return added

    def positions(self) -> dict[str, int]:
        """Say how far each journal writer has been absorbed."""
        return self.objects.positions()

    def status(self, target: str = "") -> Status:
        """Add up where every unit stands; with ``target``, as if that node were the only target."""
        return self._accounts.status(target)

    def unmigrated(self, target: str = "") -> Iterator[Unmigrated]:
        """Yield every unit that is not verified, with its reason."""
        return self._accounts.unmigrated(target)

    def studies_where(self, node: str, condition: str) -> list[str]:
        """List the studies that a source listed and for which a condition in DuckDB's SQL holds."""
        return studies_where(self._database, node, condition)

    def evidence_folder(self) -> Path:
        """Return the folder for evidence and certificates, which is made if need be."""
        folder = self.folder / EVIDENCE
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def back_up(self, folder: Path) -> Path:
        """Copy the ledger, as it stands in one moment, to a new file in ``folder`` and return its path.

        SQLite only: raises ConfigError for another database, whose own tool does it better, StoreError if it cannot be written.
        """
        return back_up(self._database, folder)

    def close(self) -> None:
        """Give back every lease and close the database."""
        try:
            self.leases.close()
        finally:
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
