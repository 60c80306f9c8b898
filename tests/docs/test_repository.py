"""The repository holds nothing that belongs to one machine, one registry or one patient."""

from __future__ import annotations

import os
import re

from tests.docs.pages import ROOT, files, name

FOREIGN = re.compile(
    "|".join(
        [
            r"(?<![\w.])/(?:work|root|home|Users|opt/wheels|opt/py" + r"pi)/",
            r"/tmp/\w+",
            r"py" + r"pi\.org|pythonhosted" + r"\.org|registry\.npm" + r"js|deb\.debian" + r"\.org|proxy\.golang",
            r"--(?:extra-)?index" + r"-url",
        ]
    )
)
TEXT = {".py", ".md", ".toml", ".txt", ".csv", ".html", ".yml", ".yaml", ".cfg", ".json", ""}
LARGEST = 1_000_000


def test_no_file_names_a_path_of_one_machine_or_the_host_of_a_registry() -> None:
    found = []
    for path in files():
        if path.suffix in TEXT and path.name != "test_repository.py":
            for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
                if match := FOREIGN.search(line):
                    found.append(f"{name(path)}:{number}: {match[0]}")
    assert found == []


def test_no_image_and_nothing_large_is_committed() -> None:
    for path in files():
        content = path.read_bytes()
        assert content[128:132] != b"DICM", f"{name(path)} is a DICOM file"
        assert len(content) < LARGEST, f"{name(path)} is large"


def test_scripts_can_be_run() -> None:
    for script in ("install", "demo", "test", "check", "bench"):
        path = ROOT / "scripts" / script
        assert os.access(path, os.X_OK)
        assert path.read_text("utf-8").startswith("#!/usr/bin/env bash\n# ")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_dependency_has_a_lower_bound() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [*project["dependencies"], *(item for extra in project["optional-dependencies"].values() for item in extra)]
    assert [item for item in needed if ">=" not in item] == []
