"""Manifests: what ``sha256sum -c`` says of them, and that they follow their studies."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.objects import send, send_all, wire_object
from vna.archive import Archive


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.create(str(tmp_path / "a"))


def check(archive: Archive) -> list[str]:
    """Run the real sha256sum as README.txt says, and give the lines that it prints."""
    manifests = sorted(path.relative_to(archive.root).as_posix() for path in archive.root.glob("manifests/*/*.sha256"))
    done = subprocess.run(["sha256sum", "-c", *manifests], cwd=archive.root, capture_output=True, text=True, check=False)
    return sorted(done.stdout.splitlines())


def fileable(archive: Archive) -> list[str]:
    return sorted(row.path for row in archive.journal_rows() if row.path.startswith("instances/"))


def test_sha256sum_checks_every_object_of_every_study_and_finds_damage(archive: Archive) -> None:
    with archive.sink() as sink:
        receipts = send_all(
            sink,
            [
                wire_object(InstanceNumber=1),
                wire_object(InstanceNumber=1, PatientName="Other"),
                wire_object(PatientID="P2"),
                wire_object(StudyInstanceUID=None),
            ],
        )
    archive.sync_index()
    assert check(archive) == [f"{path}: OK" for path in fileable(archive)]
    assert len(fileable(archive)) == 3
    damaged = archive.root / receipts[1].path
    damaged.chmod(0o640)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    assert f"{receipts[1].path}: FAILED" in check(archive)


def test_a_manifest_grows_with_its_study_and_is_left_alone_otherwise(archive: Archive) -> None:
    with archive.sink() as sink:
        send(sink, wire_object(InstanceNumber=1))
    archive.sync_index()
    (manifest,) = archive.root.glob("manifests/*/*.sha256")
    before = manifest.stat()
    archive.sync_index()
    archive.rebuild_index()
    assert (manifest.stat().st_ino, manifest.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    with archive.sink() as sink:
        send(sink, wire_object(InstanceNumber=2))
    archive.sync_index()
    assert len(manifest.read_text().splitlines()) == 2
    assert len(check(archive)) == 2


def test_objects_that_only_an_open_journal_knows_are_listed_too(archive: Archive) -> None:
    with archive.sink() as sink:
        send(sink, wire_object(InstanceNumber=1))
        archive.sync_index()
        assert check(archive) == [f"{path}: OK" for path in fileable(archive)]
        send(sink, wire_object(InstanceNumber=2))
        archive.sync_index()
        assert len(fileable(archive)) == 2
        assert check(archive) == [f"{path}: OK" for path in fileable(archive)]


def test_manifests_that_were_deleted_are_written_again(archive: Archive) -> None:
    with archive.sink() as sink:
        send_all(sink, [wire_object(InstanceNumber=1), wire_object(PatientID="P2")])
    archive.sync_index()
    before = check(archive)
    shutil.rmtree(archive.root / "manifests")
    archive.rebuild_index()
    assert check(archive) == before
    shutil.rmtree(archive.root / "manifests")
    shutil.rmtree(archive.root / "journal")
    archive.rebuild_index()
    assert check(archive) == before


def test_a_digest_once_listed_is_not_exchanged_for_that_of_a_damaged_object(archive: Archive) -> None:
    with archive.sink() as sink:
        receipt = send(sink, wire_object())
    archive.sync_index()
    shutil.rmtree(archive.root / "journal")
    damaged = archive.root / receipt.path
    damaged.chmod(0o640)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    archive.rebuild_index()
    assert check(archive) == [f"{receipt.path}: FAILED"]


@pytest.mark.parametrize("uid", ["../../x", "1 2\n3", "a" * 200])
def test_a_study_whose_uid_is_none_has_a_manifest_that_works(archive: Archive, uid: str) -> None:
    import pydicom

    from tests.support.instances import make_instance

    with pydicom.config.disable_value_validation():
        item = wire_object(make_instance(StudyInstanceUID=uid))
    with archive.sink() as sink:
        assert send(sink, item).state == "flagged"
    archive.sync_index()
    assert [line.rpartition(" ")[2] for line in check(archive)] == ["OK"]
