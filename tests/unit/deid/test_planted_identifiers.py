"""Identifiers planted all over real images: none survives, and what the profile keeps is kept."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.support.instances import real_image_files
from tests.unit.deid.folder import FileSource
from vna.deid.recipe import load_recipe
from vna.deid.run import DeidOptions, run
from vna.deid.table import rows
from vna.deid.values import Key

NAME, PATIENT_ID, ACCESSION, BIRTH_DATE = "Quexborough^Ildefonsa", "KH-7749123", "ACX555127", "19630417"
SECRETS = ("quexborough", "ildefonsa", "kh-7749123", "7749123", "acx555127", "19630417", "1963-04-17", "17.04.1963")
TEXT = "seen by Dr Quexborough"
LISTED = [int(row.tag, 16) for row in rows() if "x" not in row.tag and row.tag[0] != "g" and keyword_for_tag(int(row.tag, 16))]
FREE_TEXT = (  # kept by the profile, and yet a place where people type names
    "ContrastBolusRoute",
    "CodeMeaning",
    "SequenceName",
    "AlgorithmName",
    "ReconstructionDescription",
    "FrameOfInterestDescription",
)


def values_for(tag: int) -> str | None:
    """Give what is planted in an attribute of the table: text that names the patient, in the forms of its VR."""
    vr = dictionary_VR(tag)
    if tag >> 16 in (0x0000, 0x0002, 0x0004) or keyword_for_tag(tag) in ("SOPInstanceUID", "PixelDataProviderURL"):
        return None
    if vr in ("LO", "LT", "ST", "UT", "UC"):
        return f"{TEXT} {PATIENT_ID}"
    return {"SH": ACCESSION, "PN": NAME, "DA": BIRTH_DATE, "DT": BIRTH_DATE + "1200", "AE": "QUEXBOROUGH", "CS": "ILDEFONSA"}.get(
        vr
    )


def plant(ds: Dataset) -> int:
    """Plant identifiers in ``ds`` and give how many."""
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName, ds.PatientID, ds.AccessionNumber, ds.PatientBirthDate = NAME, PATIENT_ID, ACCESSION, BIRTH_DATE
    planted = 4
    for number, tag in enumerate(LISTED):
        value = values_for(tag)
        if value is None or tag in (0x00100010, 0x00100020, 0x00100030, 0x00080050) or number % 4 != planted % 4:
            continue
        ds.add_new(tag, dictionary_VR(tag), value)
        planted += 1
    for keyword in FREE_TEXT:
        setattr(ds, keyword, f"for {NAME.split('^')[0]}"[:16])
        planted += 1
    ds.ImageComments = f"born 17.04.1963, ID {PATIENT_ID}"
    ds.PositionReferenceIndicator = "ILDEFONSA"
    ds.StudyDescription = f"HEAD of {NAME.replace('^', ' ')}"
    block = ds.private_block(0x0011, "VNA TEST 1.0", create=True)
    block.add_new(0x01, "LO", PATIENT_ID)
    block.add_new(0x02, "OB", TEXT.encode())
    block.add_new(0x03, "SQ", Sequence([nested()]))
    ds.ViewCodeSequence = Sequence([nested()])
    ds.ReferencedSeriesSequence = Sequence([nested()])
    ds.OriginalAttributesSequence = Sequence([nested()])
    return planted + 6 + 4 * 5


def nested() -> Dataset:
    item = Dataset()
    item.PatientName, item.PatientID = NAME, PATIENT_ID
    item.CodeMeaning = TEXT
    item.InstitutionName = TEXT
    block = item.private_block(0x0013, "VNA NESTED", create=True)
    block.add_new(0x01, "UT", TEXT)
    return item


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], int]:
    folder = tmp_path_factory.mktemp("planted")
    paths, count = [], 0
    for image in real_image_files(unique=True):
        if image.path.stat().st_size > 400_000 or image.path.name == "rtplan_truncated.dcm":
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = pydicom.dcmread(image.path)
            if ds.original_encoding[0] is not (image.transfer_syntax_uid == "1.2.840.10008.1.2"):
                continue
            count += plant(ds)
            ds.file_meta.SourceApplicationEntityTitle = "QUEXBOROUGH"
            ds.preamble = TEXT.encode().ljust(128, b"\0")
            ds.save_as(folder / f"{len(paths)}.dcm")
        paths.append(folder / f"{len(paths)}.dcm")
    return paths, count


@pytest.mark.parametrize("recipe", ["basic", "longitudinal", "limited"])
def test_no_planted_identifier_survives(planted: tuple[list[Path], int], recipe: str, key: Key, tmp_path: Path) -> None:
    paths, count = planted
    assert count >= 5000
    result = run(FileSource(tuple(map(str, paths))), DeidOptions(load_recipe(recipe), key, tmp_path / "cohort"))
    outputs = sorted((tmp_path / "cohort").rglob("*.dcm"))
    assert len(outputs) == result.written > 40
    # A limited data set keeps dates as they are, also where one happens to be a birth date.
    secrets = [secret for secret in SECRETS if recipe != "limited" or secret != BIRTH_DATE]
    left = []
    for output in outputs:
        content = output.read_bytes().lower()
        left += [(output.name, secret) for secret in secrets if secret.encode() in content]
    assert left == []


def test_what_the_profile_keeps_is_kept(planted: tuple[list[Path], int], key: Key, tmp_path: Path) -> None:
    paths, _ = planted
    run(FileSource(tuple(map(str, paths))), DeidOptions(load_recipe("basic"), key, tmp_path / "cohort"))
    before = {key.uid(str(ds.SOPInstanceUID).encode()).decode(): ds for ds in map(quiet_read, paths)}
    compared = 0
    for output in (tmp_path / "cohort").rglob("*.dcm"):
        after = quiet_read(output)
        source = before[str(after.SOPInstanceUID)]
        for keyword in ("SOPClassUID", "Modality", "Rows", "Columns", "PixelSpacing", "RepetitionTime", "KVP", "SliceThickness"):
            assert after.get(keyword) == source.get(keyword), keyword
            compared += keyword in source
        if "PixelData" in source:
            assert after.PixelData == source.PixelData
    assert compared > 200


def quiet_read(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(path.read_bytes()))
