"""Instances with one generated defect each, and how the rules see them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from tests.support.instances import data_set_bytes, make_instance
from vna.model import Finding
from vna.part10 import file_meta
from vna.validate.check import Checked, Work, check_object, read_instance
from vna.validate.instance import Instance

Change = Callable[[Dataset], None]


def set_raw(ds: Dataset, keyword: str, value: bytes, vr: str = "") -> None:
    """Give an element these bytes, which pydicom must be able to read and write (for items of sequences)."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    ds[tag] = RawDataElement(tag, vr or dictionary_VR(tag), len(value), value, 0, False, True)


def raw(keyword: str, value: bytes, vr: str = "") -> Change:
    """Make a change that gives an element of the data set itself exactly these bytes (Explicit VR Little Endian)."""

    def change(ds: Dataset) -> None:
        tag = Tag(tag_for_keyword(keyword) or 0)
        ds.pop(tag, None)
        ds.spliced = {**getattr(ds, "spliced", {}), tag: (vr or dictionary_VR(tag), value)}

    return change


def without(keyword: str) -> Change:
    """Make a change that removes an element."""
    return lambda ds: ds.__delattr__(keyword)


def stored_bytes(ds: Dataset, *, data_set: bytes | None = None) -> bytes:
    """Encode ``ds`` as the archive stores it, with the canonical file meta; ``data_set`` replaces its bytes."""
    meta = ds.file_meta
    head = file_meta(meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
    return head + (_encoded(ds) if data_set is None else data_set)


def _encoded(ds: Dataset) -> bytes:
    """Encode the data set, with the spliced elements between those that pydicom writes (which would convert them)."""
    encoded, start = b"", Tag(0)
    for tag, (vr, value) in sorted(getattr(ds, "spliced", {}).items()):
        encoded += _part(ds, start, tag) + struct.pack("<HH2sH", tag.group, tag.element, vr.encode(), len(value)) + value
        start = tag
    return encoded + _part(ds, start, Tag(0xFFFFFFFF))


def _part(ds: Dataset, start: BaseTag, stop: BaseTag) -> bytes:
    part = ds[start:stop]
    part.file_meta = ds.file_meta
    return data_set_bytes(part)


def as_instance(ds: Dataset) -> Instance:
    """Read ``ds`` as the rules see it."""
    content = stored_bytes(ds)
    return read_instance(io.BytesIO(content), len(content))[0]


def check_bytes(content: bytes, codes: tuple[str, ...] = ()) -> Checked:
    """Check stored bytes as a worker does."""
    return check_object(Work("0" * 64, "instances/x.dcm", len(content), codes), io.BytesIO(content))


def findings(change: Change | None = None, transfer_syntax_uid: str = "1.2.840.10008.1.2.1", **keywords: object) -> list[Finding]:
    """Check a generated image after one change, and list what was found."""
    ds = make_instance(transfer_syntax_uid, **keywords)
    if change is not None:
        change(ds)
    return list(check_bytes(stored_bytes(ds)).findings)


def codes(change: Change | None = None, transfer_syntax_uid: str = "1.2.840.10008.1.2.1", **keywords: object) -> set[str]:
    """Check a generated image after one change, and name the codes that were found."""
    return {finding.code for finding in findings(change, transfer_syntax_uid, **keywords)}
