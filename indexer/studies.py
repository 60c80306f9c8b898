"""The derived table ``studies``: what it holds, and how it is made from the rows of the view ``instances``.

A row is a part of a study: the instances received under one Study Instance UID that have one Study Instance UID now. Nearly every
study is one part; it has several only where a correction moved instances between studies. A part follows from the rows of one
``study_hash`` alone, so that those studies that changed can be made anew, and no others.
"""

from __future__ import annotations

import pyarrow as pa

STUDIES = pa.schema(
    [
        pa.field("study_hash", pa.int64()),
        pa.field("PatientID", pa.string()),
        pa.field("IssuerOfPatientID", pa.string()),
        pa.field("StudyInstanceUID", pa.string()),
        pa.field("AccessionNumber", pa.string()),
        pa.field("StudyDate", pa.string()),
        pa.field("StudyTime", pa.string()),
        pa.field("PatientName", pa.string()),
        pa.field("PatientBirthDate", pa.string()),
        pa.field("PatientSex", pa.string()),
        pa.field("StudyID", pa.string()),
        pa.field("StudyDescription", pa.string()),
        pa.field("ReferringPhysicianName", pa.string()),
        pa.field("ModalitiesInStudy", pa.string()),
        pa.field("SOPClassesInStudy", pa.string()),
        pa.field("NumberOfStudyRelatedSeries", pa.int64()),
        pa.field("NumberOfStudyRelatedInstances", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("first_received_at", pa.timestamp("us", tz="UTC")),
        pa.field("last_received_at", pa.timestamp("us", tz="UTC")),
        pa.field("moved", pa.bool_()),
    ]
)
"""The table ``studies``, and the order of its columns."""

HIDDEN = ("quarantined", "variant")
"""The ``status`` of objects that are kept and never answered with."""

SERVED = "coalesce(status, '') NOT IN ('" + "', '".join(HIDDEN) + "')"
"""The condition that a row of the view counts: that its object is none of the hidden."""


def roll_up(rows: str, *, whole: bool = False) -> str:
    """Give the SELECT that makes parts of studies from a SELECT of effective rows.

    Where rows disagree, the greatest value is taken. With ``whole``, the parts of a study are taken together, under the least
    of their hashes, and ``study_hashes`` lists all.
    """
    values = {
        "study_hash": "min(study_hash)" if whole else "study_hash",
        "StudyInstanceUID": "StudyInstanceUID",
        "ModalitiesInStudy": _distinct("Modality"),
        "SOPClassesInStudy": _distinct("SOPClassUID"),
        "NumberOfStudyRelatedSeries": "count(DISTINCT SeriesInstanceUID)",
        "NumberOfStudyRelatedInstances": "count(DISTINCT SOPInstanceUID)",
        "size": "sum(size)::BIGINT",
        "first_received_at": "min(received_at)",
        "last_received_at": "max(received_at)",
        "moved": "bool_or(StudyInstanceUID IS DISTINCT FROM received_StudyInstanceUID)",
    }
    greatest = {name: f'max("{name}")' for name in STUDIES.names if name not in values}
    selected = ", ".join(f'{(values | greatest)[name]} AS "{name}"' for name in STUDIES.names)
    selected += ", list(DISTINCT study_hash) AS study_hashes" if whole else ""
    keys = "StudyInstanceUID" if whole else "study_hash, StudyInstanceUID"
    return f"SELECT {selected} FROM ({rows}) WHERE StudyInstanceUID IS NOT NULL AND {SERVED} GROUP BY {keys}"


def _distinct(name: str) -> str:
    return f"nullif(array_to_string(list_sort(list(DISTINCT {name}) FILTER ({name} IS NOT NULL)), '\\'), '')"
