"""What a header scan yields and what bounds it: plain values, no parsing.

Nouns: header (the wanted values of one data set, and where its pixel data begin), limits (what a data set may hold).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from indexer.encodings import Encoding
from indexer.problems import Problem

SPECIFIC_CHARACTER_SET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
STUDY_INSTANCE_UID = 0x0020000D
SERIES_INSTANCE_UID = 0x0020000E
SAMPLES_PER_PIXEL = 0x00280002
PHOTOMETRIC_INTERPRETATION = 0x00280004
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
BITS_ALLOCATED = 0x00280100
PIXEL_DATA = 0x7FE00010
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})
"""Float, Double Float and (integer) Pixel Data (PS3.3 C.7.6.24, C.7.6.25, C.7.6.3)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a data set may hold before the scanner gives up; elements bound the time, since each costs about as much.

    ``depth`` counts nested sequences, ``elements`` all elements and items at every level (``elements_multiframe`` for SOP classes
    with functional groups and the like), ``value_bytes`` one wanted value. A deflated data set may inflate to
    ``inflated_bytes``, and beyond ``inflate_free_bytes`` to ``inflate_ratio`` times its size.
    """

    depth: int = 64
    elements: int = 500_000
    elements_multiframe: int = 4_000_000
    value_bytes: int = 16_384
    inflated_bytes: int = 4 << 30
    inflate_ratio: int = 200
    inflate_free_bytes: int = 64 << 20


DEFAULT_LIMITS = Limits()

# fmt: off
MANY_ELEMENTS = frozenset("1.2.840.10008.5.1.4.1.1." + suffix for suffix in (
    "2.1", "2.2", "4.1", "4.3", "4.4", "6.2", "12.1.1", "12.2.1", "13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5", "14.1",
    "14.2", "30", "66.4", "66.5", "66.6", "66.7", "77.1.5.4", "77.1.6", "88.33", "88.34", "91.1", "128.1", "130", "201.1",
    "481.3",
))
# fmt: on
"""SOP classes that need a few elements for each frame or point: enhanced multi-frame images, segmentations, structured reports,
structure sets, annotations, inventories. ``Limits.elements_multiframe`` holds for them."""


@dataclass(frozen=True, slots=True)
class PixelData:
    """Where the pixel data stand: offsets count from the start of the data set; ``length`` is None when it is undefined."""

    tag: int
    vr: str
    value_offset: int
    length: int | None


@dataclass(slots=True)
class Header:
    """What a scanner read: raw wanted values by tag (padding included), and what was wrong.

    ``has_header_end`` tells whether everything before the pixel data was read (or, without pixel data, the whole data set).
    ``end_offset`` is the first byte that was not read as an element. ``offset_table`` and ``length_table`` are (offset, length)
    of the values of Extended Offset Table and Extended Offset Table Lengths. For deflated data sets offsets count in the
    inflated bytes, ``inflated_length`` is how many there are, and ``deflated_length`` how many bytes they were made of.
    """

    transfer_syntax_uid: str
    elements: dict[int, bytes] = field(default_factory=dict)
    pixel: PixelData | None = None
    problems: list[Problem] = field(default_factory=list)
    encoding: Encoding = Encoding.EXPLICIT_LITTLE
    has_header_end: bool = False
    end_offset: int = 0
    element_count: int = 0
    offset_table: tuple[int, int] | None = None
    length_table: tuple[int, int] | None = None
    inflated_length: int | None = None
    deflated_length: int | None = None

    def uid(self, tag: int) -> str:
        """Give a UID without its padding; '' when it is missing. What is not ASCII is kept as Latin-1."""
        return self.elements.get(tag, b"").decode("latin_1").rstrip(" \0")

    def number(self, tag: int) -> int | None:
        """Give the (first) value of a US element; None when there is none."""
        raw = self.elements.get(tag, b"")
        return int.from_bytes(raw[:2], "big" if self.encoding is Encoding.EXPLICIT_BIG else "little") if len(raw) >= 2 else None

    def note(self, code: str, where: str = "", detail: str = "") -> None:
        """Add a problem, unless one with that code is there already."""
        for problem in self.problems:
            if problem.code == code:
                return
        self.problems.append(Problem(code, where, detail))
