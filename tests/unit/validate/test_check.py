"""Checking one object: whatever its bytes are, there are findings and no exception."""

from __future__ import annotations

import io
import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.instances import data_set_of, make_instance, real_image_files
from tests.unit.validate.seeded import check_bytes, raw, stored_bytes
from vna.model import Finding, Severity
from vna.part10 import file_meta
from vna.validate import check as checking
from vna.validate.check import Checked, Work, check_object, distinct
from vna.validate.instance import Instance
from vna.validate.record import decode, encode
from vna.validate.registry import CODES, RULES, Found, Rule

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


def names(checked: Checked) -> set[str]:
    return {finding.code for finding in checked.findings}


def test_codes_of_the_receipt_are_findings_of_the_same_name() -> None:
    checked = check_bytes(stored_bytes(make_instance()), ("META_GROUPLEN", "NO_PREAMBLE"))
    assert [(finding.code, finding.severity) for finding in checked.findings] == [
        ("META_GROUPLEN", Severity.WARNING),
        ("NO_PREAMBLE", Severity.WARNING),
    ]


def test_a_data_set_that_disagrees_with_its_file_meta_is_found() -> None:
    ds = make_instance()
    content = file_meta(CT, "1.2.3.4", EXPLICIT) + data_set_of(stored_bytes(ds))
    assert names(check_bytes(content)) == {"SOP_MISMATCH"}


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_missing_uid_is_found_by_its_own_code(keyword: str) -> None:
    codes = names(check_bytes(stored_bytes(make_instance(**{keyword: None}))))
    assert {"SOPInstanceUID": "NO_SOP_INSTANCE_UID"}.get(keyword, f"NO_{keyword[:-11].upper()}_INSTANCE_UID") in codes


def test_truncated_pixel_data_are_found_and_the_header_is_judged_all_the_same() -> None:
    content = stored_bytes(make_instance(PatientAge="54"))[:-100]
    assert names(check_bytes(content)) == {"TRUNCATED_PIXEL", "BAD_AGE"}


def test_a_header_that_could_run_away_with_a_parser_is_not_read_at_all() -> None:
    nested = b"".join(b"\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" for _ in range(240))
    content = stored_bytes(make_instance(), data_set=b"\x08\x00\x20\x00DA\x08\x0020241345" + nested)
    assert "DEPTH" in names(check_bytes(content))
    assert "BAD_DATE" not in names(check_bytes(content))


def test_bytes_in_quarantine_that_are_no_object_keep_the_code_of_their_receipt() -> None:
    assert names(check_bytes(b"just a text", ("NOT_DICOM",))) == {"NOT_DICOM"}


def test_bytes_that_are_no_object_without_any_code_are_unreadable() -> None:
    assert names(check_bytes(b"just a text")) == {"OBJECT_UNREADABLE"}


def test_a_rule_that_fails_is_named_and_hinders_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_rule(instance: object) -> list[Found]:
        raise KeyError("patient's name")

    monkeypatch.setattr(checking, "RULES", [Rule(CODES["BAD_DATE"], broken_rule), *RULES])
    checked = check_bytes(stored_bytes(make_instance(PatientAge="54")))
    assert names(checked) == {"CHECK_FAILED", "BAD_AGE"}
    (failed,) = (finding for finding in checked.findings if finding.code == "CHECK_FAILED")
    assert failed.values == ("broken_rule: KeyError",)


def test_what_goes_wrong_is_logged_without_any_value(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def quoting_rule(instance: Instance) -> list[Found]:
        raise ValueError(f"cannot read {instance.text(0x00100010)}")

    monkeypatch.setattr(checking, "RULES", [Rule(CODES["BAD_DATE"], quoting_rule)])
    caplog.set_level(logging.DEBUG)
    checked = check_bytes(stored_bytes(make_instance(PatientName="Geheim^Name")))
    assert names(checked) == {"CHECK_FAILED"}
    assert "quoting_rule failed: ValueError at" in caplog.text
    assert "Geheim" not in caplog.text + repr(checked)


def test_a_header_that_pydicom_cannot_read_keeps_the_findings_of_its_structure() -> None:
    ds = make_instance()
    raw("SpecificCharacterSet", b"ISO_IR\x00192")(ds)
    raw("StudyID", b"123")(ds)
    assert names(check_bytes(stored_bytes(ds))) == {"HEADER_UNREADABLE", "ODD_LENGTH"}


def test_a_header_of_very_many_elements_is_judged_by_its_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "MAX_ELEMENTS", 10)
    assert names(check_bytes(stored_bytes(make_instance(PatientAge="54")))) == {"HEADER_TOO_LARGE"}


