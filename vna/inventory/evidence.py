"""Evidence: the file that lets a stranger check how an inventory covered its source. It holds UIDs, dates and counts only."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vna.errors import StoreError

FORMAT = 1


def write_evidence(folder: Path, name: str, content: Mapping[str, Any]) -> Path:
    """Write a new JSON file durably and return its path; a number is added where the name is taken. Raises StoreError."""
    text = json.dumps({"format": FORMAT, **content}, indent=1, ensure_ascii=False) + "\n"
    for number in range(1000):
        path = folder / f"{name}{f'-{number}' if number else ''}.json"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            continue
        except OSError as exc:
            raise StoreError(f"the evidence cannot be written to {folder}: {exc.strerror}") from exc
        return path
    raise StoreError(f"too many files of one name in {folder}")
