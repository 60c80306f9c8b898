"""Recipes in the deid package's dialect: every line takes effect, or the run is refused."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pydicom
import pytest

from tests.support.instances import data_set_of, make_instance, real_image_files
from tests.unit.deid.conftest import edited_data_set
from vna.deid.catalogue import load_catalogue, load_releases
from vna.deid.engine import Engine
from vna.deid.filters import parse_condition_line, parse_coordinates
from vna.deid.recipe import BUILT_IN, load_recipe, parse_recipe
from vna.deid.table import COLUMNS, Profile, rows, settle
from vna.deid.table import Op as Opcode
from vna.deid.values import Key
from vna.errors import ConfigError

SITE = """\
FORMAT dicom
# vna: longitudinal retain_device
%fields people
FIELD contains:PhysicianName
%header
ADD PatientIdentityRemoved YES
KEEP StudyDescription
REMOVE fields:people
REMOVE endswith:Comments   # free text
BLANK (0018,1030)
REPLACE InstitutionName SOMEWHERE
JITTER AcquisitionDate -10
REPLACE StudyInstanceUID deid_func:dicom_uuid
%filter graylist
LABEL Console of room 4 # ours
  contains ManufacturerModelName CONSOLE|DESK
  + equals Rows 8 || missing Columns
  coordinates 0,0,8,2
