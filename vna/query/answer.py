"""Answers to questions, from an index held open.

An entity's value of an attribute is the greatest that its instances have now (corrections applied). A patient matches if one of
their studies does. Objects in quarantine and undecided variants are no part of any answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from indexer.studies import SERVED
from vna.query.attributes import ATTRIBUTES, PAIRED_TIMES, UNIQUE_KEYS, Attribute, Level
from vna.query.matching import Matcher, Ranges, Values
from vna.query.question import Question
from vna.query.sql import Parameters, condition, moment_condition

if TYPE_CHECKING:
    from indexer.catalogue import Catalogue

_FEW = 200
_ORDER = {
    Level.PATIENT: '"PatientID", "IssuerOfPatientID"',
    Level.STUDY: '"StudyDate" DESC, "StudyTime" DESC, "StudyInstanceUID"',
    Level.SERIES: '"StudyInstanceUID", "SeriesNumber", "SeriesInstanceUID"',
    Level.IMAGE: '"StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "SOPInstanceUID"',
}
_ABOVE = (Level.PATIENT, Level.STUDY)


def ask(catalogue: Catalogue, question: Question) -> list[dict[str, Any]]:
    """Give the page of answers that a question asks for, each as keyword -> value, in an order that stays while nothing changes.

    Patients come by their ID, studies from the newest, series and instances by their numbers; what has no value comes last.
    """
    built = _built(catalogue, question)
    if built is None:
        return []
    parameters, select = built
    told = ", ".join(f'"{keyword}"' for keyword in question.told)
    order = ", ".join(f"{term.strip()} NULLS LAST" for term in _ORDER[question.level].split(","))
    page = f" LIMIT {parameters.bind(question.limit)}" if question.limit is not None else ""
    page += f" OFFSET {parameters.bind(question.offset)}" if question.offset else ""
    return catalogue.query(f"SELECT {told} FROM ({select}) ORDER BY {order}{page}", parameters.values)


def count(catalogue: Catalogue, question: Question) -> int:
    """Tell how many answers there are, whatever the page."""
    built = _built(catalogue, question)
    if built is None:
        return 0
    parameters, select = built
    return int(catalogue.query(f"SELECT count(*) AS n FROM ({select})", parameters.values)[0]["n"])


def _built(catalogue: Catalogue, question: Question) -> tuple[Parameters, str] | None:
    """Give the SELECT that has one row an answer, and its parameters; None where it is known that there is no answer."""
    parameters = Parameters()
    if question.level is Level.PATIENT:
        return parameters, _patients(question, parameters)
    if question.level is Level.STUDY:
        return parameters, f"SELECT * FROM studies WHERE {_conditions(question, question.at(*_ABOVE), parameters)}"
    found = _rows(catalogue, question, parameters)
    return None if found is None else (parameters, _below(question, found, parameters))


def _conditions(question: Question, matchers: Sequence[tuple[Attribute, Matcher]], parameters: Parameters) -> str:
    """Give the condition that all of these matchers are met."""
    by_keyword = {asked.keyword: (asked, matched) for asked, matched in matchers}
    made = []
    for date, time in PAIRED_TIMES.items() if question.combined else ():
        if date in by_keyword and time in by_keyword:
            dates, times = by_keyword.pop(date)[1], by_keyword.pop(time)[1]
            if isinstance(dates, Ranges) and isinstance(times, Ranges):
                made.append(moment_condition(f'"{date}"', f'"{time}"', dates, times, parameters))
    made += [condition(asked, matched, parameters) for asked, matched in by_keyword.values()]
    return " AND ".join(made) or "true"


def _patients(question: Question, parameters: Parameters) -> str:
    """Give the SELECT of patients; who is (issuer, ID), and has the values of the studies that match."""
    keys = ("PatientID", "IssuerOfPatientID")
    matchers = question.at(Level.PATIENT)
    who = _conditions(question, [(asked, matched) for asked, matched in matchers if asked.keyword in keys], parameters)
    hit = _conditions(question, [(asked, matched) for asked, matched in matchers if asked.keyword not in keys], parameters)
    values = {
        "NumberOfPatientRelatedStudies": "count(*)",
        "NumberOfPatientRelatedSeries": "sum(NumberOfStudyRelatedSeries)::BIGINT",
        "NumberOfPatientRelatedInstances": "sum(NumberOfStudyRelatedInstances)::BIGINT",
    }
    told = [keyword for keyword, known in ATTRIBUTES.items() if known.level is Level.PATIENT]
    selected = ", ".join(
        f'"{keyword}"' if keyword in keys else f'{values.get(keyword) or _greatest_hit(keyword)} AS "{keyword}"'
        for keyword in told
    )
    return (
        f"SELECT {selected} FROM (SELECT *, ({hit}) AS is_hit FROM studies WHERE {who}) "
        "GROUP BY PatientID, IssuerOfPatientID HAVING bool_or(is_hit)"
    )


def _greatest_hit(keyword: str) -> str:
    return f'max("{keyword}") FILTER (is_hit)'


# -- series and instances


def _rows(catalogue: Catalogue, question: Question, parameters: Parameters) -> str | None:
    """Give the SELECT of the effective rows of the studies that match, opening as few files as can be."""
    hashes: list[int] | None = None
    chosen = "StudyInstanceUID IS NOT NULL"
    above = question.at(*_ABOVE)
    if above:
        own = Parameters()
        where = _conditions(question, above, own)
        studies = catalogue.query(f"SELECT StudyInstanceUID, study_hashes FROM studies WHERE {where}", own.values)
        if not studies:
            return None
        hashes = sorted({value for study in studies for value in study["study_hashes"]})
        uids = [study["StudyInstanceUID"] for study in studies]
        if len(uids) <= _FEW:
            chosen = f"StudyInstanceUID IN ({', '.join(map(parameters.bind, uids))})"
        else:
            chosen = f"StudyInstanceUID IN (SELECT unnest({parameters.bind(uids)}::VARCHAR[]))"
    if hashes is None or len(hashes) > _FEW:
        holding = _holding(catalogue, question)
        if holding is not None:
            hashes = sorted(holding if hashes is None else holding.intersection(hashes))
    if hashes == []:
        return None
    return f"SELECT * FROM ({catalogue.instances(hashes)}) WHERE {chosen} AND {SERVED}"


def _holding(catalogue: Catalogue, question: Question) -> set[int] | None:
    """Give the hashes of the studies that hold series or instances asked for by their UIDs; None where none are.

    Whole studies, as they are now: what is told of a series follows from all of its instances, wherever they were received.
    """
    for level in (Level.IMAGE, Level.SERIES):
        matched = question.matchers.get(UNIQUE_KEYS[level])
        if isinstance(matched, Values):
            holding = catalogue.hashes_holding(UNIQUE_KEYS[level], [str(value) for value in matched.values])
            found = catalogue.query(
                "SELECT unnest(study_hashes) AS study_hash FROM studies WHERE list_has_any(study_hashes, $1::BIGINT[])", [holding]
            )
            return {row["study_hash"] for row in found}
    return None


def _below(question: Question, rows: str, parameters: Parameters) -> str:
    """Give the SELECT of series or instances, joined with what is told of the levels above."""
    image = question.level is Level.IMAGE
    series_matchers, series_told = question.at(Level.SERIES), question.told_at(Level.SERIES)
    if image:
        select = _grouped(Level.IMAGE, rows)
        needed = {*series_told, *(asked.keyword for asked, _ in series_matchers)} - {UNIQUE_KEYS[Level.SERIES]}
        if needed:
            joined = ", ".join(f'series."{keyword}"' for keyword in sorted(needed))
            select = (
                f"SELECT image.*, {joined} FROM ({select}) image "
                f"JOIN ({_grouped(Level.SERIES, rows)}) series USING (StudyInstanceUID, SeriesInstanceUID)"
            )
        matchers = [*series_matchers, *question.at(Level.IMAGE)]
    else:
        select, matchers = _grouped(Level.SERIES, rows), series_matchers
    select = f"SELECT * FROM ({select}) WHERE {_conditions(question, matchers, parameters)}"
    needed = set(question.told_at(*_ABOVE)) - {UNIQUE_KEYS[Level.STUDY]}
    if not needed:
        return select
    joined = ", ".join(f's."{keyword}"' for keyword in sorted(needed))
    return f"SELECT below.*, {joined} FROM ({select}) below JOIN studies s USING (StudyInstanceUID)"


def _grouped(level: Level, rows: str) -> str:
    keys = [UNIQUE_KEYS[each] for each in Level if Level.PATIENT.depth < each.depth <= level.depth]
    values = {"NumberOfSeriesRelatedInstances": "count(DISTINCT SOPInstanceUID)"}
    told = [known.keyword for known in ATTRIBUTES.values() if known.level is level and known.keyword not in keys]
    selected = ", ".join(f'{values.get(keyword) or _greatest(keyword)} AS "{keyword}"' for keyword in told)
    present = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    return f"SELECT {', '.join(keys)}, {selected} FROM ({rows}) WHERE {present} GROUP BY {', '.join(keys)}"


def _greatest(keyword: str) -> str:
    return f'max("{keyword}")'
