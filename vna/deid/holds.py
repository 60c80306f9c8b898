"""Why an object is held back: stable codes, each with its text and the part of the Standard behind it."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom._uid_dict import UID_dictionary

from vna.deid.top_level import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, TopLevel

HOLDS: dict[str, tuple[str, str]] = {
    "UID_CONFLICT": ("another object under the same SOP Instance UID is in the selection", "PS3.5 9"),
    "QUARANTINED": ("the archive itself holds the object in quarantine", "PS3.5 7"),
    "MISSING_UID": ("SOP class, SOP instance, study or series UID is missing", "PS3.3 C.12.1"),
    "BAD_UID": ("a UID that is to be retained is none, and cannot become a file name", "PS3.5 9.1"),
    "DIRECTORY": ("a DICOMDIR is no instance of a patient", "PS3.3 F"),
    "PRIVATE_SOP_CLASS": ("what a private or unknown SOP class holds cannot be judged", "PS3.15 E.1.1"),
    "UNKNOWN_TRANSFER_SYNTAX": ("a private or unknown transfer syntax cannot be read", "PS3.5 10"),
    "ENCAPSULATED_DOCUMENT": ("an encapsulated document is opaque: PDF, CDA, STL and the like", "PS3.3 C.24"),
    "PIXEL_DATA_ELSEWHERE": ("the pixel data is behind a URL", "PS3.5 A.6"),
    "EMBEDDED_OVERLAY": ("an overlay is stored in spare bits of the pixel data", "PS3.3 C.9.2"),
    "STRUCTURE": ("the bytes do not form a data set", "PS3.5 7"),
    "VALUE_OVERRUN": ("an element reaches beyond the end of the data", "PS3.5 7.1"),
    "DEPTH": ("sequences are nested too deeply", "PS3.5 7.5"),
    "UNTERMINATED_SQ": ("a sequence is not made of items", "PS3.5 7.5"),
    "OVERSIZE_VALUE": ("a value is longer than its VR allows", "PS3.5 6.2"),
    "DUP_IDENTITY_TAG": ("the data set has two pixel data elements", "PS3.3 C.7.6.3"),
    "INFLATE_ERROR": ("the deflated data set cannot be inflated", "PS3.5 A.5"),
    "BURNED_IN": ("the object says that text is burned into its pixels", "PS3.3 C.7.6.1.1.5"),
    "PIXELS_CLASS": ("images of this SOP class usually carry burned-in text", "PS3.15 E.3.1"),
    "PIXELS_SCREEN": ("the image is derived, a screen or a digitised film", "PS3.15 E.3.1"),
    "PIXELS_RULE": ("a rule of the recipe or catalogue holds this image", "PS3.15 E.3.1"),
    "PIXELS_LOSSY": ("text regions cannot be blanked in lossy pixels without a loss elsewhere", "PS3.15 E.3.1"),
    "PIXELS_NO_CODEC": ("no encoder for this transfer syntax is installed", "PS3.15 E.3.1"),
    "PIXELS_LAYOUT": ("the pixels' layout is none that can be cleaned", "PS3.15 E.3.1"),
    "AUDIT": ("the audit found a known identifier in the output, which was withdrawn", "PS3.15 E.1.1"),
    "UNREADABLE": ("the object could not be read from the archive", ""),
    "CRASHED": ("the worker process died of the object, and again when it had no other", ""),
    "FAILED": ("an unforeseen error, which is a defect; the log tells where", ""),
}
"""Code -> what it means, and where the Standard speaks of it."""

_DIRECTORY = "1.2.840.10008.1.3.10"
_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
_ENCAPSULATED_DOCUMENT = 0x00420011
_PIXEL_DATA_PROVIDER_URL = 0x00287FE0
_SOP_CLASS_TYPES = ("SOP Class", "Meta SOP Class")


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason to hold an object; ``detail`` names a rule or class, never a value of the patient's."""

    code: str
    detail: str = ""


def object_hold(top: TopLevel, transfer_syntax_uid: str) -> Hold | None:
    """Say why an object of this kind cannot be made safe, None when it can (its pixels are judged elsewhere)."""
    sop_class_uid = top.value(SOP_CLASS_UID).decode("latin-1")
    if sop_class_uid == _DIRECTORY:
        return Hold("DIRECTORY")
    if not all(top.value(tag) for tag in (SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID)):
        return Hold("MISSING_UID")
    if UID_dictionary.get(sop_class_uid, ("", ""))[1] not in _SOP_CLASS_TYPES:
        return Hold("PRIVATE_SOP_CLASS")
    if UID_dictionary.get(transfer_syntax_uid, ("", ""))[1] != "Transfer Syntax":
        return Hold("UNKNOWN_TRANSFER_SYNTAX")
    if sop_class_uid.startswith(_ENCAPSULATED) or _ENCAPSULATED_DOCUMENT in top.found:
        return Hold("ENCAPSULATED_DOCUMENT")
    if _PIXEL_DATA_PROVIDER_URL in top.found:
        return Hold("PIXEL_DATA_ELSEWHERE")
    return Hold("EMBEDDED_OVERLAY") if _has_embedded_overlay(top) else None


def _has_embedded_overlay(top: TopLevel) -> bool:
    """Look for an overlay plane without data of its own: it lives in the bits above those stored (retired, PS3.3 C.9.2)."""
    planes = {tag >> 16 for tag in top.found if tag >> 24 == 0x60}
    return any((plane << 16 | 0x0102) in top.found and (plane << 16 | 0x3000) not in top.found for plane in planes)
