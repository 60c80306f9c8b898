"""The conformance statement says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vna.dimse import codes, conformance, send

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "conformance.md").read_text("utf-8")


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    assert conformance.fill(PAGE) == PAGE, "python -m vna.dimse.conformance docs/conformance.md"


def test_every_table_is_on_the_page() -> None:
    assert re.findall(r"<!-- begin: (.+) -->", PAGE) != []
    assert set(re.findall(r"<!-- begin: (.+) -->", PAGE)) == set(conformance.TABLES)


def test_a_mark_that_names_no_table_is_an_error() -> None:
    with pytest.raises(KeyError):
        conformance.fill("<!-- begin: nonsense -->\n<!-- end -->")


def test_every_code_in_the_source_is_registered() -> None:
    used = set()
    for path in (ROOT / "vna" / "dimse").glob("*.py"):
        text = path.read_text("utf-8")
        used |= set(re.findall(r"""(?:ProtocolError|_Rejected|rejection|_refused|_drop)\((?:[a-z_.()]+, )?"([A-Z_]+)\"""", text))
        used |= set(re.findall(r'_drop\([^"\n]*"([A-Z_]+)"', text))
    assert used - {"IDENTIFIER"} <= codes.ALL.keys()
    assert {"NOT_A_PDU", "CALLED_AE", "ASSOC_LIMIT", "WAITING_LIMIT"} <= used


def test_every_code_of_sending_is_registered_with_its_state() -> None:
    constants = {value for name, value in vars(send).items() if name.isupper() and isinstance(value, str) and value.isupper()}
    assert constants == codes.SENDING.keys()
    assert {state for state, _ in codes.SENDING.values()} == {send.REFUSED, send.FAILED}
