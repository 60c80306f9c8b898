"""What every command promises: help, --json, an exit code that its error decides."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from vna.cli import COMMANDS, run, vna


def invoke(*args: str) -> Result:
    return CliRunner().invoke(vna, list(args))


def leaves() -> list[tuple[str, click.Command]]:
    """Give every command that does something, with its full name."""
    found = []
    for name in COMMANDS:
        command = vna.get_command(click.Context(vna), name)
        assert command is not None
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", command.commands[sub]) for sub in sorted(command.commands)]
        else:
            found.append((name, command))
    return found


@pytest.mark.parametrize(("name", "command"), leaves(), ids=[name for name, _ in leaves()])
def test_a_command_explains_itself_and_speaks_json(name: str, command: click.Command) -> None:
    result = invoke(*name.split(), "--help")
    assert result.exit_code == 0
    assert command.help
    assert "--json" in result.output
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name} has no help"


def test_the_help_lists_commands_and_exit_codes() -> None:
    output = invoke("--help").output
    assert all(name in output for name in COMMANDS)
    assert all(f" {code} " in output for code in (0, 1, 2, 3, 10, 11, 20, 21, 130))


def test_the_help_needs_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys\nfrom vna.cli import run\nrun(['--help'])\n"
        "sys.exit(any(name in sys.modules for name in ('pydicom', 'pynetdicom', 'pyarrow', 'duckdb', 'deltalake', 'sqlalchemy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("vna.cli.receive, vna.receive, vna.receive.worker", ("sqlalchemy",)),
        ("vna.cli.forward, vna.forward, vna.cli.pull, vna.pull", ("sqlalchemy.dialects.postgresql", "vna.executors")),
    ],
)
def test_what_moves_objects_imports_no_library_before_it_is_used(tmp_path: Path, modules: str, unwanted: tuple[str, ...]) -> None:
    heavy = ("pyarrow", "deltalake", "duckdb", "fsspec", "pydicom", "pynetdicom", "numpy", "pandas", *unwanted)
    opening = (
        f"from vna.archive import Archive\narchive = Archive.create({str(tmp_path / 'archive')!r})\narchive.sink().close()\n"
        "if 'vna.ledger' in sys.modules:\n    from vna.ledger import Ledger\n"
        f"    Ledger.open('sqlite:///{tmp_path}/ledger.sqlite').close()\n"
    )
    code = f"import sys, {modules}\n{opening}print(*{set(heavy)} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inventry"]) == 2
    assert "Did you mean 'inventory'?" in capsys.readouterr().err


def test_without_a_configuration_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VNA_CONFIG", raising=False)
    assert run(["status"]) == 2
    assert "vna init" in capsys.readouterr().err


def test_init_makes_an_archive_and_is_safe_to_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "archive", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    text = (tmp_path / "vna.toml").read_text()
    assert run(["init", "archive", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert (first["archive_id"], first["config_written"], second["config_written"]) == (second["archive_id"], True, False)
    assert (tmp_path / "vna.toml").read_text() == text
    assert run(["init", "elsewhere"]) == 2
    assert not (tmp_path / "elsewhere").exists()


def test_init_can_be_shown_without_being_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "archive", "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_index_of_a_new_archive_is_empty_and_can_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 0
    capsys.readouterr()
    assert run(["index", "info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["instances"] == 0
    assert run(["index", "sql", "--json", "SELECT count(*) AS n FROM instances"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 0}]
    assert run(["index", "sql", "SELEC"]) == 2


def test_an_unforeseen_error_shows_no_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object) -> None:
        raise ValueError("Doe^Jane")

    monkeypatch.setattr("vna.cli.index.configuration", fail)
    assert run(["index", "info"]) == 1
    err = capsys.readouterr().err
    assert "Doe" not in err
    assert "ValueError" in err
