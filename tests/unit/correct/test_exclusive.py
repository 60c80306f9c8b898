"""Two corrections at once: one is done and the other told to wait, and nothing is lost or written twice."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.support.folders import quick_folder
from tests.support.instances import make_instance, write_instance
from vna.archive import Archive
from vna.archive.revisions import ElementChange, Group, Revision, put_revision
from vna.correct import CorrectOptions, VariantPolicy, apply, decide_variants, plan, revert, rule_of_settings
from vna.correct.request import Rule
from vna.errors import LockedError
from vna.ingest import IngestOptions
from vna.ingest import run as ingest
from vna.model import Progress
from vna.part10.original import Attribution

ALL = CorrectOptions(threshold=1.0, by="tester")
DEADLINE_S = 60


@pytest.fixture
def folder() -> Iterator[Path]:
    with quick_folder() as folder:
        for number in (1, 2):
            write_instance(folder / "in" / f"{number}.dcm", make_instance(InstanceNumber=number))
        ingest(Archive.create(str(folder / "archive")), folder / "in", IngestOptions(workers=1))
        yield folder


_CHILD = """
import sys
from vna.archive import Archive
from vna.correct import CorrectOptions, apply, rule_of_settings
archive = Archive.open(sys.argv[1])
found = archive.revisions
def revisions(study):
    print("planning", flush=True)
    sys.stdin.readline()
    return found(study)
