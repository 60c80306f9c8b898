"""The layout of headers that were read before: most objects of a series have the same elements in the same places.

A walk over a header is led by the heads of its elements (tag, value representation, length) alone, never by their values. Where
all heads stand as in a header that was walked and found sound, the walk would come to the same end, and a few comparisons in C
take its place. The length of a short element of the data set's own level may differ: what follows is looked for further on.

Nouns: head (of one element, item or delimiter), layout (the heads of one header, no values), segment (a run of heads, up to one
whose length differs from object to object).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from indexer.encodings import LITTLE, Encoding
from indexer.record import DEFAULT_LIMITS, PIXEL_TAGS, Header, PixelData
from indexer.schema import WANTED_TAGS

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONGEST_HEAD = 12
_HEADS = 400  # in one layout
_KINDS = 4  # of objects that one :class:`Layouts` remembers
_PATIENCE = 4  # headers in a row that are unlike the one before; then the next ones are not compared for a while
_LONGEST_PAUSE = 10  # as a power of two


@dataclass(frozen=True, slots=True)
class _Head:
    """One head: its bytes, its tag, how many bytes of value follow, whether it is one of the data set's own level."""

    raw: bytes
    tag: int
    value_bytes: int
    is_own: bool

    @property
    def is_wanted(self) -> bool:
        return self.is_own and self.tag in WANTED_TAGS

    @property
    def may_vary(self) -> bool:
        return self.is_own and len(self.raw) == 8


@dataclass(frozen=True, slots=True)
class _Segment:
    """Consecutive heads and what they must be; ``varies`` is the tag of the last one where its length is open, else 0."""

    heads: Struct
    expected: tuple[bytes, ...]
    values: Struct
    tags: tuple[int, ...]
    varies: int


class Layout:
    """What one header looked like. Immutable."""

    __slots__ = ("_count", "_heads", "_pixel", "_segments", "_transfer_syntax_uid", "_varying")

    def __init__(self, heads: tuple[_Head, ...], varying: frozenset[int], like: Header, pixel: PixelData, count: int) -> None:
        self._heads = heads
        self._varying = varying
        self._transfer_syntax_uid = like.transfer_syntax_uid
        self._pixel = pixel
        self._count = count
        self._segments = tuple(_segments(heads, varying))

    def read(self, data: bytes, header: Header) -> int:
        """Fill ``header`` as the walk over ``data`` would, and give the walk's count of elements; 0 if this is not its layout.

        ``data`` is the beginning of the data set. An empty header stays empty when the answer is 0.
        """
        if header.transfer_syntax_uid != self._transfer_syntax_uid:
            return 0
        pos, end = 0, len(data)
        elements: dict[int, bytes] = {}
        for segment in self._segments:
            heads = segment.heads
            after = pos + heads.size
            if after > end or heads.unpack_from(data, pos) != segment.expected:
                return 0
            elements.update(zip(segment.tags, segment.values.unpack_from(data, pos), strict=False))  # checking costs more
            pos = after
            if segment.varies:
                length = data[after - 2] | data[after - 1] << 8
                pos += length
                if length & 1 or length > DEFAULT_LIMITS.value_bytes or pos > end:
                    return 0
                if segment.varies in WANTED_TAGS:
                    elements[segment.varies] = data[after:pos]
        pixel = self._pixel
        header.elements = elements
        header.pixel = pixel if pos == pixel.value_offset else PixelData(pixel.tag, pixel.vr, pos, pixel.length)
        header.has_header_end = True
        return self._count

    def opened(self, other: Layout, like: Header) -> Layout:
        """Leave those lengths open in which this layout differs from another one; itself if that is not all there is."""
        if len(other._heads) != len(self._heads):
            return self
        varying = set(other._varying)
        for position, (mine, theirs) in enumerate(zip(self._heads, other._heads, strict=True)):
            if mine.raw != theirs.raw:
                if not (mine.may_vary and theirs.may_vary and mine.raw[:6] == theirs.raw[:6]):
                    return self
                varying.add(position)
        return Layout(self._heads, frozenset(varying), like, self._pixel, self._count)


