"""A plain sender for tests: pynetdicom, one context per (SOP class, transfer syntax), the file's bytes as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
from pynetdicom import AE
from pynetdicom.association import Association

from tests.support.instances import data_set_of
from vna.demo.images import can_travel, read_image_file
from vna.demo.sending import NoAnswerError, NoContextError, associate, send_data_set

MAX_CONTEXTS = 128


@dataclass(frozen=True, slots=True)
class Sent:
    """What a peer said to one file: ``status`` of the C-STORE response, or None and a ``reason`` where there was none."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    status: int | None = None
    reason: str = ""

    @property
    def is_stored(self) -> bool:
        """Whether the peer said that it keeps the instance: Success or a warning of the B000 class."""
        return self.status is not None and (self.status == 0 or self.status & 0xF000 == 0xB000)


def send_files(host: str, port: int, ae_title: str, paths: Iterable[Path], *, calling: str = "LOADER") -> list[Sent]:
    """Store files at a peer, in their order, and say what became of each.

    The request names the UIDs of the data set itself, or of the file meta where it has none. What has an odd length cannot
    travel (PS3.8 Annex E: fragments are even) and is not sent; a deflated data set is padded. A peer that aborts in the middle
    loses the file that it aborted at; the rest goes through a new association.
    """
    sent: list[Sent] = []
    for batch in _batches([_identify(path) for path in paths]):
        remaining = batch
        while remaining:
            done = _send_batch(host, port, ae_title, calling, remaining)
            sent += done
            remaining = remaining[len(done) :]
    return sent


def _identify(path: Path) -> Sent:
    image = read_image_file(path)
    if image is not None:
        return Sent(path, image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid)
    meta = pydicom.filereader.read_file_meta_info(path)
    return Sent(path, str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID))


def _batches(files: list[Sent]) -> Iterator[list[Sent]]:
    """Cut the files where their presentation contexts would be more than one association can have (PS3.8 9.3.2.2)."""
    batch: list[Sent] = []
    contexts: set[tuple[str, str]] = set()
    for file in files:
        context = (file.sop_class_uid, file.transfer_syntax_uid)
        if context not in contexts and len(contexts) == MAX_CONTEXTS:
            yield batch
            batch, contexts = [], set()
        contexts.add(context)
        batch.append(file)
    if batch:
        yield batch


def _send_batch(host: str, port: int, ae_title: str, calling: str, files: list[Sent]) -> list[Sent]:
    """Send until the peer ends the association; at least the first file is in the answer."""
    ae = AE(ae_title=calling)
    ae.maximum_pdu_size = 131072
    ae.dimse_timeout = 5
    assoc = associate(ae, host, port, ae_title, ((file.sop_class_uid, file.transfer_syntax_uid) for file in files))
    if not assoc.is_established:
        if assoc.rejected_contexts:
            return [replace(file, reason="presentation context rejected") for file in files]
        raise RuntimeError(f"no association with {ae_title} on port {port}")
    sent: list[Sent] = []
    for number, file in enumerate(files):
        sent.append(_send(assoc, file, number % 65535 + 1))
        if sent[-1].reason == "aborted":
            return sent
    assoc.release()
    return sent


def _send(assoc: Association, file: Sent, message_id: int) -> Sent:
    data_set = data_set_of(file.path)
    if not can_travel(file.transfer_syntax_uid, data_set):
        return replace(file, reason="odd length")
    try:
        status = send_data_set(
            assoc, file.sop_class_uid, file.sop_instance_uid, file.transfer_syntax_uid, data_set, message_id=message_id
        )
    except NoContextError:
        return replace(file, reason="presentation context rejected")
    except NoAnswerError:
        return replace(file, reason="aborted")
    return replace(file, status=status)