archive.revisions = revisions
apply(archive, [rule_of_settings([sys.argv[2]])], CorrectOptions(threshold=1.0))
"""
"""Corrects an archive, and stops in the midst of it until a line tells it to go on."""


@contextmanager
def correcting(folder: Path, setting: str) -> Iterator[subprocess.Popen[str]]:
    """Have another process in the midst of a correction while the block runs."""
    words = [sys.executable, "-c", _CHILD, str(folder / "archive"), setting]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "planning\n"
            yield child
        finally:
            child.kill()


def setting(text: str) -> list[Rule]:
    return [rule_of_settings([text])]


def revisions(archive: Archive) -> list[Revision]:
    return list(archive.revisions(archive.select()[0]["received_StudyInstanceUID"]).all)


def leaving(archive: Archive) -> Iterator[pydicom.Dataset]:
    for row in archive.select():
        with archive.open_effective(row["path"], row["sha256"], row["received_StudyInstanceUID"])[1] as file:
            yield pydicom.dcmread(io.BytesIO(file.read()))


def test_a_second_correction_is_told_to_wait_and_loses_nothing(folder: Path) -> None:
    archive = Archive.open(str(folder / "archive"))
    seconds: list[Callable[[], object]] = [
        lambda: apply(archive, setting("PatientName=Second"), ALL),
        lambda: revert(archive, ALL),
        lambda: decide_variants(archive, VariantPolicy.NEW_UID, ALL),
    ]
    with correcting(folder, "PatientID=FIRST") as first:
        for second in seconds:
            with pytest.raises(LockedError, match="at work") as caught:
                second()
            assert (caught.value.exit_code, bool(caught.value.hint)) == (11, True)
        assert plan(archive, setting("PatientName=Second"), ALL).changes == 2
        first.communicate("\n", timeout=DEADLINE_S)
        assert first.returncode == 0
    assert apply(archive, setting("PatientName=Second"), ALL).revisions == 1
    assert apply(archive, setting("PatientID=FIRST"), ALL).revisions == 0
    assert [(each.number, len(each.objects)) for each in revisions(archive)] == [(1, 2), (2, 2)]
    for ds in leaving(archive):
        assert (ds.PatientID, str(ds.PatientName), len(ds.OriginalAttributesSequence)) == ("FIRST", "Second", 2)
    assert revert(archive, ALL).revisions == 2
    assert {ds.PatientID for ds in leaving(archive)} == {"P1"}


def test_what_another_machine_wrote_meanwhile_is_neither_lost_nor_built_upon(folder: Path) -> None:
    archive = Archive.open(str(folder / "archive"))
    write_instance(folder / "more" / "3.dcm", make_instance(StudyInstanceUID="1.2.99", SeriesInstanceUID="1.2.99.1"))
    ingest(archive, folder / "more", IngestOptions(workers=1))
    studies = sorted({str(row["received_StudyInstanceUID"]) for row in archive.select()})
    theirs: list[Revision] = []

    def meanwhile(progress: Progress) -> None:  # as soon as the first study is done, the other one gets a revision of theirs
        if not theirs:
            done = next(study for study in studies if archive.revisions(study).all)
            other = next(study for study in studies if study != done)
            theirs.append(put_revision(archive.store, replace(archive.revisions(done).all[0], study_instance_uid=other)))

    with pytest.raises(LockedError, match="meanwhile"):
        apply(archive, setting("PatientID=OURS"), ALL, meanwhile)
    assert archive.revisions(theirs[0].study_instance_uid).all == tuple(theirs)
    assert apply(archive, setting("PatientID=OURS"), ALL).studies == 1
    assert {ds.PatientID for ds in leaving(archive)} == {"OURS"}


def patient_id_revision(archive: Archive, patient_id: str) -> None:
    """Move the study to another patient, durably, and die before the index shows it."""
    study = str(archive.select()[0]["received_StudyInstanceUID"])
    digests = tuple(row["sha256"] for row in archive.select())
    change = ElementChange((0x00100020,), "LO", {"vr": "LO", "Value": [patient_id]}, {"vr": "LO", "Value": ["P1"]})
    attribution = Attribution("test", "20260101", "CORRECT", "")
    put_revision(
        archive.store, Revision(study, 0, "2026-01-01T00:00:00Z", "tester", "", attribution, (Group(digests, (change,)),))
    )


@pytest.mark.parametrize("computed", [False, True])
def test_what_is_meant_for_one_patient_is_not_written_onto_another(folder: Path, computed: bool) -> None:
    archive = Archive.open(str(folder / "archive"))
    patient_id_revision(archive, "P2")
    rule = rule_of_settings(["PatientName=JONES"])
    if computed:
        rule = replace(rule, assignments=(replace(rule.assignments[0], values=(), sql="PatientID || '^OLD'"),))
    where = replace(ALL, where="PatientID = 'P1'")
    planned = plan(archive, [rule], where)
    assert (planned.studies, planned.refused) == (0, 0)
    patient_id_revision(archive, "P3")
    assert apply(archive, [rule], where).revisions == 0
    assert {ds.PatientID for ds in leaving(archive)} == {"P3"}
    assert not any("JONES" in str(ds.PatientName) or "OLD" in str(ds.PatientName) for ds in leaving(archive))
    patient_id_revision(archive, "P1")
    assert apply(archive, [rule], where).revisions == 1


def test_a_patient_that_changes_after_the_selection_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive.open(str(folder / "archive"))
    genuine = archive.query
    corrected: list[str] = []

    def query(sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        rows = genuine(sql, params)
        if "PatientID = 'P1'" in sql and not corrected:
            corrected.append("by another machine")
            patient_id_revision(archive, "P2")
        return rows

    monkeypatch.setattr(archive, "query", query)
    result = apply(archive, setting("PatientName=JONES"), replace(ALL, where="PatientID = 'P1'"))
    assert (corrected, result.revisions, result.refused) == (["by another machine"], 0, 2)
    assert {ds.PatientID for ds in leaving(archive)} == {"P2"}
    assert "JONES" not in {str(ds.PatientName) for ds in leaving(archive)}


def test_a_correction_that_was_killed_keeps_nobody_waiting(folder: Path) -> None:
    archive = Archive.open(str(folder / "archive"))
    with correcting(folder, "PatientID=FIRST") as first:
        first.kill()
        first.wait(DEADLINE_S)
        assert apply(archive, setting("PatientID=SECOND"), ALL).revisions == 1
    assert {ds.PatientID for ds in leaving(archive)} == {"SECOND"}
