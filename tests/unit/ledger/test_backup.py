"""The backup of a ledger is a ledger."""

from __future__ import annotations

from pathlib import Path

from vna.ledger import Ledger


def test_a_copy_opens_and_says_the_same(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        ledger.outcomes.record_certificate("target", "certificate.json", "abc")
        copy = ledger.back_up(tmp_path / "backup")
        assert copy.parent == tmp_path / "backup"
    with Ledger.open(f"sqlite:///{copy}") as restored:
        assert restored.outcomes.last_certificate("target") == ("certificate.json", "abc")
