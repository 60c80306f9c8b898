"""C-FIND at a source, one association a thread: what was answered, and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from vna.dimse.echo import echo
from vna.dimse.find import Finder
from vna.dimse.retry import Patience
from vna.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    DimseStatusError,
    PeerError,
    QueryTruncatedError,
    UnreachableError,
)
from vna.inventory.survey import Answer
from vna.inventory.windows import Window
from vna.model import Local, Node

STUDY_KEYS = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "PatientID",
    "IssuerOfPatientID",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
    "InstanceAvailability",
)
SERIES_KEYS = ("SeriesInstanceUID", "Modality", "SeriesNumber", "NumberOfSeriesRelatedInstances")
IMAGE_KEYS = ("SOPInstanceUID", "SOPClassUID", "InstanceNumber")

TRUNCATED = "TRUNCATED"
BROKEN_OFF = "BROKEN_OFF"
"""Refusals without a status of their own: the source says that there is more; it aborted or fell silent in the middle."""

_HOPELESS = (0x0122, 0x0124, 0x0211)
"""SOP class not supported, not authorised, unrecognised operation: no smaller query will be answered either."""


class Queries:
    """A source that can be asked. Thread-safe; a context manager that releases every association."""

    def __init__(self, node: Node, local: Local, patience: Patience | None = None) -> None:
        self._node = node
        self._local = local
        self._patience = patience or Patience()
        self._threads = threading.local()
        self._finders: list[Finder] = []
        self._lock = threading.Lock()
        self.asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        for finder in self._finders:
            finder.close()

    def stop_waiting(self) -> None:
        """Let no query wait for a busy source any more: the run is over."""
        self._patience.stop()

    def studies(self, window: Window) -> Answer:
        """Ask for the studies of a window."""
        return self._ask("STUDY", {**dict.fromkeys(STUDY_KEYS, ""), **window.keys()})

    def series(self, study_instance_uid: str, **keys: str) -> Answer:
        """Ask for a study's series; ``keys`` restrict them (Modality, SeriesNumber)."""
        return self._ask("SERIES", {**dict.fromkeys(SERIES_KEYS, ""), "StudyInstanceUID": study_instance_uid, **keys})

    def images(self, study_instance_uid: str, series_instance_uid: str, **keys: str) -> Answer:
        """Ask for a series' instances; ``keys`` restrict them (InstanceNumber)."""
        above = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
        return self._ask("IMAGE", {**dict.fromkeys(IMAGE_KEYS, ""), **above, **keys})

    def _ask(self, level: str, keys: Mapping[str, str]) -> Answer:
        return self._patience.call(lambda: self._ask_once(level, keys))

    def _ask_once(self, level: str, keys: Mapping[str, str]) -> Answer:
        """Ask. A failure that belongs to the query becomes a refusal; raises PeerError when the source itself is not there."""
        with self._lock:
            self.asked += 1
        records: list[dict[str, str]] = []
        try:
            for record in self._finder()(level, keys):
                records.append(record)  # noqa: PERF402 (what came before an error is kept)
        except QueryTruncatedError:
            return Answer(tuple(records), TRUNCATED)
        except DimseStatusError as exc:
            if exc.status in _HOPELESS:
                raise
            return Answer(tuple(records), f"0x{exc.status:04X}")
        except (UnreachableError, AssociationAbortedError):
            self._check_alive()
            return Answer(tuple(records), BROKEN_OFF)
        return Answer(tuple(records))

    def _check_alive(self) -> None:
        """Raise the error of a source that takes no association; one that does has a quarrel with the query alone."""
        try:
            echo(self._node, self._local)
        except (UnreachableError, AssociationRejectedError):
            raise
        except PeerError:
            return

    def _finder(self) -> Finder:
        finder: Finder | None = getattr(self._threads, "finder", None)
        if finder is None:
            finder = self._threads.finder = Finder(self._node, self._local)
            with self._lock:
                self._finders.append(finder)
        return finder
