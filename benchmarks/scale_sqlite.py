"""The same archive in SQLite, as a PACS keeps it: tables of studies, series and instances, indexed by what is looked for."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from benchmarks.scale_lookups import PAGE, Keys

_SCHEMA = """
CREATE TABLE studies (id INTEGER PRIMARY KEY, StudyInstanceUID TEXT, PatientID TEXT, PatientName TEXT, AccessionNumber TEXT,
                      StudyDate TEXT, StudyTime TEXT, StudyDescription TEXT);
CREATE TABLE series (id INTEGER PRIMARY KEY, study INTEGER, SeriesInstanceUID TEXT, SeriesNumber INTEGER, Modality TEXT);
CREATE TABLE instances (id INTEGER PRIMARY KEY, series INTEGER, SOPInstanceUID TEXT, InstanceNumber INTEGER, size INTEGER,
                        sha256 BLOB);
"""
_INDEXES = [
    "CREATE UNIQUE INDEX study_uid ON studies (StudyInstanceUID)",
    "CREATE INDEX patient_id ON studies (PatientID)",
    "CREATE INDEX patient_name ON studies (PatientName COLLATE NOCASE)",
    "CREATE INDEX accession ON studies (AccessionNumber)",
    "CREATE INDEX study_date ON studies (StudyDate)",
    "CREATE INDEX series_study ON series (study)",
    "CREATE INDEX series_uid ON series (SeriesInstanceUID)",
    "CREATE INDEX instance_series ON instances (series)",
    "CREATE INDEX instance_uid ON instances (SOPInstanceUID)",
]
_STUDY = "SELECT * FROM studies WHERE "
_WHERE = {
    "PatientID": ("PatientID = ?", lambda value: [value]),
    "StudyInstanceUID": ("StudyInstanceUID = ?", lambda value: [value]),
    "AccessionNumber": ("AccessionNumber = ?", lambda value: [value]),
    "PatientName": ("PatientName LIKE ?", lambda value: [value.replace("*", "%")]),
    "StudyDate": ("StudyDate BETWEEN ? AND ?", lambda value: value.split("-")),
}


class Loaded:
    """A database that is being filled; it gives up where that takes too long."""

    def __init__(self, path: Path, deadline: float) -> None:
        self.connection = sqlite3.connect(path)
        self.connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-1000000;" + _SCHEMA)
        self.connection.set_progress_handler(lambda: int(time.monotonic() > deadline), 1_000_000)
        self._deadline = deadline
        self._studies: dict[str, int] = {}
        self._series: dict[str, int] = {}

    def fill(self, batches: Iterable[pa.Table]) -> bool:
        """Insert every row and make the indexes; False when the time was up before."""
        try:
            for rows in batches:
                self._insert(rows)
                if time.monotonic() > self._deadline:
                    return False
            for index in _INDEXES:
                self.connection.execute(index)
            self.connection.commit()
            self.connection.execute("ANALYZE")
        except sqlite3.OperationalError as exc:
            if "interrupted" in str(exc):
                return False
            raise
        self.connection.set_progress_handler(None, 0)
        return True

    def _insert(self, rows: pa.Table) -> None:
        names = ("PatientID", "PatientName", "AccessionNumber", "StudyDate", "StudyTime", "StudyDescription")
        uids = ("StudyInstanceUID", "SeriesInstanceUID")
        heads = rows.select([*uids, *names, "SeriesNumber", "Modality"]).group_by(list(uids), use_threads=False)
        for head in heads.aggregate([(name, "min") for name in (*names, "SeriesNumber", "Modality")]).to_pylist():
            uid, series = head["StudyInstanceUID"], head["SeriesInstanceUID"]
            if uid not in self._studies:
                self._studies[uid] = len(self._studies)
                values = [head[f"{name}_min"] for name in names]
                self.connection.execute(f"INSERT INTO studies VALUES ({', '.join('?' * 8)})", [self._studies[uid], uid, *values])
            self._series[series] = len(self._series)
            row = [self._series[series], self._studies[uid], series, head["SeriesNumber_min"], head["Modality_min"]]
            self.connection.execute("INSERT INTO series VALUES (?, ?, ?, ?, ?)", row)
        columns = [rows.column(name).to_pylist() for name in ("SOPInstanceUID", "InstanceNumber", "size", "sha256")]
        numbers = map(self._series.__getitem__, rows.column("SeriesInstanceUID").to_pylist())
        self.connection.executemany("INSERT INTO instances VALUES (NULL, ?, ?, ?, ?, ?)", zip(numbers, *columns, strict=True))
        self.connection.commit()


def answer(connection: sqlite3.Connection, keys: Keys) -> int:
    """Answer one look-up; gives the number of answers."""
    level, asked = keys
    ((keyword, value),) = asked.items()
    where, values = _WHERE[keyword]
    if level == "STUDY":
        return len(connection.execute(f"{_STUDY}{where} ORDER BY StudyDate DESC LIMIT {PAGE}", values(value)).fetchall())
    joined = "studies JOIN series ON series.study = studies.id JOIN instances ON instances.series = series.id"
    return len(connection.execute(f"SELECT * FROM {joined} WHERE {where}", values(value)).fetchall())
