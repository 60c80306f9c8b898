"""``--where`` over what an inventory listed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ledgers import list_study, ref
from vna.errors import ConfigError
from vna.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as opened:
        list_study(opened, "legacy", [ref("1.1", "1.1.1", 1), ref("1.1", "1.1.2", 1)], study_date="20200101", patient_id="P1")
        list_study(opened, "legacy", [ref("1.2", "1.2.1", 1)], study_date="20210101", patient_id="P2")
        list_study(opened, "legacy", [ref("1.3", "1.3.1", 1)], patient_id="P2")
        list_study(opened, "other", [ref("1.4", "1.4.1", 1)], study_date="20200101")
        yield opened


@pytest.mark.parametrize(
    ("condition", "studies"),
    [
        ("StudyDate < '20210101'", ["1.1"]),
        ("StudyDate IS NULL", ["1.3"]),
        ("PatientID = 'P2'", ["1.2", "1.3"]),
        ("Modality = 'CT' AND StudyDate >= '20200101'", ["1.1", "1.2"]),
        ("SOPInstanceUID = '1.2.1.1'", ["1.2"]),
        ("SeriesInstanceUID LIKE '%.2'", ["1.1"]),
        ("1 = 0", []),
        ("true OR StudyDate = 'x'", ["1.1", "1.2", "1.3"]),
    ],
)
def test_a_condition_selects_studies_of_its_node(ledger: Ledger, condition: str, studies: list[str]) -> None:
    assert ledger.studies_where("legacy", condition) == studies


@pytest.mark.parametrize("condition", ["Rows > 5", "StudyDate ===", "SELECT 1; DROP TABLE instances"])
def test_what_cannot_be_understood_is_a_configuration_error(ledger: Ledger, condition: str) -> None:
    with pytest.raises(ConfigError, match="--where cannot be understood") as error:
        ledger.studies_where("legacy", condition)
    assert "StudyDate" in error.value.hint


def test_a_condition_cannot_read_files(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(ConfigError):
        ledger.studies_where("legacy", f"EXISTS (SELECT * FROM read_csv('{tmp_path}/secret.csv'))")


def test_a_condition_that_fails_on_a_value_does_not_quote_it(ledger: Ledger) -> None:
    with pytest.raises(ConfigError) as error:
        ledger.studies_where("legacy", "CAST(PatientID AS INTEGER) > 1")
    assert "P1" not in str(error.value) + error.value.hint
    assert "P2" not in str(error.value) + error.value.hint
