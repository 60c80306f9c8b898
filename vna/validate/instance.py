"""One stored object as the rules see it: raw values, never converted, so that looking at a bad value cannot raise.

Nouns: element (tag, value representation, raw bytes or items), item (one data set within a sequence), instance (file meta,
elements, pixel data).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag

from vna.validate.encapsulation import Fragments, walk_fragments
from vna.validate.markers import HEAD, Codestream, read_codestream

SPECIFIC_CHARACTER_SET = 0x00080005
TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
MAX_WALKED = 200_000
"""Elements that a walk visits at most, nested ones included."""

ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Element:
    """One element. ``raw`` is None where the value is too long to hold or is a sequence, whose data sets stand in ``items``."""

    tag: int
    vr: str
    length: int
    raw: bytes | None = None
    items: tuple[Mapping[int, Element], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Say whether the element has no value: zero length, no item, or nothing but padding (PS3.5 6.2)."""
        if self.vr == "SQ":
            return not self.items
        if self.length == 0:
            return True
        return self.vr in TEXT_VRS and self.raw is not None and not self.raw.strip(b" \0")


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where Pixel Data stands: offsets from the start of the data set; ``length`` None means encapsulated (PS3.5 A.4)."""

    tag: int
    vr: str
    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class Visit:
    """One element met on a walk, where it stands, and the Specific Character Set that governs it (PS3.3 C.12.1.1.2)."""

    where: str
    element: Element
    depth: int
    character_set: bytes


@dataclass(frozen=True)
class Instance:
    """One object: what its file meta says, its elements, and access to its pixel bytes by ``read_at(offset, length)``."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    transfer_syntax_uid: str = ""
    elements: Mapping[int, Element] = field(default_factory=dict)
    pixels: Pixels | None = None
    data_set_length: int = 0
    read_at: ReadAt = lambda offset, length: b""
    is_complete: bool = True
    """False where the structure is so broken that the elements cannot be judged."""

    def text(self, tag: int) -> str:
        """Read a value as Latin-1 text without padding; empty where it is absent. For values of the default repertoire."""
        element = self.elements.get(tag)
        return "" if element is None or element.raw is None else element.raw.decode("latin-1").strip(" \0")

    def integer(self, tag: int) -> int | None:
        """Read the first value as an integer: US and SS from bytes, IS and DS from text; None where that cannot be done."""
        element = self.elements.get(tag)
        if element is None or not element.raw:
            return None
        if element.vr in ("US", "UL", "SS", "SL", "US or SS"):
            size = 4 if element.vr in ("UL", "SL") else 2
            if len(element.raw) < size:
                return None
            order = "big" if self.transfer_syntax_uid == "1.2.840.10008.1.2.2" else "little"
            return int.from_bytes(element.raw[:size], order, signed=element.vr in ("SS", "SL"))  # type: ignore[arg-type]
        try:
            return int(element.raw.decode("latin-1").split("\\")[0].strip(" \0"))
        except ValueError:
            return None

    def has(self, tag: int) -> bool:
        """Say whether the element is there with a value."""
        element = self.elements.get(tag)
        return element is not None and not element.is_empty

    @cached_property
    def fragments(self) -> Fragments | None:
        """The items of encapsulated Pixel Data; None where it is native or absent."""
        if self.pixels is None or self.pixels.length is not None:
            return None
        return walk_fragments(self.read_at, self.pixels.offset)

    @cached_property
    def first_frame(self) -> bytes:
        """The head of the first fragment, empty where there is none."""
        if self.fragments is None or not self.fragments.spans:
            return b""
        offset, length = self.fragments.spans[0]
        return self.read_at(offset, min(length, HEAD))

    @cached_property
    def codestream(self) -> Codestream | None:
        """What the first compressed frame says of itself; None where it is not compressed, or nothing that is known here."""
        return read_codestream(self.first_frame) if self.first_frame else None

    @cached_property
    def visits(self) -> tuple[Visit, ...]:
        """Every element, nested ones included, in order; at most :data:`MAX_WALKED`."""
        visits: list[Visit] = []
        for visit in _walk(self.elements):
            visits.append(visit)
            if len(visits) >= MAX_WALKED:
                break
        return tuple(visits)

    @cached_property
    def by_vr(self) -> Mapping[str, tuple[Visit, ...]]:
        """The same visits by value representation."""
        groups: dict[str, list[Visit]] = {}
        for visit in self.visits:
            groups.setdefault(visit.element.vr, []).append(visit)
        return {vr: tuple(visits) for vr, visits in groups.items()}


def name_of(tag: int) -> str:
    """Name an element: by its keyword, or as ``(gggg,eeee)`` where the dictionary has none (private elements)."""
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@cache
def defined_vr(tag: int) -> str:
    """Look up an element's value representation in PS3.6 (``US or SS`` where it depends); empty for private and unknown ones."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


@cache
def defined_multiplicity(tag: int) -> str:
    """Look up an element's value multiplicity in PS3.6, as it writes it (``1``, ``1-n``, ``2-2n``); empty where it is unknown."""
    try:
        return dictionary_VM(tag)
    except KeyError:
        return ""


def _walk(elements: Mapping[int, Element]) -> Iterator[Visit]:
    stack: list[tuple[Iterator[Element], str, int, bytes]] = [
        (iter(elements.values()), "", 0, _character_set(elements, b"")),
    ]
    while stack:
        rest, prefix, depth, character_set = stack[-1]
        element = next(rest, None)
        if element is None:
            stack.pop()
            continue
        where = prefix + name_of(element.tag)
        yield Visit(where, element, depth, character_set)
        for number in range(len(element.items), 0, -1):
            item = element.items[number - 1]
            stack.append((iter(item.values()), f"{where}[{number}].", depth + 1, _character_set(item, character_set)))


def _character_set(elements: Mapping[int, Element], inherited: bytes) -> bytes:
    own = elements.get(SPECIFIC_CHARACTER_SET)
    return own.raw if own is not None and own.raw is not None else inherited
