"""The example of the first hour works as it stands."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.docs.pages import ROOT


def test_the_example_rule_passes_the_example_test() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    test = re.findall(r"def (test_\w+)", blocks[1])
    script = "\n".join([*blocks, *(f"{name}()" for name in test)])
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
