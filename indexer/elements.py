"""Walk over the elements of one data set: the state machine under the header scanner.

Nouns: scope (what an element can stand in: the data set itself, an item, a sequence, or the fragments of encapsulated pixel
data), frame (the state of a scope while a deeper one is walked).
"""

from __future__ import annotations

from indexer.encodings import BIG, LITTLE, LONG_VRS, Encoding, declared_encoding, sniff
from indexer.problems import tag_text
from indexer.record import MANY_ELEMENTS, PIXEL_TAGS, SOP_CLASS_UID, Header, Limits, PixelData
from indexer.sequences import SEQUENCE_TAGS

_UNDEFINED = 0xFFFFFFFF
_ENDLESS = 1 << 62
_FIRST = 0x0003FFFF  # "the last tag" of a scope that has had none: below every legal one, so that groups 0 to 3 stand out
_DATA_SET, _ITEM, _SEQUENCE, _FRAGMENTS = range(4)
_NOTHING: frozenset[int] = frozenset()
_RECOVERIES = 64  # broken sequences in one data set; then it is not worth more time
_DEPTH_FACTOR = 64  # how many times deeper than the limit sequences are followed, to read what comes after them


_Frame = tuple[int, bool, int, bool, int]  # scope: end (absolute), has a defined length, kind, explicit VR, last tag


