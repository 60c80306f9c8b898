"""A site whose archive is on a real S3 server and whose ledger is on PostgreSQL, by the command line alone, on real images."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.support.instances import real_images
from tests.support.s3 import S3Service
from tests.support.sending import send_files
from tests.support.sites import ELSEWHERE, Place
from vna.cli import run
from vna.demo.pacs import EmbeddedPacs

pytestmark = [pytest.mark.interop, pytest.mark.parametrize("place", [ELSEWHERE], indirect=True)]

IMAGES = [path for path in real_images(unique=True) if path.stat().st_size < 200_000][:14]
LOGICAL = "SELECT * FROM instances ORDER BY path"
PATIENCE_S = 120


@dataclass
class Site:
    folder: Path
    place: Place
    capsys: pytest.CaptureFixture[str]

    def vna(self, *words: str, codes: tuple[int, ...] = (0,)) -> Any:
        """Run a command in this process and give the JSON that it prints."""
        self.capsys.readouterr()
        code = run(["--config", str(self.folder / "vna.toml"), *words, "--json"])
        out, err = self.capsys.readouterr()
        assert code in codes, err
        return json.loads(out)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        command = [sys.executable, "-m", "vna", "--config", str(self.folder / "vna.toml"), *words, "--json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def spooled(self) -> list[Path]:
        """What this machine keeps of the archive, but locks and announcements."""
        return [
            path for path in (self.folder / "vna-spool").rglob("*") if path.is_file() and path.suffix not in (".lock", ".json")
        ]


@pytest.fixture
def site(
    tmp_path: Path, place: Place, seaweedfs: S3Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    options = place.storage_options
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secret"])
    monkeypatch.chdir(tmp_path)
    here = Site(tmp_path, place, capsys)
    made = here.vna("init", place.url, "--endpoint-url", seaweedfs.endpoint)
    assert made["config_written"]
    with EmbeddedPacs("TARGET") as target:
        text = (tmp_path / "vna.toml").read_text().replace('"sqlite:///ledger.sqlite"', json.dumps(place.ledger_url))
        (tmp_path / "vna.toml").write_text(f'{text}\n[nodes.target]\nkind = "dimse"\nae_title = "TARGET"\nport = {target.port}\n')
        assert here.vna("init", place.url)["archive_id"] == made["archive_id"]
        yield here


def sources(folder: Path) -> Path:
    """Lay the images out as a folder to ingest."""
    folder.mkdir()
    for number, path in enumerate(IMAGES):
        (folder / f"{number}.dcm").write_bytes(path.read_bytes())
    return folder


def test_every_stage_does_there_what_it_does_on_a_local_disk(site: Site) -> None:
    folder = sources(site.folder / "images")
    assert site.vna("ingest", str(folder), "--dry-run", codes=(0, 3))["found"] == len(IMAGES)
    taken = site.vna("ingest", str(folder), codes=(0, 3))
    assert taken["failed"] == 0
    kept = taken["stored"] + taken["variants"] + taken["quarantined"]
    assert site.vna("ingest", str(folder), codes=(0, 3))["duplicates"] == kept + taken["duplicates"]
    assert site.spooled() == []
    before = site.vna("index", "sql", LOGICAL)
    assert len(before) == kept == site.vna("index", "info")["instances"]

    validated = site.vna("validate", "--workers", "2", codes=(0, 3))
    assert validated["instances"] == validated["validated"] == kept
    assert site.vna("validate", codes=(0, 3))["validated"] == 0
    assert site.vna("forward", "target", codes=(0, 3))["sent"] > kept // 2
    assert site.vna("verify", "target", codes=(0, 3))["closed"]
    assert (site.folder / "evidence").is_dir()
    assert site.vna("status")["closed"]

    corrected = site.vna("correct", "apply", "--set", "PatientName=Corrected^Name", "--threshold", "1.0", codes=(0, 3))
    assert corrected["studies"] > 0
    names = site.vna("index", "sql", "SELECT count(*) AS n FROM instances WHERE PatientName = 'Corrected^Name'")
    assert names[0]["n"] > 0
    exported = site.vna("export", "--to", str(site.folder / "corrected"), codes=(0, 3))
    files = list((site.folder / "corrected").rglob("*.dcm"))
    assert len(files) == exported["instances"] > 0
    changed = [path for path in files if str(pydicom.dcmread(path, stop_before_pixels=True).PatientName) == "Corrected^Name"]
    assert len(changed) == names[0]["n"]
    assert not site.vna("status")["closed"]  # the corrections are due at the target
    site.vna("correct", "revert")
    site.vna("export", "--to", str(site.folder / "restored"), codes=(0, 3))
    recorded = {row["sha256"] for row in before}
    for path in (site.folder / "restored").rglob("*.dcm"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in recorded

    (site.folder / "key").write_text("a key of at least sixteen bytes\n")
    cohort = site.vna(
        "deid", "--recipe", "basic", "--key-file", str(site.folder / "key"), "--to", str(site.folder / "cohort"), codes=(0, 3)
    )
    assert cohort["written"] > 0
    scrubbed = site.vna("scrub")
    assert (scrubbed["objects"], scrubbed["corrupt"]) == (kept, [])

    rebuilt = site.vna("index", "rebuild")
    assert rebuilt["rows"] == kept
    after = site.vna("index", "sql", LOGICAL)
    for row in (*before, *after):
        row.pop("revision")  # what was corrected and taken back has one
    assert after == before
    assert site.spooled() == []


def test_an_ingest_that_is_killed_again_and_again_takes_every_file_once(site: Site) -> None:
    folder = sources(site.folder / "images")
    for kill in range(4):
        process = site.start("ingest", str(folder), "--workers", "2")
        archive = site.place.create()
        enough, deadline = 1 + 3 * kill, time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            if sum(1 for _ in archive.store.list("instances")) >= enough:
                process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    site.vna("ingest", str(folder), codes=(0, 3))
    paths = [row["path"] for row in site.vna("index", "sql", "SELECT path FROM instances")]
    archive = site.place.create()
    standing = [name for prefix in ("instances", "quarantine") for name in archive.store.list(prefix) if name.endswith(".dcm")]
    assert sorted(paths) == sorted(standing)
    assert site.spooled() == []
    assert site.vna("scrub")["corrupt"] == []


def test_a_receiver_files_what_it_is_sent_and_leaves_nothing_on_the_disk(site: Site) -> None:
    process = site.start("receive", "--port", "0", "--workers", "2")
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        sent = send_files("127.0.0.1", told["port"], "VNA", IMAGES[:12])
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    acknowledged = {one.sop_instance_uid for one in sent if one.is_stored}
    assert len(acknowledged) > 6
    rows = site.vna("index", "sql", "SELECT SOPInstanceUID FROM instances")
    assert acknowledged <= {row["SOPInstanceUID"] for row in rows}
    assert site.spooled() == []
