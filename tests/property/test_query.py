"""What the index answers is what a plain matcher over the same rows finds, for whatever keys, corrections included."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.catalogue import Catalogue
from indexer.columns import OVERLAYS, to_arrow
from indexer.schema import DICOM_COLUMNS, study_hash
from indexer.table import Table
from tests.support.matching import ATTRIBUTES, DATES, LEVELS, NUMBERS, TIMES, answers
from vna.query import Level, ask, count, question

NAME_VALUES = [
    "Müller^Jürgen", "MUELLER^HANS", "Muller", "Müller^^^Dr.", "Smith^J_hn", "Smith^John^", "O'Brien^Ana%", "Þórsson^Ö",
    "Yamada^Tarou=山田^太郎=やまだ^たろう", "Kim^Younghee=김^영희", "Smith^John^Q^Dr^III", "müller^ana=ミュラー^アナ", "a.b^c(d",
    "SMITH",
]  # fmt: skip
VALUES: dict[str, list[Any]] = {
    "PatientID": ["P1", "P2", "P_3", "P%4", "p1", "P1!", None],
    "IssuerOfPatientID": ["A", "B", None],
    "PatientName": [*NAME_VALUES, None],
    "PatientBirthDate": ["19700101", "1970.01.02", "19700231", "bad", "1970", None],
    "PatientSex": ["M", "F", "O", None],
    "StudyDate": ["20200101", "20200102", "20201231", "2020.01.01", "2020010", None],
    "StudyTime": ["08", "0815", "081500", "081530.25", "08:15:31", "235959.999999", "9999", "noon", None],
    "AccessionNumber": ["A1", "A10", "A[1]", "Ä?", "a1", None],
    "StudyID": ["1", "2", None],
    "StudyDescription": ["CT Kopf", "ct kopf", "CT\tKopf", "Schädel %", "日本語 CT", None],
    "SeriesNumber": [1, 2, 10, -1, None],
    "Modality": ["CT", "MR", "SR", None],
    "SeriesDescription": ["axial", "Axial 2_5", "x" * 64, None],
    "BodyPartExamined": ["HEAD", "CHEST", None],
    "SOPClassUID": ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"],
    "InstanceNumber": [1, 2, 3, None],
    "ImageType": ["ORIGINAL\\PRIMARY\\AXIAL", "DERIVED\\SECONDARY", "ORIGINAL", None],
    "status": ["stored"] * 8 + ["flagged", "quarantined", "variant"],
}


def random_rows(rng: random.Random, number: int) -> list[dict[str, Any]]:
    rows = []
    for at in range(number):
        study, series = rng.randrange(25), rng.randrange(3)
        row = {name: rng.choice(values) for name, values in VALUES.items()}
        if rng.random() < 0.7:  # most instances of a study agree
            row |= {name: VALUES[name][study % len(VALUES[name])] for name in (*ATTRIBUTES["PATIENT"], "StudyDate", "StudyTime")}
        row |= {"StudyInstanceUID": f"1.2.{study}", "SeriesInstanceUID": f"1.2.{study}.{series}", "path": f"p{at}", "size": 1}
        row |= {"SOPInstanceUID": f"1.2.{study}.{series}.{rng.randrange(6)}", "sha256": f"{at:064x}"}
        for uid in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            if rng.random() < 0.02:
                row[uid] = None
        rows.append({**{column.name: None for column in DICOM_COLUMNS}, **row})
    return rows


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Catalogue, list[dict[str, Any]]]]:
    folder = tmp_path_factory.mktemp("query")
    rng = random.Random(6)
    rows = random_rows(rng, 260)
    urls = {"instances_url": folder / "instances", "overlays_url": folder / "overlays", "studies_url": folder / "studies"}
    table = Table.create(urls["instances_url"])
    table.append(rows[:100], "w", 1)
    revised = []
    for row in rng.sample(rows, 40):
        other = random_rows(rng, 1)[0]
        made = {**other, "sha256": row["sha256"], "revision": 1, "study_hash": study_hash(row["StudyInstanceUID"])}
        revised.append(made)
    overlays = Table.create(urls["overlays_url"], OVERLAYS)
    overlays.append(revised[:20], "r", 1)
    with Catalogue.open(**urls) as catalogue:
        catalogue.rewrite_studies()
    table.append(rows[100:200], "w", 2)
    overlays.append(revised[20:], "r", 2)
    catalogue = Catalogue.open(**urls, uncommitted=lambda _: to_arrow(rows[200:]))
    by_digest = {row["sha256"]: row for row in revised}
    effective = [
        row if row["sha256"] not in by_digest else {**row, **{name: by_digest[row["sha256"]][name] for name in _corrected()}}
        for row in rows
    ]
    yield catalogue, effective
    catalogue.close()


def _corrected() -> list[str]:
    return [*(column.name for column in DICOM_COLUMNS), "status"]


def _texts(name: str) -> st.SearchStrategy[str]:
    if name in NUMBERS:
        return st.sampled_from(["1", "2", "10", "-1", "1\\2", "3"])
    if name in DATES:
        dates = ["20200101", "20200102", "20200101-20200102", "-20200101", "20200102-", "19700101-19700102", "20201231\\20200101"]
        return st.sampled_from(dates)
    if name in TIMES:
        return st.sampled_from(
            ["08", "0815", "081530", "0815-0816", "-0815", "081530.2-", "08-081530.3", "235959.999999", "081531\\08"]
        )
    if name.endswith("UID"):
        numbers = st.integers(0, 26)
        depth = {"StudyInstanceUID": "", "SeriesInstanceUID": ".1", "SOPInstanceUID": ".1.2"}
        if name not in depth:
            return st.sampled_from(VALUES[name])
        return st.lists(numbers, min_size=1, max_size=3).map(lambda some: "\\".join(f"1.2.{n}{depth[name]}" for n in some))
    if name == "ModalitiesInStudy":
        return st.sampled_from(["CT", "MR\\SR", "C?", "*R", "US"])
    held = [value for value in VALUES[name] if value]
    if name == "ImageType":
        held = [part for value in held for part in value.split("\\")]
    return st.builds(_worn, st.sampled_from(held), st.integers(0, 5), st.integers(0, 30), st.integers(0, 30), st.booleans())


def _worn(value: str, how: int, at: int, end: int, swap: bool) -> str:
    """Make a key of a value: as it is, cut off with a star, with a question mark, with a star within, or of two values."""
    at, end = sorted((at % (len(value) + 1), end % (len(value) + 1)))
    made = [value, value[:at] + "*", value[:at] + "?" + value[at + 1 :], value[:at] + "*" + value[end:], "*" + value[end:]]
    text = (made[how] if how < 5 else value + "\\" + value[:at]).swapcase() if swap else (made[how] if how < 5 else value)
    return text.replace("ß", "ss")


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, dict[str, str], bool]:
    level = draw(st.sampled_from(list(LEVELS)))
    levels = list(LEVELS)[: list(LEVELS).index(level) + 1]
    names = [name for each in levels for name in ATTRIBUTES[each]] + (["ModalitiesInStudy"] if "STUDY" in levels else [])
    chosen = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    keys = {name: draw(_texts(name) | st.sampled_from(["", "*", '""'])) for name in chosen}
    combined = draw(st.booleans()) and all("\\" not in keys.get(name, "") for name in ("StudyDate", "StudyTime"))
    if combined and any(keys.get(name) in ('""', "*") for name in ("StudyDate", "StudyTime")):
        combined = False
    return level, keys, combined


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=questions(), limit=st.integers(1, 7))
def test_the_index_answers_as_a_plain_matcher_does(
    held: tuple[Catalogue, list[dict[str, Any]]], asked: tuple[str, dict[str, str], bool], limit: int
) -> None:
    catalogue, rows = held
    level, keys, combined = asked
    made = question(Level(level), keys, combined=combined)
    found = ask(catalogue, made)
    identified = [tuple(row[key] for key in LEVELS[level]) for row in found]
    assert len(set(identified)) == len(identified)
    assert set(identified) == answers(rows, level, keys, combined=combined)
    assert count(catalogue, made) == len(found)
    pages = [ask(catalogue, question(Level(level), keys, combined=combined, limit=limit, offset=at)) for at in (0, limit)]
    assert pages[0] + pages[1] == found[: 2 * limit]
