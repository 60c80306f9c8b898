"""The target as verify sees it: what it lists of a study, and what it gives back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from enum import StrEnum
from types import TracebackType
from typing import Self

from vna.dimse.find import Finder
from vna.dimse.retrieve import get, move
from vna.dimse.retry import Patience
from vna.dimse.storage_scp import storage_scp
from vna.dimse.transfer_syntaxes import COMMON
from vna.errors import AssociationAbortedError, ConfigError, DimseStatusError, PeerError, QueryTruncatedError, RefusedError
from vna.ledger import StoredObject
from vna.model import Local, Node, Provenance
from vna.verify.comparing import Batch, Comparer

UIDS_A_REQUEST = 50
SETTLE_S = 3.0
_NOT_OFFERED = (0x0122, 0x0124, 0x0211, 0xA801)
"""Statuses after which a way of retrieval is not tried again: not supported, not authorised, we are no known destination."""


class Way(StrEnum):
    """How data sets are retrieved to be compared; ``AUTO`` takes C-GET, else C-MOVE, else goes by UIDs alone."""

    AUTO = "auto"
    GET = "get"
    MOVE = "move"
    NONE = "none"


class Target:
    """A target that is asked and retrieved from. Thread-safe; a context manager that closes what it opened."""

    def __init__(
        self, node: Node, local: Local, comparer: Comparer, patience: Patience, way: Way = Way.AUTO, settle_s: float = SETTLE_S
    ) -> None:
        self._node = node
        self._local = local
        self._comparer = comparer
        self._patience = patience
        self._settle_s = settle_s
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._is_listening = False
        self.closed: dict[Way, str] = {}
        """The ways that do not lead anywhere, with the reason."""
        for other in (Way.GET, Way.MOVE):
            if way not in (Way.AUTO, other):
                self.closed[other] = "not wanted"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.close()

    @property
    def can_retrieve(self) -> bool:
        """Whether some way of retrieval is not known to be closed."""
        return len(self.closed) < 2

    # -- listing

    def listed(self, study_instance_uid: str) -> set[tuple[str, str]]:
        """Ask for a study's instances at IMAGE level: (Series, SOP Instance UID). Raises PeerError."""
        return self._patience.call(lambda: set(self._list(study_instance_uid)))

    def holds(self, stored: StoredObject) -> bool:
        """Ask for one instance by all of its UIDs: the last word on what a listing leaves out. Raises PeerError."""
        keys = {
            "StudyInstanceUID": stored.study_instance_uid,
            "SeriesInstanceUID": stored.series_instance_uid,
            "SOPInstanceUID": stored.sop_instance_uid,
        }
        found = self._patience.call(lambda: list(self._finder()("IMAGE", keys)))
        return any(record.get("SOPInstanceUID") == stored.sop_instance_uid for record in found)

    def _list(self, study_instance_uid: str) -> Iterator[tuple[str, str]]:
        find = self._finder()
        above = {"StudyInstanceUID": study_instance_uid}
        for series in self._answers(find, "SERIES", {**above, "SeriesInstanceUID": ""}):
            uid = series.get("SeriesInstanceUID", "")
            for image in self._answers(find, "IMAGE", {**above, "SeriesInstanceUID": uid, "SOPInstanceUID": ""}) if uid else ():
                yield uid, image.get("SOPInstanceUID", "")

    def _answers(self, find: Finder, level: str, keys: dict[str, str]) -> list[dict[str, str]]:
        """Take what a query gives; one that was cut off is taken as far as it goes, since each absence is asked for by itself."""
        answers: list[dict[str, str]] = []
        try:
            for answer in find(level, keys):
                answers.append(answer)  # noqa: PERF402 (what came before an error is kept)
        except QueryTruncatedError:
            pass
        return answers

    def _finder(self) -> Finder:
        finder: Finder | None = getattr(self._threads, "finder", None)
        if finder is None:
            finder = self._threads.finder = Finder(self._node, self._local)
            with self._lock:
                self._stack.callback(finder.close)
        return finder

    # -- retrieval

    def retrieve(self, batch: Batch, *, is_whole_study: bool) -> set[str]:
        """Have the objects of a batch sent back to the comparer; return the digests of those that no context was accepted for.

        Raises UnreachableError and AssociationRejectedError; anything else that goes wrong leaves objects without a verdict.
        """
        rejected: set[str] = set()
        if Way.GET not in self.closed:
            requests = _study(batch.pending()) if is_whole_study else _lists(batch.pending())
            rejected = self._get(batch, requests, _native(batch.pending()))
            if batch.pending() and Way.GET not in self.closed:
                rejected |= self._get(batch, _lists(batch.pending()), _any(batch.pending()))
        if batch.pending() and Way.GET in self.closed and Way.MOVE not in self.closed and self._listen():
            self._move(batch, _study(batch.pending()) if is_whole_study else _lists(batch.pending()))
            if batch.pending() and Way.MOVE not in self.closed:
                self._move(batch, _lists(batch.pending()))
        return {one.sha256 for one in batch.pending()} & rejected

    def _get(self, batch: Batch, requests: Iterable[dict[str, str]], contexts: dict[str, tuple[str, ...]]) -> set[str]:
        """C-GET; return the digests of the objects whose own context the target rejected."""
        provenance = Provenance(source=self._node.name)
        missing: set[tuple[str, str]] = set()
        for keys in list(requests):
            try:
                result = self._patience.call(
                    lambda keys=keys: get(self._node, self._local, keys, contexts, self._comparer, provenance)  # type: ignore[misc]
                )
                missing |= set(result.missing_contexts)
            except DimseStatusError as exc:
                self._close(Way.GET, exc)
            except AssociationAbortedError:
                continue
            if Way.GET in self.closed:
                break
        return {one.sha256 for one in batch.pending() if (one.sop_class_uid, one.transfer_syntax_uid) in missing}

    def _move(self, batch: Batch, requests: Iterable[dict[str, str]]) -> None:
        for keys in list(requests):
            try:
                self._patience.call(lambda keys=keys: move(self._node, self._local, keys))  # type: ignore[misc]
            except DimseStatusError as exc:
                self._close(Way.MOVE, exc)
            except AssociationAbortedError:
                continue
            if Way.MOVE in self.closed:
                return
        batch.last = time.monotonic()
        while batch.pending() and (left_s := batch.last + self._settle_s - time.monotonic()) > 0:
            self._comparer.wait(left_s)

    def _listen(self) -> bool:
        """Start our own receiver once; where the port cannot be had, C-MOVE is closed."""
        with self._lock:
            if not self._is_listening and Way.MOVE not in self.closed:
                try:
                    self._stack.enter_context(storage_scp(self._local, self._comparer))
                    self._is_listening = True
                except (ConfigError, RefusedError) as exc:
                    self.closed[Way.MOVE] = str(exc)
            return self._is_listening

    def _close(self, way: Way, error: PeerError) -> None:
        if isinstance(error, DimseStatusError) and error.status in _NOT_OFFERED:
            with self._lock:
                self.closed.setdefault(way, f"0x{error.status:04X}")


