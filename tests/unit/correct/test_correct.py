"""Corrections: a plan shows what apply does, what leaves is corrected, what lies in the store is not, revert undoes all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from tests.support.instances import real_image_files
from vna.archive import Archive
from vna.correct import CorrectOptions, apply, load_rules, materialise, plan, revert, rule_of_settings
from vna.errors import ConfigError, RefusedError
from vna.ingest import IngestOptions
from vna.ingest import run as ingest

ALL = CorrectOptions(threshold=1.0, by="tester")
NEW_ID = [rule_of_settings(["PatientID=NEW-1", "PatientName=Müller^Jürgen"], source="RIS")]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(real_image_files()[::4]):
        (folder / f"{number}.dcm").write_bytes(image.path.read_bytes())
    return folder


@pytest.fixture
def archive(tmp_path: Path, images: Path) -> Archive:
    made = Archive.create(str(tmp_path / "archive"))
    ingest(made, images, IngestOptions(workers=1))
    return made


def leaving(archive: Archive) -> Iterator[tuple[dict[str, object], bytes]]:
    for row in archive.select("status IN ('stored', 'flagged')"):
        _, file = archive.open_effective(row["path"], row["sha256"], row["received_StudyInstanceUID"])
        with file:
            yield row, file.read()


def stored_bytes(archive: Archive) -> dict[str, bytes]:
    return {path: archive.store.read_bytes(path) for path in archive.store.list("instances")}


def test_everything_leaves_corrected_and_nothing_stored_changes(archive: Archive) -> None:
    before = stored_bytes(archive)
    foreseen = plan(archive, NEW_ID, ALL)
    result = apply(archive, NEW_ID, ALL)
    assert (result.instances, result.changes, result.studies) == (foreseen.instances, foreseen.changes, foreseen.studies)
    assert result.instances > 20
    refused = {outcome.key for outcome in result.refusals}
    for row, content in leaving(archive):
        if row["sha256"] not in refused:
            ds = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
            assert (ds.PatientID, str(ds.PatientName)) == ("NEW-1", "Müller^Jürgen")
            assert (row["PatientID"], row["PatientName"]) == ("NEW-1", "Müller^Jürgen")
            prior = ds.OriginalAttributesSequence[-1].ModifiedAttributesSequence[0]
            assert str(prior.get("PatientID") or "") == (row["received_PatientID"] or "")
    assert stored_bytes(archive) == before


def test_a_second_apply_writes_nothing(archive: Archive) -> None:
    apply(archive, NEW_ID, ALL)
    revisions = list(archive.store.list("revisions"))
    again = apply(archive, NEW_ID, ALL)
    assert (again.studies, again.changes, again.revisions) == (0, 0, 0)
    assert list(archive.store.list("revisions")) == revisions


def test_revert_gives_back_the_very_bytes_and_the_index_too(archive: Archive) -> None:
    apply(archive, NEW_ID, ALL)
    undone = revert(archive, ALL)
    assert undone.instances > 20
    for row, content in leaving(archive):
        assert content == archive.store.read_bytes(str(row["path"]))
        assert row["PatientID"] == row["received_PatientID"]
    assert revert(archive, ALL).revisions == 0


def test_a_rebuilt_index_knows_the_revisions(archive: Archive) -> None:
    apply(archive, NEW_ID, ALL)
    before = archive.select()
    archive.rebuild_index()
    assert archive.select() == before


def test_one_revision_of_several_can_be_taken_back(archive: Archive) -> None:
    study = archive.select("status = 'stored'")[0]["received_StudyInstanceUID"]
    one = CorrectOptions(studies=(study,))
    apply(archive, [rule_of_settings(["PatientID=A"])], one)
    apply(archive, [rule_of_settings(["AccessionNumber=B"])], one)
    revert(archive, one, number=1)
    row = archive.select("status = 'stored'", [study])[0]
    assert (row["PatientID"], row["AccessionNumber"]) == (row["received_PatientID"], "B")
    assert [each.number for each in archive.revisions(study).all] == [1, 2, 3]


def test_rules_compute_values_in_sql(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        """
        [[rule]]
        name = "prefix"
        where = "PatientID IS NOT NULL"
        reason = "COERCE"
        source = "RIS"
        remove = ["PatientComments"]
        set.PatientID = { sql = "'X' || PatientID" }
        set.InstitutionName = "General"
        """
    )
    apply(archive, load_rules(path), ALL)
    rows = [row for row in archive.select("PatientID IS NOT NULL") if row["revision"] is not None]
    assert rows
    assert all(row["PatientID"] == "X" + row["received_PatientID"] for row in rows)
    assert all(row["InstitutionName"] == "General" for row in rows)


def test_a_rule_that_touches_too_much_is_refused_before_anything_is_written(archive: Archive) -> None:
    with pytest.raises(RefusedError, match="would change"):
        apply(archive, NEW_ID, CorrectOptions())
    assert list(archive.store.list("revisions")) == []


def test_materialised_files_stand_beside_the_originals(archive: Archive) -> None:
    study = archive.select("status = 'stored'")[0]["received_StudyInstanceUID"]
    one = CorrectOptions(studies=(study,))
    apply(archive, NEW_ID, one)
    result = materialise(archive, one)
    files = [path for path in archive.store.list("instances") if path.endswith(".r1.dcm")]
    assert len(files) == result.instances > 0
    assert pydicom.dcmread(io.BytesIO(archive.store.read_bytes(files[0])), stop_before_pixels=True).PatientID == "NEW-1"
    assert materialise(archive, one).instances == 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("PatientIDD=1", "did you mean 'PatientID'"),
        ("PatientID", "must read KEYWORD=VALUE"),
        ("PixelData=1", "cannot be corrected"),
        ("Rows=1", "cannot be corrected"),
        ("RequestAttributesSequence.RequestedProcedureID=1", "needs its item number"),
        ("TransferSyntaxUID=1.2", "cannot be corrected"),
    ],
)
def test_what_cannot_be_set_is_named(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        rule_of_settings([setting])
