"""Which images may pass: default-deny for burned-in text (PS3.15 E.3.1).

Only images that a modality makes of a patient, and that nothing marks as a screen, pass by themselves. Whatever else has
pixels is held until a rule of the recipe or catalogue says which rectangles to blank, or a person has released it.
"""

from __future__ import annotations

from dataclasses import dataclass

from vna.deid.filters import Coordinates, Lookup, PixelRule
from vna.deid.holds import Hold
from vna.deid.table import tag_of
from vna.deid.top_level import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, TopLevel

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_GREY = """\
1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 4 4.1 4.4 12.1 12.1.1 12.2 12.2.1 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20
128 128.1 130 481.1
"""
_GREY_CLASSES = frozenset(_STORAGE + suffix for suffix in _GREY.split())
"""Images that a modality makes and that are grey: a coloured one is a screen (PS3.4 B.5)."""

_TEXTLESS = "4.2 4.3 30 66.4 66.5 66.7 481.2 481.23 68.1 68.2"
_TEXTLESS_CLASSES = frozenset(_STORAGE + suffix for suffix in _TEXTLESS.split())
"""Objects whose pixels are masks, doses, spectra or maps, never a picture with text."""

_WHOLE_SLIDE = _STORAGE + "77.1.6"
_GREY_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "")
_SCREEN_WORDS = frozenset(
    ("SCREEN SAVE", "SCREENSHOT", "SCREEN", "SECONDARY CAPTURE", "DOSE_INFO", "DOSE REPORT", "REPORT", "SC")
)
_SCREEN_MODALITIES = frozenset(("OT", "SC", "HC", "DOC", "FD", "DG", "LP", "ES", "XC", "US", "IVUS", "GM", "SM", "OP", "ECG"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an image: ``hold`` says why not, ``coordinates`` what is blanked before it may go."""

    hold: Hold | None = None
    coordinates: tuple[Coordinates, ...] = ()
    rule: str = ""
    released: bool = False


@dataclass(frozen=True, slots=True)
class PixelPolicy:
    """The rules of a run about burned-in text: the recipe's, the catalogue's, and what a person has released (source UIDs)."""

    rules: tuple[PixelRule, ...] = ()
    released: frozenset[str] = frozenset()

    def judge(self, top: TopLevel) -> Verdict:
        """Judge the pixels of an object; one without pixel data passes."""
        if top.pixel is None:
            return Verdict()
        uids = (top.value(tag).decode("latin-1") for tag in (SOP_INSTANCE_UID, SERIES_INSTANCE_UID, STUDY_INSTANCE_UID))
        if self.released and not self.released.isdisjoint(uids):
            return Verdict(released=True)
        return self._by_rule(top) or Verdict(default_hold(top))

    def _by_rule(self, top: TopLevel) -> Verdict | None:
        if not self.rules:
            return None
        lookup = lookup_in(top)
        holding = [rule for rule in self.rules if rule.holds(lookup)]
        for rule in holding:
            if rule.group == "blacklist":
                return Verdict(Hold("PIXELS_RULE", rule.label))
        coordinates = tuple(each for rule in holding for each in rule.coordinates)
        if coordinates:
            return Verdict(coordinates=coordinates, rule="; ".join(rule.label for rule in holding if rule.coordinates))
        for rule in holding:
            if rule.group == "whitelist":
                return Verdict(released=True, rule=rule.label)
            return Verdict(Hold("PIXELS_RULE", rule.label))
        return None


def default_hold(top: TopLevel) -> Hold | None:
    """Say why an image is held when no rule speaks of it; None for one that may pass."""
    sop_class_uid = top.value(SOP_CLASS_UID).decode("latin-1")
    if top.text("BurnedInAnnotation").upper() == "YES":
        return Hold("BURNED_IN")
    if sop_class_uid in _TEXTLESS_CLASSES:
        return None
    kinds = [part.strip().upper() for part in top.text("ImageType").split("\\")]
    if sop_class_uid == _WHOLE_SLIDE and kinds[2:3] == ["VOLUME"]:
        return None
    if sop_class_uid not in _GREY_CLASSES:
        return Hold("PIXELS_CLASS", sop_class_uid)
    is_screen = kinds[1:2] == ["SECONDARY"] or not _SCREEN_WORDS.isdisjoint(kinds) or top.text("ConversionType")
    if is_screen or top.text("Modality").upper() in _SCREEN_MODALITIES:
        return Hold("PIXELS_SCREEN")
    return None if top.text("PhotometricInterpretation").upper() in _GREY_PHOTOMETRIC else Hold("PIXELS_SCREEN", "colour")


def lookup_in(top: TopLevel) -> Lookup:
    """Look attributes up in an object, for the tests of a rule."""

    def lookup(keyword: str) -> list[str] | None:
        tag = tag_of(keyword) if not keyword.startswith("0x") else int(keyword, 16)
        if tag is None or tag not in top.found:
            return None
        if keyword in ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel"):
            return [str(top.number(keyword))]
        return [part.strip() for part in top.value(tag).decode("latin-1").split("\\")]

    return lookup
