"""Do two data sets say the same? Element by element, whatever their encoding.

What may differ without a difference: group lengths, defined or undefined lengths, the place of private blocks (elements go by
their creator), padding, the character set in which the same text is written, byte order, and a transfer syntax whose frames
decode to the same samples. Everything else is a difference and is named by its keyword; values never leave this module.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from vna.part10 import read_head

UNREADABLE = "UNREADABLE"
"""What stands for a data set that cannot be parsed, so that only its bytes can be compared."""

_PARSER_ERRORS = (
    InvalidDicomError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What pydicom raises on bad values (measured; it has no common base class for them)."""

_SPECIFIC_CHARACTER_SET = 0x00080005
_LENGTH_TO_END = 0x00080001
_DATA_SET_TRAILING_PADDING = 0xFFFCFFFC
_IGNORED = frozenset((_SPECIFIC_CHARACTER_SET, _LENGTH_TO_END, _DATA_SET_TRAILING_PADDING))
_PIXEL_DATA = 0x7FE00010
_NUMBER_TEXT_VRS = frozenset(("DS", "IS"))
_WORD_BYTES = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}
_PAD = " \0"
_UNDEFINED = 0xFFFFFFFF
_CHUNK = 1 << 20
_MOST_INFLATED = 1 << 30
_MOST_SAMPLES = 1 << 29

Key = tuple[int, str, int]


def differences(ours: BinaryIO, theirs: BinaryIO) -> tuple[str, ...]:
    """Compare two Part 10 files, and name what differs: keywords, or tags where there is none; of nested ones the whole path.

    Nothing is named where they say the same. A file that cannot be parsed to its end is named :data:`UNREADABLE`: its bytes
    differ, and nobody can tell how.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            one, two = _read(ours), _read(theirs)
            if one is None or two is None:
                return (UNREADABLE,)
            found = list(_data_sets(one, two, ""))
            if not _pixels_agree(one, two):
                found.append("PixelData")
        except _PARSER_ERRORS:
            return (UNREADABLE,)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class _Side:
    """A data set, or an item of one, with what applies to its bytes."""

    ds: Dataset
    is_little_endian: bool
    character_sets: tuple[str, ...]

    def item(self, ds: Dataset) -> _Side:
        """Return the same for an item of a sequence, which has the character sets of its parent unless it says otherwise."""
        return _Side(ds, self.is_little_endian, _character_sets(ds) or self.character_sets)


def _read(file: BinaryIO) -> _Side | None:
    """Parse a file; None where pydicom gives up silently, as it does on several kinds of broken files."""
    if not _is_bounded(file):
        return None
    ds = pydicom.dcmread(file)
    if "SOPInstanceUID" not in ds or not all(_is_whole(ds.get_item(tag)) for tag in ds.keys()):  # noqa: SIM118
        return None
    return _Side(ds, ds.file_meta.TransferSyntaxUID != ExplicitVRBigEndian, _character_sets(ds))


def _is_whole(item: object) -> bool:
    """Say whether an element's value is as long as its header said; pydicom reads what there is."""
    return not isinstance(item, RawDataElement) or item.length in (_UNDEFINED, len(item.value or b""))


def _is_bounded(file: BinaryIO) -> bool:
    """Say whether a deflated data set stays within bounds when it is inflated; pydicom would not look (PS3.5 A.5)."""
    head = read_head(file)
    try:
        if head.transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
            return True
        file.seek(head.data_set_offset)
        inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while (chunk := inflate.unconsumed_tail or file.read(_CHUNK)) and not inflate.eof:
            size += len(inflate.decompress(chunk, _CHUNK))
            if size > _MOST_INFLATED:
                return False
        return True
    finally:
        file.seek(0)


def _data_sets(one: _Side, two: _Side, above: str) -> Iterator[str]:
    """Name the differences of two data sets without their pixel data."""
    left, right = _by_key(one.ds), _by_key(two.ds)
    for key in sorted(left.keys() | right.keys()):
        name = f"{above}{_name(key)}"
        if key not in left or key not in right:
            yield name
        elif not _raw_agree(one, two, left[key], right[key]):
            yield from _elements(one, two, left[key], right[key], name)


def _elements(one: _Side, two: _Side, left: BaseTag, right: BaseTag, name: str) -> Iterator[str]:
    try:
        a, b = one.ds[left], two.ds[right]
    except _PARSER_ERRORS:
        yield name  # what cannot be read as a value was compared as bytes before
        return
    if a.VR == "SQ" and b.VR == "SQ":
        if len(a.value) != len(b.value):
            yield name
            return
        for item, other in zip(a.value, b.value, strict=True):
            yield from _data_sets(one.item(item), two.item(other), f"{name}.")
    elif not _values_agree(one, two, a, b):
        yield name


def _by_key(ds: Dataset) -> dict[Key, BaseTag]:
    """Index the elements that count by what they are: private ones by their creator instead of their block."""
    keys: dict[Key, BaseTag] = {}
    for number in ds.keys():  # noqa: SIM118 (iterating a Dataset parses its elements)
        tag = Tag(number)
        if tag.element == 0 or tag in _IGNORED or tag == _PIXEL_DATA:
            continue
        if tag.is_private_creator:
            keys.setdefault((tag.group, _creator(ds, tag), -1), tag)
        elif tag.is_private:
            keys[(tag.group, _creator(ds, Tag(tag.group, tag.element >> 8)), tag.element & 0xFF)] = tag
        else:
            keys[(tag.group, "", tag.element)] = tag
    return keys


def _creator(ds: Dataset, tag: BaseTag) -> str:
    """Return the text of a private creator, or the block's number where it has none."""
    item = ds.get_item(tag) if tag in ds else None
    if item is None:
        return f"\0{tag.element:02x}"
    value = item.value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return text.strip(_PAD) or f"\0{tag.element:02x}"


