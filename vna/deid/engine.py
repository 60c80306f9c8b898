"""The engine: one pass over the raw elements of a data set, by a compiled action table; pixel bytes are not touched.

:class:`Engine` is a pure function of (recipe, key): the same bytes in give the same bytes out, whatever the worker or the
order. It holds no state of one object beyond its call. What it cannot read as a data set it refuses with StructureError.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from vna.deid.descriptors import clean_text
from vna.deid.identifiers import own_identifiers
from vna.deid.marks import dummy_code_sequence, method_elements
from vna.deid.recipe import Recipe
from vna.deid.table import Actions, Op, Profile, iod_types, settle
from vna.deid.top_level import (
    PATIENT_ID,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    TopLevel,
    read_top_level,
)
from vna.deid.values import Key, Patient, capped_age, dummy, shift_values
from vna.part10.elements import (
    IMPLICIT_LE,
    ITEM,
    ITEM_DELIMITER,
    LONG_VRS,
    MAX_DEPTH,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED,
    Encoding,
    StructureError,
    TruncatedError,
    element_bytes,
    header_bytes,
    is_private,
    read_header,
    skip_value,
    vr_of,
)

_TEXT_VRS = frozenset((b"LO", b"LT", b"SH", b"ST", b"UC", b"UT"))
_SCRUBBED_VRS = _TEXT_VRS | {b"AE", b"CS", b"PN", b"UR"}
_TERM_GROUPS = (0x0008, 0x0028)
"""Groups whose coded strings are terms of the Standard (modality, image type, ...): a patient's name in one is a coincidence."""
_PLAIN_VRS = SHORT_VRS | (LONG_VRS - {b"SQ", b"UN"})
_NEVER = 1 << 40
_LONG = 6
_SEPARATORS = b" ./_-"


@dataclass(slots=True)
class Edited:
    """A de-identified header: its bytes up to the pixel data's value, the new UIDs, and how often each action was taken."""

    data: bytes
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    modality: str
    actions: Counter[str]
    uids: dict[bytes, bytes]

    @property
    def uids_of_path(self) -> tuple[str, str, str]:
        """Give the new UIDs of study, series and instance."""
        return self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid


class Engine:
    """De-identify data sets by one recipe and one key. Picklable, and safe to share between threads."""

    def __init__(self, recipe: Recipe, key: Key) -> None:
        self.recipe = recipe
        self.key = key
        self.actions: Actions = recipe.actions

    def edit(self, top: TopLevel, patient: Patient, known: tuple[bytes, ...] = (), *, cleaned_pixels: bool = False) -> Edited:
        """Edit the elements of ``top``; the result ends with the header of the pixel data element, where there is one.

        ``known`` are identifiers of the patient beyond those that the object itself states; none of them stays in any kept
        text. ``cleaned_pixels`` says so in the object (BurnedInAnnotation, method code 113101).
        """
        known = known + own_identifiers(top)
        edited = _Pass(self, top, patient, None).run(cleaned_pixels)
        pattern = leak_pattern(known) if _may_leak(edited.data, known) else None
        if pattern is not None and pattern.search(edited.data):
            edited = _Pass(self, top, patient, pattern).run(cleaned_pixels)
        return edited

    def edit_tail(self, tail: bytes, encoding: Encoding, patient: Patient) -> bytes:
        """Edit the elements that follow the pixel data: padding and signatures go, whatever else is there is edited."""
        top = read_top_level(tail, encoding)
        if top.pixel is not None:
            raise StructureError("DUP_IDENTITY_TAG", "the data set has two pixel data elements")
        return _Pass(self, top, patient, None).elements_only()


def _may_leak(data: bytes, known: tuple[bytes, ...]) -> bool:
    """Look for the identifiers without regard to their borders, at memory speed: nearly every object ends here."""
    lowered = data.lower()
    bare = lowered.translate(None, _SEPARATORS)
    return any(value.lower() in lowered or (_is_long_number(value) and _bare(value).lower() in bare) for value in known)


def _is_long_number(value: bytes) -> bool:
    return len(value) >= _LONG and any(48 <= byte <= 57 for byte in value)


def _bare(value: bytes) -> bytes:
    return value.translate(None, _SEPARATORS)


