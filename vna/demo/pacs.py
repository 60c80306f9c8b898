"""An archive in this process: C-ECHO, C-STORE, C-FIND, C-MOVE and C-GET over real associations on loopback.

It keeps and sends the exact encoded bytes of each data set, answers queries in UTF-8, and does wrong whatever its
:class:`~vna.demo.faults.Faults` say. pynetdicom negotiates and frames the messages; the services themselves are here, since
pynetdicom's own would decode and encode the data sets. For that, an association's ``_serve_request`` is replaced, which is no
public interface of pynetdicom: the tests of this module tell when a release changes it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_GET, C_MOVE, C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class
from pynetdicom.transport import ThreadedAssociationServer

from vna.demo.catalogue import LEVELS, Catalogue, StoredObject, missing_unique_keys, read_object
from vna.demo.faults import NO_FAULTS, Faults
from vna.demo.identifiers import read_identifier, write_identifier
from vna.demo.images import can_travel, data_set_of, read_image_file
from vna.demo.retrieval import Retrieval
from vna.demo.sending import DimseMessage, send_response, set_nodelay
from vna.model import Node

VERIFICATION = "1.2.840.10008.1.1"
PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1."
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2."
IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_QUERIES = {root + service for root in (PATIENT_ROOT, STUDY_ROOT) for service in "123"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request that the PACS was asked: its service, who asked, and the keys of its identifier."""

    service: str
    calling_ae_title: str
    keys: Mapping[str, str] = field(default_factory=dict)


