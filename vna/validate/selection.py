"""What a run is about: its options, and the rows of the index that they select."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vna.errors import ConfigError
from vna.validate.across import JUNK_PATTERNS
from vna.validate.check import Work
from vna.validate.result import Place

if TYPE_CHECKING:  # a worker imports this package, and needs no database
    from vna.archive import Archive

_ROWS_AT_ONCE = 512
_COLUMNS = "sha256, path, size, codes, Modality, StationName, StudyDate"


@dataclass(frozen=True, slots=True)
class ValidateOptions:
    """What to validate and how.

    ``where`` is a condition over the view ``instances``, ``studies`` limits to these Study Instance UIDs, ``everything`` checks
    again what is known already, ``workers`` 0 means one a core, ``seconds_an_object`` bounds the time for one, ``junk`` are the
    regular expressions for names, IDs and descriptions of no patient, ``sample`` so many objects are
    shown to ``dciodvfy``, ``pixels`` compares the pixel data of all (which reads them), ``cluster`` is the
    address of a Dask scheduler whose workers check the objects.
    """

    studies: tuple[str, ...] = ()
    where: str = ""
    everything: bool = False
    sample: int = 0
    pixels: bool = False
    workers: int = 0
    seconds_an_object: float = 30
    junk: tuple[str, ...] = JUNK_PATTERNS
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Selected:
    """One selected object: what is to be checked, and what its findings are broken down by."""

    work: Work
    place: Place


def condition(options: ValidateOptions) -> str:
    """Write the options' selection as one SQL condition over the view ``instances``."""
    conditions = [f"({options.where}\n)"] if options.where else []
    if options.studies:
        uids = ", ".join("'" + uid.replace("'", "''") + "'" for uid in options.studies)
        conditions.append(f"received_StudyInstanceUID IN ({uids})")
    return " AND ".join(conditions) or "true"


def count(archive: Archive, options: ValidateOptions) -> int:
    """Count what is selected. Raises ConfigError for a ``where`` that cannot be understood."""
    import duckdb

    with archive.connect() as connection:
        try:
            row = connection.execute(f"SELECT count(*) FROM instances WHERE {condition(options)}").fetchone()
        except duckdb.Error as exc:
            raise ConfigError(f"--where cannot be understood: {str(exc).splitlines()[0]}") from exc
    return int(row[0]) if row else 0


def selected(archive: Archive, options: ValidateOptions) -> Iterator[list[Selected]]:
    """Yield what is selected, study by study, some hundred rows at a time."""
    query = f"""SELECT {_COLUMNS} FROM instances
        WHERE {condition(options)} ORDER BY study_hash, path"""
    with archive.connect() as connection:
        result = connection.execute(query)
        while rows := result.fetchmany(_ROWS_AT_ONCE):
            yield [_row(row) for row in rows]


def sampled(archive: Archive, options: ValidateOptions) -> list[Selected]:
    """Choose ``options.sample`` of the selected objects: in turn from each SOP class, manufacturer and model."""
    query = f"""SELECT {_COLUMNS} FROM (
        SELECT *, row_number() OVER (PARTITION BY SOPClassUID, Manufacturer, ManufacturerModelName ORDER BY sha256) AS turn
        FROM instances WHERE status <> 'quarantined' AND {condition(options)})
        ORDER BY turn, sha256 LIMIT {int(options.sample)}"""
    with archive.connect() as connection:
        return [_row(row) for row in connection.execute(query).fetchall()]


def _row(row: Sequence[Any]) -> Selected:
    sha256, path, size, codes, modality, station, study_date = row
    digest = sha256.hex() if isinstance(sha256, bytes | bytearray | memoryview) else str(sha256)
    work = Work(digest, str(path), int(size), tuple(filter(None, (codes or "").split("\\"))))
    year = (study_date or "")[:4]
    return Selected(work, Place(modality or "", station or "", year if year.isdecimal() else ""))
