"""The attributes of queries are those of the dictionary, whether they are written out or not."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from vna.dimse.attributes import USUAL, keyword_of, tag_of, vr_of
from vna.inventory import queries


@pytest.mark.parametrize(("keyword", "tag", "vr"), USUAL)
def test_what_is_written_out_is_what_the_dictionary_says(keyword: str, tag: int, vr: str) -> None:
    assert (tag_for_keyword(keyword), dictionary_VR(tag), keyword_for_tag(tag)) == (tag, vr, keyword)


def test_what_an_inventory_asks_for_is_written_out() -> None:
    asked = {*queries.STUDY_KEYS, *queries.SERIES_KEYS, *queries.IMAGE_KEYS}
    assert asked <= {keyword for keyword, _, _ in USUAL}


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SmallestImagePixelValue", "EthnicGroup"])
def test_a_keyword_has_one_tag_and_back(keyword: str) -> None:
    tag = tag_of(keyword)
    assert (keyword_of(tag), vr_of(tag)) == (keyword, dictionary_VR(tag))


def test_a_word_that_is_no_keyword_is_told() -> None:
    with pytest.raises(ValueError, match="'StudyName' is no DICOM keyword"):
        tag_of("StudyName")


def test_a_pull_and_a_forward_start_without_a_data_dictionary() -> None:
    code = (
        "import vna.cli.pull, vna.cli.forward, vna.cli.inventory, vna.pull, vna.forward, vna.inventory, sys\n"
        "from vna.dimse import identifiers\n"
        "identifiers.encode('STUDY', {'StudyInstanceUID': '1.2'}, '1.2.840.10008.1.2')\n"
        "print(sorted({'pydicom', 'pynetdicom', 'numpy', 'pyarrow', 'deltalake', 'duckdb'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
