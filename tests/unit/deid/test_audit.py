"""The audit finds what an engine could leave behind, and is not fooled by coincidences."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import vna.deid.audit
from tests.support.instances import make_instance, part10_bytes
from vna.deid.audit import Known, audit_bytes

KNOWN = Known(("Quexborough^Ann=\u59d3^\u540d",), ("PX-4711-0815", "4711"), ("19630417",), ("1.2.826.0.1.3680043.9.7433.4711",))


def clean(**values: object) -> Dataset:
    ds = make_instance(PatientName="ABC", PatientID="ABC", AccessionNumber="", PatientBirthDate="", **values)
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = "2.25.1", "2.25.2", "2.25.3"
    ds.file_meta.MediaStorageSOPInstanceUID = "2.25.3"
    return ds


def leaks(ds: Dataset, *, dates_retained: bool = False, preamble: bytes = b"") -> set[str]:
    content = part10_bytes(ds)
    if preamble:
        content = preamble.ljust(128, b"\0") + content[128:]
    return {leak.kind for leak in audit_bytes(content, KNOWN, dates_retained=dates_retained)}


def test_a_clean_object_passes() -> None:
    assert leaks(clean()) == set()


@pytest.mark.parametrize(
    ("keyword", "value", "kind"),
    [
        ("StudyDescription", "CT of QUEXBOROUGH", "name"),
        ("StudyDescription", "for ann", "name"),
        ("StudyDescription", "\u59d3\u540d\u540d", None),
        ("ImageComments", "px47110815", "number"),
        ("ImageComments", "PX 4711 0815", "number"),
        ("ContrastBolusRoute", "room 4711", "number"),
        ("ContrastBolusRoute", "47110", None),
        ("StudyDate", "19630417", "birth date"),
        ("ImageComments", "born 17.04.1963", "birth date"),
        ("ImageComments", "1963-04-17", "birth date"),
        ("FrameOfReferenceUID", "1.2.826.0.1.3680043.9.7433.4711", "uid"),
        ("FrameOfReferenceUID", "1.2.826.0.1.3680043.9.7433.47110", None),
        ("Modality", "ANN", None),
        ("SliceThickness", "4711", None),
    ],
)
def test_an_identifier_is_found_in_every_spelling(keyword: str, value: str, kind: str | None) -> None:
    assert leaks(clean(**{keyword: value})) == ({kind} if kind else set())


def test_private_nested_and_binary_values_and_the_preamble_are_searched() -> None:
    ds = clean()
    ds.private_block(0x0011, "T", create=True).add_new(0x01, "OB", b"--Quexborough-")
    assert leaks(ds) == {"name"}
    item = Dataset()
    item.CodeMeaning = "Quexborough"
    assert leaks(clean(ViewCodeSequence=Sequence([item]))) == {"name"}
    assert leaks(clean(), preamble=b"QUEXBOROUGH") == {"name"}
    assert leaks(clean(PixelData=b"xxQuexborough" + bytes(115))) == {"name"}


def test_a_name_in_the_objects_own_character_set_is_found() -> None:
    assert leaks(clean(StudyDescription="\u59d3\u540d\u540d")) == set()
    known = Known(("\u9234\u6728\u592a\u90ce",))
    content = part10_bytes(clean(SpecificCharacterSet="ISO_IR 192", StudyDescription="\u9234\u6728\u592a\u90ce"))
    assert {leak.kind for leak in audit_bytes(content, known)} == {"name"}


def test_retained_dates_may_be_any_date_but_texts_may_not() -> None:
    assert leaks(clean(StudyDate="19630417"), dates_retained=True) == set()
    assert leaks(clean(StudyDate="19630417", ImageComments="19630417"), dates_retained=True) == {"birth date"}


def test_what_cannot_be_read_is_a_leak() -> None:
    assert [leak.kind for leak in audit_bytes(b"no DICOM at all", KNOWN)] == ["unreadable"]


def test_the_audit_shares_no_code_with_the_engine() -> None:
    module = ast.parse(Path(vna.deid.audit.__file__).read_text())
    imports = {node.module or "" for node in ast.walk(module) if isinstance(node, ast.ImportFrom)}
    imports |= {alias.name for node in ast.walk(module) if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in imports if name.startswith(("vna", "indexer"))]
