"""Which pairs are worth comparing: a union of many keys, joined by DuckDB.

One key alone loses every record whose key holds the error. Together they lose a pair only when ID, name sounds and birth date are
all wrong at once; :class:`Candidates` tells which keys were too common to follow, and how many pairs that skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from vna.reconcile.records import People, Person, name_sounds

LIMIT = 2_500
"""Pairs that one key may bring in; the conjunctive keys beside it cover what a common one skips."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs (PACS row, RIS row), each once, ordered; ``skipped`` counts the pairs behind keys that were too common, by kind of key."""

    left: Any
    right: Any
    skipped: dict[str, int]

    def __len__(self) -> int:
        return len(self.left)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Go over the pairs."""
        return zip(self.left.to_pylist(), self.right.to_pylist(), strict=True)


def candidates(pacs: People, ris: People, connection: duckdb.DuckDBPyConnection) -> Candidates:
    """Collect the pairs that share at least one key."""
    connection.register("a_arrow", _keys(pacs, swap=True))
    connection.register("b_arrow", _keys(ris, swap=False))
    connection.execute("CREATE OR REPLACE TEMP TABLE a_keys AS SELECT * FROM a_arrow")
    connection.execute("CREATE OR REPLACE TEMP TABLE b_keys AS SELECT * FROM b_arrow")
    connection.unregister("a_arrow")
    connection.unregister("b_arrow")
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE blocks AS
        SELECT key, left(key, 1) AS kind, a.n * b.n AS pairs
        FROM (SELECT key, count(*) n FROM a_keys GROUP BY key) a JOIN (SELECT key, count(*) n FROM b_keys GROUP BY key) b USING (key)"""
    )
    skipped = connection.execute(
        f"SELECT kind, sum(pairs)::BIGINT FROM blocks WHERE pairs > {_limit()} GROUP BY kind ORDER BY kind"
    ).fetchall()
    table = connection.execute(
        f"""SELECT DISTINCT a.rid AS l, b.rid AS r FROM a_keys a JOIN b_keys b USING (key)
        JOIN (SELECT key FROM blocks WHERE pairs <= {_limit()}) USING (key) ORDER BY l, r"""
    ).to_arrow_table()
    connection.execute("DROP TABLE a_keys; DROP TABLE b_keys; DROP TABLE blocks")
    return Candidates(table["l"], table["r"], dict(skipped))


def _limit() -> str:
    """Rare keys may bring many pairs (an ID, a phone number does not repeat by chance); names alone only a few."""
    return f"CASE kind WHEN 'N' THEN {LIMIT // 6} WHEN 'D' THEN {LIMIT * 4} WHEN 'I' THEN {LIMIT * 4} ELSE {LIMIT} END"


def _keys(side: People, *, swap: bool) -> pa.Table:
    rids: list[int] = []
    keys: list[str] = []
    for person in side.persons:
        if person.is_junk:
            continue
        found = list(dict.fromkeys(_keys_of(person, swap=swap)))
        keys += found
        rids += [person.index] * len(found)
    return pa.table({"rid": pa.array(rids, pa.int32()), "key": pa.array(keys, pa.string())})


def _keys_of(person: Person, *, swap: bool) -> Iterator[str]:
    """Give a record's keys. Kinds: I patient ID, D birth date, P sound and part of the birth date, N two sounds, T telephone."""
    for identifier in person.ids:
        yield "I" + (identifier.digits or identifier.text)
    sounds = name_sounds(person.name)
    if person.birth_name.family.words:
        sounds += tuple(s for s in name_sounds(person.birth_name) if s not in sounds)
    born = person.birth_date
    couples = [min(a, b) + "/" + max(a, b) for i, a in enumerate(sounds) for b in sounds[i + 1 :]]
    if person.name.ideographic:
        couples.append(person.name.ideographic)
    if born is not None:
        year, month, day = born
        if (month, day) != (1, 1):
            yield f"D{year}.{month}.{day}"
        for sound in sounds:
            yield f"Py{sound}{year}.{month}"
            yield f"Pd{sound}{year}..{day}"
            yield f"Pm{sound}{month}.{day}"
        for couple in couples:
            yield f"C{couple}{year}"
            yield f"C{couple}.{month}.{day}"
        if swap and day <= 12 and day != month:
            yield f"D{year}.{day}.{month}"
            for couple in couples:
                yield f"C{couple}.{day}.{month}"
    for couple in couples:
        yield "N" + couple
    if len(person.phone) >= 6:
        yield "T" + person.phone
