"""The elements that say in every output that it was de-identified, and how (PS3.15 E.1.1 step 6 and 7, PS3.3 C.7.1.1)."""

from __future__ import annotations

from functools import lru_cache

from vna.deid.recipe import Recipe
from vna.deid.table import EDITION, METHOD_CODES, Profile
from vna.part10.elements import Encoding, element_bytes, sequence_bytes

PATIENT_IDENTITY_REMOVED = 0x00120062
DEIDENTIFICATION_METHOD = 0x00120063
DEIDENTIFICATION_METHOD_CODE_SEQUENCE = 0x00120064
BURNED_IN_ANNOTATION = 0x00280301
LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED = 0x00280303

CODE_VALUE = 0x00080100
CODING_SCHEME_DESIGNATOR = 0x00080102
CODE_MEANING = 0x00080104


@lru_cache(maxsize=64)
def _method_elements(recipe: Recipe, encoding: Encoding, cleaned_pixels: bool) -> tuple[tuple[int, bytes], ...]:
    options = set(recipe.actions.options) | {Profile.BASIC}
    if cleaned_pixels:
        options.add(Profile.CLEAN_PIXELS)
    codes = sorted(METHOD_CODES[option] for option in options)
    method = "\\".join((f"PS3.15 {EDITION} Annex E", f"vna recipe {recipe.name}"[:64]))
    elements = {
        PATIENT_IDENTITY_REMOVED: element_bytes(PATIENT_IDENTITY_REMOVED, b"CS", b"YES", encoding),
        DEIDENTIFICATION_METHOD: element_bytes(DEIDENTIFICATION_METHOD, b"LO", method.encode("ascii", "replace"), encoding),
        DEIDENTIFICATION_METHOD_CODE_SEQUENCE: sequence_bytes(
            DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
            [_code(value.encode(), b"DCM", meaning[:64].encode(), encoding) for value, meaning in codes],
            encoding,
        ),
        LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED: element_bytes(
            LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, b"CS", _temporal(options), encoding
        ),
    }
    if cleaned_pixels:
        elements[BURNED_IN_ANNOTATION] = element_bytes(BURNED_IN_ANNOTATION, b"CS", b"NO", encoding)
    return tuple(elements.items())


def method_elements(recipe: Recipe, encoding: Encoding, cleaned_pixels: bool) -> dict[int, bytes]:
    """Encode the elements that state the profile, its options and what happened to dates and pixels: tag -> element."""
    return dict(_method_elements(recipe, encoding, cleaned_pixels))


def dummy_code_sequence(tag: int, encoding: Encoding) -> bytes:
    """Encode a code sequence whose one item says nothing: PS3.15's action D for the code of a person or an institution."""
    return sequence_bytes(tag, [_code(b"REMOVED", b"99VNA", b"Removed", encoding)], encoding)


def _code(value: bytes, scheme: bytes, meaning: bytes, encoding: Encoding) -> bytes:
    return (
        element_bytes(CODE_VALUE, b"SH", value, encoding)
        + element_bytes(CODING_SCHEME_DESIGNATOR, b"SH", scheme, encoding)
        + element_bytes(CODE_MEANING, b"LO", meaning, encoding)
    )


def _temporal(options: set[Profile]) -> bytes:
    if Profile.RETAIN_FULL_DATES in options:
        return b"UNMODIFIED"
    return b"MODIFIED" if Profile.RETAIN_MODIFIED_DATES in options else b"REMOVED"
