"""``vna deid`` over a real archive: the contract's options, exit codes and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pydicom
import pytest

from tests.support.instances import make_instance, real_image, write_instance
from vna.cli import COMMANDS, run

US = "1.2.840.10008.5.1.4.1.1.6.1"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of three images, one of them an ultrasound, and a key."""
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        write_instance(tmp_path / "in" / f"{number}.dcm", make_instance(InstanceNumber=number, PatientName="Quexborough^Ann"))
    write_instance(tmp_path / "in" / "3.dcm", make_instance(SOPClassUID=US, Modality="US", InstanceNumber=3))
    (tmp_path / "in" / "CT_small.dcm").write_bytes(real_image("CT_small.dcm").read_bytes())
    (tmp_path / "deid.key").write_text("a secret of sufficient length\n")
    assert run(["init", "archive"]) == 0
    assert run(["ingest", "in", "--adapter", "folder", "--json"]) == 0
    return tmp_path


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    result: dict[str, object] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return result


def deid(*arguments: str) -> int:
    return run(["deid", "--recipe", "basic", "--key-file", "deid.key", "--to", "cohort", "--workers", "1", "--json", *arguments])


def test_a_cohort_of_the_archive(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deid("--crosswalk", "crosswalk") == 3
    result = said(capsys)
    assert (result["instances"], result["written"], result["quarantined"]) == (4, 3, 1)
    assert len(pq.read_table(str(result["manifest"]))) == 4
    outputs = list((site / "cohort").rglob("*.dcm"))
    assert len(outputs) == 3 and all(pydicom.dcmread(path).PatientIdentityRemoved == "YES" for path in outputs)
    assert (site / "crosswalk" / "patid_mapping.csv").read_text().startswith("id_old,id_new\n")


def test_a_selection_in_sql_and_the_exit_code_of_a_whole_success(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deid("--where", "Modality = 'CT' AND PatientID = 'P1'") == 0
    assert said(capsys)["written"] == 2


def test_what_was_corrected_leaves_corrected_and_names_neither_patient(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS, "correct", "Correct headers.")
    assert deid("--where", "PatientID = 'P1' AND Modality = 'CT'") == 0
    before = {path.parent.parent.parent.name for path in (site / "cohort").rglob("*.dcm")}
    assert run(["correct", "apply", "--set", "PatientID=PX-20002", "--set", "BodyPartExamined=CHEST", "--threshold", "1"]) == 0
    capsys.readouterr()
    arguments = ["--where", "PatientID = 'PX-20002' AND Modality = 'CT' AND received_PatientID = 'P1'"]
    assert (
        run(["deid", "--recipe", "basic", "--key-file", "deid.key", "--to", "second", "--workers", "2", "--json", *arguments])
        == 0
    )
    assert said(capsys)["written"] == 2
    for path in (site / "second").rglob("*.dcm"):
        content, ds = path.read_bytes(), pydicom.dcmread(path)
        assert ds.BodyPartExamined == "CHEST" and "OriginalAttributesSequence" not in ds and ds.PatientID not in before
        assert b"PX-20002" not in content and b"Quexborough" not in content


def test_a_dry_run_leaves_no_trace(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deid("--dry-run") == 3
    assert said(capsys)["held"] == {"PIXELS_CLASS": 1}
    assert not (site / "cohort").exists()


def test_a_key_may_come_from_the_environment_and_must_come_from_somewhere(
    site: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["deid", "--recipe", "basic", "--to", "cohort", "--workers", "1", "--where", "Modality = 'CT'", "--json"]
    assert run(arguments) == 2
    assert "a key is needed" in capsys.readouterr().err
    monkeypatch.setenv("VNA_DEID_KEY", "a secret of sufficient length")
    assert run(arguments) == 0
    from_environment = said(capsys)
    assert run([*arguments[:3], "--key-file", "deid.key", *arguments[3:]]) == 0
    assert said(capsys)["key_id"] == from_environment["key_id"]


def test_a_release_file_lets_an_image_go(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "released.csv").write_text(f"uid,who\n{make_instance(InstanceNumber=3).SOPInstanceUID},RM\n")
    assert deid("--release", "released.csv") == 0
    assert said(capsys)["written"] == 4


def test_a_recipe_that_is_not_understood_and_a_url_are_refused(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "site.recipe").write_text("FORMAT dicom\n%header\nSCRAMBLE PatientID\n")
    assert run(["deid", "--recipe", "site.recipe", "--key-file", "deid.key", "--to", "cohort"]) == 2
    assert "line 3" in capsys.readouterr().err
    assert run(["deid", "--recipe", "basic", "--key-file", "deid.key", "--to", "s3://bucket/cohort"]) == 2