def test_damaged_bytes_of_every_kind_are_findings_and_never_exceptions() -> None:
    generator = random.Random(20261124)
    images = [image for image in real_image_files(unique=True) if image.path.stat().st_size < 50_000]
    for _ in range(400):
        image = generator.choice(images)
        data = bytearray(data_set_of(image.path))
        for _ in range(generator.choice((1, 2, 8))):
            at = generator.randrange(min(len(data), 3000))
            data[at : at + generator.randrange(4)] = generator.randbytes(generator.randrange(5))
        content = file_meta(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid) + bytes(data)
        assert not names(check_bytes(content)) & {"CHECK_FAILED", "OBJECT_UNREADABLE"}


def test_an_object_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless_rule(instance: object) -> list[Found]:
        time.sleep(60)
        return []

    monkeypatch.setattr(checking, "RULES", [Rule(CODES["BAD_DATE"], endless_rule)])
    content = stored_bytes(make_instance())
    checked = check_object(Work("0" * 64, "x", len(content)), io.BytesIO(content), seconds=0.05)
    assert names(checked) == {"CHECK_TIMEOUT"}


def test_an_object_that_takes_too_long_in_a_thread_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless_rule(instance: object) -> list[Found]:
        while True:
            time.sleep(0)

    monkeypatch.setattr(checking, "RULES", [Rule(CODES["BAD_DATE"], endless_rule)])
    content = stored_bytes(make_instance())
    with ThreadPoolExecutor(1) as pool:
        work = Work("0" * 64, "x", len(content))
        checked = pool.submit(check_object, work, io.BytesIO(content), seconds=0.05).result(timeout=120)
    assert names(checked) == {"CHECK_TIMEOUT"}


class BrokenFile(io.BytesIO):
    """A file whose disk fails."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(5, "Input/output error")


def test_an_object_that_cannot_be_read_is_tried_again_next_time() -> None:
    checked = check_object(Work("0" * 64, "x", 1000), BrokenFile())
    assert names(checked) == {"OBJECT_UNREADABLE"}
    assert not checked.is_done


def test_what_the_receipt_and_a_rule_both_say_stands_once_at_its_place() -> None:
    bare = Finding("BAD_UID", Severity.WARNING)
    placed = Finding("BAD_UID", Severity.WARNING, "SOPInstanceUID", ("1.x",))
    assert distinct([bare, placed, placed]) == (placed,)


def test_findings_are_the_same_after_writing_and_reading() -> None:
    findings = (Finding("BAD_DATE", Severity.WARNING, "StudyDate", ("2024\u4e00", "a\\b")), Finding("X_NEW", Severity.INFO))
    assert decode(encode(findings)) == findings
    assert decode("") == ()


def test_real_images_are_judged_without_a_failing_rule() -> None:
    for image in real_image_files():
        content = file_meta(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid) + data_set_of(image.path)
        checked = check_bytes(content)
        assert not names(checked) & {"CHECK_FAILED", "CHECK_TIMEOUT", "OBJECT_UNREADABLE"}, image.path.name


FREQUENT = {"TYPE1_MISSING", "TYPE1_EMPTY", "TYPE2_MISSING", "NO_STUDY_DATE", "NO_PATIENT_ID", "TS_RETIRED"}
EXPECTED = {
    "AGE_MISMATCH": 2,  # anonymised: born in the twelfth century, aged by the true date
    "BAD_AGE": 1,
    "BAD_CODE_STRING": 2,
    "BAD_DATE": 3,  # ACR-NEMA dates
    "BAD_NUMBER": 1,
    "BAD_UID": 6,
    "BIRTH_DATE_IMPLAUSIBLE": 5,
    "CHROMA_SUBSAMPLING": 3,
    "CODESTREAM_BITS": 1,
    "CODESTREAM_DIM_MISMATCH": 1,
    "INFLATE_TRAILER": 1,
    "NO_PIXEL_DATA": 3,  # character set samples, cut before the pixels
    "PIXEL_EXCESS": 2,
    "SOP_CLASS_RETIRED": 2,
    "TRUNCATED_PIXEL": 1,
    "TS_MISMATCH": 1,
    "UID_ROOT": 5,
    "UNTERMINATED_PIXEL": 1,
    "VALUE_OVERRUN": 1,
    "VALUE_TOO_LONG": 1,
}
"""What the images that pydicom and pydicom-data ship really have, looked at one by one; see docs/validate.md."""


def test_findings_on_real_images_are_those_that_were_looked_at_one_by_one() -> None:
    found: dict[str, set[str]] = {}
    for image in real_image_files():
        content = file_meta(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid) + data_set_of(image.path)
        for code in names(check_bytes(content)) - FREQUENT:
            found.setdefault(code, set()).add(image.path.name)
    assert {code: len(files) for code, files in found.items()} == EXPECTED
