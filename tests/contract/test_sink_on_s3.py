"""A sink on a real S3 server when nobody can tell what became of a put: nothing acknowledged is without its row."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.crash import WatchedOperations, run_and_kill
from tests.support.objects import WireObject, send, send_all, wire_object
from tests.support.sites import S3, Place
from vna.archive import Archive, ArchiveSink, Durability
from vna.errors import StoreError
from vna.model import Receipt

pytestmark = pytest.mark.parametrize("place", [S3], indirect=True)

ITEMS = [wire_object(InstanceNumber=number) for number in (1, 2)]


class _Outage:
    """A store whose puts get no answer while ``is_out``, and are carried out all the same: at once, or when they ``land``."""

    def __init__(self, store: Any, folder: Path, *, at_once: bool = False, together: int = 1) -> None:
        self._store, self._folder, self._at_once = store, folder, at_once
        self._late: list[tuple[Path, str]] = []
        self._together = threading.Barrier(together)
        self.is_out = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def publish(self, files: Sequence[tuple[Path | str, str]]) -> list[bool]:
        if not self.is_out:
            return list(self._store.publish(files))
        self._together.wait(60)
        for local, path in files:
            copy = self._folder / Path(local).parent.name / Path(local).name  # the put's token, whatever becomes of the file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(local, copy)
            self._late.append((copy, path))
        if self._at_once:
            self.land()
        raise StoreError("the object could not be put: no answer")

    def came_from(self, local: Path, path: str) -> bool:
        if self.is_out and self._at_once:
            raise StoreError("the object could not be examined: no answer")
        return bool(self._store.came_from(local, path))

    def land(self) -> None:
        """Carry out what was put."""
        late, self._late = self._late, []
        self._store.publish(late)


def broken(place: Place, folder: Path, **how: Any) -> tuple[Archive, _Outage]:
    archive = place.create()
    outage = _Outage(archive.store, folder, **how)
    archive.store = outage
    return archive, outage


def take(sink: ArchiveSink, durability: Durability, items: Sequence[WireObject] = ITEMS) -> list[Receipt]:
    receipts = send_all(sink, items)
    return receipts if durability is Durability.OBJECT else sink.commit_study(receipts[0].study_instance_uid)


def rows(archive: Archive) -> list[str]:
    return sorted(row.sha256 for row in archive.journal_rows())


def spooled(archive: Archive) -> list[Path]:
    return list(archive.workspace.rglob("*.part"))


@pytest.mark.parametrize("durability", list(Durability))
@pytest.mark.parametrize("at_once", [True, False])
def test_what_was_put_without_an_answer_has_its_row_when_it_is_sent_again(
    at_once: bool, durability: Durability, place: Place, tmp_path: Path
) -> None:
    archive, outage = broken(place, tmp_path, at_once=at_once)
    items = ITEMS if durability is Durability.STUDY else ITEMS[:1]
    with archive.sink(durability=durability) as sink:
        with pytest.raises(StoreError, match="no answer"):
            take(sink, durability, items)
        outage.is_out = False
        outage.land()
        assert rows(archive) == []
        receipts = take(sink, durability, items)
        assert rows(archive) == sorted(receipt.sha256 for receipt in receipts) == sorted(item.sha256 for item in items)
        assert [receipt.state for receipt in receipts] == ["stored"] * len(items)
        assert [receipt.state for receipt in take(sink, durability, items)] == ["duplicate"] * len(items)
        assert not any(path.stat().st_size for path in spooled(archive))  # but what is ready for the next object
    assert archive.sync_index() == len(items)


@pytest.mark.parametrize("how", ["another writer acknowledges it", "it lands when the sink is closed", "it never lands"])
def test_what_was_put_without_an_answer_is_finished_without_being_sent_again(how: str, place: Place, tmp_path: Path) -> None:
    archive, outage = broken(place, tmp_path)
    with archive.sink() as sink, archive.sink() as other:
        with pytest.raises(StoreError, match="no answer"):
            send(sink, ITEMS[0])
        outage.is_out = False
        if how == "another writer acknowledges it":
            outage.land()
            assert send(other, ITEMS[0]).state == "duplicate"
            sink.seal()
            assert rows(archive) == [ITEMS[0].sha256]
        elif how == "it lands when the sink is closed":
            outage.land()
    assert rows(archive) == [ITEMS[0].sha256]
    assert spooled(archive) == []
    assert archive.sync_index() == 1


def test_what_is_still_unanswered_when_the_sink_is_closed_is_left_to_recovery(place: Place, tmp_path: Path) -> None:
    archive, outage = broken(place, tmp_path, at_once=True)
    with archive.sink() as sink, pytest.raises(StoreError, match="no answer"):
        send(sink, ITEMS[0])
    assert rows(archive) == []
    outage.is_out = False
    recovered = archive.sweep()
    assert (recovered.completed, recovered.dropped) == (1, 0)
    assert rows(archive) == [ITEMS[0].sha256]


def test_of_two_unanswered_puts_for_one_name_the_one_that_landed_is_recorded_once(place: Place, tmp_path: Path) -> None:
    archive, outage = broken(place, tmp_path, together=2)
    with archive.sink() as sink:
        with ThreadPoolExecutor(2) as threads:
            for sending in [threads.submit(send, sink, ITEMS[0]) for _ in range(2)]:
                assert isinstance(sending.exception(60), StoreError)
        outage.is_out = False
        outage.land()
        assert send(sink, ITEMS[0]).state == "stored"
        assert rows(archive) == [ITEMS[0].sha256]
        assert not any(path.stat().st_size for path in spooled(archive))  # but what is ready for the next object


def test_an_unanswered_put_whose_name_is_another_writers_is_given_up(place: Place, tmp_path: Path) -> None:
    archive, outage = broken(place, tmp_path)
    elsewhere = Archive.open(place.url, place.storage_options, spool=f"{place.spool}-of-another-machine")
    with archive.sink() as sink, elsewhere.sink() as other:
        with pytest.raises(StoreError, match="no answer"):
            send(sink, ITEMS[0])
        assert send(other, ITEMS[0]).state == "stored"
        outage.is_out = False
        outage.land()
        assert send(sink, ITEMS[0]).state == "duplicate"
        assert rows(archive) == []
        assert not any(path.stat().st_size for path in spooled(archive))  # but what is ready for the next object
    assert archive.sync_index() + elsewhere.sync_index() == 1


def test_an_object_whose_spool_name_a_power_failure_took_has_its_row_after_recovery(place: Place) -> None:
    archive = place.create()

    def work(operations: WatchedOperations) -> None:
        opened = Archive.open(place.url, place.storage_options, spool=place.spool)
        publish, kill = opened.store.publish, object.__getattribute__(operations, "_before")

        def publish_and_die(files: Sequence[tuple[Path | str, str]]) -> list[bool]:
            published = publish(files)
            kill("publish", ())
            return published

        opened.store.publish = publish_and_die  # type: ignore[method-assign]
        with opened.sink() as sink:
            send(sink, ITEMS[0])

    assert run_and_kill(1, work)
    (spool_name,) = spooled(archive)
    spool_name.unlink()
    recovered = archive.sweep()
    assert (recovered.completed, recovered.dropped) == (1, 0)
    assert rows(archive) == [ITEMS[0].sha256]
    assert archive.sync_index() == 1
