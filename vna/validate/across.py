"""Rules across instances: one SQL query a code over the archive's view ``instances`` (effective values, DuckDB's dialect).

Each query yields (study, series, sop, note) for every place, and sees only what the run selected. They are asked anew by every
run, since one new object can make or unmake such a finding; nothing of them is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vna.model import Severity
from vna.validate.registry import Code, Scope, define

PATIENT = "coalesce(IssuerOfPatientID, '') || '|' || coalesce(PatientID, '')"


@dataclass(frozen=True, slots=True)
class AcrossRule:
    """One query: the code that it finds and its SQL, in which ``{rows}`` stands for what the run selected."""

    code: Code
    sql: str


@dataclass(frozen=True, slots=True)
class ArchiveFinding:
    """One finding across instances: the study (and the series or instance) it concerns, and a note without identifying values."""

    code: str
    severity: Severity
    study_instance_uid: str
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    note: str = ""


class Connection(Protocol):
    """What is asked of the archive's DuckDB connection."""

    def execute(self, query: str, parameters: Any = ...) -> Any:
        """Run a query; the result has ``fetchmany``."""


ACROSS: list[AcrossRule] = []
"""Every rule across instances, in the order of the registry."""


def _across(code: str, severity: Severity, text: str, reference: str, sql: str) -> None:
    ACROSS.append(AcrossRule(define(code, severity, text, reference, scope=Scope.ARCHIVE), sql))


_across(
    "STUDY_TWO_PATIENTS",
    Severity.ERROR,
    "The instances of one study name different patients.",
    "PS3.3 A.1.2",
    f"""SELECT StudyInstanceUID, '', '', count(DISTINCT {PATIENT}) || ' patients' FROM {{rows}}
        WHERE coalesce(PatientID, '') <> ''
        GROUP BY StudyInstanceUID HAVING count(DISTINCT {PATIENT}) > 1""",
)
_across(
    "SERIES_TWO_STUDIES",
    Severity.ERROR,
    "One series is in more than one study.",
    "PS3.3 A.1.2",
    """SELECT StudyInstanceUID, SeriesInstanceUID, '', studies || ' studies' FROM (
         SELECT StudyInstanceUID, SeriesInstanceUID, count(*) OVER (PARTITION BY SeriesInstanceUID) AS studies
         FROM (SELECT DISTINCT StudyInstanceUID, SeriesInstanceUID FROM {rows} WHERE SeriesInstanceUID <> ''))
        WHERE studies > 1""",
)
_across(
    "SERIES_TWO_MODALITIES",
    Severity.WARNING,
    "The instances of one series have different modalities.",
    "PS3.3 C.7.3.1",
    """SELECT StudyInstanceUID, SeriesInstanceUID, '', string_agg(DISTINCT Modality, ', ' ORDER BY Modality) FROM {rows}
        WHERE Modality <> '' GROUP BY StudyInstanceUID, SeriesInstanceUID HAVING count(DISTINCT Modality) > 1""",
)
_across(
    "UID_TWO_DIGESTS",
    Severity.ERROR,
    "One SOP Instance UID stands for objects with different bytes.",
    "PS3.5 9",
    """SELECT min(StudyInstanceUID), min(SeriesInstanceUID), SOPInstanceUID, count(DISTINCT sha256) || ' objects'
        FROM {rows} WHERE SOPInstanceUID <> '' GROUP BY SOPInstanceUID HAVING count(DISTINCT sha256) > 1""",
)
_across(
    "PATIENT_TWO_NAMES",
    Severity.WARNING,
    "One Patient ID goes with clearly different names or birth dates.",
    "PS3.3 C.7.1.1",
    f"""SELECT StudyInstanceUID, '', '', 'names or birth dates differ' FROM {{rows}}
        WHERE coalesce(PatientID, '') <> '' AND {PATIENT} IN (
         SELECT {PATIENT} FROM {{rows}} WHERE coalesce(PatientID, '') <> '' GROUP BY ALL
         HAVING count(DISTINCT upper(regexp_extract(PatientName, '^[^^=]+'))) > 1
             OR count(DISTINCT nullif(PatientBirthDate, '')) > 1)
        GROUP BY StudyInstanceUID""",
)
_across(
    "ACCESSION_TWO_PATIENTS",
    Severity.WARNING,
    "One accession number goes with different patients.",
    "PS3.3 C.7.2.1",
    f"""SELECT StudyInstanceUID, '', '', 'other patients have it too' FROM {{rows}}
        WHERE AccessionNumber IN (
         SELECT AccessionNumber FROM {{rows}} WHERE AccessionNumber <> '' AND coalesce(PatientID, '') <> ''
         GROUP BY AccessionNumber HAVING count(DISTINCT {PATIENT}) > 1) GROUP BY StudyInstanceUID""",
)
_across(
    "INSTANCE_NUMBER_GAP",
    Severity.INFO,
    "The instance numbers of a series have gaps: images may be missing.",
    "PS3.3 C.7.6.1",
    """SELECT StudyInstanceUID, SeriesInstanceUID, '',
         (max(InstanceNumber) - min(InstanceNumber) + 1 - count(DISTINCT InstanceNumber))
         || ' of ' || (max(InstanceNumber) - min(InstanceNumber) + 1) || ' numbers are missing' FROM {rows}
        WHERE InstanceNumber IS NOT NULL AND SeriesInstanceUID <> '' GROUP BY StudyInstanceUID, SeriesInstanceUID
        HAVING max(InstanceNumber) - min(InstanceNumber) + 1 > count(DISTINCT InstanceNumber)""",
)
_across(
    "INSTANCE_NUMBER_TWICE",
    Severity.INFO,
    "An instance number is there more than once in a series.",
    "PS3.3 C.7.6.1",
    """SELECT StudyInstanceUID, SeriesInstanceUID, '', (count(DISTINCT SOPInstanceUID) - count(DISTINCT InstanceNumber))
         || ' more images than numbers' FROM {rows}
        WHERE InstanceNumber IS NOT NULL AND SeriesInstanceUID <> '' GROUP BY StudyInstanceUID, SeriesInstanceUID
        HAVING count(DISTINCT SOPInstanceUID) > count(DISTINCT InstanceNumber)""",
)
_across(
    "STUDY_WITHOUT_IMAGES",
    Severity.INFO,
    "A study holds no images: only reports, presentations or the like.",
    "PS3.3 A.1.2",
    """SELECT StudyInstanceUID, '', '', count(*) || ' objects' FROM {rows} GROUP BY StudyInstanceUID
        HAVING count(*) FILTER (WHERE "Rows" > 0 AND "Columns" > 0) = 0""",
)


