"""Every command line that a page shows can be typed: the command exists, and so do its options."""

from __future__ import annotations

import click
import pytest

from indexer.cli import cli as indexer
from tests.docs.pages import ROOT, Command, commands
from vna.cli import COMMANDS, vna

GROUPS: dict[str, click.Group] = {"vna": vna, "indexer": indexer}


def problem(command: Command) -> str:
    """Say what is wrong with a command line, or nothing."""
    program, *words = command.words
    current: click.Command = GROUPS[program]
    context = click.Context(current, info_name=program)
    arguments = 0
    while words:
        word = words.pop(0)
        if word in {"...", "…"} or word.startswith(("[", "<")):
            return ""
        if word.startswith("-") and len(word) > 1:
            flag, _, value = word.partition("=")
            option = next((p for p in _options(current, context) if flag in (*p.opts, *p.secondary_opts)), None)
            if option is None and flag not in ("-h", "--help", "--version"):
                return f"{current.name} has no option {flag}"
            if option is not None and not option.is_flag and not option.count and not value:
                words = words[option.nargs :]
        elif isinstance(current, click.Group):
            found = current.get_command(context, word)
            if found is None:
                return f"{current.name} has no command {word}"
            current, context = found, click.Context(found, info_name=word, parent=context)
        else:
            arguments += 1
    limits = [parameter.nargs for parameter in current.params if isinstance(parameter, click.Argument)]
    if -1 not in limits and arguments > sum(limits):
        return f"{current.name} takes {sum(limits)} arguments"
    return ""


def _options(command: click.Command, context: click.Context) -> list[click.Option]:
    return [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]


def test_every_command_in_the_pages_exists_with_its_options() -> None:
    shown = list(commands())
    assert len(shown) > 20
    assert [f"{command}: {text}" for command in shown if (text := problem(command))] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("vna", "nonsense"), "vna has no command nonsense"),
        (("vna", "status", "--nonsense"), "status has no option --nonsense"),
        (("vna", "init", "a", "b"), "init takes 1 arguments"),
        (("vna", "--config", "x.toml", "status", "--json"), ""),
        (("indexer", "scan", "folder", "--to", "table"), ""),
    ],
)
def test_a_wrong_command_is_told_from_a_right_one(words: tuple[str, ...], expected: str) -> None:
    assert problem(Command("page", 1, words)) == expected


def test_every_command_has_help_and_a_page() -> None:
    for name in COMMANDS:
        command = vna.get_command(click.Context(vna), name)
        assert command is not None
        assert command.help, f"vna {name} has no help"
        assert (ROOT / "docs" / f"{name}.md").exists(), f"docs/{name}.md is missing"
