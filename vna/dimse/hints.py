"""From a failure on the network to the error that says what happened and what to do about it."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Final

from vna.dimse import pdus
from vna.errors import AssociationAbortedError, AssociationRejectedError, PeerError, UnreachableError
from vna.model import Local, Node

REJECTIONS: Final = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""(source, reason) of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""


def unreachable(exc: OSError, node: Node) -> UnreachableError:
    """Make the error of a connection that could not be opened, with the hint for its cause."""
    where = f"{node.host}:{node.port}"
    table = f"[nodes.{node.name}]"
    if isinstance(exc, ssl.SSLError):
        what, hint = _tls(exc, table)
    elif isinstance(exc, socket.gaierror):
        what = f"the host name {node.host!r} is not known"
        hint = f"check host in {table} and this machine's name service; an IP address always works"
    elif isinstance(exc, TimeoutError) or exc.errno == errno.ETIMEDOUT:
        what = f"{where} did not answer in time"
        hint = (
            f"the machine is off, or a firewall drops the connection: check host in {table} and ask for port {node.port} "
            "to be opened"
        )
    elif exc.errno == errno.ECONNREFUSED:
        what = f"nothing listens at {where}"
        hint = f"the peer's DICOM service is not running, or port in {table} is not its port"
    elif exc.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN):
        what = f"there is no route to {node.host}"
        hint = "check the network, VPN and routes between this machine and the peer"
    else:
        what = f"{where} cannot be reached ({exc.strerror or type(exc).__name__})"
        hint = f"check host and port in {table}"
    return UnreachableError(f"{node.name}: {what}", ae_title=node.ae_title, hint=hint)


def rejected(result: int, source: int, reason: int, node: Node, local: Local) -> AssociationRejectedError:
    """Make the error of an A-ASSOCIATE-RJ, with the hint for its reason."""
    word = "for now" if result == 2 else "permanently"
    text = REJECTIONS.get((source, reason), f"source {source}, reason {reason}")
    hint = _rejection_hint(result, source, reason, node, local)
    return AssociationRejectedError(
        f"{node.name}: association rejected {word}: {text}",
        ae_title=node.ae_title,
        result=result,
        source=source,
        reason=reason,
        hint=hint,
    )


def _rejection_hint(result: int, source: int, reason: int, node: Node, local: Local) -> str:
    us = f"our AE title {local.ae_title!r}"
    if (source, reason) == (1, 3):
        return f"the peer does not know {us}: have it registered there, with this machine's address and port {local.port}"
    if (source, reason) == (1, 7):
        return (
            f"the peer does not go by {node.ae_title!r}: check ae_title in [nodes.{node.name}], it is case-sensitive; some peers "
            f"(DCMTK) say so where they do not know {us} or this machine's address"
        )
    if (source, reason) == (3, 2):
        return "the peer has no association free: use fewer workers, or raise its limit"
    if result == 2:
        return "the peer is busy: try again later, or use fewer workers"
    return f"the peer gave no usable reason; most often it does not know {us} or this machine's address"


def ended(exc: pdus.AssociationEnd, node: Node, doing: str) -> PeerError:
    """Make the error of an association that ended while ``doing`` something."""
    what = f"{node.name}: {doing}: {exc}"
    if isinstance(exc, pdus.TimedOut):
        return UnreachableError(what, ae_title=node.ae_title, hint=f"a slow peer needs a longer timeout in [nodes.{node.name}]")
    if isinstance(exc, pdus.ProtocolError):
        hint = f"check that {node.host}:{node.port} is a DICOM peer" if exc.code in ("NOT_A_PDU", "PDU_LENGTH") else ""
        return AssociationAbortedError(what, ae_title=node.ae_title, hint=hint)
    return AssociationAbortedError(what, ae_title=node.ae_title, hint=_end_hint(exc, doing, node))


def _end_hint(exc: pdus.AssociationEnd, doing: str, node: Node) -> str:
    if doing == NEGOTIATING and node.tls_ca:
        return (
            f"{node.host}:{node.port} ends TLS connections at once: it wants a certificate of ours that its authority signed "
            "(tls_certificate and tls_key in [local]), or it accepts certain addresses only"
        )
    if doing == NEGOTIATING:
        return (
            f"{node.host}:{node.port} takes connections but ends them at once: it is no DICOM port, it speaks TLS only "
            f"(tls_ca in [nodes.{node.name}]), or it accepts certain addresses only"
        )
    if isinstance(exc, pdus.Aborted):
        return "the peer gave up on the association, as some (Orthanc) do for an AE title that may not do this; its log says why"
    return "the peer, or something between, closed the connection; the peer's log says why"


NEGOTIATING: Final = "asking for an association"


def _tls(exc: ssl.SSLError, table: str) -> tuple[str, str]:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return (
            f"its TLS certificate is not trusted ({exc.verify_message})",
            f"tls_ca in {table} is not the authority of the peer's certificate, or that has expired",
        )
    return (
        f"the TLS handshake failed ({exc.reason or type(exc).__name__})",
        f"the peer does not speak TLS 1.2 or 1.3 on this port, or wants a certificate of ours: see tls_ca in {table} and "
        "tls_certificate in [local]",
    )