def _name(key: Key) -> str:
    group, creator, element = key
    if creator:
        return f"({group:04X},xx{element:02X})" if element >= 0 else f"({group:04X},00xx)"
    return keyword_for_tag(Tag(group, element)) or f"({group:04X},{element:04X})"


def _raw_agree(one: _Side, two: _Side, left: BaseTag, right: BaseTag) -> bool:
    """Say whether the encoded values are the same bytes and mean the same, which spares decoding them."""
    a: Any = one.ds.get_item(left)
    b: Any = two.ds.get_item(right)
    if not isinstance(a, RawDataElement) or not isinstance(b, RawDataElement):
        return False
    if a.is_little_endian != b.is_little_endian or a.value != b.value or "SQ" in (a.VR, b.VR):
        return False
    is_ascii = not a.value or (a.value.isascii() and b"\x1b" not in a.value)
    return is_ascii or one.character_sets == two.character_sets


def _character_sets(ds: Dataset) -> tuple[str, ...]:
    found = ds.get("SpecificCharacterSet") or ()
    return (found,) if isinstance(found, str) else tuple(str(one) for one in found)


def _values_agree(one: _Side, two: _Side, a: DataElement, b: DataElement) -> bool:
    if "UN" in (a.VR, b.VR) and a.VR != b.VR:
        return _encoded(one, a) == _encoded(two, b)
    if isinstance(a.value, bytes) or isinstance(b.value, bytes):
        return _little_endian(one, a) == _little_endian(two, b)
    left, right = _items(a.value), _items(b.value)
    is_number = {str(a.VR), str(b.VR)} <= _NUMBER_TEXT_VRS
    return len(left) == len(right) and all(_item_agrees(x, y, is_number=is_number) for x, y in zip(left, right, strict=True))


def _items(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, MultiValue | list) else [value]


def _item_agrees(one: Any, two: Any, *, is_number: bool) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return one == two or (math.isnan(one) and math.isnan(two))
    left, right = str(one).rstrip(_PAD), str(two).rstrip(_PAD)
    if left == right or not is_number:
        return left == right
    try:
        return float(left) == float(right)
    except ValueError:
        return False


def _encoded(side: _Side, element: DataElement) -> bytes:
    """Encode a value in implicit little endian, to compare it with one of unknown VR."""
    if isinstance(element.value, bytes):
        return element.value.rstrip(b" \0")
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_data_element(buffer, element, list(side.character_sets) or None)
    return bytes(buffer.getvalue()[8:]).rstrip(b" \0")


def _little_endian(side: _Side, element: DataElement) -> bytes:
    """Return a value of bytes with its words in little endian order, and bytes without their padding."""
    value = element.value
    raw = bytes(value) if isinstance(value, bytes | bytearray) else _encoded(side, element)
    width = _WORD_BYTES.get(str(element.VR), 1)
    if width > 1:
        return raw if side.is_little_endian else _swapped(raw, width)
    return raw[:-1] if raw.endswith(b"\0") else raw


def _swapped(raw: bytes, width: int) -> bytes:
    swapped = bytearray(len(raw))
    for offset in range(width):
        swapped[offset::width] = raw[width - 1 - offset :: width]
    return bytes(swapped)


# -- pixel data


def _pixels_agree(one: _Side, two: _Side) -> bool:
    """Say whether the pixel data are the same: the bytes, the frames, or the samples that they decode to."""
    if (_PIXEL_DATA in one.ds) != (_PIXEL_DATA in two.ds):
        return False
    if _PIXEL_DATA not in one.ds:
        return True
    a, b = (bytes(side.ds[_PIXEL_DATA].value or b"") for side in (one, two))
    syntaxes = [side.ds.file_meta.TransferSyntaxUID for side in (one, two)]
    if a == b and syntaxes[0] == syntaxes[1]:
        return True
    if not any(syntax.is_compressed and not syntax.is_deflated for syntax in syntaxes):
        return _pixel_words(one, a) == _pixel_words(two, b)
    if syntaxes[0] == syntaxes[1]:
        return _frames(one.ds, a) == _frames(two.ds, b)
    return _samples_agree(one.ds, two.ds)


def _pixel_words(side: _Side, raw: bytes) -> bytes:
    """Return uncompressed pixel data in little endian order, unpadded.

    OW is a stream of 16 bit words, whatever Bits Allocated says (PS3.5 8.2).
    """
    is_swapped = not side.is_little_endian and side.ds[_PIXEL_DATA].VR == "OW" and len(raw) % 2 == 0
    words = _swapped(raw, 2) if is_swapped else raw
    return words[:-1] if words.endswith(b"\0") else words


def _frames(ds: Dataset, raw: bytes) -> list[bytes]:
    """Return the encoded frames, however they are cut into fragments."""
    frames = generate_frames(raw, number_of_frames=int(ds.get("NumberOfFrames") or 1))
    return [frame.rstrip(b"\0") for frame in frames]


def _samples_agree(a: Dataset, b: Dataset) -> bool:
    """Decode both and compare the samples; what cannot be decoded, or is too large to be, counts as different."""
    if max(_samples(a), _samples(b)) > _MOST_SAMPLES:
        return False
    try:
        one, two = a.pixel_array, b.pixel_array
    except (*_PARSER_ERRORS, ImportError, RuntimeError):
        return False
    return one.shape == two.shape and bool((one == two).all())


def _samples(ds: Dataset) -> int:
    numbers = (ds.get(keyword) or 1 for keyword in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"))
    return math.prod(int(number) for number in numbers)


def joined(names: Iterable[str], limit: int = 20) -> str:
    """Write names as one text, at most so many of them."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