class EmbeddedPacs:
    """An archive that listens on loopback while its ``with`` block lasts.

    ``destinations`` maps the AE titles that it moves to, to (host, port). ``refuses`` holds SOP Class and Transfer Syntax UIDs
    whose presentation contexts it rejects. ``callers`` are the calling AE titles that it knows (empty: anybody), and with
    ``checks_called`` it must be called by its own. With ``overwrites`` a second object of the same SOP Instance UID replaces the
    first, else it is answered Success and dropped. ``faults`` may be replaced at any time.
    """

    def __init__(
        self,
        ae_title: str = "PACS",
        *,
        port: int = 0,
        destinations: Mapping[str, tuple[str, int]] | None = None,
        refuses: Iterable[str] = (),
        callers: Iterable[str] = (),
        checks_called: bool = False,
        overwrites: bool = True,
        faults: Faults = NO_FAULTS,
    ) -> None:
        self.ae_title = ae_title
        self.host = "127.0.0.1"
        self.faults = faults
        self.destinations = dict(destinations or {})
        self.requests: list[Request] = []
        self._port = port
        self._refuses = frozenset(refuses)
        self._overwrites = overwrites
        self._catalogue = Catalogue()
        self._lock = threading.Lock()
        self._stores = 0
        self._late: list[threading.Thread] = []
        self._ae = AE(ae_title=ae_title)
        self._ae.maximum_associations = 100
        self._ae.maximum_pdu_size = 131072
        self._ae.network_timeout = 60
        self._ae.require_called_aet = checks_called
        self._ae.require_calling_aet = list(callers)
        self._server: ThreadedAssociationServer | None = None

    def __enter__(self) -> EmbeddedPacs:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; returns when associations are accepted."""
        handlers: list[evt.EventHandlerType] = [(evt.EVT_CONN_OPEN, set_nodelay), (evt.EVT_REQUESTED, self._prepare)]
        contexts = [build_context(VERIFICATION)]
        server = self._ae.start_server((self.host, self._port), block=False, evt_handlers=handlers, contexts=contexts)
        assert server is not None and server.socket is not None  # only a blocking start returns nothing
        self._server = server
        self._port = int(server.socket.getsockname()[1])

    def stop(self) -> None:
        """Stop listening and end all associations. Safe to repeat."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
        for thread in self._late:
            thread.join(timeout=10)

    @property
    def port(self) -> int:
        """The port that it listens on, known once it has started."""
        return self._port

    def node(self, name: str) -> Node:
        """Describe this PACS as vna.toml would."""
        return Node(name=name, ae_title=self.ae_title, host=self.host, port=self.port, dimse_timeout_s=30, retrieve_timeout_s=60)

    def load(self, paths: Iterable[Path]) -> int:
        """Take Part 10 files without the network, and return how many objects it holds then.

        Files that could never have come over a network are passed over: without a UID, or of odd length (PS3.8 9.3.5.1).
        """
        for path in paths:
            image = read_image_file(path)
            data_set = b"" if image is None else data_set_of(path)
            if image is not None and can_travel(image.transfer_syntax_uid, data_set):
                self.add(image.sop_class_uid, image.sop_instance_uid, image.transfer_syntax_uid, data_set)
        return len(self._catalogue)

    def add(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, data_set: bytes) -> bool:
        """Take one object; False where it holds one of this SOP Instance UID and does not overwrite.

        A deflated data set of odd length gets the padding byte without which it could not have come here (PS3.5 A.5).
        """
        data_set += bytes(len(data_set) % 2)
        stored = read_object(sop_class_uid, sop_instance_uid, transfer_syntax_uid, data_set)
        with self._lock:
            if sop_instance_uid in self._catalogue and not self._overwrites:
                return False
            self._catalogue.add(stored)
        return True

    def objects(self) -> dict[str, StoredObject]:
        """Return what it holds, by SOP Instance UID."""
        with self._lock:
            return self._catalogue.objects()

    # -- negotiation ----------------------------------------------------------------------------------------------------------

    def _prepare(self, event: evt.Event) -> None:
        """Support what is asked for and not refused, and answer this association's requests ourselves."""
        assoc = event.assoc
        asked: dict[str, set[str]] = {}
        for context in assoc.requestor.requested_contexts:
            asked.setdefault(str(context.abstract_syntax), set()).update(str(uid) for uid in context.transfer_syntax)
        supported = (self._support(uid, syntaxes) for uid, syntaxes in asked.items())
        assoc.acceptor.supported_contexts = [context for context in supported if context is not None]
        setattr(assoc, "_serve_request", partial(self._serve, assoc))  # noqa: B010

    def _support(self, abstract_syntax: str, asked: set[str]) -> PresentationContext | None:
        if abstract_syntax in _QUERIES or abstract_syntax == VERIFICATION:
            return build_context(abstract_syntax, [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
        # An unknown class is taken for one of storage, as private ones are.
        if abstract_syntax in self._refuses or uid_to_service_class(abstract_syntax) not in (StorageServiceClass, ServiceClass):
            return None
        accepted = self._by_preference(abstract_syntax, asked - self._refuses)
        never_asked = next(uid for uid in ALL_TRANSFER_SYNTAXES if uid not in asked)
        context = build_context(abstract_syntax, accepted or [never_asked])
        context.scu_role = context.scp_role = True  # C-GET: the requestor becomes the SCP of storage (PS3.7 D.3.3.4)
        return context

    def _by_preference(self, sop_class_uid: str, transfer_syntaxes: set[str]) -> list[str]:
        """Put what is held most of this class first: a context with several transfer syntaxes then serves most of a C-GET."""
        with self._lock:
            held = Counter(stored.transfer_syntax_uid for stored in self._catalogue if stored.sop_class_uid == sop_class_uid)
        usual = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
        return sorted(transfer_syntaxes, key=lambda uid: (-held[uid], usual.index(uid) if uid in usual else len(usual), uid))

    # -- services -------------------------------------------------------------------------------------------------------------

    def _serve(self, assoc: Association, msg: DimseMessage, context_id: int) -> None:
        """Answer one request, in place of pynetdicom's own service classes."""
        services: Mapping[type, Callable[[Association, DimseMessage, PresentationContext], None]] = {
            C_ECHO: self._echo,
            C_STORE: self._store,
            C_FIND: self._find,
            C_MOVE: self._retrieve,
            C_GET: self._retrieve,
        }
        context = next((cx for cx in assoc.accepted_contexts if cx.context_id == context_id), None)
        service = services.get(type(msg))
        if context is None or service is None:
            assoc.abort()
            return
        assoc.dimse.cancel_req = {}
        assoc._is_paused = True
        try:
            service(assoc, msg, context)
        finally:
            assoc._is_paused = False

    def _note(self, assoc: Association, service: str, keys: Mapping[str, str] | None = None) -> None:
        with self._lock:
            self.requests.append(Request(service, str(assoc.requestor.ae_title).strip(), keys or {}))

    def _echo(self, assoc: Association, message: DimseMessage, context: PresentationContext) -> None:
        self._note(assoc, "C-ECHO")
        self._answer(assoc, message, context, C_ECHO())

    def _store(self, assoc: Association, message: DimseMessage, context: PresentationContext) -> None:
        assert isinstance(message, C_STORE)
        self._note(assoc, "C-STORE", {"SOPInstanceUID": str(message.AffectedSOPInstanceUID)})
        response = C_STORE()
        response.AffectedSOPInstanceUID = message.AffectedSOPInstanceUID
        self._answer(assoc, message, context, response, self._keep(message, str(context.transfer_syntax[0])))

    def _keep(self, message: C_STORE, transfer_syntax_uid: str) -> int:
        with self._lock:
            self._stores += 1
            number, faults = self._stores, self.faults
        if faults.store_status and faults.store_status & 0xF000 != 0xB000:
            return faults.store_status
        if faults.store_fails_every and number % faults.store_fails_every == 0:
            return 0xA700
        if faults.store_loses_every and number % faults.store_loses_every == 0:
            return 0x0000
        data_set = message.DataSet.getvalue() if message.DataSet is not None else b""
        if faults.store_alters:
            data_set = data_set[:-1] + bytes([data_set[-1] ^ 0xFF])
        try:
            self.add(str(message.AffectedSOPClassUID), str(message.AffectedSOPInstanceUID), transfer_syntax_uid, data_set)
        except ValueError:
            return 0xC000
        return faults.store_status

    def _find(self, assoc: Association, message: DimseMessage, context: PresentationContext) -> None:
        assert isinstance(message, C_FIND)
        level, keys = read_identifier(message.Identifier, context)
        self._note(assoc, "C-FIND", {"QueryRetrieveLevel": level, **keys})
        if not _is_hierarchical(level, keys, context):
            self._answer(assoc, message, context, C_FIND(), 0xA900)
            return
        faults = self.faults
        with self._lock:
            found = self._catalogue.find(level, keys, faults.find_hides)
        if faults.find_refuses_above and len(found) > faults.find_refuses_above:
            self._answer(assoc, message, context, C_FIND(), 0xA700)
            return
        if faults.find_duplicates:
            found = [answer for answer in found for _ in range(2)]
        if faults.find_cap:
            found = found[: faults.find_cap]
        for number, answer in enumerate(found, 1):
            if int(message.MessageID or 0) in assoc.dimse.cancel_req:
                self._answer(assoc, message, context, C_FIND(), 0xFE00)
                return
            response = C_FIND()
            response.Identifier = self._identifier(level, answer, context)
            self._answer(assoc, message, context, response, 0xFF00)
            if number == faults.find_aborts_after:
                assoc.abort()
                return
        self._answer(assoc, message, context, C_FIND(), 0x0000)

    def _identifier(self, level: str, answer: Mapping[str, str], context: PresentationContext) -> BytesIO:
        values = dict(answer)
        if self.faults.study_counts_off_by and "NumberOfStudyRelatedInstances" in values:
            values["NumberOfStudyRelatedInstances"] = str(
                int(values["NumberOfStudyRelatedInstances"]) + self.faults.study_counts_off_by
            )
        return write_identifier({**values, "QueryRetrieveLevel": level, "RetrieveAETitle": self.ae_title}, context)

    def _retrieve(self, assoc: Association, message: DimseMessage, context: PresentationContext) -> None:
        assert isinstance(message, (C_MOVE, C_GET))
        level, keys = read_identifier(message.Identifier, context)
        self._note(assoc, "C-MOVE" if isinstance(message, C_MOVE) else "C-GET", {"QueryRetrieveLevel": level, **keys})
        if not _is_hierarchical(level, keys, context):
            self._answer(assoc, message, context, type(message)(), 0xA900)
            return
        with self._lock:
            selected = self._catalogue.select(keys)
            others = [stored for stored in self._catalogue if stored not in selected]
        retrieval = Retrieval(assoc, message, context, selected, others, self.faults)
        if isinstance(message, C_GET):
            retrieval.get()
            return
        destination = str(message.MoveDestination or "").strip()
        address = self.destinations.get(destination)
        if address is None:
            self._answer(assoc, message, context, C_MOVE(), 0xA801)
            return
        late = retrieval.move(self._ae, destination, address)
        if late is not None:
            self._late.append(late)

    def _answer(
        self, assoc: Association, request: DimseMessage, context: PresentationContext, response: DimseMessage, status: int = 0
    ) -> None:
        if self.faults.delay_s:
            time.sleep(self.faults.delay_s)
        send_response(assoc, request, context, response, status)


def _is_hierarchical(level: str, keys: Mapping[str, str], context: PresentationContext) -> bool:
    """Whether an identifier has a level of its model and the unique keys above it (PS3.4 C.4.1.3.1.1)."""
    patient_root = str(context.abstract_syntax).startswith(PATIENT_ROOT)
    if level not in (LEVELS if patient_root else LEVELS[1:]):
        return False
    return not missing_unique_keys(level, keys, patient_root=patient_root)
