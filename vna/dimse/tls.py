"""DICOM over TLS (PS3.15 B.12, the BCP 195 RFC 8996 profile): TLS 1.2 and 1.3, forward secrecy and AEAD only.

Peers prove who they are by a certificate of the authority that the configuration names, not by a host name: certificates of
imaging devices rarely carry one (IHE ITI TF-2 3.19 makes that check an option).
"""

from __future__ import annotations

import ssl

from vna.errors import ConfigError
from vna.model import Local, Node

CIPHERS = "ECDHE+AESGCM:DHE+AESGCM:ECDHE+CHACHA20"


def server_context(local: Local) -> ssl.SSLContext | None:
    """Make the receiver's context, None where ``[local]`` names no certificate. With ``tls_ca`` clients must show one too."""
    if not local.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    _load(context, local.tls_certificate, local.tls_key, local.tls_ca)
    if local.tls_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(node: Node, local: Local) -> ssl.SSLContext | None:
    """Make the context for a node that speaks TLS, None where it has no ``tls_ca``. We show our own certificate, if any."""
    if not node.tls_ca:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    _restrict(context)
    _load(context, local.tls_certificate, local.tls_key, node.tls_ca)
    return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load(context: ssl.SSLContext, certificate: str, key: str, authority: str) -> None:
    try:
        if certificate:
            context.load_cert_chain(certificate, key or None)
        if authority:
            context.load_verify_locations(authority)
    except (OSError, ValueError) as exc:
        reason = exc.strerror or type(exc).__name__ if isinstance(exc, OSError) else type(exc).__name__
        raise ConfigError(
            f"the TLS files cannot be used ({reason})",
            hint="tls_certificate, tls_key and tls_ca are readable PEM files; the key belongs to the certificate",
        ) from exc
