"""``--where`` for a source: a condition in DuckDB's SQL over what its inventory listed.

The words are those of the archive's view `instances`, as far as an inventory knows them (:data:`COLUMNS`). The condition is
evaluated in an in-memory DuckDB without access to files, over the first of studies, series and instances that has every column
it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, and_, select, true

from vna.errors import ConfigError
from vna.ledger.database import Database
from vna.ledger.tables import expected_instances, source_series, source_studies

if TYPE_CHECKING:
    import duckdb

_STUDY = {
    "StudyInstanceUID": source_studies.c.study_instance_uid,
    "StudyDate": source_studies.c.study_date,
    "StudyTime": source_studies.c.study_time,
    "AccessionNumber": source_studies.c.accession_number,
    "PatientID": source_studies.c.patient_id,
    "IssuerOfPatientID": source_studies.c.issuer_of_patient_id,
    "StudyDescription": source_studies.c.study_description,
    "ModalitiesInStudy": source_studies.c.modalities_in_study,
    "InstanceAvailability": source_studies.c.instance_availability,
}
_SERIES = {
    "SeriesInstanceUID": source_series.c.series_instance_uid,
    "Modality": source_series.c.modality,
    "SeriesNumber": source_series.c.series_number,
}
_INSTANCE = {
    "SOPInstanceUID": expected_instances.c.sop_instance_uid,
    "SOPClassUID": expected_instances.c.sop_class_uid,
}
COLUMNS = (*_STUDY, *_SERIES, *_INSTANCE)
"""What a condition may name. All are text; an empty value is NULL."""

_ROWS_AT_ONCE = 10_000


def studies_where(database: Database, node: str, condition: str) -> list[str]:
    """List the studies of a node that have at least one row for which the condition holds.

    Raises ConfigError when the condition cannot be understood; the message names the columns there are.
    """
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        columns = _narrowest(connection, condition)
        for rows in _rows(database, node, columns):
            connection.execute(f"INSERT INTO instances BY POSITION SELECT {_unnest(columns)}", rows)
        try:
            found = connection.execute(f"SELECT DISTINCT StudyInstanceUID FROM instances WHERE ({condition}) ORDER BY 1")
            return [row[0] for row in found.fetchall()]
        except duckdb.Error as exc:
            raise ConfigError("--where fails on the inventory's values", hint=type(exc).__name__) from exc


def _narrowest(connection: duckdb.DuckDBPyConnection, condition: str) -> tuple[str, ...]:
    """Create the table `instances` with the fewest columns that the condition can do with, and name them."""
    import duckdb

    problem = ""
    for columns in ((*_STUDY,), (*_STUDY, *_SERIES), COLUMNS):
        connection.execute(f"CREATE OR REPLACE TABLE instances ({', '.join(f'{name} VARCHAR' for name in columns)})")
        try:
            connection.execute(f"EXPLAIN SELECT StudyInstanceUID FROM instances WHERE ({condition})")
        except duckdb.Error as exc:
            problem = str(exc).partition("\n")[0]
        else:
            return columns
    raise ConfigError(f"--where cannot be understood: {problem}", hint=f"an inventory has {', '.join(COLUMNS)}")


def _unnest(columns: tuple[str, ...]) -> str:
    return ", ".join(f"unnest(${number}::VARCHAR[])" for number in range(1, len(columns) + 1))


def _rows(database: Database, node: str, columns: tuple[str, ...]) -> Iterator[list[list[Any]]]:
    """Yield the values of many rows at once, one list a column."""
    with database.read() as conn:
        result = conn.execute(_statement(node, columns)).yield_per(_ROWS_AT_ONCE)
        for partition in result.partitions():
            yield [[value or None for value in values] for values in zip(*partition, strict=True)]


def _statement(node: str, columns: tuple[str, ...]) -> Select[Any]:
    every = {**_STUDY, **_SERIES, **_INSTANCE}
    statement = select(*(every[name] for name in columns)).select_from(source_studies)
    if "SeriesInstanceUID" in columns:
        same_study = source_series.c.study_instance_uid == source_studies.c.study_instance_uid
        statement = statement.join(source_series, and_(same_study, source_series.c.node == node))
    if "SOPInstanceUID" in columns:
        same_series = and_(
            expected_instances.c.study_instance_uid == source_series.c.study_instance_uid,
            expected_instances.c.series_instance_uid == source_series.c.series_instance_uid,
            expected_instances.c.node == node,
        )
        statement = statement.join(expected_instances, same_series)
    return statement.where(source_studies.c.node == node, source_studies.c.listed == true())
