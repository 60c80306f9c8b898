"""The canonical file meta information is frozen: these bytes are format 1."""

from __future__ import annotations

import io

import pydicom
import pytest

from vna.part10 import Head, file_meta, head_of, read_head

FROZEN = (
    bytes(128)
    + b"DICM"
    + b"\x02\x00\x00\x00UL\x04\x00\x9c\x00\x00\x00"
    + b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"
    + b"\x02\x00\x02\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.2\x00"
    + b"\x02\x00\x03\x00UI\x06\x001.2.3\x00"
    + b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
    + b"\x02\x00\x12\x00UI,\x002.25.198597067001029556934292427634988382717"
    + b"\x02\x00\x13\x00SH\x06\x00VNA_1 "
)


def test_the_bytes_of_format_1_never_change() -> None:
    assert file_meta("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1") == FROZEN


def test_pydicom_reads_the_file_meta_as_it_was_meant() -> None:
    meta = pydicom.dcmread(io.BytesIO(FROZEN)).file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == ("1.2.840.10008.5.1.4.1.1.2", "1.2.3")
    assert meta.FileMetaInformationGroupLength == len(FROZEN) - 144
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.ImplementationClassUID.is_valid
    assert [element.tag.element for element in meta] == [0x00, 0x01, 0x02, 0x03, 0x10, 0x12, 0x13]


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34", "", "../../x", "1.2\\1.3", "1.2.3\xe9", "9" * 65_000])
def test_what_was_written_is_read_back_and_the_data_set_follows(uid: str) -> None:
    meta = file_meta("1.2", uid, "1.2.840.10008.1.2")
    file = io.BytesIO(meta + b"data set")
    assert read_head(file) == Head("1.2", uid, "1.2.840.10008.1.2", len(meta))
    assert file.read() == b"data set"


def test_a_uid_that_no_file_meta_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        file_meta("1.2", "9" * 70_000, "1.2.840.10008.1.2")


@pytest.mark.parametrize(
    "data",
    [b"", FROZEN[:100], FROZEN[:-1], b"x" + FROZEN[1:], FROZEN.replace(b"VNA_1", b"VNA_2"), FROZEN.replace(b"\x9c", b"\x9a")],
    ids=["empty", "cut in the preamble", "cut in the group", "another preamble", "another version", "a wrong group length"],
)
def test_any_other_beginning_is_not_ours(data: bytes) -> None:
    head_of(FROZEN + b"data set")  # one that is ours came before
    with pytest.raises(ValueError):
        read_head(io.BytesIO(data))
    with pytest.raises(ValueError):
        head_of(data)


def test_nothing_but_a_uid_may_differ_from_what_came_before() -> None:
    uids = [(FROZEN.index(value), len(value)) for value in (b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.3\0", b"1.2.840.10008.1.2.1\0")]
    for at in range(len(FROZEN)):
        assert head_of(FROZEN).sop_instance_uid == "1.2.3"
        other = FROZEN[:at] + bytes((FROZEN[at] ^ 1,)) + FROZEN[at + 1 :]
        if any(start <= at < start + length for start, length in uids):
            sop_class_uid, sop_instance_uid, transfer_syntax_uid, offset = head_of(other)
            assert file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid) == other
            assert offset == len(other)
        else:
            with pytest.raises(ValueError):
                head_of(other)


def test_objects_one_after_the_other_each_have_their_own_head() -> None:
    for _ in range(2):
        for sop_class_uid in ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"):
            for uid in ("", "1.2.3", "1.2.34", "1.2.345", "1.2.3\0", "1.2.3\0\0", "1.2.3\xe9"):
                for syntax in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"):
                    meta = file_meta(sop_class_uid, uid, syntax)
                    head = head_of(meta + b"data set")
                    assert file_meta(*head[:3]) == meta
                    assert head == Head(sop_class_uid, head.sop_instance_uid, syntax, len(meta))
                    assert uid.removesuffix("\0") == head.sop_instance_uid.removesuffix("\0")
