"""SOP class UIDs (PS3.6 Annex A), as plain strings, and the rule that tells storage from everything else.

pynetdicom makes its names at run time, which a strict type checker cannot see; these are the ones that this package says itself.
"""

from __future__ import annotations

from typing import Final

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH_MODEL = "1.2.840.10008.1.20.1"
MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
INSTANCE_AVAILABILITY_NOTIFICATION = "1.2.840.10008.5.1.4.33"

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

_OTHER_SERVICES = (
    "1.2.840.10008.1.9",  # Basic Study Content Notification (retired)
    "1.2.840.10008.1.20.",  # Storage Commitment
    "1.2.840.10008.1.40",  # Procedural Event Logging
    "1.2.840.10008.1.42",  # Substance Administration Logging
    "1.2.840.10008.3.1.2.",  # Modality Performed Procedure Step and the retired management classes
    "1.2.840.10008.5.1.4.1.2.",  # Query/Retrieve
    "1.2.840.10008.5.1.4.20.",  # Defined Procedure Protocol query
    "1.2.840.10008.5.1.4.31",  # Modality Worklist
    "1.2.840.10008.5.1.4.32",  # General Purpose Worklist (retired)
    "1.2.840.10008.5.1.4.33",  # Instance Availability Notification
    "1.2.840.10008.5.1.4.37.",  # Relevant Patient Information query
    "1.2.840.10008.5.1.4.41",  # Product Characteristics query
    "1.2.840.10008.5.1.4.42",  # Substance Approval query
    "1.2.840.10008.10.",  # DICOM real-time video
)
_OTHER_CLASSES = frozenset(
    {VERIFICATION}
    | {f"1.2.840.10008.5.1.1.{n}" for n in (1, 2, 4, "4.1", "4.2", 9, "9.1", 14, 15, 16, "16.376", 18, "18.1")}  # print
    | {f"1.2.840.10008.5.1.1.{n}" for n in (22, 23, 24, "24.1", 26, 31, 32, 33, 40)}  # print, media creation, display
    | {f"1.2.840.10008.5.1.4.1.1.200.{n}" for n in (4, 5, 6)}  # Protocol Approval query/retrieve
    | {f"1.2.840.10008.5.1.4.1.1.201.{n}" for n in (2, 3, 4, 5, 6)}  # Inventory query/retrieve, creation, Repository Query
    | {f"1.2.840.10008.5.1.4.34.{n}" for n in (2, 3, 4, 6, 8, 9)}  # RT verification, Unified Procedure Step
    | {f"1.2.840.10008.5.1.4.34.{n}.{m}" for n in (4, 6) for m in range(1, 6)}
    | {f"1.2.840.10008.5.1.4.{n}.{m}" for n in (38, 39, 43, 44, 45) for m in (2, 3, 4)}  # hanging protocol, palette, implants
)


def is_storage(sop_class_uid: str) -> bool:
    """Say whether objects of this class are stored by C-STORE (PS3.4 B.5, GG.3): every class but those of other services.

    A private or unknown class counts as storage: an archive must keep what it does not understand.
    """
    return bool(sop_class_uid) and not sop_class_uid.startswith(_OTHER_SERVICES) and sop_class_uid not in _OTHER_CLASSES
