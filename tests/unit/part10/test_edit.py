"""Editing a header: what changes, what must not, and what is recorded of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from vna.part10.edit import Change, NeedsAllError, edit_elements, edit_header, interest
from vna.part10.elements import DEFLATED_UIDS, EXPLICIT_LE, IMPLICIT_LE, StructureError, encoding_of, read_header, skip_value
from vna.part10.original import Attribution
from vna.part10.runs import read_runs
from vna.part10.values import CharacterSetError

BY_US = Attribution("VNA", "20261124120000+0000", "CORRECT", "RIS")
DEMOGRAPHICS = (
    Change((0x00100010,), "PN", ("Müller^Jürgen",)),
    Change((0x00100020,), "LO", ("NEW-1",)),
    Change((0x00080050,), "SH", ("ACC1",)),
)


def header_of(ds: Dataset, *, is_implicit: bool = False) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, implicit_vr=is_implicit, little_endian=True)
    return buffer.getvalue()


def read(header: bytes, *, is_implicit: bool = False) -> Dataset:
    return pydicom.dcmread(_with_meta(header, "1.2.840.10008.1.2" if is_implicit else "1.2.840.10008.1.2.1"))


def _with_meta(header: bytes, syntax: str) -> io.BytesIO:
    from vna.part10.framing import file_meta

    return io.BytesIO(file_meta("1.2.840.10008.5.1.4.1.1.7", "1.2.3", syntax) + header)


def sample(**keywords: object) -> Dataset:
    ds = Dataset()
    ds.SOPInstanceUID, ds.PatientName, ds.PatientID = "1.2.3", "Old^Name", "OLD"
    for keyword, value in keywords.items():
        setattr(ds, keyword, value)
    return ds


def real_headers() -> Iterator[tuple[Path, bytes, int, int, str]]:
    """Give every little endian image of pydicom that pydicom reads whole: path, bytes, data set offset, pixel offset, syntax."""
    for path in sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm")):
        try:
            with path.open("rb") as file:
                ds = pydicom.dcmread(file)
        except pydicom.errors.InvalidDicomError:
            continue
        syntax = str(ds.file_meta.get("TransferSyntaxUID", ""))
        if not syntax or syntax == "1.2.840.10008.1.2.2" or syntax in DEFLATED_UIDS or "truncated" in path.name:
            continue
        raw = path.read_bytes()
        start = 132
        while read_header(raw, start, EXPLICIT_LE)[0] >> 16 == 2:
            start = skip_value(raw, read_header(raw, start, EXPLICIT_LE), EXPLICIT_LE)
        encoding, at = encoding_of(syntax), start
        try:
            while at < len(raw) and (header := read_header(raw, at, encoding))[0] < 0x7FE00008:
                at = skip_value(raw, header, encoding)
        except StructureError:
            continue
        yield path, raw, start, at, syntax


def test_real_headers_take_new_demographics_and_keep_everything_else() -> None:
    count = 0
    for path, raw, start, pixels, syntax in real_headers():
        encoding = encoding_of(syntax)
        edited = edit_header(raw[start:pixels], encoding, DEMOGRAPHICS, BY_US, fallback_character_set=b"ISO_IR 100")
        old = pydicom.dcmread(path)
        new = pydicom.dcmread(io.BytesIO(raw[:start] + edited.data + raw[pixels:]))
        assert (new.PatientName, new.PatientID, new.AccessionNumber) == ("Müller^Jürgen", "NEW-1", "ACC1"), path
        prior = new.OriginalAttributesSequence[-1].ModifiedAttributesSequence[0]
        for keyword in ("PatientName", "PatientID", "AccessionNumber"):
            assert str(prior.get(keyword) or "") == str(old.get(keyword) or ""), (path, keyword)
        touched = {"PatientName", "PatientID", "AccessionNumber", "SpecificCharacterSet", "OriginalAttributesSequence"}
        touched |= {"ContributingEquipmentSequence"}
        for element in old:
            if element.keyword not in touched and element.tag.element:  # group lengths follow what they count
                assert new[element.tag] == element, (path, element.tag)
        again = edit_header(edited.data, encoding, DEMOGRAPHICS, BY_US)
        assert (again.data, again.changed) == (edited.data, ()), path
        count += 1
    assert count > 70


@pytest.mark.parametrize("is_implicit", [False, True])
def test_a_value_that_is_in_place_already_changes_nothing(is_implicit: bool) -> None:
    header = header_of(sample(), is_implicit=is_implicit)
    encoding = IMPLICIT_LE if is_implicit else EXPLICIT_LE
    edited = edit_header(header, encoding, [Change((0x00100020,), "LO", ("OLD",))], BY_US)
    assert (edited.data, edited.changed) == (header, ())


def test_the_item_names_who_changed_what_and_why() -> None:
    ds = read(edit_header(header_of(sample()), EXPLICIT_LE, [Change((0x00100020,), "LO", ("N",))], BY_US).data)
    item = ds.OriginalAttributesSequence[0]
    assert (item.ModifyingSystem, item.SourceOfPreviousValues) == ("VNA", "RIS")
    assert (item.ReasonForTheAttributeModification, item.AttributeModificationDateTime) == ("CORRECT", "20261124120000+0000")
    prior = item.ModifiedAttributesSequence[0]
    assert prior.PatientID == "OLD"
    assert "IssuerOfPatientID" in prior  # listed with every Patient ID, zero-length where it was absent
    assert not prior.IssuerOfPatientID


def test_items_are_appended_and_earlier_ones_stay() -> None:
    first = edit_header(header_of(sample()), EXPLICIT_LE, [Change((0x00100020,), "LO", ("A",))], BY_US)
    second = edit_header(first.data, EXPLICIT_LE, [Change((0x00100020,), "LO", ("B",))], BY_US)
    priors = [item.ModifiedAttributesSequence[0].PatientID for item in read(second.data).OriginalAttributesSequence]
    assert priors == ["OLD", "A"]


def test_a_nested_change_records_the_whole_prior_sequence() -> None:
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP1", "SPS1"
    ds = sample(RequestAttributesSequence=Sequence([request]))
    edited = edit_header(header_of(ds), EXPLICIT_LE, [Change((0x00400275, 0, 0x00401001), "SH", ("RP2",))], BY_US)
    new = read(edited.data)
    assert new.RequestAttributesSequence[0].RequestedProcedureID == "RP2"
    assert new.RequestAttributesSequence[0].ScheduledProcedureStepID == "SPS1"
    prior = new.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert prior.RequestAttributesSequence[0] == request


def test_a_whole_sequence_can_be_set_and_an_element_removed() -> None:
    orders = tuple((Change((0x00401001,), "SH", (f"RP{n}",)),) for n in (1, 2))
    changes = [Change((0x00400275,), "SQ", orders), Change((0x00100010,), "PN", None)]
    new = read(edit_header(header_of(sample()), EXPLICIT_LE, changes, BY_US).data)
    assert [item.RequestedProcedureID for item in new.RequestAttributesSequence] == ["RP1", "RP2"]
    assert "PatientName" not in new
    assert new.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientName == "Old^Name"


def test_a_value_outside_the_character_set_converts_the_whole_header() -> None:
    ds = sample(SpecificCharacterSet="ISO_IR 100", StudyDescription="Schädel")
    edited = edit_header(header_of(ds), EXPLICIT_LE, [Change((0x00100010,), "PN", ("山田^太郎",))], BY_US)
    assert edited.is_converted
    new = read(edited.data)
    assert (new.SpecificCharacterSet, new.StudyDescription, str(new.PatientName)) == ("ISO_IR 192", "Schädel", "山田^太郎")
    assert new.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].SpecificCharacterSet == "ISO_IR 100"


def test_text_that_is_not_in_its_declared_set_is_never_guessed() -> None:
    header = header_of(sample(SpecificCharacterSet="ISO_IR 192", StudyDescription="XX")).replace(b"XX", b"\xe4\xf6")
    header = header.replace(b"ISO_IR 192", b"ISO_IR 13 ").replace(b"\xe4\xf6", b"\x81\x20")
    change = [Change((0x00100010,), "PN", ("Ärger",))]
    with pytest.raises(CharacterSetError):
        edit_header(header, EXPLICIT_LE, change, BY_US)
    edited = edit_header(header, EXPLICIT_LE, change, BY_US, fallback_character_set=b"ISO_IR 100")
    assert read(edited.data).StudyDescription == "\x81"


def test_a_prior_value_that_breaks_its_vr_is_kept_apart_as_bytes() -> None:
    header = header_of(sample(StudyDate="20200101")).replace(b"20200101", b"1.1.2020")
    edited = edit_header(header, EXPLICIT_LE, [Change((0x00080020,), "DA", ("20200101",))], BY_US)
    item = read(edited.data).OriginalAttributesSequence[0]
    assert item.ModifiedAttributesSequence[0].StudyDate == ""
    nonconforming = item.NonconformingModifiedAttributesSequence[0]
    assert (nonconforming.SelectorAttribute, nonconforming.NonconformingDataElementValue) == (0x00080020, b"1.1.2020")


def test_a_path_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(StructureError):
        edit_header(header_of(sample()), EXPLICIT_LE, [Change((0x00400275, 0, 0x00401001), "SH", ("X",))], BY_US)


def test_a_header_that_is_cut_off_is_refused() -> None:
    with pytest.raises(StructureError):
        edit_header(header_of(sample())[:-3], EXPLICIT_LE, DEMOGRAPHICS, BY_US)


@pytest.mark.parametrize(("old", "new"), [(0x2000, 0), (0x0020, 0x2020), (0, 0x20)])
def test_a_number_whose_bytes_look_like_padding_is_changed_all_the_same(old: int, new: int) -> None:
    edited = edit_header(header_of(sample(SeriesNumber=1, PlanarConfiguration=old)), EXPLICIT_LE, [change_of(new)], BY_US)
    assert read(edited.data).PlanarConfiguration == new


def change_of(value: int) -> Change:
    return Change((0x00280006,), "US", (value,))


def test_of_an_element_that_is_there_twice_no_old_value_is_left() -> None:
    header = header_of(sample())
    twice = header + header[header.index(b"\x10\0\x20\0LO") :]
    edited = edit_header(twice, EXPLICIT_LE, [Change((0x00100020,), "LO", ("NEW",))], BY_US)
    assert edited.data.count(b"\x10\0\x20\0LO") == 2  # the new one, and the record of the old one
    assert read(edited.data).PatientID == "NEW"


def test_group_lengths_of_changed_groups_follow_and_others_stay() -> None:
    header = header_of(sample(StudyID="1"))
    at = header.index(b"\x10\0\x10\0PN")
    group = header[at : header.index(b"\x20\0\x10\0SH")]
    with_length = header[:at] + b"\x10\0\0\0UL\x04\0" + len(group).to_bytes(4, "little") + header[at:]
    edited = edit_header(with_length, EXPLICIT_LE, [Change((0x00100020,), "LO", ("A LONGER ID",))], BY_US).data
    start = edited.index(b"\x10\0\0\0UL")
    length = int.from_bytes(edited[start + 8 : start + 12], "little")
    assert edited[start + 12 + length :].startswith(b"\x18\0\x01\xa0SQ")


def test_we_are_named_once_as_contributing_equipment() -> None:
    first = edit_header(header_of(sample()), EXPLICIT_LE, [Change((0x00100020,), "LO", ("A",))], BY_US)
    second = edit_header(first.data, EXPLICIT_LE, [Change((0x00100020,), "LO", ("B",))], BY_US)
    (item,) = read(second.data).ContributingEquipmentSequence
    assert item.Manufacturer == "vna"
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "109103"


def test_a_new_character_set_is_that_of_new_values_and_relabels_the_old_ones() -> None:
    header = header_of(sample(SpecificCharacterSet="ISO_IR 100", StudyDescription="Schädel")).replace(
        "Schädel".encode("latin-1") + b" ", "Schädel".encode()
    )
    changes = [Change((0x00080005,), "CS", ("ISO_IR 192",)), Change((0x00100010,), "PN", ("Müller",))]
    new = read(edit_header(header, EXPLICIT_LE, changes, BY_US).data)
    assert (new.StudyDescription, str(new.PatientName)) == ("Schädel", "Müller")


def test_a_single_byte_japanese_set_does_not_hold_kanji() -> None:
    header = header_of(sample(SpecificCharacterSet="ISO_IR 13"))
    edited = edit_header(header, EXPLICIT_LE, [Change((0x00100010,), "PN", ("山田",))], BY_US)
    assert edited.is_converted
    assert read(edited.data).PatientName == "山田"


def test_runs_of_what_does_not_matter_make_no_difference() -> None:
    count = 0
    for path, raw, start, pixels, syntax in real_headers():
        pieces = read_runs(raw[start:pixels], 0, interest(DEMOGRAPHICS), frozenset((0x7FE00010,)), is_whole=True)
        if pieces is None or encoding_of(syntax) != EXPLICIT_LE:
            continue
        assert b"".join(piece.raw for piece in pieces[0]) == raw[start:pixels]
        try:
            in_runs = edit_elements(pieces[0], EXPLICIT_LE, DEMOGRAPHICS, BY_US)
        except NeedsAllError:
            continue
        assert in_runs.data == edit_header(raw[start:pixels], EXPLICIT_LE, DEMOGRAPHICS, BY_US).data, path
        assert len(pieces[0]) < 40
        count += 1
    assert count > 30
