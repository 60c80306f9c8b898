"""Every file of the corpus gets exactly its codes, within bounds, and its row as far as there is one."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from indexer.problems import PROBLEMS
from indexer.scan import scan_file
from tests.unit.indexer.corpus import BAD_FILES, BadFile, good


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: bad.name)
def test_a_bad_file_gets_exactly_its_codes_and_still_a_row(bad: BadFile, tmp_path: Path) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(bad.content)
    started = time.process_time()
    scan = scan_file(path)
    row = scan.row()
    assert time.process_time() - started < 2
    assert scan.codes == bad.codes
    assert set(scan.codes) <= set(PROBLEMS)
    assert (row["StudyInstanceUID"] == "1.2.3") is bad.fills_row
    assert (row["PatientID"] is not None) is bad.fills_row


def test_a_good_file_has_no_problems(tmp_path: Path) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(good())
    scan = scan_file(path)
    assert scan.problems == []
    assert scan.header.has_header_end
    assert scan.header.pixel is not None and scan.header.pixel.length == 32


def test_bombs_are_scanned_in_bounded_memory(tmp_path: Path) -> None:
    bombs = [bad for bad in BAD_FILES if len(bad.content) > 1 << 20 or "bomb" in bad.name]
    for number, bad in enumerate(bombs):
        (tmp_path / f"{number}.dcm").write_bytes(bad.content)
    script = (
        "import resource, sys; from indexer.scan import scan_file; peak = lambda: resource.getrusage(resource.RUSAGE_SELF)[2];"
        "before = peak(); found = [scan_file(path).row() for path in sys.argv[1:]]; print(peak() - before)"
    )
    paths = [str(path) for path in tmp_path.iterdir()]
    grown = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True).stdout
    assert len(bombs) >= 4
    assert int(grown) < 64 << 10  # KiB


def test_what_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    assert scan_file(tmp_path / "missing").codes == ("UNREADABLE",)
    assert scan_file(tmp_path).codes == ("UNREADABLE",)