"""


def test_a_site_recipe_does_what_every_line_says(key: Key) -> None:
    recipe = parse_recipe(SITE, "site")
    assert recipe.compiled == 8 and len(recipe.pixel_rules) == 1
    ds = make_instance(
        StudyDescription="CT HEAD", PatientComments="x", ProtocolName="P", InstitutionName="Hospital", AcquisitionDate="20240131"
    )
    ds.DeviceSerialNumber, ds.ReferringPhysicianName = "4711", "Doe^J"
    made = edited_data_set(Engine(recipe, key), ds)
    assert made.StudyDescription == "CT HEAD" and "PatientComments" not in made and "ReferringPhysicianName" not in made
    assert made.ProtocolName == "" and made.InstitutionName == "SOMEWHERE" and made.AcquisitionDate == "20240121"
    assert made.DeviceSerialNumber == "4711" and made.StudyDate != "20240131" and made.StudyInstanceUID.startswith("2.25.")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("SCRAMBLE PatientID", "is no action"),
        ("REMOVE PatientsName", "selects no attribute"),
        ("REMOVE SOPClassUID", "no valid object"),
        ("REPLACE PatientID var:subject", "not at hand"),
        ("REPLACE PatientID func:mine", "not at hand"),
        ("REPLACE PatientName Jürgen", "ASCII"),
        ("JITTER StudyDate soon", "number of days"),
        ("JITTER StudyTime 1", "works on dates"),
        ("REPLACE ReferencedStudySequence x", "sequence"),
        ("ADD PatientID", "needs a value"),
        ("REMOVE fields:nobody", "selects no attribute"),
        ("REMOVE contains:[", "selects no attribute"),
        ("%values people", "not supported"),
        ("# vna: basic retain_everything", "no profile or option"),
        ("# vna: retain_full_dates retain_modified_dates", "cannot both"),
        ("# vna: clean_recognizable", "faces"),
        ("%filter graylist\nLABEL x\nsometimes Modality CT", "no filter"),
        ("%filter graylist\nLABEL x\ncoordinates 1,2,3", "no filter"),
        ("%filter graylist\ncoordinates 1,2,3,4", "begins with LABEL"),
    ],
)
def test_a_line_that_is_not_understood_refuses_the_run(line: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        parse_recipe(f"FORMAT dicom\n%header\nKEEP Modality\n{line}\n", "site")
    assert len(caught.value.problems) == 1


def test_all_problems_are_told_at_once_and_a_missing_format_is_one() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_recipe("%header\nSCRAMBLE PatientID\nREMOVE PatientsName\n", "site")
    assert len(caught.value.problems) == 3


def test_an_expander_never_destroys_what_makes_an_object(key: Key) -> None:
    recipe = parse_recipe("FORMAT dicom\n%header\nREMOVE contains:UID\nREMOVE ALL\n", "site")
    made = edited_data_set(Engine(recipe, key), make_instance())
    assert made.SOPClassUID and made.SOPInstanceUID.startswith("2.25.") and made.SeriesInstanceUID and "Modality" not in made


def test_the_built_in_recipes_load_and_differ() -> None:
    assert len({load_recipe(name).fingerprint for name in BUILT_IN}) == 3
    with pytest.raises(ConfigError, match="there is no recipe"):
        load_recipe("advanced")


def test_every_option_column_of_the_table_is_used() -> None:
    used = {option for row in rows() for option in row.options}
    assert used == set(COLUMNS)
    assert {cell for row in rows() for cell in row.options.values()} == {"K", "C", "X"}
    assert len(rows()) == 656
    dates = {row.keyword for row in rows() if Profile.RETAIN_FULL_DATES in row.options}
    assert {row.keyword for row in rows() if Profile.RETAIN_MODIFIED_DATES in row.options} == dates and "StudyDate" in dates
    assert "PatientBirthDate" not in dates


@pytest.mark.parametrize(
    ("code", "required", "op"),
    [
        ("X/Z/D", 1, Opcode.DUMMY),
        ("X/Z/D", 2, Opcode.EMPTY),
        ("X/Z/D", 0, Opcode.REMOVE),
        ("X/Z/D", None, Opcode.DUMMY),
        ("X/Z", 1, Opcode.EMPTY),
        ("Z/D", 0, Opcode.EMPTY),
        ("X/D", 2, Opcode.DUMMY),
        ("X/D", 0, Opcode.REMOVE),
    ],
)
def test_a_compound_action_is_settled_by_what_the_iod_requires(code: str, required: int | None, op: Opcode) -> None:
    assert settle(code, required, is_sequence=False) is op


def test_conditions_and_coordinates_are_read_as_written() -> None:
    line = parse_condition_line("+ contains ImageType SCREEN SAVE || contains SeriesDescription Dose")
    assert line is not None and line.operators == ("||",) and line.tests[0].value == "SCREEN SAVE"
    assert line.holds(lambda keyword: ["Dose Report"] if keyword == "SeriesDescription" else None)
    box = parse_coordinates("ctpcoordinates 10,20,30,40")
    assert box is not None and box.rectangle == (10, 20, 40, 60)


def test_the_shipped_catalogue_agrees_with_the_package_about_every_real_image() -> None:
    detect = pytest.importorskip("deid.dicom.pixels.detect")
    from deid.config import DeidRecipe

    from vna.deid.pixels import lookup_in
    from vna.deid.top_level import read_top_level
    from vna.part10.elements import DEFLATED_UIDS, encoding_of

    rules = load_catalogue("deid")
    recipe = DeidRecipe("dicom")
    agreed = 0
    for image in real_image_files(unique=True)[::3]:
        if image.transfer_syntax_uid in DEFLATED_UIDS or image.path.name == "rtplan_truncated.dcm":
            continue
        top = read_top_level(data_set_of(image.path), encoding_of(image.transfer_syntax_uid))
        ours = {rule.label for rule in rules if rule.holds(lookup_in(top))}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = detect.has_burned_pixels(pydicom.dcmread(image.path, stop_before_pixels=True), deid=recipe)
        theirs = sum(bool(result["coordinates"]) for result in found["results"])
        assert len(ours) <= theirs if theirs else not ours, image.path.name
        assert bool(ours) is bool(theirs), image.path.name
        agreed += 1
    assert agreed > 20


def test_a_catalogue_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("vna.deid.catalogue.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="deid package") as caught:
        load_catalogue("deid")
    assert "vna[deid]" in caught.value.hint


def test_releases_are_read_by_their_column(tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text("uid,who\n1.2.3,RM\n1.2.4,RM\n")
    (tmp_path / "bad.csv").write_text("study\n1.2.3\n")
    assert load_releases(tmp_path / "good.csv") == {"1.2.3", "1.2.4"}
    with pytest.raises(ConfigError, match="no column uid"):
        load_releases(tmp_path / "bad.csv")
