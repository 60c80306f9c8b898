"""SOP class UIDs (PS3.6 Annex A), as plain strings, and the rule that tells storage from everything else.

pynetdicom makes its names at run time, which a strict type checker cannot see; these are the ones that this package says itself.
"""

from __future__ import annotations

from typing import Final

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"

FIND: Final = {"study": STUDY_ROOT_FIND, "patient": PATIENT_ROOT_FIND}
MOVE: Final = {"study": STUDY_ROOT_MOVE, "patient": PATIENT_ROOT_MOVE}
GET: Final = {"study": STUDY_ROOT_GET, "patient": PATIENT_ROOT_GET}
"""Information model name -> SOP class (PS3.4 C.6)."""

_ROOT = "1.2.840.10008."
OTHER_SERVICES: Final = {
    "Basic Study Content Notification (retired)": ("1.9",),
    "Storage Commitment": ("1.20.1", "1.20.2"),
    "Procedural Event Logging, Substance Administration Logging": ("1.40", "1.42"),
    "Modality Performed Procedure Step, and the retired management of patients, visits, studies and results": ("3.1.2.",),
    "Print Management": (
        *(
            f"5.1.1.{n}"
            for n in (1, 2, 4, "4.1", "4.2", 9, "9.1", 14, 15, 16, "16.376", 18, "18.1", 22, 23, 24, "24.1", 26, 31, 32)
        ),
    ),
    "Media Creation Management, Display System": ("5.1.1.33", "5.1.1.40"),
    "Query/Retrieve": ("5.1.4.1.2.",),
    "Protocol Approval query/retrieve": tuple(f"5.1.4.1.1.200.{n}" for n in (4, 5, 6)),
    "Inventory query/retrieve and creation, Repository Query": tuple(f"5.1.4.1.1.201.{n}" for n in (2, 3, 4, 5, 6)),
    "Defined Procedure Protocol query/retrieve": ("5.1.4.20.",),
    "Modality Worklist, General Purpose Worklist (retired)": ("5.1.4.31", "5.1.4.32", "5.1.4.32."),
    "Instance Availability Notification": ("5.1.4.33",),
    "Unified Procedure Step": ("5.1.4.34.4", "5.1.4.34.4.", "5.1.4.34.6", "5.1.4.34.6."),
    "RT Machine Verification": tuple(f"5.1.4.34.{n}" for n in (2, 3, 8, 9)),
    "Relevant Patient Information query": ("5.1.4.37.",),
    "Hanging Protocol, Color Palette and Implant Template query/retrieve": (
        *(f"5.1.4.{n}.{m}" for n in (38, 39, 43, 44, 45) for m in (2, 3, 4)),
    ),
    "Product Characteristics, Substance Approval query": ("5.1.4.41", "5.1.4.42"),
    "Real-Time Communication": ("10.",),
}
"""Services whose SOP classes are no storage: UIDs below 1.2.840.10008; one that ends with a dot stands for all that begin so."""

_OTHER = frozenset(_ROOT + uid for uids in OTHER_SERVICES.values() for uid in uids if not uid.endswith(".")) | {VERIFICATION}
_OTHER_ROOTS = tuple(_ROOT + uid for uids in OTHER_SERVICES.values() for uid in uids if uid.endswith("."))


def is_storage(sop_class_uid: str) -> bool:
    """Say whether objects of this class are stored by C-STORE (PS3.4 B.5, GG.3): every class but those of other services.

    A private or unknown class counts as storage: an archive must keep what it does not understand.
    """
    return bool(sop_class_uid) and sop_class_uid not in _OTHER and not sop_class_uid.startswith(_OTHER_ROOTS)
