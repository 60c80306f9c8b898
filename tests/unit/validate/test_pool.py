"""Checking in several processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.instances import make_instance
from tests.unit.validate.seeded import stored_bytes
from tests.unit.validate.workers import DEADLY, check_or_die
from vna.archive import Archive
from vna.archive.address import Address
from vna.errors import StoreError
from vna.executors import Workplace
from vna.validate.check import Work
from vna.validate.pool import Setting, check_all


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    content = stored_bytes(make_instance(PatientAge="54"))
    archive = Archive.create(str(tmp_path))
    for number in range(6):
        (tmp_path / f"{number}.dcm").write_bytes(content)
    return Setting(Address.of(archive), {}, 0)


def work(number: int, sha256: str = "") -> Work:
    return Work(sha256 or f"{number:064x}", f"{number}.dcm", 2000)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_object_of_every_batch_is_checked(setting: Setting, workers: int) -> None:
    batches = [[work(0), work(1)], [work(2)], [work(3), work(4), work(5)]]
    checked = [one for batch in check_all(batches, setting, Workplace(workers)) for one in batch]
    assert sorted(one.sha256 for one in checked) == [work(number).sha256 for number in range(6)]
    assert {finding.code for one in checked for finding in one.findings} >= {"BAD_AGE"}


def test_an_object_that_is_not_in_the_store_is_a_finding(setting: Setting) -> None:
    ((checked,),) = check_all([[work(9)]], setting, Workplace())
    assert [finding.code for finding in checked.findings] == ["OBJECT_UNREADABLE"]
    assert not checked.is_done


def test_an_archive_that_is_gone_is_no_archive_without_objects(setting: Setting, tmp_path: Path) -> None:
    (tmp_path / "vna-archive.json").unlink()
    with pytest.raises(StoreError, match="no archive"):
        list(check_all([[work(0)]], setting, Workplace()))


def test_an_object_that_kills_its_worker_is_named_and_every_other_is_checked(setting: Setting) -> None:
    batches = [[work(0), work(1, DEADLY)], [work(2)]]
    checked = {one.sha256: one for batch in check_all(batches, setting, Workplace(2), check=check_or_die) for one in batch}
    assert len(checked) == 3
    assert [finding.code for finding in checked[DEADLY].findings] == ["CHECK_CRASHED"]
    assert all("BAD_AGE" in {finding.code for finding in one.findings} for sha256, one in checked.items() if sha256 != DEADLY)
