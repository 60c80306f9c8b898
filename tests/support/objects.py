"""Data sets as they come over the wire, and ways to hand them to a sink."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset

from tests.support.instances import make_instance
from vna.model import Incoming, Provenance, Receipt, Sink
from vna.part10 import file_meta


@dataclass(frozen=True)
class WireObject:
    """One object as a C-STORE request announces and carries it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes

    @property
    def stored(self) -> bytes:
        """The bytes of the file that the archive makes of it."""
        return file_meta(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid) + self.data_set

    @property
    def sha256(self) -> str:
        """The digest of that file."""
        return hashlib.sha256(self.stored).hexdigest()


def wire_object(ds: Dataset | None = None, **keywords: object) -> WireObject:
    """Encode a data set, or a generated instance with these keywords, as it goes over the wire."""
    ds = make_instance(**keywords) if ds is None else ds
    file = BytesIO()
    syntax = ds.file_meta.TransferSyntaxUID
    meta = ds.file_meta
    ds.save_as(file, enforce_file_format=True)
    data = file.getvalue()
    offset = 144 + int.from_bytes(data[140:144], "little")
    return WireObject(meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, syntax, data[offset:])


def send(sink: Sink, item: WireObject, source: str = "legacy", chunk: int = 4096) -> Receipt:
    """Hand one object to a sink as an association would, and return its receipt."""
    incoming = handed_over(sink, item, source, chunk)
    receipt = incoming.commit()
    incoming.tidy()
    return receipt


def handed_over(sink: Sink, item: WireObject, source: str = "legacy", chunk: int = 4096) -> Incoming:
    """Hand one object to a sink up to its last byte."""
    incoming = sink(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, Provenance(source))
    for at in range(0, len(item.data_set), chunk):
        incoming.write(item.data_set[at : at + chunk])
    return incoming


def send_all(
    sink: Sink, items: Iterable[WireObject], acknowledged: Callable[[Receipt], None] = lambda receipt: None
) -> list[Receipt]:
    """Hand over several objects, and tell of each as soon as it is acknowledged."""
    receipts = []
    for item in items:
        incoming = handed_over(sink, item)
        receipts.append(incoming.commit())
        acknowledged(receipts[-1])
        incoming.tidy()
    return receipts
