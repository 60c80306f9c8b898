"""What a scrub can find, and why a repair was not made. Codes are stable and never reused."""

from __future__ import annotations

MISSING = "MISSING"
UNREADABLE = "UNREADABLE"
TRUNCATED = "TRUNCATED"
EXTENDED = "EXTENDED"
CHANGED = "CHANGED"
SWAPPED = "SWAPPED"
UNRECORDED = "UNRECORDED"
RECORD_DAMAGED = "RECORD_DAMAGED"

BIT_ROT = "BIT_ROT"
"""The reason under which damaged bytes are kept in quarantine."""

NO_COPY = "NO_COPY"
COPY_DAMAGED = "COPY_DAMAGED"
COPY_UNREADABLE = "COPY_UNREADABLE"
HOLDS_ANOTHER = "HOLDS_ANOTHER"
NOT_KEPT = "NOT_KEPT"
NOT_REPLACED = "NOT_REPLACED"

CODES = {
    MISSING: "The object is recorded, and nothing stands under its path.",
    UNREADABLE: "The disk or the service fails to give the object's bytes.",
    TRUNCATED: "The object is shorter than recorded.",
    EXTENDED: "The object is longer than recorded.",
    CHANGED: "The object has the recorded size, and other bytes.",
    SWAPPED: "The bytes are those of another object of this archive.",
    UNRECORDED: "An object stands there that no record knows; `vna index rebuild` takes it into the index.",
    RECORD_DAMAGED: "The object is intact; the index or the manifest records another digest.",
    BIT_ROT: "Damaged bytes that a repair replaced by a good copy.",
    NO_COPY: "The copy does not hold the object.",
    COPY_DAMAGED: "What the copy holds is not the recorded object either.",
    COPY_UNREADABLE: "The copy fails to give the object's bytes.",
    HOLDS_ANOTHER: "The bytes may be the only good ones of another object, which must be repaired first.",
    NOT_KEPT: "The damaged bytes could not be kept in quarantine, so they were not replaced.",
    NOT_REPLACED: "The store could not put the good copy in place.",
}
"""Code -> what it means."""
