"""Clean a description by an allow-list: words of the DICOM and SNOMED concepts that PS3.16 names stay, all others go.

Used for the Clean Descriptors and similar options (PS3.15 E.3.5). An allow-list cannot leak a name that nobody thought of.
"""

from __future__ import annotations

import re
from functools import cache

_WORD = re.compile(r"[A-Za-z]+|\d+")
_PIECE = re.compile(rb"[A-Za-z0-9]+|[^A-Za-z0-9]+")
_LONGEST_NUMBER = 3
_TERMS = """
ct mr us xr cr dx mg pt nm xa rf pet spect cta mra mri dwi adc flair t1 t2 tse fse gre se epi stir mprage swi tof pd fs ap pa lat
ax axial cor coronal sag sagittal obl mpr mip contrast native kontrast with without wo w pre post plain delayed arterial venous
portal phase head neck chest thorax abdomen abd pelvis spine brain skull knee hip hand foot wrist ankle shoulder elbow lung
liver kidney heart cardiac aorta left right bilateral lt rt scout localizer topogram survey dose report routine follow up hr lr
soft bone window
recon kernel thin thick series study exam examination protocol body whole upper lower extremity cm mm ms kv ma mas
"""


@cache
def allowed_words() -> frozenset[str]:
    """Collect the words, in lower case."""
    from pydicom.sr._concepts_dict import concepts

    words = set(_TERMS.split())
    for scheme in ("DCM", "SCT"):
        for entry in concepts[scheme].values():
            for meaning, _ in entry.values():  # type: ignore[attr-defined]
                # A word that is only ever written with a capital may be an eponym, and so somebody's name.
                words.update(word.lower() for word in _WORD.findall(meaning) if word.islower() or word.isupper())
    return frozenset(words)


def clean_text(raw: bytes) -> bytes:
    """Keep the allowed words and numbers of up to three digits; what else a value holds becomes one space."""
    words = allowed_words()
    kept = bytearray()
    for piece in _PIECE.findall(raw):
        is_number = piece.isdigit() and len(piece) <= _LONGEST_NUMBER
        if is_number or (piece.isalnum() and piece.decode("ascii", "ignore").lower() in words):
            kept += piece
        else:
            kept += b"\\" if piece.strip() == b"\\" else b" "
    return re.sub(rb" +", b" ", bytes(kept)).strip()
