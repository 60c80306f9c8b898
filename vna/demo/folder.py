"""The folder of a demo: made, made anew, or gone on with; never one that belongs to something else."""

from __future__ import annotations

import shutil
from pathlib import Path

from vna.errors import RefusedError
from vna.model import Local, Node

MARKER = ".vna-demo"
CONFIGURATION = "vna.toml"
REPORT = "report.html"
ARCHIVE = "archive"


def prepare(folder: Path, *, keep: bool) -> None:
    """Make the folder of a demo. An earlier demo there is removed, unless ``keep`` says to go on with it.

    Raises RefusedError for a folder that holds something else.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise RefusedError(f"{folder} is not empty, and no demo made it", hint="name another folder with `--dir`")
        if not keep:
            shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


def write_configuration(folder: Path, local: Local, nodes: tuple[Node, ...]) -> None:
    """Write the vna.toml by which every command finds this archive, and who took part."""
    lines = [
        "# Written by `vna demo`. The two nodes ran while the demo did; the archive is here to look into.",
        "[archive]",
        f'url = "{ARCHIVE}"',
        f'ledger = "sqlite:///{ARCHIVE}/ledger.sqlite"',
        "",
        "[local]",
        f'ae_title = "{local.ae_title}"',
        f'host = "{local.host}"',
        f"port = {local.port}",
    ]
    for node in nodes:
        lines += ["", f"[nodes.{node.name}]", f'ae_title = "{node.ae_title}"', f'host = "{node.host}"', f"port = {node.port}"]
    (folder / CONFIGURATION).write_text("\n".join([*lines, ""]), "utf-8")
