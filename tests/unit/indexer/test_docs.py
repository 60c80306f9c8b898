"""The pages on the index say what the code says."""

import re
from pathlib import Path

from pydicom.datadict import dictionary_VR

from indexer.columns import INSTANCES, OVERLAYS
from indexer.problems import PROBLEMS
from indexer.schema import BLOOM_COLUMNS, COLUMNS, SCHEMA_VERSION
from indexer.studies import STUDIES

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = (DOCS / "index-schema.md").read_text("utf-8")


def test_the_page_lists_every_column_with_its_type_and_element_in_order() -> None:
    listed = re.findall(r"^\| (\d+) \| `(\w+)` \| (\w+) \| (.*?) \|", SCHEMA, re.MULTILINE)
    types = {"int64": "int64", "string": "string", "binary": "binary", "timestamp[us, tz=UTC]": "timestamp"}
    expected = []
    for number, column in enumerate(COLUMNS, 1):
        element = f"({column.tag >> 16:04X},{column.tag & 0xFFFF:04X}) {dictionary_VR(column.tag)}" if column.tag else ""
        expected.append((str(number), column.name, types[str(INSTANCES.field(column.name).type)], element))
    assert listed == expected
    assert f"Version {SCHEMA_VERSION}." in SCHEMA


def test_the_page_names_the_columns_of_the_other_tables() -> None:
    section = SCHEMA.partition("## Table `studies`")[2].partition("A row is a part")[0]
    assert re.findall(r"`(\w+)`", section) == STUDIES.names
    overlays = SCHEMA.partition("## Table `overlays`")[2].partition("## Table")[0]
    own = [name for name in OVERLAYS.names if name not in INSTANCES.names or name in ("study_hash", "sha256")]
    assert [name for name in re.findall(r"`(\w+)`", overlays) if name != "instances"] == own
    assert all(name in SCHEMA.partition("Bloom filters")[2].partition("- `study_hash`")[0] for name in BLOOM_COLUMNS)


def test_the_page_lists_every_problem_code_with_its_class_and_meaning() -> None:
    page = (DOCS / "indexer.md").read_text("utf-8")
    listed = re.findall(r"^\| `([A-Z_]+)` \| (\w+) \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    assert listed == [(p.code, str(p.disposition), p.text, p.reference) for p in PROBLEMS.values()]