_COMPARED = "{rows} AS row JOIN pixel_digests AS digest ON row.sha256 = digest.sha256 AND digest.pixels <> 'none'"

ACROSS_PIXELS = (
    AcrossRule(
        define(
            "SAME_PIXELS",
            Severity.WARNING,
            "The same pixel data stand under different SOP Instance UIDs (looked for with --pixels).",
            "PS3.5 9",
            scope=Scope.ARCHIVE,
        ),
        f"""SELECT StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, 'one of ' || copies || ' UIDs' FROM (
             SELECT *, count(*) OVER (PARTITION BY pixels) AS copies FROM (
              SELECT DISTINCT row.StudyInstanceUID, row.SeriesInstanceUID, row.SOPInstanceUID, digest.pixels FROM {_COMPARED}))
            WHERE copies > 1""",
    ),
    AcrossRule(
        define(
            "UID_TWO_PICTURES",
            Severity.ERROR,
            "One SOP Instance UID stands for different pixel data (looked for with --pixels).",
            "PS3.5 9",
            scope=Scope.ARCHIVE,
        ),
        f"""SELECT min(row.StudyInstanceUID), min(row.SeriesInstanceUID), row.SOPInstanceUID,
             count(DISTINCT digest.pixels) || ' pictures' FROM {_COMPARED}
            GROUP BY row.SOPInstanceUID, row.TransferSyntaxUID HAVING count(DISTINCT digest.pixels) > 1""",
    ),
)
"""Rules that need the digests of pixel data."""


def junk_sql(patterns: Sequence[str]) -> str:
    """Build the query for studies whose patient or description says that they are no patient's, by one expression."""
    expression = "|".join(f"(?:{pattern})" for pattern in patterns).replace("'", "''")
    text = "coalesce(PatientName, '') || ' ' || coalesce(PatientID, '') || ' ' || coalesce(StudyDescription, '')"
    return f"""SELECT StudyInstanceUID, '', '', 'name, ID or description' FROM {{rows}}
        WHERE regexp_matches({text}, '{expression}', 'i') GROUP BY StudyInstanceUID"""


JUNK_PATTERNS = (
    r"\bTEST(S|ED|ING)?\b",
    r"PHANTOM",
    r"\bQA\b",
    r"\bQC\b",
    r"\bDEMO\b",
    r"\bSERVICE\b",
    r"\bCALIBRATION\b",
    r"\bDUMMY\b",
)
"""Words in a patient's name or ID or a study's description that tell of no patient; the options of a run may bring others."""

JUNK = define(
    "JUNK",
    Severity.INFO,
    "Name, ID or description say that this is a test, a phantom or service.",
    "site policy",
    scope=Scope.ARCHIVE,
)


def findings_across(
    connection: Connection, rows: str, junk: Sequence[str] = JUNK_PATTERNS, *, pixels: bool = False
) -> Iterator[ArchiveFinding]:
    """Ask every rule across instances about ``rows``, a table or view of the connection, in the registry's order.

    With ``pixels`` the connection has a table ``pixel_digests`` (sha256, pixels) too.
    """
    every = [*ACROSS, *(ACROSS_PIXELS if pixels else ()), *([AcrossRule(JUNK, junk_sql(junk))] if junk else [])]
    for rule in every:
        result = connection.execute(rule.sql.format(rows=rows) + " ORDER BY ALL")
        while batch := result.fetchmany(1000):
            for study, series, sop, note in batch:
                yield ArchiveFinding(rule.code.code, rule.code.severity, study or "", series or "", sop or "", note or "")