@lru_cache(maxsize=1024)
def leak_pattern(known: tuple[bytes, ...]) -> re.Pattern[bytes] | None:
    """Compile the search for known identifiers, in any letter case.

    Short ones are searched for as whole words, numbers as whole numbers, long numbers however they are grouped.
    """
    parts = []
    for value in sorted(set(known), key=lambda each: (-len(each), each)):
        escaped = re.escape(value)
        if _is_long_number(value) and len(_bare(value)) >= _LONG:
            escaped = rb"[ ./_-]?".join(re.escape(bytes((byte,))) for byte in _bare(value))
        if value[:1].isdigit() and value[-1:].isdigit():
            escaped = rb"(?<![0-9])" + escaped + rb"(?![0-9])"
        elif len(value) < _LONG:
            escaped = rb"(?<![0-9A-Za-z])" + escaped + rb"(?![0-9A-Za-z])"
        parts.append(escaped)
    return re.compile(b"|".join(parts), re.IGNORECASE) if parts else None


class _Pass:
    """One edit of one object. With ``pattern``, kept text that matches it is replaced as well."""

    def __init__(self, engine: Engine, top: TopLevel, patient: Patient, pattern: re.Pattern[bytes] | None) -> None:
        self.engine = engine
        self.table = engine.actions
        self.ops = engine.actions.ops
        self.shifts = engine.recipe.shifts
        self.key = engine.key
        self.top = top
        self.patient = patient
        self.pattern = pattern
        self.days = engine.key.days(patient) if Profile.RETAIN_MODIFIED_DATES in engine.actions.options else 0
        self.required = iod_types().get(top.value(SOP_CLASS_UID).decode("latin-1"))
        self.counts: Counter[str] = Counter()
        self.uids: dict[bytes, bytes] = {}

    def run(self, cleaned_pixels: bool) -> Edited:
        top, encoding = self.top, self.top.encoding
        additions = self.engine.recipe.additions
        ours = {tag: element_bytes(tag, vr_of(tag), value, encoding) for tag, value in additions.items()}
        ours |= method_elements(self.engine.recipe, encoding, cleaned_pixels)
        chunks = self._top_level(ours)
        if top.pixel is not None:
            chunks.append(top.buffer[top.pixel.at : top.pixel.value_at])
        new = {tag: self.key.uid(top.value(tag)) for tag in (SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID)}
        if Profile.RETAIN_UIDS in self.table.options:
            new = {tag: top.value(tag) for tag in new}
        return Edited(
            b"".join(chunks),
            top.value(SOP_CLASS_UID).decode("latin-1"),
            new[SOP_INSTANCE_UID].decode("latin-1"),
            new[STUDY_INSTANCE_UID].decode("latin-1"),
            new[SERIES_INSTANCE_UID].decode("latin-1"),
            self.key.patient_pseudonym(self.patient).decode(),
            top.text("Modality"),
            self.counts,
            self.uids,
        )

    def elements_only(self) -> bytes:
        return b"".join(self._top_level({}))

    def _top_level(self, ours: dict[int, bytes]) -> list[bytes]:
        """Edit the top level, and set our own elements in the order of their tags."""
        buffer, ops = self.top.buffer, self.ops
        pending = sorted(ours, reverse=True)
        next_tag = pending[-1] if pending else _NEVER
        out: list[bytes] = []
        kept_from = -1  # adjacent kept elements are copied as one slice
        reserved: dict[int, bytes] = {}
        removes_private = not self.table.safe_private
        removed = 0
        for span in self.top.spans:
            tag, vr, length = span.tag, span.vr, span.length
            op = ops.get(tag, Op.REMOVE)
            if op is Op.KEEP and tag < next_tag and self._is_plain(tag, vr, length):
                if kept_from < 0:
                    kept_from = span.at
                continue
            if kept_from >= 0:
                out.append(buffer[kept_from : span.at])
                kept_from = -1
            while tag >= next_tag:
                out.append(ours[pending.pop()])
                next_tag = pending[-1] if pending else _NEVER
            if tag in ours:
                op = Op.REMOVE
            elif op is Op.REMOVE and not removes_private and is_private(tag):
                op = self._private(tag, buffer[span.value_at : span.end], reserved)
            if op is Op.REMOVE:
                removed += 1
            else:
                self._element((tag, vr, length, span.value_at), op, buffer, self.top.encoding, out, 0)
        self.counts["removed"] += removed
        if kept_from >= 0:
            out.append(buffer[kept_from : self.top.spans[-1].end])
        out.extend(ours[tag] for tag in reversed(pending))
        return out

    def _is_plain(self, tag: int, vr: bytes, length: int) -> bool:
        """Say whether a kept element is copied as it is: no items to edit, and no text to search."""
        if self.pattern is not None or length == UNDEFINED:
            return False
        return vr in _PLAIN_VRS or ((not vr or vr == b"UN") and vr_of(tag) != b"SQ")

    def _private(self, tag: int, value: bytes, reserved: dict[int, bytes]) -> Op:
        """Keep a private element that the recipe calls safe, and the creator of its block (PS3.15 E.3.10)."""
        safe = self.table.safe_private
        group, element = tag >> 16, tag & 0xFFFF
        if 0x10 <= element <= 0xFF:
            creator = value.strip(b" \0")
            reserved[group << 16 | element] = creator
            name = creator.decode("latin-1")
            return Op.KEEP if any(entry[0] == name and entry[1] == group for entry in safe) else Op.REMOVE
        creator = reserved.get(group << 16 | element >> 8, b"")
        return Op.KEEP if (creator.decode("latin-1"), group, element & 0xFF) in safe else Op.REMOVE

    def _element(
        self, header: tuple[int, bytes, int, int], op: Op, buffer: bytes, encoding: Encoding, out: list[bytes], depth: int
    ) -> int:
        """Edit one element by its opcode into ``out`` and give the offset behind it."""
        tag, vr, length, at = header
        real_vr = vr if vr and vr != b"UN" else vr_of(tag) or vr
        if op is Op.SETTLE:
            required = (self.required or {}).get(tag, 0) if depth == 0 and self.required is not None else None
            op = settle(self.table.codes[tag], required, is_sequence=real_vr == b"SQ")
        if real_vr == b"SQ" or length == UNDEFINED:
            if op in (Op.KEEP, Op.REMAP_UID, Op.SHIFT, Op.CLEAN_TEXT):
                return self._sequence(header, buffer, encoding, out, depth)
            after = skip_value(buffer, header, encoding, depth)
            if op in (Op.REMOVE, Op.REPLACE):
                self.counts["removed"] += 1
            elif op is Op.DUMMY:
                self.counts["replaced"] += 1
                out.append(dummy_code_sequence(tag, encoding))
            else:
                self.counts["emptied"] += 1
                out.append(header_bytes(tag, b"SQ" if vr == b"UN" else vr, 0, encoding))
            return after
        after = at + length
        if after > len(buffer):
            raise TruncatedError
        raw = buffer[at:after]
        value = raw if op is Op.KEEP else self._value(tag, real_vr, raw, op)
        if value is None:
            self.counts["removed"] += 1
            return after
        if self.pattern is not None and self._may_name(tag, real_vr) and self.pattern.search(value):
            self.counts["scrubbed"] += 1
            value = dummy(real_vr)
        if value is raw:
            out.append(buffer[at - (12 if encoding.explicit and vr in LONG_VRS else 8) : after])
        else:
            out.append(element_bytes(tag, vr, value, encoding, real_vr))
        return after

    def _may_name(self, tag: int, vr: bytes) -> bool:
        """Say whether a value is text in which an identifier would be one; a private element of unknown VR may be."""
        if vr == b"CS":
            return tag >> 16 not in _TERM_GROUPS
        return vr in _SCRUBBED_VRS or (vr in (b"", b"UN") and is_private(tag))

    def _value(self, tag: int, vr: bytes, raw: bytes, op: Op) -> bytes | None:
        """Give an element's new value, None to remove the element."""
        if op is Op.REMOVE:
            return None
        value = raw.strip(b" \0")
        if not value and op is not Op.REPLACE:
            return b""
        if op is Op.DUMMY:
            self.counts["replaced"] += 1
            return self._mapped(value) if vr == b"UI" else dummy(vr)
        if op is Op.EMPTY:
            self.counts["emptied"] += 1
            return b""
        if op is Op.REMAP_UID:
            self.counts["uids"] += 1
            return b"\\".join(self._mapped(part.strip(b" \0")) for part in value.split(b"\\"))
        if op is Op.SHIFT:
            self.counts["dates"] += 1
            return shift_values(vr, value, self.shifts.get(tag, self.days))
        if op in (Op.PATIENT_PSEUDONYM, Op.PSEUDONYM):
            self.counts["pseudonyms"] += 1
            if op is Op.PSEUDONYM:
                return self.key.pseudonym(f"{tag:08X}", self.patient.issuer + b"|" + value)
            return self.key.patient_pseudonym(self.patient) or (b"" if tag == PATIENT_ID else dummy(vr))
        return self._rarer_value(tag, vr, value, op)

    def _mapped(self, old: bytes) -> bytes:
        new = self.key.uid(old)
        if new is not old:
            self.uids[old] = new
        return new

    def _rarer_value(self, tag: int, vr: bytes, value: bytes, op: Op) -> bytes | None:
        if op is Op.AGE:
            self.counts["ages"] += 1
            return capped_age(value)
        if op is Op.REPLACE:
            self.counts["replaced"] += 1
            return self.engine.recipe.replacements[tag]
        self.counts["cleaned"] += 1
        return clean_text(value) if vr in _TEXT_VRS else None

    def _sequence(
        self, header: tuple[int, bytes, int, int], buffer: bytes, encoding: Encoding, out: list[bytes], depth: int
    ) -> int:
        """Edit the items of a sequence; lengths are written as they were found, defined or undefined."""
        tag, vr, length, at = header
        if depth >= MAX_DEPTH:
            raise StructureError("DEPTH", "sequences are nested too deeply")
        nested = IMPLICIT_LE if vr == b"UN" else encoding
        end = len(buffer) if length == UNDEFINED else at + length
        if end > len(buffer):
            raise TruncatedError
        content: list[bytes] = []
        while at < end:
            inner, _, size, start = read_header(buffer, at, nested)
            if inner == SEQUENCE_DELIMITER and length == UNDEFINED:
                content.append(header_bytes(SEQUENCE_DELIMITER, b"", 0, nested))
                at = start
                break
            if inner != ITEM:
                raise StructureError("UNTERMINATED_SQ", f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is not made of items")
            at = self._item(buffer, start, size, nested, content, depth + 1)
        else:
            if length == UNDEFINED:
                raise TruncatedError
        body = b"".join(content)
        out.append(header_bytes(tag, vr, UNDEFINED if length == UNDEFINED else len(body), encoding))
        out.append(body)
        return at

    def _item(self, buffer: bytes, at: int, size: int, encoding: Encoding, out: list[bytes], depth: int) -> int:
        """Edit one item whose first element is at ``at`` and give the offset behind it."""
        end = len(buffer) if size == UNDEFINED else at + size
        if end > len(buffer):
            raise TruncatedError
        chunks: list[bytes] = []
        reserved: dict[int, bytes] = {}
        kept_from, closed = -1, size != UNDEFINED
        while at < end:
            header = read_header(buffer, at, encoding)
            tag, vr, length, value_at = header
            if tag == ITEM_DELIMITER and size == UNDEFINED:
                closed = True
                break
            op = self.ops.get(tag, Op.REMOVE)
            after = value_at + length
            if op is Op.KEEP and after <= end and self._is_plain(tag, vr, length):
                if kept_from < 0:
                    kept_from = at
                at = after
                continue
            if kept_from >= 0:
                chunks.append(buffer[kept_from:at])
                kept_from = -1
            if op is Op.REMOVE and self.table.safe_private and is_private(tag) and length != UNDEFINED:
                op = self._private(tag, buffer[value_at:after], reserved)
            at = (
                self._skip(header, buffer, encoding, depth)
                if op is Op.REMOVE
                else self._element(header, op, buffer, encoding, chunks, depth)
            )
        if at > end or not closed:
            raise StructureError("STRUCTURE", "an element reaches beyond its item")
        if kept_from >= 0:
            chunks.append(buffer[kept_from:at])
        body = b"".join(chunks)
        out.append(header_bytes(ITEM, b"", UNDEFINED if size == UNDEFINED else len(body), encoding))
        out.append(body)
        if size != UNDEFINED:
            return end
        out.append(header_bytes(ITEM_DELIMITER, b"", 0, encoding))
        return read_header(buffer, at, encoding)[3]

    def _skip(self, header: tuple[int, bytes, int, int], buffer: bytes, encoding: Encoding, depth: int) -> int:
        self.counts["removed"] += 1
        return skip_value(buffer, header, encoding, depth)
