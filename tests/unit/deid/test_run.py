"""A whole run: the same bytes whatever the workers and the order, resumable, audited, with nothing old in what it writes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq
import pydicom
import pytest

from tests.support.instances import make_instance, real_image_files, write_instance
from tests.unit.deid.deadly import WRITING, WRITTEN, DeadlyFolder, DeadlySource
from tests.unit.deid.folder import FileSource
from vna.deid.cohort import MANIFEST, PROGRESS, REPORT
from vna.deid.engine import Engine
from vna.deid.objects import Maker
from vna.deid.pixels import PixelPolicy
from vna.deid.recipe import load_recipe, parse_recipe
from vna.deid.run import DeidOptions, run
from vna.deid.source import Row
from vna.deid.values import Key
from vna.errors import ConfigError, LockedError, RefusedError
from vna.model import Progress

US = "1.2.840.10008.5.1.4.1.1.6.1"


def tree(root: Path) -> dict[str, str]:
    """Digest everything in a folder, hidden files included."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def options(key: Key, target: Path, **changes: object) -> DeidOptions:
    return replace(DeidOptions(load_recipe("longitudinal"), key, target), **changes)  # type: ignore[arg-type]


@pytest.fixture
def studies(tmp_path: Path) -> FileSource:
    """Two patients' studies, one image of which is an ultrasound."""
    paths = []
    for patient in ("P-100001", "P-100002"):
        for number in range(1, 4):
            values = {"SOPClassUID": US, "Modality": "US"} if number == 3 else {}
            ds = make_instance(PatientID=patient, PatientName="Quexborough^Ann", InstanceNumber=number, **values)
            paths.append(str(write_instance(tmp_path / "in" / f"{patient}-{number}.dcm", ds)))
    return FileSource(tuple(paths))


