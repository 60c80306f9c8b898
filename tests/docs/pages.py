"""The repository's own pages and files, as the tests of this folder read them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("vna", "indexer")


@dataclass(frozen=True)
class Command:
    """One command line that a page shows."""

    page: str
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {' '.join(self.words)}"


@cache
def files() -> tuple[Path, ...]:
    """List the files of the repository that git tracks, or everything but hidden and made folders where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        made = {"build", "dist", "__pycache__"}
        paths = [
            path
            for path in ROOT.rglob("*")
            if not any(part.startswith(".v") or part in made for part in path.relative_to(ROOT).parts)
        ]
    return tuple(sorted(path for path in paths if path.is_file()))


def pages() -> list[Path]:
    """List every Markdown page."""
    return [path for path in files() if path.suffix == ".md"]


def name(path: Path) -> str:
    """Name a file by its path from the root."""
    return path.relative_to(ROOT).as_posix()


def commands() -> Iterator[Command]:
    """Yield every command line of ours in fenced blocks and inline code; prompts, comments and remarks aside are cut off."""
    for page in pages():
        for number, text in _code(page.read_text("utf-8")):
            for part in re.split(r"\s(?:\|{1,2}|&&|;)\s", text):
                words = _words(part)
                if len(words) > 1 and words[0] in PROGRAMS:
                    yield Command(name(page), number, words)


def _words(text: str) -> tuple[str, ...]:
    text = re.split(r"\s{3,}", re.sub(r"^(\$|#)\s+", "", text.strip()))[0]
    if not text.startswith(tuple(f"{program} " for program in PROGRAMS)):
        return ()
    try:
        return tuple(shlex.split(text, comments=True))
    except ValueError:
        return tuple(text.split())


def _code(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of fenced code blocks, continued ones joined, and the inline code elsewhere."""
    fenced, joined = False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced, joined = not fenced, ""
        elif not fenced:
            yield from ((number, code) for code in re.findall(r"`([^`]+)`", line))
        elif line.endswith("\\"):
            joined += line[:-1] + " "
        else:
            yield number, joined + line
            joined = ""
