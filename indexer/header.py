"""The header scanner: one pass over a data set, fed in pieces of any size, that keeps the values which the index wants.

It knows explicit and implicit VR in both byte orders, sequences of defined and undefined length, UN of undefined length and
deflated data sets, uses no recursion, and stops at Pixel Data. It never raises on bad data: whatever is wrong becomes a
:class:`~indexer.problems.Problem`, and what was read until then stays. Memory is bounded by :class:`~indexer.record.Limits`;
values that nobody wants are skipped without being held.
"""

from __future__ import annotations

from indexer.elements import ElementWalker
from indexer.encodings import DEFLATED, Encoding, declared_encoding, sniff
from indexer.inflate import Inflater
from indexer.layout import LastLayout
from indexer.problems import tag_text
from indexer.record import (
    DEFAULT_LIMITS,
    PIXEL_TAGS,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Header,
    Limits,
    PixelData,
)
from indexer.schema import WANTED_TAGS

__all__ = ["DEFAULT_LIMITS", "Header", "HeaderScanner", "Limits", "PixelData"]

_IDENTITY = frozenset(
    {SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID}
    | {0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00080050}  # patient's name, ID, its issuer, birth date; accession
)
_WINDOW = 1 << 16
_FIRST_WINDOW = 1 << 13  # most headers end within it, and what is copied for nothing costs as much as what is read
_NOTHING: frozenset[int] = frozenset()


class HeaderScanner(ElementWalker):
    """Scan one data set, fed in pieces. ``feed`` until it returns True or the data end, then ``close``; any chunking is alike.

    With ``through=True`` it does not stop at Pixel Data but goes on to the end of the data set; ``wanted`` replaces the tags
    kept. ``after`` goes on with a header scanned before, from offset ``at``, which is where its pixel data end. ``last`` is what
    the caller remembers of objects of this kind: the answer is the same with it and without, only sooner. It is asked once, by
    the first ``feed``, and with the default limits and tags only.
    """

    def __init__(
        self,
        transfer_syntax_uid: str,
        limits: Limits = DEFAULT_LIMITS,
        *,
        wanted: frozenset[int] = WANTED_TAGS,
        through: bool = False,
        after: Header | None = None,
        at: int = 0,
        last: LastLayout | None = None,
    ) -> None:
        super().__init__(after or Header(transfer_syntax_uid), limits, wanted, _NOTHING if through or after else PIXEL_TAGS)
        self._inflater: Inflater | None = None
        self._may_be_deflated = transfer_syntax_uid in DEFLATED and after is None
        is_usual = limits is DEFAULT_LIMITS and wanted is WANTED_TAGS and not (through or after or self._may_be_deflated)
        self._last = last if is_usual else None
        if after is not None:
            self._begin_behind(at)
        elif transfer_syntax_uid and declared_encoding(transfer_syntax_uid) is None:
            self.header.note("TS_UNKNOWN", "(0002,0010)")

    @property
    def skippable(self) -> int:
        """How many of the next bytes will be passed over unread: a caller with random access can jump, with :meth:`skip`."""
        return 0 if self._may_be_deflated else self._skip

    def skip(self, count: int) -> None:
        """Count ``count`` bytes (at most :attr:`skippable`) as fed."""
        self._skip -= count
        self._offset += count

    def feed(self, chunk: bytes | bytearray | memoryview) -> bool:
        """Take the next bytes of the data set; True when no more are needed. Keeps no reference to ``chunk``; never raises."""
        if self._done:
            return True
        if type(chunk) is bytes and not self._may_be_deflated:
            return self._take(chunk) if self._last is None else self._take_first(chunk, self._last)
        view = memoryview(chunk)
        at, size = 0, _FIRST_WINDOW
        while at < len(view):
            if self._feed_window(bytes(view[at : at + size])):
                return True
            at, size = at + size, _WINDOW
        return False

    def _feed_window(self, data: bytes) -> bool:
        if not self._may_be_deflated:
            return self._take(data) if self._last is None else self._take_first(data, self._last)
        if self._inflater is None:
            data = bytes(self._carry) + data
            self._carry.clear()
            if len(data) < 8:
                self._carry += data
                return False
            if sniff(data[:8]) is Encoding.EXPLICIT_LITTLE:
                self.header.note("TS_MISMATCH", "(0002,0010)", "labelled deflated, but is not")
                self._may_be_deflated = False
                return self._take(data)
            self._start_inflating()
        return self._inflate(data)

    def _take_first(self, data: bytes, last: LastLayout) -> bool:
        """Take the beginning of the data set: by its layout, if that is known, else step by step."""
        self._last = None
        count = last.read(data, self.header)
        if count and self.header.pixel is not None:
            self._count, self._offset, self._done = count, self.header.pixel.value_offset, True
        elif self._take(data) and not self._repeated:
            last.learn(data, self.header, self._count)
        return self._done

    def _start_inflating(self) -> None:
        self._inflater, self._stops = Inflater(self._limits), _NOTHING

    def _inflate(self, data: bytes) -> bool:
        assert self._inflater is not None
        return any(self._take(piece) for piece in self._inflater.inflate(data)) or self._inflater.is_over

    def close(self) -> Header:
        """End the data set and give what was read. Problems that only the end shows are added here."""
        header = self.header
        if self._may_be_deflated and self._inflater is None and self._carry:
            data = bytes(self._carry)
            self._carry.clear()
            self._start_inflating()
            self._inflate(data)
        is_whole = True
        if self._inflater:
            if not self._done:
                self._inflater.finish()
            is_whole = self._inflater.is_whole
            header.problems.extend(self._inflater.problems)
            header.inflated_length, header.deflated_length = self._inflater.produced, self._inflater.consumed
        if not self._done and not self._begun and self._carry:
            self._stop("TRAILING_FRAGMENT" if any(self._carry) else "TRAILING_PADDING", 0)
        if not self._done and is_whole:
            self._end()
        for tag, earlier in self._repeated:
            if earlier.rstrip(b" \0") != header.elements.get(tag, b"").rstrip(b" \0") and tag in _IDENTITY:
                header.note("DUP_IDENTITY_TAG", tag_text(tag))
            else:
                header.note("TAG_ORDER", tag_text(tag), "the element is there twice")
        self._repeated.clear()
        self._done = True
        header.end_offset = self._offset
        header.element_count += self._count
        return header