def _study(objects: Sequence[StoredObject]) -> Iterator[dict[str, str]]:
    yield {"StudyInstanceUID": objects[0].study_instance_uid}


def _lists(objects: Sequence[StoredObject]) -> Iterator[dict[str, str]]:
    series: dict[str, list[StoredObject]] = {}
    for one in objects:
        series.setdefault(one.series_instance_uid, []).append(one)
    for uid, group in series.items():
        sops = sorted({one.sop_instance_uid for one in group})
        for start in range(0, len(sops), UIDS_A_REQUEST):
            yield {
                "StudyInstanceUID": group[0].study_instance_uid,
                "SeriesInstanceUID": uid,
                "SOPInstanceUID": "\\".join(sops[start : start + UIDS_A_REQUEST]),
            }


def _native(objects: Iterable[StoredObject]) -> dict[str, tuple[str, ...]]:
    """Propose what the objects were sent in, so that they come back as they are."""
    pairs: dict[str, dict[str, None]] = {}
    for one in objects:
        pairs.setdefault(one.sop_class_uid, {})[one.transfer_syntax_uid] = None
    return {sop_class: tuple(syntaxes) for sop_class, syntaxes in pairs.items()}


def _any(objects: Iterable[StoredObject]) -> dict[str, tuple[str, ...]]:
    """Propose whatever there is besides: the target may keep them in another transfer syntax now."""
    return {sop_class: tuple(dict.fromkeys((*syntaxes, *COMMON))) for sop_class, syntaxes in _native(objects).items()}
