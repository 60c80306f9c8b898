"""Rules about SOP classes and transfer syntaxes: known to PS3.6, private, retired, or not a composite object at all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from pydicom.config import IGNORE
from pydicom.uid import UID

from vna.model import Severity
from vna.validate.instance import Instance
from vna.validate.registry import Found, finds, rule

DICOM_ROOT = "1.2.840.10008."
SOP_CLASS_UID = 0x00080016
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"


@cache
def _entry(uid: str) -> UID:
    return UID(uid, IGNORE)  # the value may be anything: neither raise nor warn


@cache
def is_known(uid: str, kind: str) -> bool:
    """Say whether PS3.6 Annex A lists ``uid`` as a ``kind`` ("SOP Class", "Transfer Syntax")."""
    return _entry(uid).type == kind


def is_retired(uid: str) -> bool:
    """Say whether PS3.6 Annex A marks ``uid`` as retired."""
    return bool(_entry(uid).type) and _entry(uid).is_retired


@cache
def is_storage(uid: str) -> bool:
    """Say whether a SOP class of PS3.6 is one of the Storage Service Class (PS3.4 Annex B), by its name."""
    name = _entry(uid).name
    return not name or ("Storage" in name and "Commitment" not in name)  # a retired class whose name is gone: give it the benefit


def sop_class_of(instance: Instance) -> str:
    """Name the SOP class: what the data set says, else the file meta."""
    return instance.text(SOP_CLASS_UID) or instance.sop_class_uid


@rule("SOP_CLASS_UNKNOWN", Severity.WARNING, "The SOP class is not in PS3.6, though its UID has DICOM's root.", "PS3.6 A")
def sop_class_unknown(instance: Instance) -> Iterator[Found]:
    """Find UIDs under 1.2.840.10008 that no edition known here defines."""
    uid = sop_class_of(instance)
    if uid.startswith(DICOM_ROOT) and not is_known(uid, "SOP Class"):
        yield Found("SOPClassUID", (uid,))


@rule(
    "SOP_CLASS_PRIVATE",
    Severity.INFO,
    "The SOP class is a private one: few targets take it.",
    "PS3.2; PS3.6 A",
)
def sop_class_private(instance: Instance) -> Iterator[Found]:
    """Find SOP classes of a vendor's own."""
    uid = sop_class_of(instance)
    if uid and not uid.startswith(DICOM_ROOT):
        yield Found("SOPClassUID", (uid,))


@rule("SOP_CLASS_RETIRED", Severity.INFO, "The SOP class is retired: targets may refuse it.", "PS3.4 B.5; PS3.6 A")
def sop_class_retired(instance: Instance) -> Iterator[Found]:
    """Find retired SOP classes, such as Standalone Overlay or the first Ultrasound Image Storage."""
    uid = sop_class_of(instance)
    if is_retired(uid):
        yield Found("SOPClassUID", (uid,))


@rule("SOP_CLASS_NOT_STORAGE", Severity.WARNING, "The SOP class is not one that can be stored at a peer.", "PS3.4 B.5")
def sop_class_not_storage(instance: Instance) -> Iterator[Found]:
    """Find objects of a class outside the Storage service, such as a DICOMDIR or a worklist item."""
    uid = sop_class_of(instance)
    if uid == MEDIA_STORAGE_DIRECTORY or (is_known(uid, "SOP Class") and not is_storage(uid)):
        yield Found("SOPClassUID", (uid,))


@finds("TS_UNKNOWN")
def transfer_syntax_unknown(instance: Instance) -> Iterator[Found]:
    """Find transfer syntaxes that PS3.6 does not list, private ones included."""
    uid = instance.transfer_syntax_uid
    if uid and not is_known(uid, "Transfer Syntax"):
        yield Found("TransferSyntaxUID", (uid,))


@rule("TS_RETIRED", Severity.INFO, "The transfer syntax is retired: targets may refuse it.", "PS3.5 A; PS3.6 A")
def transfer_syntax_retired(instance: Instance) -> Iterator[Found]:
    """Find retired transfer syntaxes: big endian, and the JPEG processes that were dropped."""
    uid = instance.transfer_syntax_uid
    if is_known(uid, "Transfer Syntax") and is_retired(uid):
        yield Found("TransferSyntaxUID", (uid,))