class Layouts:
    """The layouts that one reader met last, one for each kind of object. Not thread-safe."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[object, LastLayout] = {}

    def of(self, kind: object) -> LastLayout:
        """Give what is remembered of one kind of object, whatever the caller calls a kind."""
        found = self._kinds.get(kind)
        if found is None:
            if len(self._kinds) >= _KINDS:
                self._kinds.clear()
            found = self._kinds[kind] = LastLayout()
        return found


class LastLayout:
    """The layout of the last object of one kind; where no two objects are alike, it is asked ever more rarely."""

    __slots__ = ("_layout", "_misses", "_pause")

    def __init__(self) -> None:
        self._layout: Layout | None = None
        self._misses = 0
        self._pause = 0

    def read(self, data: bytes, header: Header) -> int:
        """See :meth:`Layout.read`."""
        if self._layout is None or self._pause:
            return 0
        count = self._layout.read(data, header)
        if count:
            self._misses = 0
        return count

    def learn(self, data: bytes, header: Header, count: int) -> None:
        """Remember the layout of a header that was walked from the start of ``data`` to its pixel data without a problem."""
        if self._pause:
            self._pause -= 1
            return
        self._misses += 1
        if self._misses > _PATIENCE and self._misses % 2:  # what was learned last, perhaps after a pause, was of no use again
            self._pause = 1 << min(self._misses, _LONGEST_PAUSE)
            return
        layout = layout_of(data, header, count)
        self._layout = layout.opened(self._layout, header) if layout and self._layout else layout


def layout_of(data: bytes, header: Header, count: int) -> Layout | None:
    """Find the layout of a header that a walk has read, in ``count`` steps, from ``data``.

    None where the header has problems, or anything in it is not plain explicit VR little endian.
    """
    is_plain = header.encoding is Encoding.EXPLICIT_LITTLE and not (header.problems or header.offset_table or header.length_table)
    if header.pixel is None or not is_plain:
        return None
    heads = _heads(data, header.pixel.value_offset)
    if heads is None:
        return None
    layout = Layout(heads, frozenset(), header, header.pixel, count)
    again = Header(header.transfer_syntax_uid)
    return layout if layout.read(data, again) and again.elements == header.elements else None


def _heads(data: bytes, end: int) -> tuple[_Head, ...] | None:
    """List the heads up to that of the pixel data, whose value begins at ``end``; None where one is out of the ordinary."""
    heads: list[_Head] = []
    scopes: list[tuple[int, bool]] = []  # where each ends (-1: at its delimiter), and whether it is a sequence
    pos = 0
    while pos < end:
        if scopes and pos == scopes[-1][0]:
            scopes.pop()
            continue
        head = _head(data, pos, is_nested=bool(scopes)) if pos + _LONGEST_HEAD <= end and len(heads) < _HEADS else None
        if head is None:
            return None
        heads.append(head)
        pos += len(head.raw) + head.value_bytes
        if head.tag in (_ITEM_END, _SEQUENCE_END):
            if scopes.pop() != (-1, head.tag == _SEQUENCE_END):
                return None
        elif head.tag == _ITEM or head.raw[4:6] == b"SQ":
            length = int.from_bytes(head.raw[-4:], "little")
            scopes.append((-1 if length == _UNDEFINED else pos + length, head.tag != _ITEM))
    is_whole = pos == end and not scopes and bool(heads) and heads[-1].tag in PIXEL_TAGS and not heads[-1].is_own
    return tuple(heads) if is_whole else None


def _head(data: bytes, pos: int, *, is_nested: bool) -> _Head | None:
    group, element, vr, length = LITTLE.element.unpack_from(data, pos)
    tag = group << 16 | element
    if group == 0xFFFE:
        return _Head(data[pos : pos + 8], tag, 0, False) if is_nested else None
    if vr in LITTLE.short:
        return _Head(data[pos : pos + 8], tag, length, not is_nested)
    raw = data[pos : pos + _LONGEST_HEAD]
    if vr == LITTLE.sq or (tag in PIXEL_TAGS and not is_nested and vr in LITTLE.long):
        return _Head(raw, tag, 0, False)
    length = int.from_bytes(raw[8:], "little")
    return _Head(raw, tag, length, not is_nested) if vr in LITTLE.long and length != _UNDEFINED else None


def _segments(heads: tuple[_Head, ...], varying: frozenset[int]) -> list[_Segment]:
    segments: list[_Segment] = []
    run: list[_Head] = []
    for position, head in enumerate(heads):
        if position in varying:
            segments.append(_segment(run, head))
            run = []
        else:
            run.append(head)
    segments.append(_segment(run, None))
    return segments


def _segment(run: list[_Head], last: _Head | None) -> _Segment:
    """Make the segment of a run of heads and, behind them, one whose length is open."""
    heads = [f"{len(head.raw)}s{head.value_bytes}x" for head in run]
    values = [f"{len(head.raw)}x{head.value_bytes}{'s' if head.is_wanted else 'x'}" for head in run]
    expected = [head.raw for head in run]
    if last is not None:
        heads.append("6s2x")
        values.append("8x")
        expected.append(last.raw[:6])
    tags = tuple(head.tag for head in run if head.is_wanted)
    return _Segment(
        Struct("<" + "".join(heads)), tuple(expected), Struct("<" + "".join(values)), tags, last.tag if last is not None else 0
    )
