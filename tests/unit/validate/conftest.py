"""The same answers whether or not the optional extra ``objects`` is installed."""

from __future__ import annotations

import pytest

from vna.validate.iods import use_tables


@pytest.fixture(autouse=True)
def without_iod_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the IOD tables away; a test of the rules that need them gives its own."""
    monkeypatch.setattr("vna.validate.stage.load_requirements", dict)
    use_tables({})
