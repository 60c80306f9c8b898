"""Rules about text: the character set that is declared, the one that was used, and characters that do harm (PS3.5 6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from indexer.text import character_set, decode, decode_checked
from vna.model import Severity
from vna.validate.instance import SPECIFIC_CHARACTER_SET, Instance, Visit
from vna.validate.registry import Found, finds, rule

_SHORT = ("SH", "LO", "PN", "UC")
_LONG = ("ST", "LT", "UT")
_IDENTIFIERS = frozenset({0x00100020, 0x00080050, 0x00200010, 0x00100010})
_CONTROL = re.compile("[\x00-\x1a\x1c-\x1f\x7f]")
_CONTROL_OF_LONG = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_C1 = re.compile("[\x80-\x9f]")
_INVISIBLE = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_PATH = re.compile(r"\.\.[/\\]")
_ACTIVE = re.compile(r"\$\{jndi:|^[=@][^\\]*[|(!]", re.IGNORECASE)
_SINGLE_BYTE = frozenset(
    f"{prefix}{number}".encode()
    for prefix in ("ISO_IR ", "ISO 2022 IR ")
    for number in (100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 203)
)
_MULTI_BYTE = re.compile(rb"[\xc3-\xf4][\x80-\xbf]")


def _texts(instance: Instance, *vrs: str) -> Iterator[Visit]:
    for vr in vrs:
        for visit in instance.by_vr.get(vr, ()):
            if not (visit.element.tag >> 16) & 1 and visit.element.raw:
                yield visit


@finds("CHARSET")
def charset_violated(instance: Instance) -> Iterator[Found]:
    """Find text that cannot be decoded as its Specific Character Set says."""
    for visit in _texts(instance, *_SHORT, *_LONG):
        raw = visit.element.raw or b""
        if not raw.isascii() or b"\x1b" in raw:
            _, worked = decode_checked(raw, visit.element.vr, visit.character_set)
            if not worked and visit.character_set:
                yield Found(visit.where)


@rule(
    "CHARSET_TERM",
    Severity.WARNING,
    "Specific Character Set has a value that is no defined term, or not in that place.",
    "PS3.3 C.12.1.1.2",
)
def charset_term(instance: Instance) -> Iterator[Found]:
    """Find terms that PS3.3 does not define, and a lone term for code extensions (``ISO 2022 IR 6`` without another one)."""
    for visit in instance.by_vr.get("CS", ()):
        if visit.element.tag != SPECIFIC_CHARACTER_SET or not visit.element.raw:
            continue
        terms = [term.strip(" \0") for term in visit.element.raw.decode("latin-1").split("\\")]
        alone = len(terms) == 1 and terms[0] == "ISO 2022 IR 6"
        if alone or not character_set(visit.element.raw).is_standard or any(term.startswith("ISO_IR") for term in terms[1:]):
            yield Found(visit.where, tuple(terms[:4]))


@rule("CHARSET_UNDECLARED", Severity.WARNING, "Text goes beyond ASCII without a Specific Character Set.", "PS3.3 C.12.1.1.2")
def charset_undeclared(instance: Instance) -> Iterator[Found]:
    """Find bytes above 0x7F, or escape sequences, where only the default repertoire ISO_IR 6 is declared."""
    for visit in _texts(instance, *_SHORT, *_LONG):
        raw = visit.element.raw or b""
        if visit.character_set.strip(b" \0") in (b"", b"ISO_IR 6", b"ISO 2022 IR 6") and (not raw.isascii() or b"\x1b" in raw):
            yield Found(visit.where)


@rule("CHARSET_SUSPECT", Severity.WARNING, "Text decodes as declared, but looks like another character set.", "PS3.3 C.12.1.1.2")
def charset_suspect(instance: Instance) -> Iterator[Found]:
    """Find UTF-8 declared as one of the Latin sets, and Windows characters (0x80 to 0x9F) that no ISO 8859 set has."""
    for visit in _texts(instance, *_SHORT, *_LONG):
        raw = visit.element.raw or b""
        if raw.isascii() or b"\x1b" in raw or visit.character_set.split(b"\\")[0].strip(b" \0") not in _SINGLE_BYTE:
            continue
        if _is_utf_8(raw) or _C1.search(raw.decode("latin-1")):
            yield Found(visit.where)


def _is_utf_8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return _MULTI_BYTE.search(raw) is not None


@rule(
    "UNSAFE_TEXT",
    Severity.WARNING,
    "Text has characters that do harm elsewhere: controls, direction overrides, paths, formulas.",
    "PS3.5 6.1.3",
)
def unsafe_text(instance: Instance) -> Iterator[Found]:
    """Find text that must be escaped wherever it is shown, logged or exported: it breaks lists, file names, terminals, sheets."""
    for vrs, control in ((_SHORT, _CONTROL), (_LONG, _CONTROL_OF_LONG)):
        for visit in _texts(instance, *vrs):
            text = decode(visit.element.raw or b"", visit.element.vr, visit.character_set)
            if control.search(text):
                yield Found(visit.where, ("control character",))
            elif _INVISIBLE.search(text):
                yield Found(visit.where, ("invisible character",))
            elif visit.element.vr in ("SH", "LO") and _ACTIVE.search(text):
                yield Found(visit.where, ("active content",))
            elif visit.element.tag in _IDENTIFIERS and _PATH.search(text):
                yield Found(visit.where, ("path",))
