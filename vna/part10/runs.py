"""Cut a header into the elements that matter and runs of what lies between, remembering how other headers were laid out.

Objects of one study are laid out alike: the same elements, most of them of the same length. A stretch remembers a row of elements
that was walked once; where the next header shows the same tags, VRs and lengths at the same distances, it is passed over in one
step. Nothing is guessed: every element's head is compared, only not one by one.

Nouns: run (elements that nobody asked for, as one piece), stretch (a remembered row of elements inside a run).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from vna.part10.elements import EXPLICIT_LE, SHORT_VRS, UNDEFINED, StructureError, read_header, skip_value
from vna.part10.raw import RawElement

RUN = b"--"
"""In the place of a VR: not one element but a run of them, none of which matters to whoever asked; its tag is the first one's."""

_SHORT = 8
_FEWEST = 3
_MOST = 512


class _Stretch(NamedTuple):
    """A row of elements of defined length: their heads, and how many bytes they take together."""

    first: int
    last: int
    unpack: Callable[[bytes, int], tuple[Any, ...]]
    heads: tuple[bytes, ...]
    size: int

    @classmethod
    def of(cls, heads: Sequence[bytes]) -> _Stretch:
        lengths = [EXPLICIT_LE.head(head)[3] if len(head) == _SHORT else EXPLICIT_LE.long(head, _SHORT)[0] for head in heads]
        form = "".join([f"{len(head)}s{length}x" for head, length in zip(heads, lengths, strict=True)])
        made = struct.Struct(form)
        first, last = (group << 16 | number for group, number, *_ in (EXPLICIT_LE.head(heads[0]), EXPLICIT_LE.head(heads[-1])))
        return cls(first, last, made.unpack_from, tuple(heads), made.size)


class _Stretches:
    """The stretches of headers that were cut for one interest, by the head of their first element; None: none begins there.

    A stretch that does not fit a header that begins like it is cut down to what both have in common, so that stretches come to
    end before elements whose length varies. Threads may share it: what gets lost between them is learnt again.
    """

    def __init__(self, limits: tuple[int, ...]) -> None:
        self.limits = limits
        self.known: dict[bytes, _Stretch | None] = {}

    def learn(self, heads: Sequence[bytes]) -> None:
        """Remember a row of elements, given by their heads."""
        if len(self.known) >= _MOST:
            self.known.clear()
        self.known[heads[0]] = _Stretch.of(heads) if len(heads) >= _FEWEST else None

    def shorten(self, stretch: _Stretch, found: Sequence[bytes]) -> None:
        """Keep of a stretch what it has in common with the heads that were found in its place."""
        pairs = zip(stretch.heads, found, strict=True)
        self.learn(stretch.heads[: next(number for number, (old, new) in enumerate(pairs) if old != new)])


@lru_cache(maxsize=16)
def _stretches(interest: tuple[int, ...], stops: frozenset[int]) -> _Stretches:
    return _Stretches((*interest, min(stops), UNDEFINED))


def read_runs(  # noqa: C901 - a hot loop: every call in it would cost more than what it does
    data: bytes, at: int, interest: tuple[int, ...], stops: frozenset[int], *, is_whole: bool
) -> tuple[list[RawElement], int] | None:
    """Cut one level of explicit VR little endian into the elements of ``interest`` (ascending) and runs of what lies between.

    It begins at ``at``. A run ends where an element of ``interest`` stands or would stand. Gives the pieces and where they end:
    at a tag of ``stops``, or with the data if those are ``is_whole``. None where the tags do not ascend, a group length is among
    them, or anything else needs a closer look: :func:`vna.part10.raw.walk` gives it.
    """
    pieces: list[RawElement] = []
    stretches = _stretches(interest, stops)
    known, heads = stretches.known, list[bytes]()
    unpack, new, short = EXPLICIT_LE.head, tuple.__new__, SHORT_VRS
    waiting = iter(stretches.limits)
    limit, start, first, last, end = next(waiting), at, 0, 0, len(data)
    try:
        while at < end:
            head = data[at : at + _SHORT]
            is_known = head in known
            if is_known:
                if heads:
                    stretches.learn(heads)
                    heads = []
                stretch = known.get(head)
                if stretch and last < stretch.first and stretch.size <= end - at:
                    found = stretch.unpack(data, at)
                    if found != stretch.heads:
                        stretches.shorten(stretch, found)
                        continue
                    if limit < stretch.first:
                        if at > start:
                            pieces.append(new(RawElement, (first, RUN, data[start:at], 0, False)))
                            start = at
                        while limit < stretch.first:
                            limit = next(waiting)
                    if at == start:
                        first = stretch.first
                    last = stretch.last
                    at += stretch.size
                    continue
            group, number, vr, length = unpack(head)
            tag = group << 16 | number
            if tag <= last or not number:
                return None
            last = tag
            if tag >= limit:
                if heads:
                    stretches.learn(heads)
                    heads = []
                if at > start:
                    pieces.append(new(RawElement, (first, RUN, data[start:at], 0, False)))
                while limit < tag:
                    limit = next(waiting)
                if tag in stops:
                    return pieces, at
                start, first = at, tag
            elif at == start:
                first = tag
            if vr in short:
                value_at, after = at + _SHORT, at + _SHORT + length
            else:
                _, vr, length, value_at = header = read_header(data, at, EXPLICIT_LE)
                if not vr:
                    return None  # an element without a VR, as in implicit VR
                after = skip_value(data, header, EXPLICIT_LE)
                head = data[at:value_at]
            if tag == limit:
                pieces.append(new(RawElement, (tag, vr, data[at:after], value_at - at, length == UNDEFINED)))
                start, limit = after, next(waiting)
            elif not is_known and length != UNDEFINED and (heads or len(head) == _SHORT):
                heads.append(head)
            elif heads:
                stretches.learn(heads)
                heads = []
            at = after
    except (struct.error, StructureError):
        return None
    if at != end or not is_whole:
        return None
    if at > start:
        pieces.append(new(RawElement, (first, RUN, data[start:at], 0, False)))
    return pieces, at
