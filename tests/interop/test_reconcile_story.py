"""The story of a reconciliation: dirty demographics, a RIS list, decisions, and a target that carries the right values."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner

from tests.support.instances import make_uid, real_image_files
from tests.support.peers import OrthancPeer, load, orthanc
from vna.cli import run, vna
from vna.config import config_text

PEOPLE = [
    # as the old archive has it: ID, name, birth date, sex, accession, date; as the RIS has it: ID, name
    ("000123", "DOE^JOHN", "19700102", "M", "A1001", "20200110", "123", "Doe, John"),
    ("000456", "MUELLER^ANNA MARIA", "19550607", "F", "A1002", "20200211", "456", "Müller, Anna Maria"),
    ("000789", "GARCIA LOPEZ^JOSE", "19811230", "M", "A1003", "20200312", "789", "García López, José"),
    ("001012", "NGUYEN^VAN^AN", "19900915", "M", "A1004", "20200413", "1012", "Nguyen Van, An"),
    ("001314", "OBRIEN^SEAN", "19480317", "M", "A1005", "20200514", "1314", "O'Brien, Sean"),
    ("001516", "SMITH^JANE", "19760704", "F", "A1006", "20200615", "9077", "Smith, Jane"),
]


IMAGES_A_STUDY = 2
REAL = [
    image.path
    for image in real_image_files(unique=True)
    if image.path.stat().st_size < 300_000 and image.sop_class_uid in ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4")
]
"""Real CT and MR images."""


@dataclass
class Site:
    folder: Path
    target: OrthancPeer
    studies: dict[str, tuple[str, ...]]

    def vna(self, *words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
        capsys.readouterr()
        code = run(["--config", str(self.folder / "vna.toml"), *words, "--json"])
        out, err = capsys.readouterr()
        assert code in (0, 3), err
        answer: dict[str, object] = json.loads(out)
        return answer

    def at_target(self) -> dict[str, pydicom.Dataset]:
        return {uid: pydicom.dcmread(io.BytesIO(self.target.file(uid))) for uid in self.target.sop_instance_uids()}


def _dirty(path: Path, person: tuple[str, ...], number: int, study: str) -> pydicom.Dataset:
    """Make a real image one of this person's, as the old archive has it."""
    ds = pydicom.dcmread(path)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex, ds.AccessionNumber, ds.StudyDate = person[:6]
    ds.StudyTime, ds.Modality = f"1{number}0000", "CT"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, make_uid("series", number)
    return ds


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    studies = {}
    paths = []
    for number, person in enumerate(PEOPLE):
        study = make_uid("study", number)
        studies[study] = person
        for image in range(IMAGES_A_STUDY):
            paths.append(tmp_path / f"{number}-{image}.dcm")
            _dirty(REAL[number * IMAGES_A_STUDY + image], person, number, study).save_as(paths[-1])
    with (
        orthanc(tmp_path / "legacy", ae_title="LEGACY") as legacy,
        orthanc(tmp_path / "target", ae_title="TARGET", overwrite=True) as target,
    ):
        assert all(sent.is_stored for sent in load(legacy, paths))
        nodes = "".join(
            f'\n[nodes.{name}]\nae_title = "{peer.ae_title}"\nport = {peer.port}\n'
            for name, peer in (("legacy", legacy), ("target", target))
        )
        (tmp_path / "vna.toml").write_text(config_text("archive", "sqlite:///archive/ledger.sqlite") + nodes)
        yield Site(tmp_path, target, studies)


def test_every_study_carries_what_the_ris_says_until_that_is_taken_back(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site.folder)
    site.vna("init", capsys=capsys)
    site.vna("inventory", "legacy", capsys=capsys)
    assert site.vna("pull", "legacy", "--method", "get", capsys=capsys)["instances"] == IMAGES_A_STUDY * len(PEOPLE)
    with (site.folder / "ris.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "Modality"]
        )
        for person in PEOPLE:
            birth = f"{person[2][:4]}-{person[2][4:6]}-{person[2][6:]}"
            writer.writerow([person[6], person[7], birth, person[3], "RIS-" + person[4], person[5], "CT"])
    matched = site.vna(
        "reconcile", "match", "--ris", "ris.csv", "--level", "exam", "--out", "decisions.csv", "--accept-no-match", capsys=capsys
    )
    decisions = Path(str(matched["decisions"]))
    with decisions.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    waiting = [row for row in rows if row["outcome"] in ("review", "conflict") and row["pacs_key"] and row["ris_key"]]
    assert [row["pacs_PatientName"] for row in waiting] == ["SMITH^JANE"]
    reviewed = CliRunner().invoke(vna, ["reconcile", "review", str(decisions), "--reviewer", "steward"], input="aq")
    assert reviewed.exit_code in (0, 3), reviewed.output
    decisions = decisions.with_suffix(".r2.csv")
    applied = site.vna("correct", "apply", "--decisions", str(decisions), capsys=capsys)
    assert (applied["studies"], applied["refused"]) == (len(PEOPLE), 0)
    assert site.vna("correct", "apply", "--decisions", str(decisions), capsys=capsys)["changes"] == 0

    site.vna("forward", "target", capsys=capsys)
    assert site.vna("verify", "target", capsys=capsys)["closed"] is True
    held = site.at_target()
    assert len(held) == IMAGES_A_STUDY * len(PEOPLE)
    for ds in held.values():
        person = site.studies[ds.StudyInstanceUID]
        assert ds.PatientID == person[6]
        assert str(ds.PatientName) == "^".join(part.strip() for part in person[7].split(","))
        assert ds.PatientBirthDate == person[2]
        assert ds.AccessionNumber == "RIS-" + person[4]
        item = ds.OriginalAttributesSequence[0]
        assert (item.SourceOfPreviousValues, item.ReasonForTheAttributeModification) == ("RIS", "COERCE")
        assert item.ModifiedAttributesSequence[0].PatientID == person[0]

    site.vna("correct", "revert", capsys=capsys)
    site.vna("export", "--to", "restored", capsys=capsys)
    for path in (site.folder / "restored").rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        person = site.studies[ds.StudyInstanceUID]
        assert (ds.PatientID, str(ds.PatientName), ds.AccessionNumber) == (person[0], person[1], person[4])
        assert "OriginalAttributesSequence" not in ds

    # Orthanc keys its objects by Patient ID: the corrected ones stay there beside the restored ones, and verify says so.
    site.vna("forward", "target", capsys=capsys)
    verified = site.vna("verify", "target", capsys=capsys)
    assert (verified["closed"], verified["different"]) == (False, IMAGES_A_STUDY * len(PEOPLE))
    units = site.vna("status", "--unmigrated", capsys=capsys)["unmigrated"]
    assert isinstance(units, list)
    assert all("SECOND_COPY" in unit["detail"] for unit in units)
