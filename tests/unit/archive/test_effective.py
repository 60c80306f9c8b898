"""Objects as they leave: signatures, text in other sets, and headers that cannot be edited."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import pydicom
import pytest

from tests.support.corpus import BASE, CT, EXPLICIT, IMAGE, PIXELS
from tests.support.folders import quick_folder
from tests.support.objects import WireObject, send
from tests.unit.indexer.corpus import explicit, item
from vna.archive import Archive
from vna.archive.revisions import ElementChange, Group, Revision, put_revision
from vna.errors import RefusedError
from vna.part10.original import Attribution

BY = Attribution("VNA", "20261124120000+0000")
NEW_ID = (ElementChange((0x00100020,), "LO", {"vr": "LO", "Value": ["NEW"]}),)
NEW_NAME = (ElementChange((0x00100010,), "PN", {"vr": "PN", "Value": [{"Alphabetic": "山田"}]}),)


@pytest.fixture
def archive() -> Iterator[Archive]:
    with quick_folder() as folder:
        yield Archive.create(str(folder / "a"))


def corrected(archive: Archive, data_set: bytes, changes: tuple[ElementChange, ...] = NEW_ID, read_as: str = "") -> bytes:
    """Store an object, correct it, and give the bytes that leave."""
    with archive.sink() as sink:
        receipt = send(sink, WireObject(CT, "1.2.3.4", EXPLICIT.decode(), data_set))
    assert receipt.state in ("stored", "flagged", "duplicate")
    put_revision(
        archive.store, Revision("1.2.3", 0, "", "test", "test", BY, (Group((receipt.sha256,), changes),), read_as=read_as)
    )
    effective, file = archive.open_effective(receipt.path, receipt.sha256, "1.2.3")
    with file:
        content = file.read()
    assert effective.size == len(content)
    return content


def test_digital_signatures_are_removed_and_recorded(archive: Archive) -> None:
    mac = explicit(0x4FFE0001, b"SQ", item(explicit(0x04000005, b"US", struct.pack("<H", 1))))
    signature = explicit(0xFFFAFFFA, b"SQ", item(explicit(0x04000005, b"US", struct.pack("<H", 1))))
    padding = explicit(0xFFFCFFFC, b"OB", bytes(10))
    content = corrected(archive, BASE + IMAGE + mac + PIXELS + signature + padding)
    ds = pydicom.dcmread(io.BytesIO(content))
    assert "MACParametersSequence" not in ds
    assert "DigitalSignaturesSequence" not in ds
    assert ds.PixelData == bytes(32)
    assert content.endswith(padding)
    prior = ds.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert prior.MACParametersSequence[0].MACIDNumber == prior.DigitalSignaturesSequence[0].MACIDNumber == 1


def test_text_in_another_set_is_read_as_the_revision_says(archive: Archive) -> None:
    at = BASE.index(b"\x10\0\x10\0")  # where the patient's name stands
    head = explicit(0x00080005, b"CS", b"ISO_IR 13") + BASE[:at] + explicit(0x00081030, b"LO", b"Sch\xa0del")
    wrong = head + BASE[at:]
    with pytest.raises(RefusedError, match="character set") as caught:
        corrected(archive, wrong + IMAGE + PIXELS, NEW_NAME)
    assert "--text-is" in caught.value.hint
    with quick_folder() as folder:
        content = corrected(Archive.create(str(folder / "b")), wrong + IMAGE + PIXELS, NEW_NAME, read_as="ISO_IR 100")
    ds = pydicom.dcmread(io.BytesIO(content))
    assert (str(ds.PatientName), ds.StudyDescription) == ("山田", "Sch\xa0del")


def test_a_header_that_stands_behind_the_pixels_is_not_edited(archive: Archive) -> None:
    with pytest.raises(RefusedError, match="behind the pixel data"):
        corrected(archive, PIXELS + BASE + IMAGE)


def test_an_object_with_two_revisions_has_both_applied(archive: Archive) -> None:
    corrected(archive, BASE + IMAGE + PIXELS)
    ds = pydicom.dcmread(io.BytesIO(corrected(archive, BASE + IMAGE + PIXELS, NEW_NAME)))
    assert (ds.PatientID, str(ds.PatientName), len(ds.OriginalAttributesSequence)) == ("NEW", "山田", 2)


GROUP_LENGTH = ElementChange((0x00100000,), "UL", {"vr": "UL", "Value": [0]})


@pytest.mark.parametrize("corrections", [(NEW_ID, (*NEW_NAME, GROUP_LENGTH)), ((*NEW_NAME, GROUP_LENGTH), NEW_ID)])
def test_a_group_length_beside_another_revision_is_that_of_the_whole_group(
    archive: Archive, corrections: tuple[tuple[ElementChange, ...], ...]
) -> None:
    at = BASE.index(b"\x20\0\x0d\0")
    neither_changes = explicit(0x00100030, b"DA", b"19700101") + explicit(0x00101040, b"LO", b"12 Quay Lane")
    for changes in corrections:
        content = corrected(archive, BASE[:at] + neither_changes + BASE[at:] + IMAGE + PIXELS, changes)
    head = b"\x10\0\0\0UL\4\0"
    begin = content.index(head) + len(head) + 4
    end = content.index(neither_changes) + len(neither_changes)
    assert int.from_bytes(content[begin - 4 : begin], "little") == end - begin
    ds = pydicom.dcmread(io.BytesIO(content))
    assert (ds.PatientID, str(ds.PatientName), ds.PatientAddress) == ("NEW", "山田", "12 Quay Lane")


def test_objects_that_differ_elsewhere_are_each_edited_right(archive: Archive) -> None:
    at, place = BASE.index(b"\x08\0\x18\0"), BASE.index(b"\x10\0\x10\0")
    end = at + 8 + int.from_bytes(BASE[at + 6 : at + 8], "little")
    receipts = []
    for number in range(3):
        identity, station = f"1.2.3.4.{number}", b"S" * (number + 1)
        between = explicit(0x00080018, b"UI", identity.encode()) + BASE[end:place] + explicit(0x00081010, b"SH", station)
        with archive.sink() as sink:
            data_set = BASE[:at] + between + BASE[place:] + IMAGE + PIXELS
            receipts.append(send(sink, WireObject(CT, identity, EXPLICIT.decode(), data_set)))
    alike = Group(tuple(receipt.sha256 for receipt in receipts), NEW_ID)
    put_revision(archive.store, Revision("1.2.3", 0, "", "test", "test", BY, (alike,)))
    revisions = archive.revisions("1.2.3")
    for number, receipt in enumerate(receipts):
        effective, file = archive.open_effective(receipt.path, receipt.sha256, "1.2.3", revisions=revisions)
        with file:
            ds = pydicom.dcmread(io.BytesIO(file.read()))
        assert (ds.SOPInstanceUID, ds.StationName, ds.PatientID) == (f"1.2.3.4.{number}", "S" * (number + 1), "NEW")
        assert effective.sop_class_uid == ds.file_meta.MediaStorageSOPClassUID == CT
        assert effective.sop_instance_uid == ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
