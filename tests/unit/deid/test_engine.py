"""The engine on generated data sets: actions, options, encodings, nesting, and what it must not touch."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.support.instances import make_instance, part10_bytes
from tests.unit.deid.conftest import edit_bytes, edited_data_set, read
from vna.deid.engine import Engine
from vna.deid.recipe import Recipe, parse_recipe
from vna.deid.values import Key
from vna.part10.elements import EXPLICIT_LE, MAX_DEPTH, StructureError, element_bytes

For = Callable[[str], Engine]


def engine_of(key: Key, directive: str, *lines: str) -> Engine:
    return Engine(parse_recipe("\n".join(("FORMAT dicom", f"# vna: {directive}", "%header", *lines)), "site"), key)


def item(**values: object) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_encoding_gives_the_same_object(syntax: str, engine_for: For) -> None:
    ds = make_instance(syntax, PixelData=None, ReferencedStudySequence=Sequence([item(ReferencedSOPInstanceUID="1.2.3.4")]))
    ds.RequestAttributesSequence = Sequence([item(ScheduledProcedureStepDescription="HEAD", ScheduledProcedureStepID="4711")])
    made = edited_data_set(engine_for("basic"), ds)
    assert made.PatientIdentityRemoved == "YES" and made.LongitudinalTemporalInformationModified == "REMOVED"
    assert made.PatientID == made.PatientName and len(made.PatientID) == 16
    assert made.StudyDate == "" and made.PatientSex == "" and made.PatientBirthDate == ""
    assert made.SOPInstanceUID.startswith("2.25.") and made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
    assert "StudyDescription" not in made and "ReferencedStudySequence" not in made
    assert made.Rows == 8 and made.BitsAllocated == 16 and made.Modality == "CT"
    assert [code.CodeValue for code in made.DeidentificationMethodCodeSequence] == ["113100"]


def test_every_reference_follows_what_it_refers_to(engine_for: For, key: Key) -> None:
    image = make_instance(InstanceNumber=1)
    reference = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    series = item(SeriesInstanceUID=image.SeriesInstanceUID, ReferencedSOPSequence=Sequence([reference]))
    note = make_instance(
        InstanceNumber=2,
        CurrentRequestedProcedureEvidenceSequence=Sequence(
            [item(StudyInstanceUID=image.StudyInstanceUID, ReferencedSeriesSequence=Sequence([series]))]
        ),
        SOPInstanceUIDOfConcatenationSource=image.SOPInstanceUID,
        FrameOfReferenceUID="1.2.840.10008.1.4.1.1",
    )
    made, noted = edited_data_set(engine_for("basic"), image), edited_data_set(engine_for("basic"), note)
    evidence = noted.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == made.StudyInstanceUID
    assert evidence.ReferencedSeriesSequence[0].SeriesInstanceUID == made.SeriesInstanceUID
    assert evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == made.SOPInstanceUID
    assert noted.SOPInstanceUIDOfConcatenationSource == made.SOPInstanceUID
    assert noted.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"


def test_modified_dates_keep_every_interval_of_a_patient(engine_for: For) -> None:
    first = edited_data_set(
        engine_for("longitudinal"), make_instance(StudyDate="20240228", SeriesDate="20240228", ContentTime="101112")
    )
    second = edited_data_set(
        engine_for("longitudinal"), make_instance(StudyDate="20240301", AcquisitionDateTime="20240301101112", InstanceNumber=2)
    )
    assert first.StudyDate == first.SeriesDate != "20240228"
    assert (date.fromisoformat(second.StudyDate) - date.fromisoformat(first.StudyDate)).days == 2
    assert second.AcquisitionDateTime == f"{second.StudyDate}101112" and first.ContentTime == "101112"
    assert first.LongitudinalTemporalInformationModified == "MODIFIED" and first.PatientBirthDate == ""


def test_a_limited_data_set_keeps_dates_and_capped_ages(engine_for: For) -> None:
    made = edited_data_set(engine_for("limited"), make_instance(PatientAge="093Y", PatientWeight="70.5"))
    assert made.StudyDate == "20240131" and made.PatientAge == "090Y" and made.PatientSex == "O" and made.PatientWeight == 70.5
    assert [code.CodeValue for code in made.DeidentificationMethodCodeSequence] == ["113100", "113106", "113108"]


def test_private_groups_overlays_curves_and_padding_go(engine_for: For) -> None:
    ds = make_instance(PixelData=None)
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", b"Test^Generated")
    ds.add_new(0x60000010, "US", 8)
    ds.add_new(0x60003000, "OW", b"\1" * 8)
    ds.add_new(0x50003000, "OW", b"\1" * 8)
    ds.add_new(0xFFFCFFFC, "OB", b"\0" * 8)
    ds.IconImageSequence = Sequence([item(Rows=2)])
    ds.OriginalAttributesSequence = Sequence([item(ReasonForTheAttributeModification="CORRECT")])
    made = edited_data_set(engine_for("basic"), ds)
    assert [element.tag for element in made if element.tag.is_private or element.tag.group >= 0x5000] == []
    assert "IconImageSequence" not in made and "OriginalAttributesSequence" not in made


def test_safe_private_elements_stay_where_the_recipe_says_so(key: Key) -> None:
    ds = make_instance(PixelData=None)
    block = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
    block.add_new(0x03, "FL", 1000.0)
    block.add_new(0x7F, "LO", "by Generated")
    made = edited_data_set(engine_of(key, "basic retain_safe_private"), ds)
    kept = made.private_block(0x2001, "Philips Imaging DD 001")
    assert 0x03 in kept and 0x7F not in kept
    made = edited_data_set(engine_of(key, "basic", 'KEEP (2001,"Philips Imaging DD 001",7F)'), ds)
    assert made.private_block(0x2001, "Philips Imaging DD 001")[0x7F].value == "REMOVED"  # a name stays in no text


def test_a_report_keeps_codes_and_numbers_and_loses_its_text(engine_for: For) -> None:
    content = [
        item(ValueType="TEXT", RelationshipType="CONTAINS", TextValue="Mrs Generated is well"),
        item(ValueType="PNAME", RelationshipType="CONTAINS", PersonName="Doe^Jane"),
        item(ValueType="NUM", RelationshipType="CONTAINS", MeasuredValueSequence=Sequence([item(NumericValue="12")])),
        item(ValueType="UIDREF", RelationshipType="CONTAINS", UID="1.2.3.4.5"),
    ]
    made = edited_data_set(engine_for("basic"), make_instance(PixelData=None, ContentSequence=Sequence(content)))
    text, name, number, uid = made.ContentSequence
    assert text.TextValue == "REMOVED" and str(name.PersonName) == "REMOVED" and text.ValueType == "TEXT"
    assert number.MeasuredValueSequence[0].NumericValue == 12 and uid.UID.startswith("2.25.")


def test_a_presentation_state_loses_its_annotations_unless_graphics_are_cleaned(engine_for: For, key: Key) -> None:
    annotation = item(
        GraphicLayer="ONE",
        TextObjectSequence=Sequence([item(UnformattedTextValue="Generated, left")]),
        GraphicObjectSequence=Sequence([item(GraphicType="POLYLINE")]),
    )
    ds = make_instance(PixelData=None, GraphicAnnotationSequence=Sequence([annotation]))
    assert "GraphicAnnotationSequence" not in edited_data_set(engine_for("basic"), ds)
    cleaned = edited_data_set(engine_of(key, "basic clean_graphics"), ds).GraphicAnnotationSequence[0]
    assert "TextObjectSequence" not in cleaned and cleaned.GraphicObjectSequence[0].GraphicType == "POLYLINE"


def test_cleaned_descriptions_keep_words_of_the_trade_only(key: Key) -> None:
    ds = make_instance(StudyDescription="CT HEAD for Quexborough, 0815-4711 w contrast")
    assert edited_data_set(engine_of(key, "basic clean_descriptors"), ds).StudyDescription == "CT HEAD for w contrast"


def test_the_patients_own_name_and_number_stay_in_no_kept_text(engine_for: For) -> None:
    ds = make_instance(
        PatientName="Quexborough^Ann", PatientID="PX-4711", ContrastBolusRoute="QUEXBOROUGH arm", SequenceName="px-4711"
    )
    ds.ViewCodeSequence = Sequence([item(CodeMeaning="view of Ann", CodeValue="1")])
    made = edited_data_set(engine_for("basic"), ds)
    assert made.ContrastBolusRoute == "REMOVED" and made.SequenceName == "REMOVED"
    assert made.ViewCodeSequence[0].CodeMeaning == "REMOVED" and made.ViewCodeSequence[0].CodeValue == "1"


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("MRN 12-345-678", False),
        ("MRN12345678", False),
        ("no. 123456789", True),
        ("Ms SMITH", False),
        ("Miss Jones, born 04.07.1970", False),
        ("smithy", True),
        ("arm 19700704", False),
    ],
)
def test_identifiers_are_found_however_they_are_written(text: str, stays: bool, engine_for: For) -> None:
    ds = make_instance(PatientName="Smith-Jones^Eve", PatientID="12345678", PatientBirthDate="19700704", ContrastBolusRoute=text)
    assert edited_data_set(engine_for("basic"), ds).ContrastBolusRoute == (text if stays else "REMOVED")


def test_unknown_vr_and_undefined_lengths_are_edited_inside(engine_for: For) -> None:
    nested = (
        b"\x10\x00\x10\x00\x04\x00\x00\x00Doe " + b"\x08\x00\x60\x00\x02\x00\x00\x00CT"
    )  # implicit VR inside UN (PS3.5 6.2.2)
    sequence = b"\x08\x00\x15\x11UN\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + nested
    sequence += b"\xfe\xff\x0d\xe0\x00\x00\x00\x00" + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    ds = make_instance(PixelData=None)
    content = part10_bytes(ds)
    at = content.index(b"\x10\x00\x10\x00PN")
    _, made = edit_bytes(engine_for("basic"), content[:at] + sequence + content[at:], ExplicitVRLittleEndian)
    assert b"Doe" not in made
    assert read(made).ReferencedSeriesSequence[0].Modality == "CT"


def test_a_cut_or_absurdly_deep_object_is_refused(engine_for: For) -> None:
    content = part10_bytes(make_instance(PixelData=None))
    with pytest.raises(StructureError):
        edit_bytes(engine_for("basic"), content[:-3], ExplicitVRLittleEndian)
    deep = b""
    for _ in range(MAX_DEPTH + 5):
        deep = element_bytes(0x00081115, b"SQ", b"\xfe\xff\x00\xe0" + len(deep).to_bytes(4, "little") + deep, EXPLICIT_LE)
    with pytest.raises(StructureError, match="deeply"):
        edit_bytes(engine_for("basic"), content + deep, ExplicitVRLittleEndian)


def test_what_is_kept_is_kept_byte_for_byte(engine_for: For) -> None:
    ds = make_instance(PixelData=None, WindowCenter=["40.0", "0050"], ImageOrientationPatient=["1", "0", "0", "0", "1", "-0.0"])
    content = part10_bytes(ds)
    _, made = edit_bytes(engine_for("basic"), content, ExplicitVRLittleEndian)
    for keyword in ("WindowCenter", "ImageOrientationPatient", "Rows", "SpecificCharacterSet"):
        element = ds[keyword]
        at = content.index(
            element.tag.group.to_bytes(2, "little") + element.tag.element.to_bytes(2, "little") + element.VR.encode()
        )
        length = 8 + int.from_bytes(content[at + 6 : at + 8], "little")
        assert content[at : at + length] in made


def functional_groups(frames: int) -> Dataset:
    position = item(FrameContentSequence=Sequence([item(FrameAcquisitionDateTime="20240131081500", DimensionIndexValues=[1, 2])]))
    position.PlanePositionSequence = Sequence([item(ImagePositionPatient=["1", "2", "3"])])
    return make_instance(PixelData=None, PerFrameFunctionalGroupsSequence=Sequence([position for _ in range(frames)]))


def test_a_functional_group_sequence_takes_linear_time(engine_for: For) -> None:
    engine = engine_for("basic")
    times = {}
    for frames in (200, 800):
        content = part10_bytes(functional_groups(frames))
        times[frames] = min(_timed(lambda c=content: edit_bytes(engine, c, ExplicitVRLittleEndian)) for _ in range(3))
    assert times[800] < 8 * times[200] + 0.02
    assert times[800] < 1


def _timed(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def test_retained_uids_never_become_a_path_out_of_the_cohort(key: Key, tmp_path: Path) -> None:
    from vna.deid.objects import Maker
    from vna.deid.pixels import PixelPolicy

    engine = engine_of(key, "basic retain_uids")
    good, bad = make_instance(), make_instance(SeriesInstanceUID="../../1.2")
    assert edited_data_set(engine, good).SOPInstanceUID == good.SOPInstanceUID
    made = Maker(engine, PixelPolicy(), tmp_path / "cohort").make(BytesIO(part10_bytes(bad)))
    assert made.hold is not None and made.hold.code == "BAD_UID" and list(tmp_path.iterdir()) == []


def test_an_engine_travels_to_workers(engine_for: For) -> None:
    import pickle

    engine = engine_for("longitudinal")
    content = part10_bytes(make_instance())
    again: Engine = pickle.loads(pickle.dumps(engine))
    assert isinstance(again.recipe, Recipe)
    assert edit_bytes(again, content, ExplicitVRLittleEndian)[1] == edit_bytes(engine, content, ExplicitVRLittleEndian)[1]
