"""Which pairs are worth comparing: a union of many keys, made and joined by DuckDB.

One key alone loses every record whose key holds the error. Together they lose a pair only when ID, name sounds and birth date are
all wrong at once. Keys that bring in too many pairs are not followed; :class:`Candidates` tells how many pairs that skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from vna.reconcile.records import People


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of key. ``left`` and ``right`` are conditions on the records; ``limit`` is how many pairs one key may bring."""

    name: str
    source: str
    key: str
    limit: int
    left: str = "true"
    right: str = "true"
    swap: str = ""


_BORN = "y IS NOT NULL"
_FULL = "y IS NOT NULL AND NOT (m = 1 AND d = 1)"
_VAGUE = "m = 1 AND d = 1"
KINDS = (
    Kind("patient ID", "ids", "x", 10_000),
    Kind("telephone", "records", "phone", 400, "phone <> ''", "phone <> ''"),
    Kind("birth date", "records", "y, m, d", 10_000, _FULL, _FULL),
    Kind("birth date, day and month exchanged", "records", "y, m, d", 10_000, "d <= 12 AND d <> m", "true", "y, d, m"),
    Kind("two sounds, year and month of birth", "couples", "x, y, m", 2_500, _BORN, _BORN),
    Kind("two sounds, year and day of birth", "couples", "x, y, d", 2_500, _BORN, _BORN),
    Kind("two sounds, month and day of birth", "couples", "x, m, d", 2_500, _FULL, _FULL),
    Kind("two sounds, day and month exchanged", "couples", "x, m, d", 2_500, "d <= 12 AND d <> m", "true", "x, d, m"),
    Kind("two sounds and year, PACS knows only the year", "couples", "x, y", 2_500, _VAGUE, _BORN),
    Kind("two sounds and year, RIS knows only the year", "couples", "x, y", 2_500, _BORN, _VAGUE),
    Kind("one sound, first of January", "sounds", "x, y", 2_500, _VAGUE, _VAGUE),
    Kind("one rare sound, year and month of birth", "sounds", "x, y, m", 4, _FULL, _FULL),
    Kind("one rare sound, month and day of birth", "sounds", "x, m, d", 4, _FULL, _FULL),
    Kind("two sounds, no birth date in the PACS", "couples", "x", 200, "y IS NULL", "true"),
    Kind("two sounds, no birth date in the RIS", "couples", "x", 200, "true", "y IS NULL"),
    Kind("two rare sounds", "couples", "x", 12),
)
"""All kinds of keys, documented in docs/reconcile.md."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs (PACS row, RIS row), each once, ordered; ``skipped`` counts pairs behind too common keys, by kind of key."""

    left: Any
    right: Any
    skipped: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.left)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Go over the pairs."""
        return zip(self.left.to_pylist(), self.right.to_pylist(), strict=True)


def candidates(pacs: People, ris: People, connection: duckdb.DuckDBPyConnection) -> Candidates:
    """Collect the pairs that share at least one key."""
    for side, people in (("a", pacs), ("b", ris)):
        connection.register(f"{side}_arrow", _table(people))
        connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE {side}_records AS SELECT rid, y, m, d, phone, words FROM {side}_arrow;
            CREATE OR REPLACE TEMP TABLE {side}_ids AS SELECT rid, hash(unnest(ids)) AS x FROM {side}_arrow;
            CREATE OR REPLACE TEMP TABLE {side}_sounds AS SELECT rid, hash(unnest(sounds)) AS x, y, m, d FROM {side}_arrow;
            CREATE OR REPLACE TEMP TABLE {side}_couples AS
            SELECT rid, hash(unnest(couples)) AS x, y, m, d FROM {side}_arrow"""
        )
        connection.unregister(f"{side}_arrow")
    left, right = (" UNION ALL ".join(_keys(number, kind, side) for number, kind in enumerate(KINDS)) for side in "ab")
    limits = " ".join(f"WHEN {number} THEN {kind.limit}" for number, kind in enumerate(KINDS))
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE a_keys AS SELECT DISTINCT * FROM ({left});
        CREATE OR REPLACE TEMP TABLE b_keys AS SELECT DISTINCT * FROM ({right});
        CREATE OR REPLACE TEMP TABLE blocks AS SELECT kind, key, n * m AS pairs, n * m <= CASE kind {limits} END AS small
        FROM (SELECT kind, key, count(*) AS n FROM a_keys GROUP BY ALL)
        JOIN (SELECT kind, key, count(*) AS m FROM b_keys GROUP BY ALL)
        USING (kind, key)"""
    )
    skipped = connection.execute(
        "SELECT kind, sum(pairs)::BIGINT FROM blocks WHERE NOT small GROUP BY kind ORDER BY kind"
    ).fetchall()
    table = connection.sql(
        f"""WITH pairs AS (
            SELECT a.rid AS l, b.rid AS r, min(kind) AS first, max(kind) AS last FROM a_keys a JOIN b_keys b USING (kind, key)
            JOIN (SELECT kind, key FROM blocks WHERE small) USING (kind, key) GROUP BY ALL)
        SELECT l, r FROM pairs JOIN a_records a ON a.rid = l JOIN b_records b ON b.rid = r
        WHERE CASE WHEN first IN {_DATE_ONLY} AND last IN {_DATE_ONLY} THEN {_ALIKE}
            WHEN first >= {_WEAK} THEN {_VERY_ALIKE} ELSE true END
        ORDER BY l, r"""
    ).to_arrow_table()
    for side in "ab":
        connection.execute("; ".join(f"DROP TABLE {side}_{name}" for name in ("keys", "records", "ids", "sounds", "couples")))
    connection.execute("DROP TABLE blocks")
    return Candidates(table["l"], table["r"], {KINDS[kind].name: pairs for kind, pairs in skipped})


_DATE_ONLY = tuple(number for number, kind in enumerate(KINDS) if kind.name.startswith("birth date"))
_ALIKE = (
    "list_has_any(a.words, b.words)"
    " OR jaro_winkler_similarity(array_to_string(a.words, ''), array_to_string(b.words, '')) >= 0.72"
    " OR jaro_winkler_similarity(array_to_string(a.words, ''), array_to_string(list_reverse(b.words), '')) >= 0.8"
)
"""Strangers who share a birthday are many: they need a name somewhat alike to be worth a closer look."""


_WEAK = next(number for number, kind in enumerate(KINDS) if kind.name.startswith("one rare sound"))
_VERY_ALIKE = "jaro_winkler_similarity(array_to_string(list_sort(a.words), ''), array_to_string(list_sort(b.words), '')) >= 0.8"
"""Pairs that only weak keys bring in need names that are nearly the same."""


def _keys(number: int, kind: Kind, side: str) -> str:
    key = kind.swap if side == "a" and kind.swap else kind.key
    where = kind.left if side == "a" else kind.right
    return f"SELECT rid, {number}::UTINYINT AS kind, hash({key}) AS key FROM {side}_{kind.source} WHERE {where}"


def _table(people: People) -> pa.Table:
    persons = [person for person in people.persons if not person.is_junk]
    born = [person.birth_date or (None, None, None) for person in persons]
    sounds = [
        p.name.sounds if not p.birth_name.sounds else tuple(dict.fromkeys(p.name.sounds + p.birth_name.sounds)) for p in persons
    ]
    couples = [[a + "/" + b if a < b else b + "/" + a for i, a in enumerate(s) for b in s[i + 1 :]] for s in sounds]
    for person, found in zip(persons, couples, strict=True):
        if person.name.ideographic:
            found.append(person.name.ideographic)
    return pa.table(
        {
            "rid": pa.array([person.index for person in persons], pa.int32()),
            "ids": pa.array([[i.digits or i.text for i in person.ids] for person in persons], pa.list_(pa.string())),
            "sounds": pa.array(sounds, pa.list_(pa.string())),
            "couples": pa.array(couples, pa.list_(pa.string())),
            "words": pa.array([s + p.name.words for s, p in zip(sounds, persons, strict=True)], pa.list_(pa.string())),
            "y": pa.array([day[0] for day in born], pa.int16()),
            "m": pa.array([day[1] for day in born], pa.int16()),
            "d": pa.array([day[2] for day in born], pa.int16()),
            "phone": pa.array([person.phone if len(person.phone) >= 6 else "" for person in persons], pa.string()),
        }
    )
