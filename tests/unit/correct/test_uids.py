"""New UIDs: by policy only, never over another object, and references follow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.support.folders import quick_folder
from tests.support.instances import make_instance, make_uid
from tests.support.objects import send, wire_object
from vna.archive import Archive
from vna.correct import CorrectOptions, UidPolicy, apply, load_rules, plan, revert, rule_of_settings
from vna.correct.request import Rule
from vna.errors import ConfigError, RefusedError

KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"
STUDY, OTHER = make_uid("study", "P1"), make_uid("study", "P2")
SERIES = make_uid("series", STUDY, 1)
NEW = CorrectOptions(uids=UidPolicy.NEW)
MERGE = CorrectOptions(uids=UidPolicy.MERGE)


def key_object(*images: Dataset, study: str) -> Dataset:
    """Make a key object selection document of a study of its own that refers to images."""
    series: dict[tuple[str, str], list[Dataset]] = {}
    for image in images:
        series.setdefault((image.StudyInstanceUID, image.SeriesInstanceUID), []).append(image)
    evidence = []
    for (study_uid, series_uid), found in series.items():
        inner = Dataset()
        inner.SeriesInstanceUID, inner.ReferencedSOPSequence = series_uid, Sequence([reference(image) for image in found])
        outer = Dataset()
        outer.StudyInstanceUID, outer.ReferencedSeriesSequence = study_uid, Sequence([inner])
        evidence.append(outer)
    return make_instance(
        SOPClassUID=KEY_OBJECT,
        PatientID=images[0].PatientID,
        StudyInstanceUID=study,
        SeriesNumber=9,
        Modality="KO",
        CurrentRequestedProcedureEvidenceSequence=Sequence(evidence),
        PixelData=None,
        Rows=None,
    )


def reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


IMAGES = [make_instance(InstanceNumber=number) for number in (1, 2)]
FOREIGN = make_instance(PatientID="P2")
NOTES = key_object(*IMAGES, study=make_uid("notes"))


@pytest.fixture
def archive() -> Iterator[Archive]:
    with quick_folder() as folder:
        made = Archive.create(str(folder / "a"))
        with made.sink() as sink:
            for ds in (*IMAGES, FOREIGN, NOTES):
                send(sink, wire_object(ds))
        made.sync_index()
        yield made


def leaving(archive: Archive, where: str = "TRUE") -> list[Dataset]:
    found = []
    for row in archive.select(f"status IN ('stored', 'flagged') AND {where}"):
        _, file = archive.open_effective(row["path"], row["sha256"], row["received_StudyInstanceUID"])
        with file:
            found.append(pydicom.dcmread(io.BytesIO(file.read())))
    return found


def notes(archive: Archive) -> Dataset:
    return leaving(archive, "Modality = 'KO'")[0]


def evidence(ds: Dataset) -> list[tuple[str, str, list[str]]]:
    return [
        (
            study.StudyInstanceUID,
            series.SeriesInstanceUID,
            [each.ReferencedSOPInstanceUID for each in series.ReferencedSOPSequence],
        )
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
    ]


def rules(tmp_path: Path, text: str) -> tuple[Rule, ...]:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return load_rules(path)


def studies(*uids: str, policy: UidPolicy = UidPolicy.NEW) -> CorrectOptions:
    return CorrectOptions(studies=uids, uids=policy)


def test_uids_are_left_alone_unless_asked_for(archive: Archive) -> None:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        for run in (plan, apply):
            with pytest.raises(RefusedError, match="changes UIDs") as caught:
                run(archive, [rule_of_settings([f"{keyword}=1.2.3"])], CorrectOptions(studies=(STUDY,)))
            assert "--uids" in caught.value.hint
    assert list(archive.store.list("revisions")) == []


def test_a_new_study_uid_is_followed_by_references_in_other_studies(archive: Archive) -> None:
    rule = [rule_of_settings(["StudyInstanceUID=2.25.1"])]
    foreseen = plan(archive, rule, studies(STUDY))
    result = apply(archive, rule, studies(STUDY))
    assert (result.studies, result.instances, result.changes) == (foreseen.studies, foreseen.instances, foreseen.changes)
    assert (result.studies, result.instances, result.revisions) == (2, 3, 2)
    assert {ds.StudyInstanceUID for ds in leaving(archive, "PatientID = 'P1' AND Modality = 'CT'")} == {"2.25.1"}
    assert evidence(notes(archive)) == [("2.25.1", SERIES, [image.SOPInstanceUID for image in IMAGES])]
    assert notes(archive).StudyInstanceUID == NOTES.StudyInstanceUID
    prior = notes(archive).OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert evidence(prior) == evidence(NOTES)
    assert apply(archive, rule, CorrectOptions(studies=(STUDY,), uids=UidPolicy.NEW)).changes == 0


def test_new_instance_uids_computed_for_each_object_are_followed(archive: Archive, tmp_path: Path) -> None:
    rule = rules(
        tmp_path,
        """
        [[rule]]
        where = "Modality = 'CT' AND PatientID = 'P1'"
        set.SOPInstanceUID = { sql = "'2.25.' || InstanceNumber" }
        """,
    )
    apply(archive, rule, CorrectOptions(uids=UidPolicy.NEW))
    assert evidence(notes(archive)) == [(STUDY, SERIES, ["2.25.1", "2.25.2"])]
    images = leaving(archive, "Modality = 'CT' AND PatientID = 'P1'")
    assert {(ds.SOPInstanceUID, ds.file_meta.MediaStorageSOPInstanceUID) for ds in images} == {
        (f"2.25.{n}", f"2.25.{n}") for n in (1, 2)
    }


def test_revert_takes_back_the_references_with_the_uid(archive: Archive) -> None:
    apply(archive, [rule_of_settings(["StudyInstanceUID=2.25.1"])], studies(STUDY))
    undone = revert(archive, CorrectOptions(studies=(STUDY,)))
    assert undone.revisions == 2
    for row in archive.select():
        _, file = archive.open_effective(row["path"], row["sha256"], row["received_StudyInstanceUID"])
        with file:
            assert file.read() == archive.store.read_bytes(row["path"])
    assert revert(archive, CorrectOptions(studies=(STUDY,))).revisions == 0


def test_a_uid_that_stands_for_another_object_is_never_given(archive: Archive) -> None:
    taken = IMAGES[1].SOPInstanceUID
    one = CorrectOptions(where="InstanceNumber = 1 AND Modality = 'CT' AND PatientID = 'P1'", uids=UidPolicy.MERGE)
    with pytest.raises(RefusedError, match="two objects"):
        apply(archive, [rule_of_settings([f"SOPInstanceUID={taken}"])], one)
    with pytest.raises(RefusedError, match="two objects"):
        apply(archive, [rule_of_settings(["SOPInstanceUID=2.25.5"])], studies(STUDY, policy=UidPolicy.MERGE))
    assert list(archive.store.list("revisions")) == []


def test_joining_a_study_is_a_policy_of_its_own_and_never_mixes_patients(archive: Archive) -> None:
    join = [f"StudyInstanceUID={OTHER}"]
    with pytest.raises(RefusedError, match="holds study") as caught:
        apply(archive, [rule_of_settings(join)], studies(STUDY))
    assert "--uids merge" in caught.value.hint
    with pytest.raises(RefusedError, match="two patients"):
        apply(archive, [rule_of_settings(join)], studies(STUDY, policy=UidPolicy.MERGE))
    apply(archive, [rule_of_settings([*join, "PatientID=P2"])], studies(STUDY, policy=UidPolicy.MERGE))
    assert len(leaving(archive, f"StudyInstanceUID = '{OTHER}'")) == 3
    assert evidence(notes(archive))[0][0] == OTHER


def test_a_series_is_not_torn_between_studies(archive: Archive) -> None:
    part = CorrectOptions(where="InstanceNumber = 1 AND Modality = 'CT' AND PatientID = 'P1'", uids=UidPolicy.NEW)
    with pytest.raises(RefusedError, match="two studies"):
        apply(archive, [rule_of_settings(["StudyInstanceUID=2.25.1"])], part)


def test_what_refers_to_a_study_as_one_keeps_it_from_being_torn(archive: Archive) -> None:
    part = CorrectOptions(where="InstanceNumber = 1 AND Modality = 'CT' AND PatientID = 'P1'", uids=UidPolicy.NEW)
    with pytest.raises(RefusedError, match="that move and to others that stay"):
        apply(archive, [rule_of_settings(["StudyInstanceUID=2.25.1", "SeriesInstanceUID=2.25.2"])], part)
    assert list(archive.store.list("revisions")) == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("StudyInstanceUID=", "cannot be empty"),
        ("StudyInstanceUID=1.02", "no value of VR UI"),
        ("StudyInstanceUID=../x", "no value of VR UI"),
        ("StudyDate=20240231", "no value of VR DA"),
        ("PatientID=A\\B", "one value only"),
        ("Modality=ct", "no value of VR CS"),
    ],
)
def test_a_value_that_is_none_is_named_before_anything_is_read(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        rule_of_settings([setting])
