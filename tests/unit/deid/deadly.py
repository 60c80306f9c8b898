"""What kills a worker of a de-identification: an object while it is written or when it is, and an output when it is audited."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.unit.deid.folder import FileSource
from vna.deid.source import Row

WRITING, WRITTEN = "while it is written", "when it is written"


@dataclass(frozen=True, slots=True)
class DeadlySource:
    """Objects from files, one of which kills the process that works on it; never this one."""

    paths: tuple[str, ...]
    deadly: str
    when: str
    cohort: Path
    survivor: int

    def rows(self) -> Sequence[Row]:
        return FileSource(self.paths).rows()

    def open(self, row: Row) -> BinaryIO:
        content = Path(row["path"]).read_bytes()
        return _Deadly(content, self) if row["path"] == self.deadly else io.BytesIO(content)

    def kill(self) -> None:
        assert os.getpid() != self.survivor
        os._exit(9)


class _Deadly(io.BytesIO):
    def __init__(self, content: bytes, source: DeadlySource) -> None:
        super().__init__(content)
        self._source = source

    def read(self, size: int | None = -1, /) -> bytes:
        if self._source.when == WRITING and next(self._source.cohort.rglob(".*.part"), None):
            self._source.kill()
        return super().read(size)

    def close(self) -> None:
        self._source.kill()


class DeadlyFolder(type(Path())):  # type: ignore[misc]
    """A cohort's folder in which the finished output that a file ``deadly`` beside it names kills the worker that comes to it."""

    def __truediv__(self, key: str) -> Path:
        path = super().__truediv__(key)
        beside = Path(self.parent, "deadly")
        if path.exists() and beside.exists() and beside.read_text() == f"{key} {os.getppid()}":
            os._exit(9)
        return Path(path)
