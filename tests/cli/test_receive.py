"""``vna receive`` at the command line: it listens to the network only behind a guard, and drains when told to stop."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vna.archive import Archive
from vna.config import config_text
from vna.dimse.echo import echo
from vna.model import Local, Node

TLS = 'tls_certificate = "missing.pem"\ntls_key = "missing.key"'


def receive(folder: Path, local: str) -> subprocess.CompletedProcess[str]:
    """Run the command with ``[local]`` as given; what is refused ends at once."""
    Archive.create(str(folder / "archive"))
    text = config_text("archive", "sqlite:///archive/ledger.sqlite")
    head, _, _ = text.partition("[local]")
    (folder / "vna.toml").write_text(f'{head}[local]\nae_title = "VNA"\nport = 0\n{local}\n')
    command = [sys.executable, "-m", "vna", "--config", str(folder / "vna.toml"), "receive"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1.example.invalid"])
def test_another_address_than_loopback_is_refused_without_a_guard(tmp_path: Path, host: str) -> None:
    done = receive(tmp_path, f'host = "{host}"')
    assert done.returncode == 21, done.stderr
    assert "allow" in done.stderr
    assert "TLS" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_guard_that_cannot_be_read_is_a_matter_of_configuration(tmp_path: Path) -> None:
    assert receive(tmp_path, f'host = "0.0.0.0"\n{TLS}').returncode == 2
    assert receive(tmp_path, 'host = "0.0.0.0"\nallow = ["no host"]').returncode == 2


def test_it_tells_its_port_serves_and_drains_when_it_is_told_to_stop(tmp_path: Path) -> None:
    Archive.create(str(tmp_path / "archive"))
    (tmp_path / "vna.toml").write_text(config_text("archive", "sqlite:///archive/ledger.sqlite"))
    command = [sys.executable, "-m", "vna", "--config", str(tmp_path / "vna.toml"), "receive", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        node = Node("us", ae_title="VNA", port=first["port"])
        assert echo(node, Local()) > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        rest = [json.loads(line) for line in process.stdout]
    assert first["acknowledges"] == "stored"
    assert {event["event"] for event in rest} >= {"association", "closed"}


def test_it_says_in_words_what_an_acknowledgement_promises(tmp_path: Path) -> None:
    Archive.create(str(tmp_path / "archive"))
    (tmp_path / "vna.toml").write_text(config_text("archive", "sqlite:///archive/ledger.sqlite"))
    command = [sys.executable, "-m", "vna", "--config", str(tmp_path / "vna.toml"), "receive", "--port", "0", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening as VNA on 127.0.0.1:")
        assert process.stdout.readline() == "an object is acknowledged when it is stored in the archive\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0


def test_a_local_archive_that_is_to_be_owed_uploads_is_a_matter_of_configuration(tmp_path: Path) -> None:
    Archive.create(str(tmp_path / "archive"))
    text = config_text("archive", "sqlite:///archive/ledger.sqlite")
    (tmp_path / "vna.toml").write_text(text.replace('acknowledge = "stored"', 'acknowledge = "spooled"'))
    command = [sys.executable, "-m", "vna", "--config", str(tmp_path / "vna.toml"), "receive"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "is for archives on S3" in done.stderr