def test_the_contract_the_manifest_and_the_report(studies: FileSource, key: Key, tmp_path: Path) -> None:
    steps: list[Progress] = []
    result = run(studies, options(key, tmp_path / "out"), steps.append)
    assert result.as_json() | {"instances": 6, "written": 4, "quarantined": 2, "held": {"PIXELS_CLASS": 2}} == result.as_json()
    rows = pq.read_table(result.manifest).to_pylist()
    assert len(rows) == 6 and {row["state"] for row in rows} == {"written", "held"}
    for row in rows:
        if row["state"] == "written":
            content = (tmp_path / "out" / row["path"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == row["sha256"] and len(content) == row["size"]
            assert pydicom.dcmread(tmp_path / "out" / row["path"]).PatientID == row["patient_id"]
    report = json.loads(Path(result.report).read_text())
    assert report["held"][0]["code"] == "PIXELS_CLASS" and report["key_id"] == key.key_id and report["edition"] == "2026c"
    assert steps[-1].stage == "audit" and steps[-1].done == 4


def test_what_a_run_writes_names_nobody(studies: FileSource, key: Key, tmp_path: Path) -> None:
    run(studies, options(key, tmp_path / "out"))
    table = json.dumps(pq.read_table(tmp_path / "out" / MANIFEST).to_pylist())
    old = [row["sha256"].hex() for row in studies.rows()] + [
        "P-100001",
        "Quexborough",
        "ACC1",
        str(make_instance().StudyInstanceUID),
    ]
    for text in (table, (tmp_path / "out" / REPORT).read_text(), *tree(tmp_path / "out")):
        assert not [value for value in old if value in text]
    assert key.secret.decode() not in table


def test_the_order_the_workers_and_an_interruption_change_no_byte(key: Key, tmp_path: Path) -> None:
    images = [image for image in real_image_files(unique=True) if image.path.stat().st_size < 200_000]
    paths = [str(image.path) for image in images][:60]
    shuffled = random.Random(1).sample(paths, len(paths))
    run(FileSource(tuple(paths)), options(key, tmp_path / "one"))
    run(FileSource(tuple(shuffled)), options(key, tmp_path / "two", workers=2))
    run(FileSource(tuple(reversed(paths))), options(key, tmp_path / "three", workers=3))
    last = max(images[:60], key=lambda image: image.sop_instance_uid)
    killed = _Failing(tuple(paths), fail_at=str(last.path))
    with pytest.raises(OSError, match="the disk went away"):
        run(killed, options(key, tmp_path / "four"))
    assert (tmp_path / "four" / PROGRESS).exists() and not (tmp_path / "four" / MANIFEST).exists()
    resumed = run(FileSource(tuple(paths)), options(key, tmp_path / "four"))
    assert resumed.resumed > 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two") == tree(tmp_path / "three") == tree(tmp_path / "four")
    assert len(tree(tmp_path / "one")) > 20


@dataclass(frozen=True, slots=True)
class _Failing:
    """A source whose disk goes away at one object."""

    paths: tuple[str, ...]
    fail_at: str

    def rows(self) -> Sequence[Row]:
        return FileSource(self.paths).rows()

    def open(self, row: Row) -> BinaryIO:
        if row["path"] == self.fail_at:
            raise OSError("the disk went away")
        return Path(row["path"]).open("rb")


def test_a_second_run_makes_only_what_is_missing_or_damaged(studies: FileSource, key: Key, tmp_path: Path) -> None:
    first = run(studies, options(key, tmp_path / "out"))
    before = tree(tmp_path / "out")
    damaged = next((tmp_path / "out").rglob("*.dcm"))
    damaged.write_bytes(b"damaged")
    second = run(studies, options(key, tmp_path / "out"))
    assert (first.resumed, second.resumed) == (0, 3)
    assert tree(tmp_path / "out") == before


def test_a_cohort_grows_by_another_selection(studies: FileSource, key: Key, tmp_path: Path) -> None:
    run(FileSource(studies.paths[:3]), options(key, tmp_path / "grown"))
    run(FileSource(studies.paths[3:]), options(key, tmp_path / "grown"))
    run(studies, options(key, tmp_path / "whole"))
    grown = pq.read_table(tmp_path / "grown" / MANIFEST).to_pylist()
    assert [row["path"] for row in grown if row["state"] == "written"] == [
        row["path"] for row in pq.read_table(tmp_path / "whole" / MANIFEST).to_pylist() if row["state"] == "written"
    ]


def test_another_key_shares_nothing(studies: FileSource, key: Key, tmp_path: Path) -> None:
    other = Key(b"another secret of sufficient length")
    run(studies, options(key, tmp_path / "one"))
    run(studies, options(other, tmp_path / "two"))
    one, two = (pq.read_table(tmp_path / name / MANIFEST).to_pylist() for name in ("one", "two"))
    for column in ("source_key", "sop_instance_uid", "series_instance_uid", "study_instance_uid", "patient_id"):
        assert not {row[column] for row in one} & {row[column] for row in two}, column


def test_the_crosswalk_is_apart_restricted_and_right(studies: FileSource, key: Key, tmp_path: Path) -> None:
    run(studies, options(key, tmp_path / "out", crosswalk=tmp_path / "secret"))
    folder = tmp_path / "secret"
    assert sorted(path.name for path in folder.iterdir()) == ["patid_mapping.csv", "uid_mapping.csv"]
    assert folder.stat().st_mode & 0o077 == 0 and all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    patients = dict(line.split(",") for line in (folder / "patid_mapping.csv").read_text().splitlines())
    assert patients.pop("id_old") == "id_new" and sorted(patients) == ["P-100001", "P-100002"]
    uids = dict(line.split(",") for line in (folder / "uid_mapping.csv").read_text().splitlines())
    made = pydicom.dcmread(next((tmp_path / "out" / patients["P-100001"]).rglob("*.dcm")))
    assert uids[str(make_instance(PatientID="P-100001").StudyInstanceUID)] == made.StudyInstanceUID
    with pytest.raises(ConfigError, match="must not lie in the cohort"):
        run(studies, options(key, tmp_path / "out", crosswalk=tmp_path / "out" / "x"))


def test_an_interrupted_run_with_a_crosswalk_keeps_old_uids_out_of_the_cohort(
    studies: FileSource, key: Key, tmp_path: Path
) -> None:
    failing = _Failing(studies.paths, studies.paths[4])
    many = options(key, tmp_path / "out", crosswalk=tmp_path / "secret")
    with pytest.raises(OSError):
        run(failing, many)
    old = str(make_instance(PatientID="P-100001").StudyInstanceUID)
    assert not any(old.encode() in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    run(studies, many)
    assert old in (tmp_path / "secret" / "uid_mapping.csv").read_text()


def test_a_dry_run_says_what_would_be_and_leaves_no_trace(studies: FileSource, key: Key, tmp_path: Path) -> None:
    result = run(studies, options(key, tmp_path / "out", dry_run=True))
    assert (result.written, result.held) == (4, {"PIXELS_CLASS": 2})
    assert not (tmp_path / "out").exists()


def test_a_folder_with_anything_else_in_it_is_refused(studies: FileSource, key: Key, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").write_text("x")
    with pytest.raises(RefusedError, match="holds no cohort"):
        run(studies, options(key, tmp_path / "other"))
    run(studies, options(key, tmp_path / "out"))
    with pytest.raises(RefusedError, match="another recipe, key or version"):
        run(studies, options(key, tmp_path / "out", recipe=load_recipe("basic")))
    with pytest.raises(RefusedError, match="another recipe, key or version"):
        run(studies, options(Key(b"another secret of sufficient length"), tmp_path / "out"))


def test_two_runs_never_write_to_one_cohort(studies: FileSource, key: Key, tmp_path: Path) -> None:
    from vna.deid.cohort import Cohort

    with (
        Cohort.claim(tmp_path / "out", load_recipe("longitudinal"), key, None),
        pytest.raises(LockedError, match="another run"),
    ):
        run(studies, options(key, tmp_path / "out"))


def test_the_audit_fails_a_run_whose_recipe_keeps_a_name(studies: FileSource, key: Key, tmp_path: Path) -> None:
    leaky = options(key, tmp_path / "out", recipe=parse_recipe("FORMAT dicom\n%header\nADD ImageComments of P-100001\n", "leaky"))
    with pytest.raises(RefusedError, match=r"number in \(0020,4000\)") as caught:
        run(FileSource(studies.paths[:3]), leaky)
    assert "P-100001" not in str(caught.value)
    assert not (tmp_path / "out" / MANIFEST).exists()
    assert list((tmp_path / "out").rglob("*.dcm")) == []


def test_a_second_object_under_one_uid_is_held(key: Key, tmp_path: Path) -> None:
    one = write_instance(tmp_path / "in" / "1.dcm", make_instance())
    two = write_instance(tmp_path / "in" / "2.dcm", make_instance(SeriesDescription="changed"))
    result = run(FileSource((str(one), str(two))), options(key, tmp_path / "out"))
    assert (result.written, result.held) == (1, {"UID_CONFLICT": 1})


def test_an_object_that_cannot_be_opened_is_an_outcome(studies: FileSource, key: Key, tmp_path: Path) -> None:
    rows = studies.rows()
    Path(studies.paths[0]).unlink()
    result = run(_Known(studies.paths, tuple(rows)), options(key, tmp_path / "out"))
    assert (result.written, result.held) == (3, {"PIXELS_CLASS": 2, "UNREADABLE": 1})


@dataclass(frozen=True, slots=True)
class _Known:
    """A source whose rows were read earlier."""

    paths: tuple[str, ...]
    known: tuple[Row, ...]

    def rows(self) -> Sequence[Row]:
        return self.known

    def open(self, row: Row) -> BinaryIO:
        return Path(row["path"]).open("rb")


def test_a_release_lets_an_image_go_and_says_so(studies: FileSource, key: Key, tmp_path: Path) -> None:
    released = str(pydicom.dcmread(studies.paths[2]).SOPInstanceUID)
    result = run(studies, options(key, tmp_path / "out", policy=PixelPolicy((), frozenset((released,)))))
    assert result.written == 5
    assert sum(row["released"] for row in pq.read_table(result.manifest).to_pylist()) == 1


@pytest.mark.parametrize("when", [WRITING, WRITTEN])
def test_an_object_that_kills_its_worker_is_held_and_every_other_is_written(
    studies: FileSource, key: Key, tmp_path: Path, when: str
) -> None:
    out = tmp_path / "out"
    deadly = DeadlySource(studies.paths, studies.paths[1], when, out, os.getpid())
    result = run(deadly, options(key, out, workers=2))
    assert (result.instances, result.written, result.held) == (6, 3, {"CRASHED": 1, "PIXELS_CLASS": 2})
    named = {row["path"] for row in pq.read_table(result.manifest).to_pylist() if row["path"]}
    assert set(tree(out)) == {*named, MANIFEST, REPORT}, "nothing that was not audited stays"
    assert json.loads(Path(result.report).read_text())["held"][0]["code"] == "CRASHED"
    assert run(studies, options(key, out)).resumed == 3
    run(studies, options(key, tmp_path / "whole"))
    assert tree(out) == tree(tmp_path / "whole")


def test_a_dry_run_tells_an_object_that_kills_its_worker(studies: FileSource, key: Key, tmp_path: Path) -> None:
    deadly = DeadlySource(studies.paths, studies.paths[1], WRITTEN, tmp_path / "out", os.getpid())
    result = run(deadly, options(key, tmp_path / "out", workers=2, dry_run=True))
    assert (result.written, result.held) == (3, {"CRASHED": 1, "PIXELS_CLASS": 2})


class _Met(io.BytesIO):
    """A file that two read at once: neither gets the pixel data before both have begun to write."""

    def __init__(self, content: bytes, pixels: int, both: threading.Barrier) -> None:
        super().__init__(content)
        self._pixels = pixels
        self._both = both

    def read(self, size: int | None = -1, /) -> bytes:
        if size == self._pixels:
            self._both.wait(60)
        return super().read(size)


def test_two_that_make_the_same_object_at_once_do_not_hinder_each_other(key: Key, tmp_path: Path) -> None:
    ds, out, both = make_instance(), tmp_path / "out", threading.Barrier(2)
    content = write_instance(tmp_path / "in.dcm", ds).read_bytes()
    maker = Maker(Engine(load_recipe("basic"), key), PixelPolicy(), out)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(maker.make, [_Met(content, len(ds.PixelData), both) for _ in range(2)])
    assert (one.hold, one.path, one.sha256) == (None, two.path, two.sha256)
    assert tree(out) == {one.path: one.sha256}


def test_an_output_of_which_the_auditing_worker_dies_is_withdrawn(studies: FileSource, key: Key, tmp_path: Path) -> None:
    run(studies, options(key, tmp_path / "before"))
    unaudited = next(name for name in tree(tmp_path / "before") if name.endswith(".dcm"))
    (tmp_path / "deadly").write_text(f"{unaudited} {os.getpid()}")
    result = run(studies, options(key, DeadlyFolder(tmp_path / "out"), workers=2))
    assert (result.written, result.held) == (3, {"CRASHED": 1, "PIXELS_CLASS": 2})
    assert unaudited not in tree(tmp_path / "out")
    again = run(studies, options(key, tmp_path / "out"))
    assert (again.written, again.resumed) == (4, 3)
    assert tree(tmp_path / "out") == tree(tmp_path / "before")
