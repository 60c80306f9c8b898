"""Every usable image of pydicom and pydicom-data takes a correction and gives it back, byte for byte."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.support.folders import quick_folder
from tests.support.instances import make_uid, real_image_files
from tests.support.peers import require_peer
from vna.archive import Archive
from vna.archive.effective import StoredHeader, read_stored
from vna.archive.revisions import ElementChange, Group, Revision, put_revision
from vna.correct import CorrectOptions, plan, revert, rule_of_settings
from vna.ingest import IngestOptions
from vna.ingest import run as ingest
from vna.part10 import read_head
from vna.part10.elements import Encoding, vr_of
from vna.part10.json_model import element_json
from vna.part10.original import Attribution
from vna.part10.raw import RawElement, by_tag, declared_character_set, read_elements, read_items
from vna.part10.references import ORIGINAL_ATTRIBUTES
from vna.validate.dciodvfy import find_dciodvfy, read_output

BY_US = Attribution("VNA", "20261124120000+0000", "CORRECT", "RIS")
PATIENT = {0x00100010: ("PN", "Müller^Jürgen"), 0x00100020: ("LO", "NEW-1"), 0x00080050: ("SH", "ACC-1")}
FRAME_OF_REFERENCE, SOP_INSTANCE_UID = 0x00200052, 0x00080018
NESTED = {b"SH": "NEW", b"LO": "NEW", b"CS": "NEW", b"UI": "2.25.7", b"ST": "NEW", b"IS": "7", b"DS": "7"}
READ_AS = "ISO_IR 100"


@dataclass(frozen=True)
class Corrected:
    """One image, as it was received and as it leaves."""

    name: str
    sha256: str
    path: str
    study: str
    syntax: str
    changes: tuple[ElementChange, ...]
    received: bytes
    leaving: bytes


def nested_change(stored: StoredHeader) -> ElementChange | None:
    """Change the first value of a simple VR in the first item of a sequence, if there is one."""
    for element in stored.elements:
        if element.tag == ORIGINAL_ATTRIBUTES or (element.vr or vr_of(element.tag)) != b"SQ":
            continue
        for item in read_items(element, stored.encoding)[:1]:
            for inner in read_elements(item.content, item.encoding):
                vr = inner.vr or vr_of(inner.tag)
                if vr in NESTED and inner.value:
                    new = {"vr": vr.decode(), "Value": [NESTED[vr]]}
                    return ElementChange((element.tag, 0, inner.tag), vr.decode(), new, element_json(inner, item.encoding))
    return None


def changes_of(path: Path, sop_instance_uid: str) -> tuple[ElementChange, ...]:
    with path.open("rb") as file:
        stored = read_stored(file)
    present = {element.tag for element in stored.elements}
    charset = declared_character_set(by_tag(stored.elements))
    found = []
    for tag, (vr, text) in PATIENT.items():
        old = next((element_json(each, stored.encoding, charset) for each in stored.elements if each.tag == tag), None)
        value = {"Alphabetic": text} if vr == "PN" else text
        found.append(ElementChange((tag,), vr, {"vr": vr, "Value": [value]}, old))
    uid = FRAME_OF_REFERENCE if FRAME_OF_REFERENCE in present else SOP_INSTANCE_UID
    found.append(ElementChange((uid,), "UI", {"vr": "UI", "Value": [make_uid("corrected", sop_instance_uid)]}))
    nested = nested_change(stored)
    return (*found, nested) if nested else tuple(found)


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with quick_folder() as folder:
        images = folder / "images"
        images.mkdir()
        for number, image in enumerate(real_image_files()):
            (images / f"{number}-{image.path.name}").write_bytes(image.path.read_bytes())
        made = Archive.create(str(folder / "archive"))
        ingest(made, images, IngestOptions(workers=1))
        yield made


@pytest.fixture(scope="module")
def corrected(archive: Archive) -> list[Corrected]:
    """Correct every object that is neither in quarantine nor refused, variants included; revisions are written for real."""
    found = []
    for row in archive.select("status IN ('stored', 'flagged', 'variant')"):
        changes = changes_of(archive.root / row["path"], row["SOPInstanceUID"])
        study = row["received_StudyInstanceUID"]
        put_revision(
            archive.store,
            Revision(
                study, 0, "2026-11-24T12:00:00Z", "test", "test", BY_US, (Group((row["sha256"],), changes),), read_as=READ_AS
            ),
        )
        _, file = archive.open_effective(row["path"], row["sha256"], study)
        with file:
            leaving = file.read()
        received = archive.store.read_bytes(row["path"])
        found.append(
            Corrected(
                Path(row["path"]).name, row["sha256"], row["path"], study, row["TransferSyntaxUID"], changes, received, leaving
            )
        )
    archive.sync_revisions()
    return found


def read(content: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(content))


def nested_value(ds: Dataset, path: tuple[int, ...]) -> object:
    for tag, number in zip(path[:-1:2], path[1::2], strict=True):
        ds = ds[tag].value[number]
    return ds[path[-1]].value


def test_all_usable_images_are_corrected(corrected: list[Corrected]) -> None:
    assert len(corrected) > 200
    assert sum(len(each.changes) == 5 for each in corrected) > 70
    assert {"1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"} <= {each.syntax for each in corrected}


def test_new_values_are_read_and_everything_else_is_as_it_was(corrected: list[Corrected]) -> None:
    for each in corrected:
        old, new = read(each.received), read(each.leaving)
        for change in each.changes:
            expected = change.new["Value"][0] if change.new else None
            if isinstance(expected, dict):
                expected = expected["Alphabetic"]
            assert str(nested_value(new, change.path)) == str(expected), (each.name, change.path)
        touched = {change.path[0] for change in each.changes} | {0x00080005, 0x04000561, 0x0018A001}
        for element in old:
            if element.tag not in touched and element.tag.element:
                assert new[element.tag].value == element.value, (each.name, element.tag)
        assert {element.tag for element in new} - {element.tag for element in old} <= touched, each.name


def test_pixel_bytes_are_identical(corrected: list[Corrected]) -> None:
    with_pixels = 0
    for each in corrected:
        old, new = read(each.received), read(each.leaving)
        for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
            if keyword in old:
                assert old[keyword].value == new[keyword].value, each.name
                with_pixels += 1
        if each.syntax != "1.2.840.10008.1.2.1.99":
            with io.BytesIO(each.received) as file:
                pixels = each.received[read_stored(file).rest_at :]
            assert each.leaving.endswith(pixels), each.name
    assert with_pixels > 150


def test_file_meta_agrees_with_the_data_set(corrected: list[Corrected]) -> None:
    for each in corrected:
        head, ds = read_head(io.BytesIO(each.leaving)), read(each.leaving)
        assert (head.sop_instance_uid, head.sop_class_uid) == (ds.SOPInstanceUID, ds.SOPClassUID)


def test_original_attributes_restore_the_exact_old_values(corrected: list[Corrected]) -> None:
    for each in corrected:
        old = {element.tag: element for element in elements_of(each.received)}
        item = read_items(next(e for e in elements_of(each.leaving) if e.tag == ORIGINAL_ATTRIBUTES), encoding_of(each))[-1]
        parts = {element.tag: element for element in read_elements(item.content, item.encoding)}
        prior = read_elements(read_items(parts[0x04000550], item.encoding)[0].content, item.encoding)
        recorded = {element.tag: element for element in prior}
        apart: dict[int, list[bytes]] = {}
        for other in read_items(parts[0x04000551], item.encoding) if 0x04000551 in parts else []:
            selected = {element.tag: element for element in read_elements(other.content, other.encoding)}
            group, element = (int.from_bytes(selected[0x00720026].value[at : at + 2], order_of(each)) for at in (0, 2))
            apart.setdefault(group << 16 | element, []).append(selected[0x04000552].value)
        for tag in {change.path[0] for change in each.changes}:
            if tag in apart:
                assert b"\\".join(apart[tag]).rstrip(b" \0") == old[tag].value.rstrip(b" \0"), (each.name, tag)
            elif tag in old:
                assert recorded[tag].raw == old[tag].raw, (each.name, hex(tag))
            else:
                assert not recorded[tag].value
        assert 0x00100021 in recorded  # Issuer of Patient ID goes with Patient ID
        if any(
            not value.value.isascii()
            for value in recorded.values()
            if not value.is_undefined and value.vr in (b"PN", b"LO", b"SH")
        ):
            assert declared_character_set(by_tag(prior)) == declared_character_set(old), each.name


def elements_of(content: bytes) -> tuple[RawElement, ...]:
    with io.BytesIO(content) as file:
        return read_stored(file).elements


def encoding_of(each: Corrected) -> Encoding:
    with io.BytesIO(each.received) as file:
        return read_stored(file).encoding


def order_of(each: Corrected) -> str:
    return "big" if each.syntax == "1.2.840.10008.1.2.2" else "little"


def test_a_second_apply_changes_nothing(archive: Archive, corrected: list[Corrected]) -> None:
    settings = ["PatientName=Müller^Jürgen", "PatientID=NEW-1", "AccessionNumber=ACC-1"]
    options = CorrectOptions(threshold=1.0, fallback_character_set=READ_AS)
    again = plan(archive, [rule_of_settings(settings)], options)
    assert (again.studies, again.instances, again.changes, again.refused) == (0, 0, 0, 0)


def test_dcmtk_reads_what_leaves(corrected: list[Corrected], tmp_path: Path) -> None:
    require_peer("dcmtk")
    failed = []
    for each in corrected:
        path, before = tmp_path / f"{each.sha256}.dcm", tmp_path / "received.dcm"
        path.write_bytes(each.leaving)
        if not dumps(path):
            before.write_bytes(each.received)
            failed += [each.name] if dumps(before) else []
    assert failed == []
    tested = subprocess.run(["dcmftest", *tmp_path.glob(f"{'?' * 64}.dcm")], capture_output=True, text=True, check=False)
    assert tested.stdout.count("yes:") == len(corrected)


def dumps(path: Path) -> bool:
    return subprocess.run(["dcmdump", "-q", path], capture_output=True, check=False).returncode == 0


def test_no_new_error_of_dciodvfy(corrected: list[Corrected], tmp_path: Path) -> None:
    program = find_dciodvfy()
    new = []
    for each in corrected[::3]:
        before, after = (errors(program, tmp_path / "file.dcm", content) for content in (each.received, each.leaving))
        new += [(each.name, error) for error in after - before]
    assert new == []


def errors(program: Path, path: Path, content: bytes) -> set[tuple[str, tuple[str, ...]]]:
    path.write_bytes(content)
    done = subprocess.run([program, "-new", path], capture_output=True, check=False, timeout=60)
    found = read_output(done.stderr.decode("latin-1"))
    recorded = re.compile(
        r"OriginalAttributesSequence\[\d+\]\.ModifiedAttributesSequence\[\d+\]\."
    )  # what was wrong stays on record
    return {(recorded.sub("", finding.where), finding.values) for finding in found if finding.code == "DCIODVFY_ERROR"}


def test_revert_gives_back_the_very_bytes(archive: Archive, corrected: list[Corrected]) -> None:
    undone = revert(archive, CorrectOptions())
    assert undone.instances == len(corrected)
    for each in corrected:
        _, file = archive.open_effective(each.path, each.sha256, each.study)
        with file:
            content = file.read()
        assert content == each.received
        assert hashlib.sha256(content).hexdigest() == each.sha256
