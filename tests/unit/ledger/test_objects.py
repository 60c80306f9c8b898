"""Objects are read as they were written, and matched only with what a source lists."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from tests.support.ledgers import list_study, ref, row
from vna.ledger import Ledger
from vna.ledger.objects import StoredObject
from vna.ledger.tables import objects


def test_the_fields_of_an_object_are_the_columns_of_its_table_in_their_order() -> None:
    columns = [column.name for column in objects.columns]
    assert [field.name for field in fields(StoredObject)] == columns[: columns.index("received_status")]


def test_codes_come_back_as_they_went_in(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        ledger.absorb([row(ref("1.2", "1.2.3", 1), state="flagged", codes=("ONE", "TWO"))])
        (stored,) = ledger.objects.of_study("1.2")
    assert (stored.codes, stored.status, stored.source, stored.revision) == (("ONE", "TWO"), "flagged", "legacy", 0)


def test_of_several_studies_those_that_are_listed_are_matched(tmp_path: Path) -> None:
    listed, unlisted = ref("1.2", "1.2.3", 1), ref("1.9", "1.9.3", 1)
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        list_study(ledger, "legacy", [listed])
        ledger.absorb([row(unlisted), row(listed)])
        assert [one.sha256 for one in ledger.expected.of_study("legacy", "1.2")] == [row(listed).sha256]
        assert ledger.expected.outstanding_of("legacy", "1.2") == []
        assert ledger.expected.reasons("legacy", ["1.2"]) == {}
