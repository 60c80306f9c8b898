"""Creating and opening an archive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.crash import run_and_kill
from tests.support.objects import send, wire_object
from vna.archive import FORMAT, Archive
from vna.errors import ConfigError, RefusedError


def test_an_archive_that_was_created_can_be_opened_and_created_again(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "deep" / "a"))
    description = json.loads((tmp_path / "deep/a/vna-archive.json").read_bytes())
    assert (description["format"], description["archive_id"]) == (FORMAT, archive.archive_id)
    assert description["created"].endswith("Z")
    assert Archive.create(archive.url).archive_id == Archive.open(archive.url).archive_id == archive.archive_id
    assert Archive.open(f"file://{archive.url}").url == archive.url


def test_there_is_no_archive_where_none_was_created(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        Archive.open(str(tmp_path / "none"))
    assert "vna init" in raised.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_newer_format_is_refused_and_a_broken_description_named(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    description = archive.root / "vna-archive.json"
    text = description.read_text()
    description.chmod(0o640)
    description.write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(RefusedError, match="format 2"):
        Archive.open(archive.url)
    description.write_text("{")
    with pytest.raises(ConfigError, match=r"vna-archive\.json"):
        Archive.open(archive.url)


def test_a_url_where_no_archive_can_live_is_the_users_mistake() -> None:
    with pytest.raises(ConfigError, match="gcs"):
        Archive.create("gcs://bucket/prefix")


def test_killed_anywhere_while_it_is_created_it_is_created_the_next_time(tmp_path: Path) -> None:
    for k in range(1, 30):
        url = str(tmp_path / str(k) / "a")
        killed = run_and_kill(k, lambda operations, url=url: Archive.create(url, operations=operations) and None)  # type: ignore[misc]
        archive = Archive.create(url)
        with archive.sink() as sink:
            assert send(sink, wire_object()).state == "stored"
        assert (archive.root / "README.txt").stat().st_size > 1000
        if not killed:
            return
    pytest.fail("the creation never came to its end")


def test_objects_and_their_folders_are_not_open_to_everybody(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "a"))
    with archive.sink() as sink:
        path = archive.root / send(sink, wire_object()).path
    assert path.stat().st_mode & 0o337 == 0, "read-only for its owner and group, nothing for others, not executable"
    assert path.parent.stat().st_mode & 0o027 == 0