class ElementWalker:
    """Take a data set in pieces, keep the wanted values of its own level in ``header``, note what is wrong with its structure.

    ``stops`` are the tags of pixel data at which the walk is over. A walk may begin behind the pixel data of a header that was
    read before.
    """

    def __init__(self, header: Header, limits: Limits, wanted: frozenset[int], stops: frozenset[int]) -> None:
        self.header = header
        self._limits = limits
        self._wanted = wanted
        self._stops = stops
        self._offset = 0  # of the next byte to be looked at, from the start of the data set
        self._carry = bytearray()  # bytes from there on that were not enough to go on
        self._need = 8  # how many bytes are
        self._in_value = False  # the carried bytes are an element whose value is not there yet
        self._skip = 0  # bytes to pass over
        self._count = 0
        self._limit = limits.elements
        self._stack: list[_Frame] = []
        self._scope: _Frame = (_ENDLESS, False, _DATA_SET, True, _FIRST)
        self._codes = LITTLE
        self._begun = False
        self._done = False
        self._broken = ""
        self._recoveries = 0
        self._opener = 0  # the VR of the element that opened the present scope
        self._is_disordered = False  # the next tag may be one that was there before
        self._repeated: list[tuple[int, bytes]] = []

    def _begin_behind(self, at: int) -> None:
        header = self.header
        last = header.pixel.tag if header.pixel else _FIRST
        self._scope = (_ENDLESS, False, _DATA_SET, header.encoding is not Encoding.IMPLICIT_LITTLE, last)
        self._codes = BIG if header.encoding is Encoding.EXPLICIT_BIG else LITTLE
        self._offset, self._begun = at, True

    def _take(self, data: bytes) -> bool:
        start = 0
        if self._skip:
            start = min(self._skip, len(data))
            self._skip -= start
            self._offset += start
        if self._done or start == len(data):
            return self._done
        if self._carry:
            self._carry += data[start:]
            if len(self._carry) < self._need:
                return False
            data, start = bytes(self._carry), 0
            self._carry.clear()
        if not self._begun and not self._begin(data[start : start + 8]):
            if not self._done:
                self._carry += data[start:]
            return self._done
        start = self._run(data, start)
        while self._broken:
            start = self._recover(data, start)
            if not self._done and start < len(data):
                start = self._run(data, start)
        if start < len(data) and not self._done:
            self._carry += data[start:]
        return self._done

    def _stop(self, code: str, tag: int, detail: str = "") -> None:
        self.header.note(code, tag_text(tag) if tag else f"offset {self._offset}", detail)
        self._done = True

    def _end(self) -> None:
        """Say what is missing when the bytes end here."""
        header, left = self.header, len(self._carry)
        end, is_defined, kind, explicit, last = self._scope
        while self._stack and is_defined and end == self._offset and not left and not self._skip:
            end, is_defined, kind, explicit, last = self._stack.pop()
            self._count += 1
        where = f"offset {self._offset}"
        if self._skip and kind == _FRAGMENTS:
            header.note("FRAGMENT_OVERRUN", where)
        elif self._skip and header.pixel and last == header.pixel.tag and not self._stack:
            header.note("TRUNCATED_PIXEL", tag_text(last), f"{self._skip} bytes are missing")
        elif self._skip or self._in_value:
            header.note("VALUE_OVERRUN", tag_text(last) if self._skip else where)
        elif self._stack:
            scopes = [*self._stack[1:], (end, is_defined, kind, explicit, last)]
            undefined = not all(scope[1] for scope in scopes)
            header.note(
                "UNTERMINATED_PIXEL" if kind == _FRAGMENTS else "UNTERMINATED_SQ" if undefined else "VALUE_OVERRUN", where
            )
        elif left:
            header.note("TRAILING_FRAGMENT" if any(self._carry) else "TRAILING_PADDING", where, f"{left} bytes")
            header.has_header_end = header.pixel is not None or not any(self._carry)
        else:
            header.has_header_end = True

    def _recover(self, data: bytes, pos: int) -> int:
        """Note a broken sequence and leave it by the outermost defined length around it; without one the scan is over."""
        if not self.header.problems or self.header.problems[-1].code != "UNDEFINED_ON_NON_SQ":  # which explains what follows
            self.header.note(self._broken, f"offset {self._offset}")
        self._broken = ""
        self._recoveries += 1
        if self._recoveries > _RECOVERIES:
            self._done = True
            return pos
        for depth, (end, is_defined, *_) in enumerate([*self._stack[1:], self._scope] if self._stack else []):
            if is_defined:
                self._scope = self._stack[depth]
                del self._stack[depth:]
                start = pos
                pos += end - self._offset
                self._skip = max(0, pos - len(data))
                pos -= self._skip
                self._offset += pos - start
                return pos
        self._done = True
        return pos

    def _note_order(self, tag: int, last: int, kind: int) -> None:
        if tag <= _FIRST:
            self.header.note("ILLEGAL_GROUP", tag_text(tag))
        elif tag != last or kind != _DATA_SET or tag not in self._wanted:
            self.header.note("TAG_ORDER", tag_text(tag), "the element is there twice" if tag == last else "")

    def _padding(self, offset: int, count: int) -> None:
        """Eight zero bytes in the place of an element: what follows is padding, and is not looked at."""
        self._offset, self._count, self.header.has_header_end = offset, count, True
        self._stop("TRAILING_PADDING", 0)

    def _begin(self, head: bytes) -> bool:
        """Settle the encoding by the first element; False when that needs more bytes or there is no use in going on."""
        header = self.header
        if len(head) < 8:
            return False
        declared, found = declared_encoding(header.transfer_syntax_uid), sniff(head)
        if found is None and declared in (Encoding.EXPLICIT_LITTLE, Encoding.EXPLICIT_BIG):
            order = "little" if declared is Encoding.EXPLICIT_LITTLE else "big"
            group, length = int.from_bytes(head[:2], order), int.from_bytes(head[6:8], order)  # type: ignore[arg-type]
            if group <= 0x7FE0 and length <= 1024:
                found = declared  # one bad VR; it is reported where it stands
        if found is None:
            self._stop("UNPARSEABLE", 0, "the first element makes no sense")
            return False
        if declared is not None and found is not declared and any(head):
            header.note("TS_MISMATCH", "(0002,0010)", f"labelled {declared}, encoded {found}")
        header.encoding = found if any(head) or declared is None else declared
        self._codes = BIG if header.encoding is Encoding.EXPLICIT_BIG else LITTLE
        self._scope = (_ENDLESS, False, _DATA_SET, header.encoding is not Encoding.IMPLICIT_LITTLE, _FIRST)
        self._begun = True
        return True

    def _length_of(self, buf: bytes, pos: int) -> int:
        """The 32-bit length of an item or delimiter, or of an implicit VR element."""
        return int(self._codes.word.unpack_from(buf, pos + 4)[0])

    def _pixel(self, buf: bytes, pos: int, explicit: bool, base: int) -> int:
        """Note Pixel Data or an extended offset table; 0 to go on, 1 when the scan is over, else how many bytes are needed."""
        group, element, _, length = self._codes.element.unpack_from(buf, pos)
        vr, start = (buf[pos + 4 : pos + 6].decode("latin_1"), pos + 8) if explicit else ("OW", pos + 8)
        if not explicit:
            length = self._length_of(buf, pos)
        elif vr in LONG_VRS:
            if pos + 12 > len(buf):
                return 12
            length, start = self._codes.word.unpack_from(buf, pos + 8)[0], pos + 12
        tag, header = group << 16 | element, self.header
        if tag == 0x7FE00001:
            header.offset_table = (base + start, length)
        elif tag == 0x7FE00002:
            header.length_table = (base + start, length)
        elif tag in PIXEL_TAGS and header.pixel is None:
            header.pixel = PixelData(tag, vr, base + start, None if length == _UNDEFINED else length)
            if tag in self._stops:
                self._offset, self._done, header.has_header_end = base + start, True, True
                return 1
        return 0

    def _run(self, buf: bytes, pos: int) -> int:  # noqa: C901 - the hot loop: every call in it would cost more than what it does
        """Read elements from ``pos`` on; gives where it stopped for want of bytes. ``self._skip`` may lead beyond the buffer."""
        end, base = len(buf), self._offset - pos
        codes, stack, elements = self._codes, self._stack, self.header.elements
        unpack, unpack_word = codes.element.unpack_from, codes.word.unpack_from
        short, long, sq = codes.short, codes.long, codes.sq
        value_bytes = self._limits.value_bytes
        scope_end, is_defined, kind, explicit, last = self._scope
        scope_end -= base
        stop = scope_end if scope_end < end else end
        special = 0x7FE0 if kind <= _ITEM else 0
        special_tag = special << 16
        fast = short if explicit and not self._is_disordered else _NOTHING
        wanted = self._wanted if kind == _DATA_SET else _NOTHING
        need, in_value, opener, count = 8, False, self._opener, self._count
        broken = ""
        opening = -1
        while True:
            for count in range(count, self._limit):  # noqa: B020 - goes on counting where it left
                if pos + 8 > stop:
                    if scope_end - pos >= 8:
                        break  # more bytes are needed
                    if scope_end > pos or not is_defined:
                        broken = "STRUCTURE" if scope_end > pos else "UNTERMINATED_SQ"
                        break
                    # a scope of defined length ends here: it is left at the bottom of the loop
                else:
                    group, element, vr, length = unpack(buf, pos)
                    if vr in fast:  # nine of ten elements: nothing special about them, and the whole value is here
                        tag = group << 16 | element
                        after = pos + 8 + length
                        if last < tag < special_tag and after <= stop and not length & 1 and length <= value_bytes:
                            if tag in wanted:
                                elements[tag] = buf[pos + 8 : after]
                            last = tag
                            pos = after
                            continue
                    if group >= special and (group == 0xFFFE or not special):
                        # items and delimiters, and whatever stands where only those may
                        length = (length << 16 | vr) if codes.little else (vr << 16 | length)
                        start = pos + 8
                        if group != 0xFFFE:
                            broken = "STRUCTURE" if opener != codes.un or last != _FIRST or is_defined else "UNDEFINED_ON_NON_SQ"
                            break
                        if element == 0xE000 and kind == _SEQUENCE:
                            opening = _ITEM
                        elif element == 0xE000 and kind == _FRAGMENTS and length != _UNDEFINED:
                            if start + length > scope_end:
                                broken = "STRUCTURE"
                                break
                            last = 0
                            pos = start + length
                            if pos > stop:
                                count += 1
                                break
                            continue
                        elif element == (0xE00D if kind == _ITEM else 0xE0DD) and kind != _DATA_SET:
                            if is_defined and start != scope_end:
                                broken = "STRUCTURE"
                                break
                            pos = start
                            if is_defined:
                                continue
                        elif element == 0xE0DD and kind == _ITEM and not is_defined:
                            self.header.note("STRUCTURE", f"offset {base + pos}", "an item is not closed")
                        elif kind == _DATA_SET:
                            self.header.note("STRUCTURE", tag_text(0xFFFE0000 | element), "outside a sequence")
                            pos = start
                            if element == 0xE000 and length != _UNDEFINED:
                                pos += length
                            if pos > stop:
                                count += 1
                                break
                            continue
                        else:
                            broken = "STRUCTURE"
                            break
                        last = 0
                        if opening == _ITEM and not length:
                            opening = -1
                            pos = start
                            continue
                    else:
                        if group == 0x7FE0 and kind == _DATA_SET and (wait := self._pixel(buf, pos, explicit, base)):
                            if wait == 1:
                                self._count = count + 1
                                return end
                            need = wait
                            break
                        start = pos + 8
                        opener = vr
                        if explicit:
                            if vr in short:
                                pass
                            elif vr in long:
                                if pos + 12 > stop:
                                    if scope_end - pos < 12:
                                        broken = "STRUCTURE"
                                    need = 12
                                    break
                                if length:
                                    self.header.note("VR_LENGTH_FORM", tag_text(group << 16 | element))
                                length = unpack_word(buf, start)[0]
                                start += 4
                                if vr == sq or length == _UNDEFINED:
                                    opening = _SEQUENCE
                            elif last == _FIRST and kind == _ITEM and not _is_vr_like(buf, pos):
                                explicit = (
                                    False  # implicit VR inside an explicit data set: UN (PS3.5 6.2.2), and some writers' SQ
                                )
                                continue
                            elif not (group or element or vr or length) and kind == _DATA_SET:
                                self._padding(base + pos, count)
                                return end
                            else:
                                self.header.note("BAD_VR", tag_text(group << 16 | element))
                                if not length and not _is_vr_like(buf, pos):
                                    length = self._length_of(buf, pos)  # an implicit VR element among explicit ones
                        else:
                            length = length << 16 | vr
                            if length == _UNDEFINED or (group << 16 | element) in SEQUENCE_TAGS:
                                opening = _SEQUENCE
                                opener = codes.un
                        tag = group << 16 | element
                        after = start + length
                        if tag in wanted and opening < 0:
                            if after > end and length <= value_bytes:
                                need, in_value = after - pos, True
                                break
                            if length > value_bytes:
                                self.header.note("OVERSIZE_VALUE", tag_text(tag), f"{length} bytes")
                            else:
                                if tag in elements and len(self._repeated) < 64:
                                    self._repeated.append((tag, elements[tag]))
                                elements[tag] = buf[start:after]
                        if tag <= last:
                            if not (tag or vr or length) and kind == _DATA_SET:
                                self._padding(base + pos, count)
                                return end
                            self._note_order(tag, last, kind)
                            self._is_disordered, fast = True, _NOTHING
                        if tag > _FIRST:
                            last = tag
                        if opening < 0:
                            if length & 1:
                                self.header.note("ODD_LENGTH", tag_text(tag))
                            if after > stop:
                                if after > scope_end:
                                    broken = "STRUCTURE"
                                    break
                                pos = after
                                count += 1
                                break
                            pos = after
                            continue
                        if length == 0:
                            opening = -1
                            pos = start
                            continue
                        if length == _UNDEFINED:
                            if tag in PIXEL_TAGS:
                                opening = _FRAGMENTS
                            elif explicit and vr != sq and vr != codes.un:
                                opening = _FRAGMENTS
                                self.header.note("UNDEFINED_ON_NON_SQ", tag_text(tag))
                if opening < 0:
                    scope_end, is_defined, kind, explicit, last = stack.pop()
                    scope_end -= base
                else:
                    if length != _UNDEFINED and start + length > scope_end:
                        broken = "STRUCTURE"
                        break
                    if opening != _ITEM and len(stack) >= 2 * self._limits.depth:
                        self.header.note("DEPTH", f"offset {base + pos}")
                        if len(stack) >= 2 * self._limits.depth * _DEPTH_FACTOR:
                            self._offset, self._count, self._done = base + pos, count, True
                            return end
                    stack.append((scope_end + base, is_defined, kind, explicit, last))
                    is_defined = length != _UNDEFINED
                    if is_defined:
                        scope_end = start + length
                    kind, last, opening = opening, _FIRST, -1
                    pos = start
                stop = scope_end if scope_end < end else end
                special = 0x7FE0 if kind <= _ITEM else 0
                special_tag = special << 16
                fast = short if explicit and not self._is_disordered else _NOTHING
                wanted = self._wanted if kind == _DATA_SET else _NOTHING
            else:
                if self._limit < self._limits.elements_multiframe and self.header.uid(SOP_CLASS_UID) in MANY_ELEMENTS:
                    self._limit, count = self._limits.elements_multiframe, self._limit
                    continue
                self._offset, self._count = base + pos, self._limit
                self._stop("ELEMENT_LIMIT", 0)
                return end
            break
        self._count, self._need, self._in_value, self._opener, self._broken = count, need, in_value, opener, broken
        self._scope = (scope_end + base, is_defined, kind, explicit, last)
        self._skip = max(0, pos - end)
        pos -= self._skip
        self._offset = base + pos
        return pos


def _is_vr_like(buf: bytes, pos: int) -> bool:
    """Tell whether the two bytes in the place of the VR are capital letters."""
    return 0x40 < buf[pos + 4] < 0x5B and 0x40 < buf[pos + 5] < 0x5B
