"""The columns are DICOM keywords in an order that serves look-ups."""

import hashlib
import subprocess
import sys

from pydicom.datadict import keyword_for_tag

from indexer.schema import BLOOM_COLUMNS, COLUMNS, DICOM_COLUMNS, WANTED_TAGS, study_hash

KEYS = (
    "study_hash PatientID IssuerOfPatientID StudyInstanceUID SeriesInstanceUID SOPInstanceUID AccessionNumber StudyDate Modality"
)
OURS = "sha256 status source received_at path size"


def test_columns_are_named_by_the_keyword_of_their_tag() -> None:
    assert [column.name for column in DICOM_COLUMNS] == [keyword_for_tag(column.tag) for column in DICOM_COLUMNS]
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)


def test_key_columns_stand_among_the_first_32_where_delta_keeps_statistics() -> None:
    first = [column.name for column in COLUMNS[:32]]
    assert set(f"{KEYS} {OURS}".split()) <= set(first)
    assert set(BLOOM_COLUMNS) <= set(first)


def test_file_meta_is_not_looked_for_in_the_data_set() -> None:
    assert all(tag >> 16 > 2 for tag in WANTED_TAGS)


def test_the_study_hash_is_the_first_eight_bytes_of_sha256() -> None:
    expected = int.from_bytes(hashlib.sha256(b"1.2.3").digest()[:8], "big", signed=True)
    assert study_hash("1.2.3") == expected
    assert study_hash(None) == study_hash("")
    assert -(2**63) <= study_hash("1.2.840") < 2**63


def test_receivers_import_the_scanner_without_the_table_libraries() -> None:
    script = (
        "import sys, indexer.cli, indexer.problems, indexer.schema, indexer.text;"
        "from indexer.header import HeaderScanner; from indexer.scan import index_row;"
        "scanner = HeaderScanner('1.2.840.10008.1.2'); scanner.feed(bytes.fromhex('08001600020000003100'));"
        "index_row(scanner.close());"
        "print([name for name in ('pyarrow', 'deltalake', 'duckdb', 'pydicom', 'sqlalchemy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
